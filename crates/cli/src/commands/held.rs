//! What a hold stops is told with the hold: which one, why, since when, and how it is released.

use super::Run;
use crate::engine::maintain::{Hold, HoldScope, holds};
use crate::engine::{Error, ErrorKind, Repository};
use crate::fault::Fault;
use crate::ink::{escape, local};
use holdfast_core::id::hex;

/// Makes a fault of what ended some work; if that was a hold, it says how it is released.
pub(crate) async fn told<T>(
    run: &Run,
    repository: &Repository,
    result: Result<T, Error>,
) -> Result<T, Fault> {
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

/// The engine says which hold it is by its id; this says how it is released.
fn fault(error: Error, standing: &[Hold]) -> Fault {
    let mut fault = Fault::from(error);
    if let Some(hold) = standing.iter().find(|hold| fault.what.contains(&short_id(hold))) {
        fault.hint = format!("if it may go on: holdfast hold --release {}", short_id(hold));
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
            scope: HoldScope::Source("shop/\x1b".into()),
            reason: "audit\x1b".into(),
            since: Time { seconds: 1_764_000_000, nanos: 0 },
            until: None,
        };
        let text = described(&hold);
        assert!(text.starts_with("hold 9c9c9c9c on source shop/\\x1b since 2025-11-2"), "{text}");
        assert!(text.ends_with(", until it is released: audit\\x1b"), "{text}");
        let told = |what: &str| fault(Error::new(ErrorKind::Held, what), std::slice::from_ref(&hold));
        let known = told("everything is held (hold 9c9c9c9c): audit");
        assert_eq!(
            (known.code.number(), &*known.hint),
            (1, "if it may go on: holdfast hold --release 9c9c9c9c")
        );
        assert!(told("everything is held (hold 00000000)").hint.contains("--release ID"));
    }
}
