//! Proves dumps of databases: every byte comes back as it was dumped, and a server takes them.
//!
//! As files they are only compared. Having them back is to have them in a server: that is what is timed.
//! On purpose not here: the server, which the hands start.

use super::cluster::{look, restore, started, too_large};
use super::restored::nothing;
use super::{Proof, Recorded, Subject, asserted};
use crate::hands::{Cluster, Dumps, Hands};
use holdfast_engine::proof::Level;

/// The database in which a statement is asked where no other is meant.
const USUAL: &str = "postgres";

/// Restores dumps as files, loads them into a server, and proves it up to the level that is asked for.
pub async fn prove(hands: &dyn Hands, subject: Subject<'_>) -> Proof {
    let mut proof = Proof::default();
    let Some(snapshot) = subject.snapshot else {
        proof.probes.push(nothing());
        return proof;
    };
    let target = subject.scratch.join("dumps");
    // To be compared, and to be loaded.
    let fetched = if subject.level < Level::Boot { 1 } else { 2 };
    let words = vec!["restore".into(), snapshot.id.as_str().into(), "--target".into(), target.clone().into()];
    if let Some(probe) = too_large(hands, subject, &words, ("dumps are", fetched)).await {
        proof.probes.push(probe);
        return proof;
    }
    if restore(hands, subject, words, &mut proof).await.is_none() || subject.level < Level::Boot {
        return proof;
    }
    let dumps = Dumps { files: target.clone(), from: subject.from.clone(), snapshot: snapshot.id.clone() };
    let (dumps, facts) = (Some(dumps), snapshot.facts.clone());
    let cluster = Cluster { dumps, facts, ..started(subject, subject.scratch.join("data")) };
    // From here on that they were restored as files counts for nothing.
    proof.phases.iter_mut().for_each(|phase| phase.counts = false);
    look(hands, cluster, &mut proof).await;
    if subject.level >= Level::Full {
        proof.probes.extend(asserted::prove(hands, subject, &target).await);
    }
    proof
}

/// The database that a statement is meant for which names none: the only one that was dumped.
pub(super) fn usual_database(subject: Subject<'_>) -> String {
    let logical = subject.source.postgres.as_ref().and_then(|postgres| postgres.logical.as_ref());
    let stated = logical.and_then(|logical| match &logical.databases[..] {
        [only] => Some(only.clone()),
        _ => None,
    });
    let recorded = || only(subject.snapshot.filter(|_| logical.is_some())?);
    stated.or_else(recorded).unwrap_or_else(|| USUAL.to_owned())
}

/// Room that databases take once dumps are loaded, by what they took when they were dumped.
pub(super) fn room(snapshot: &Recorded) -> u64 {
    let facts = snapshot.facts.iter().filter(|_| snapshot.facts.contains_key("pg_dump version"));
    let sizes = facts.filter(|(name, _)| name.starts_with("database ") && !name.ends_with(" LSN"));
    sizes.filter_map(|(_, value)| value.parse::<u64>().ok()).fold(0, u64::saturating_add)
}

/// The only database that was recorded, if there is one alone.
fn only(snapshot: &Recorded) -> Option<String> {
    let of = |fact: &String| {
        let name = fact.strip_prefix("database ")?.strip_suffix(" large objects")?;
        let inside = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Some(inside.map_or_else(|| name.to_owned(), |inside| inside.replace("\"\"", "\"")))
    };
    let mut all = snapshot.facts.keys().filter_map(of);
    all.next().filter(|_| all.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn the_only_database_is_meant() {
        let recorded = |facts: &[&str]| Recorded {
            id: String::new(),
            time: Timestamp::UNIX_EPOCH,
            ended: Timestamp::UNIX_EPOCH,
            paths: Vec::new(),
            incomplete: false,
            bytes: 0,
            files: 0,
            facts: facts.iter().map(|name| ((*name).to_owned(), "covered 0".to_owned())).collect(),
        };
        assert_eq!(
            only(&recorded(&["database shop large objects", "database shop"])).as_deref(),
            Some("shop")
        );
        assert_eq!(
            only(&recorded(&["database \"My \"\"Shop\" large objects"])).as_deref(),
            Some("My \"Shop")
        );
        assert_eq!(only(&recorded(&["database a large objects", "database b large objects"])), None);
        assert_eq!(only(&recorded(&[])), None);
        let mut sized = recorded(&["database a large objects", "database a extension plpgsql"]);
        sized.facts.extend([("database a".to_owned(), "700".to_owned()), ("rows a.b.c".into(), "9".into())]);
        assert_eq!(room(&sized), 0);
        sized.facts.insert("pg_dump version".to_owned(), "15".to_owned());
        assert_eq!(room(&sized), 700);
    }
}
