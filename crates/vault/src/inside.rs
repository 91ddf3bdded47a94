//! One visit to a server: in with a token, something asked, out again.
//!
//! A token that is refused is read anew: whoever rotates it may just have done so. On purpose not here:
//! what is asked.

use crate::ask::Server;
use crate::error::VaultError;
use crate::login::{Login, Token, give_back, token};
use holdfast_store_s3::Network;
use std::sync::OnceLock;
use std::time::Duration;

/// So long may it take to give a token back; it expires by itself.
const GIVE_BACK_MAX: Duration = Duration::from_secs(5);

/// Asks something with a token. All of it has to end in the time that the server is given.
pub(crate) async fn inside<T>(
    network: &Network,
    server: &Server,
    asks: impl AsyncFn(&Token) -> Result<T, VaultError>,
) -> Result<T, VaultError> {
    server.check()?;
    let had = OnceLock::new();
    let all = async {
        let first = token(network, server).await?;
        visit(network, server, had.get_or_init(|| first), asks).await
    };
    let ended = tokio::time::timeout(server.patience, all).await.unwrap_or_else(|_| Err(server.silent()));
    // Whatever came of it, and in a time of its own: what was had is not lost over it.
    if let Some(first) = had.get() {
        let _ = tokio::time::timeout(GIVE_BACK_MAX, give_back(network, server, first)).await;
    }
    ended
}

async fn visit<T>(
    network: &Network,
    server: &Server,
    first: &Token,
    asks: impl AsyncFn(&Token) -> Result<T, VaultError>,
) -> Result<T, VaultError> {
    let ended = asks(first).await;
    let denied = ended.as_ref().is_err_and(|error| error.denied);
    if denied && matches!(server.login, Login::TokenFile(_)) {
        let second = token(network, server).await?;
        if second.text != first.text {
            return asks(&second).await;
        }
    }
    ended
}
