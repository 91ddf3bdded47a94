//! One visit to a server: in with a token, something asked, out again.
//!
//! A token that is refused is read anew: whoever rotates it may just have done so. On purpose not here:
//! what is asked.

use crate::ask::Server;
use crate::error::VaultError;
use crate::login::{Login, Token, give_back, token};
use holdfast_store_s3::Network;

/// Asks something with a token. All of it has to end in the time that the server is given.
pub(crate) async fn inside<T>(
    network: &Network,
    server: &Server,
    asks: impl AsyncFn(&Token) -> Result<T, VaultError>,
) -> Result<T, VaultError> {
    server.check()?;
    match tokio::time::timeout(server.patience, visit(network, server, asks)).await {
        Ok(ended) => ended,
        Err(_) => {
            let what = format!("{} did not answer in {} s", server.address, server.patience.as_secs());
            let next = "look at the server's health; VAULT_CLIENT_TIMEOUT says how long is waited";
            Err(VaultError::new(what, next))
        }
    }
}

async fn visit<T>(
    network: &Network,
    server: &Server,
    asks: impl AsyncFn(&Token) -> Result<T, VaultError>,
) -> Result<T, VaultError> {
    let first = token(network, server).await?;
    let ended = asks(&first).await;
    let denied = ended.as_ref().is_err_and(|error| error.denied);
    if denied && matches!(server.login, Login::TokenFile(_)) {
        let second = token(network, server).await?;
        if second.text != first.text {
            return asks(&second).await;
        }
    }
    give_back(network, server, &first).await;
    ended
}
