//! Setting what differs of a bucket's configuration, part by part.
//!
//! What only the bucket has stays: nothing is taken away. On purpose not here: saying what differs.

use super::place::BucketPlace;
use crate::configuration::{Configuration, Difference, Part};

/// Sets the parts that a bucket lacks or has otherwise, and looks whether it has them then. Returns
/// what it has not, and why.
pub async fn configure(
    place: &BucketPlace,
    wanted: &Configuration,
    differences: &[(String, Difference)],
) -> Vec<(String, String)> {
    let mut failed = Vec::new();
    for (name, difference) in differences {
        let result = match difference {
            Difference::Other { .. } | Difference::Missing(_) => set(place, wanted, name).await,
            Difference::Unknown(why) => Err(format!("what the bucket has of it cannot be read: {why}")),
            Difference::Extra(_) | Difference::NotKept => Ok(()),
        };
        if let Err(why) = result {
            failed.push((name.clone(), why));
        }
    }
    failed
}

async fn set(place: &BucketPlace, wanted: &Configuration, name: &str) -> Result<(), String> {
    let (Some(part), Some(document)) = (Part::named(name), wanted.document(name)) else {
        return Err("this version of the program does not know it".to_owned());
    };
    let _waiting = place.waiting("");
    place.asked().set(part, document).await?;
    let there = place.asked().part(part).await?;
    match wanted.is_same(name, there.as_ref()) {
        true => Ok(()),
        false => {
            Err("the server took it, and answers with something else: look again with --dry-run".to_owned())
        }
    }
}
