//! What a hold stops is told with the hold: which one, why, since when, and how it is released.

use super::Run;
use crate::engine::maintain::{Hold, HoldScope, holds};
use crate::engine::{Error, ErrorKind, Repository};
use crate::fault::Fault;
use crate::ink::{escape, local};
use holdfast_core::id::hex;
use std::future::Future;

/// Shows how far some work is, and the holds that stand if one of them ended it.
pub(crate) async fn told<T>(
    run: &Run,
    repository: &Repository,
    phase: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Fault> {
    let watch = run.progress.watch(phase);
    let result = work.await;
    drop(watch);
    match result {
        Ok(done) => Ok(done),
        Err(error) if error.kind == ErrorKind::Held => {
            // Without them there is still what the engine says.
            let standing = holds(&run.ctx, repository).await.unwrap_or_default();
            Err(fault(error, &standing))
        }
        Err(error) => Err(Fault::from(error).or_interrupted(run.ctx.cancel.is_raised())),
    }
}

fn fault(error: Error, standing: &[Hold]) -> Fault {
    let mut fault = Fault::from(error);
    fault.why.extend(standing.iter().map(described));
    if let [one] = standing {
        fault.hint = format!("if it may go on: holdfast hold --release {}", short_id(one));
    }
    fault
}

/// The beginning of a hold's id that people are shown.
pub(crate) fn short_id(hold: &Hold) -> String {
    hex(&hold.id)[..8].to_owned()
}

/// What a hold names, in words.
pub(crate) fn scope(hold: &Hold) -> String {
    match &hold.scope {
        HoldScope::All => "everything".to_owned(),
        HoldScope::Source(name) => format!("source {}", escape(name.as_bytes())),
        HoldScope::Snapshot(id) => format!("snapshot {}", &id.to_string()[..8]),
    }
}

/// Says what a hold holds, since when, until when and why.
pub(crate) fn described(hold: &Hold) -> String {
    let until =
        hold.until.map_or_else(|| "until it is released".to_owned(), |time| format!("until {}", local(time)));
    let (id, scope, reason) = (short_id(hold), scope(hold), escape(hold.reason.as_bytes()));
    format!("hold {id} on {scope} since {}, {until}: {reason}", local(hold.since))
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::entry::Time;

    #[test]
    fn a_hold_is_told_with_the_way_out() {
        let hold = Hold {
            id: [0x9c; 16],
            scope: HoldScope::All,
            reason: "audit\x1b".into(),
            since: Time { seconds: 1_764_000_000, nanos: 0 },
            until: None,
        };
        let told = |standing: &[Hold]| fault(Error::new(ErrorKind::Held, "a hold stands"), standing);
        let one = told(std::slice::from_ref(&hold));
        assert_eq!((one.code as u8, one.why.len()), (1, 1));
        assert!(one.why[0].starts_with("hold 9c9c9c9c on everything since 2025-"), "{}", one.why[0]);
        assert!(one.why[0].ends_with(", until it is released: audit\\x1b"), "{}", one.why[0]);
        assert_eq!(one.hint, "if it may go on: holdfast hold --release 9c9c9c9c");
        let other = Hold { scope: HoldScope::Source("shop/db".into()), ..hold.clone() };
        let two = told(&[hold, other]);
        assert!(two.why.len() == 2 && two.hint.contains("--release ID"), "{two:?}");
    }
}
