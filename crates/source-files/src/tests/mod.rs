//! Trees are walked, read, restored and compared; each test makes its own.

mod driver;
mod hostile;
mod in_place;
mod left_out;
mod reading;
mod restoring;
mod walking;
