//! Empties the scratch prefix of a bucket after a drill; asks which buckets there are.
//!
//! Only a prefix that a drill named is emptied: one of its folders begins with `drill-`. On purpose not here:
//! deleting, which the target does.

use super::OwnHands;
use super::record::keys_of;
use crate::fault::Fault;
use crate::settings;
use crate::wire_up::{Address, BucketPlace, list_buckets};
use holdfast_scheduler::policy::place::with_profile;
use holdfast_scheduler::policy::secret::Credentials;

/// What folders of drills begin with.
const DRILL: &str = "drill-";

/// Empties it; what became of it, in words for the record.
pub(super) async fn empty(
    hands: &OwnHands,
    url: &str,
    credentials: Option<&Credentials>,
) -> Result<String, Fault> {
    let url = with_profile(url, credentials);
    settings::refuse_password(url.as_ref())?;
    let address = Address::parse(&url)
        .map_err(|error| Fault::usage(format!("{url} is no bucket"), "").because(&error))?;
    if !is_of_drill(&address.prefix) {
        let what = format!("{address} is not emptied: no folder of it has the name of a drill");
        return Err(Fault::usage(what, "delete by hand what a drill left there"));
    }
    let keys = tokio::task::block_in_place(|| keys_of(&hands.ours, credentials))?;
    let network = hands.reach.as_ref().map_err(Fault::clone)?;
    let place = BucketPlace::open(&address, keys, network).await;
    let count = place.empty().await.map_err(|error| {
        Fault::failed(format!("{address} cannot be emptied"), "delete by hand what is there").because(&error)
    })?;
    Ok(format!("{address}: {count} objects and versions were deleted, and nothing is left"))
}

/// The names of the buckets that an account has, by what opens one of them.
pub(super) async fn names(
    hands: &OwnHands,
    address: &Address,
    credentials: Option<&Credentials>,
) -> Result<Vec<String>, Fault> {
    let keys = tokio::task::block_in_place(|| keys_of(&hands.ours, credentials))?;
    let network = hands.reach.as_ref().map_err(Fault::clone)?;
    list_buckets(address, keys, network).await.map_err(|why| Fault::failed(why, ""))
}

fn is_of_drill(prefix: &str) -> bool {
    prefix.split('/').any(|folder| folder.len() > DRILL.len() && folder.starts_with(DRILL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_drill_named_is_emptied() {
        assert!(is_of_drill("scratch/drill-shop-12ab/media/") && is_of_drill("drill-x"));
        assert!(
            !is_of_drill("") && !is_of_drill("media/") && !is_of_drill("drill-") && !is_of_drill("a-drill-x")
        );
    }
}
