//! Which buckets there are, as their account lists them.
//!
//! On purpose not here: what lies in them.

use crate::address::Address;
use crate::client::{Keys, connect};
use crate::error::Answer;
use crate::meter::Meter;
use crate::network::Network;

/// So many pages are asked for: more than any account may have.
const PAGES_MAX: usize = 1000;

/// The names of all buckets of an account at the server of an address; its bucket is not looked at.
///
/// # Errors
/// Nobody answers, or whoever asks may not list them; in words for people.
pub async fn buckets(
    address: &Address,
    keys: Option<Keys>,
    network: &Network,
) -> Result<Vec<String>, String> {
    let client = connect(address, keys, network, &Meter::default()).await;
    let (mut names, mut next) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let asked = client.list_buckets().set_continuation_token(next).send().await;
        let page = asked.map_err(|error| Answer::of(error).text().to_owned())?;
        names.extend(page.buckets().iter().filter_map(|bucket| bucket.name()).map(str::to_owned));
        next = page.continuation_token;
        if next.as_ref().is_none_or(String::is_empty) {
            return Ok(names);
        }
    }
    Err("its list of buckets does not end".to_owned())
}
