//! Answers over HTTP to those who watch: metrics, whether it lives, whether it is ready; and tells
//! the service manager the same.
//!
//! On purpose not here: what is true. It is put on the [`Board`] by whoever knows it.

mod board;
mod listen;
mod manager;

pub use board::{Answer, Board};
pub use listen::{Listening, listen};
pub use manager::Manager;
