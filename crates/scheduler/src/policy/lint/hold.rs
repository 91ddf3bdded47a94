//! Who can do what with the repository and its copies.
//!
//! On purpose not here: what is done.

use super::{Lints, same};
use crate::policy::Policy;
use crate::policy::secret::Keys;

const ALL: &str = "this host can back up, read and delete: whoever takes it has everything";
const NEXT: &str = "name a key file for each activity, keys: { backup, maintain, read }, and leave those out that \
                    are not for this host";

pub(super) fn lint(policy: &Policy, lints: &mut Lints) {
    let one = |keys: Option<&Keys>| {
        keys.is_some_and(|keys| same([keys.backup.as_ref(), keys.maintain.as_ref(), keys.read.as_ref()]))
    };
    let repository = &policy.repository;
    if repository.password.is_some() || one(repository.keys.as_ref()) {
        lints.warning("repository", ALL, NEXT);
    }
    for (number, copy) in policy.copies.iter().enumerate() {
        let path = format!("copies[{number}]");
        if copy.password.is_some() || one(copy.keys.as_ref()) {
            let what = format!("the copy `{}` opens for everything: {ALL}, the copy too", copy.name);
            lints.warning(path.clone(), what, NEXT);
        }
        if copy.max_lag.is_none() {
            let what = format!(
                "nothing says how far the copy `{}` may be behind: nobody is told when it stops",
                copy.name
            );
            lints.warning(path, what, "add max_lag: 6h");
        }
    }
}
