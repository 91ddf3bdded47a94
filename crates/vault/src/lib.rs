//! Secrets that a server of HashiCorp Vault or OpenBao keeps, by its documented HTTP interface.
//!
//! What is asked for is one field of one secret, or to seal or open a key file, each time it is needed. Nothing is kept: a token that
//! rotates is read anew from its file, one that a login gave is given back. On purpose not here: the
//! environment, which is handed in; what the secrets open; writing anything there.

mod ask;
mod error;
mod inside;
mod json;
mod login;
mod read;
mod reference;
mod transit;

pub use ask::Server;
pub use error::VaultError;
pub use login::Login;
pub use read::read;
pub use reference::Reference;
pub use transit::{TransitKey, open_sealed, seal};
