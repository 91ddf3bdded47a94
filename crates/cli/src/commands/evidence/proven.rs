//! Which snapshots drills proved, as their records say.
//!
//! On purpose not here: what keeps such a snapshot.

use super::super::Run;
use super::pick::{DRILL, Told, all};
use crate::engine::evidence::records;
use crate::engine::{Repository, Snapshot};
use crate::fault::Fault;
use holdfast_core::entry::Time;
use holdfast_core::id::SessionId;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Snapshots that were proved to come back.
pub(in crate::commands) async fn proven(
    run: &Run,
    repository: &Repository,
) -> Result<BTreeSet<SessionId>, Fault> {
    let book = records(&run.ctx, repository).await.map_err(Fault::from)?;
    let told = all(&book, repository);
    let sources = told.iter().flat_map(sources);
    Ok(sources.filter(|source| is_proof(source)).filter_map(snapshot).collect())
}

/// What a drill found of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) struct Proof {
    /// When that was written down.
    pub(in crate::commands) time: Time,
    /// `pass`, `fail` or `inconclusive`.
    pub(in crate::commands) verdict: String,
    /// The level up to which everything was looked at.
    pub(in crate::commands) level: Option<String>,
    /// The name of the record.
    pub(in crate::commands) record: String,
    /// Whether it says that the snapshot comes back, or that it does not.
    decides: bool,
}

/// What drills found of snapshots: of each what counts now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::commands) struct Proofs {
    found: BTreeMap<SessionId, Proof>,
    /// How many records are missing or not as they were: what they said nobody knows.
    pub(in crate::commands) lost: u64,
}

impl Proofs {
    /// Reads all that there is of evidence, once.
    pub(in crate::commands) async fn read(run: &Run, repository: &Repository) -> Result<Self, Fault> {
        let book = records(&run.ctx, repository).await.map_err(Fault::from)?;
        Ok(Self::of(&all(&book, repository), book.problems().count() as u64))
    }

    fn of(told: &[Told<'_>], lost: u64) -> Self {
        let mut proofs = Self { found: BTreeMap::new(), lost };
        for told in told {
            for source in sources(told) {
                proofs.take(told, source);
            }
        }
        proofs
    }

    /// Takes a record that is later than all before it. What proves nothing does not push out what does.
    fn take(&mut self, told: &Told<'_>, source: &Value) {
        let Some((id, verdict)) = snapshot(source).zip(source["verdict"].as_str()) else { return };
        let decides = is_proof(source) || verdict == "fail";
        if !decides && self.found.get(&id).is_some_and(|before| before.decides) {
            return;
        }
        let proof = Proof {
            time: told.record.time,
            verdict: verdict.to_owned(),
            level: source["reached"].as_str().map(str::to_owned),
            record: told.record.name.clone(),
            decides,
        };
        self.found.insert(id, proof);
    }

    /// What counts now of a snapshot; of one whose tags were changed also what was found before.
    pub(in crate::commands) fn of_snapshot(&self, snapshot: &Snapshot) -> Option<&Proof> {
        let ids = std::iter::once(&snapshot.id).chain(&snapshot.summary.supersedes);
        ids.filter_map(|id| self.found.get(id)).max_by_key(|proof| (proof.decides, proof.time))
    }
}

/// What a record says of sources, if it is that of a drill by somebody who could have opened them: a writer's
/// word proves nothing, and takes no proof back.
fn sources<'a>(told: &'a Told<'_>) -> impl Iterator<Item = &'a Value> {
    let counts = told.record.kind == DRILL && told.may_prove;
    let sources = told.value["sources"].as_array().filter(|_| counts);
    sources.into_iter().flatten()
}

/// That every chunk could be opened is no proof that it comes back.
fn is_proof(source: &Value) -> bool {
    source["verdict"] == "pass" && source["reached"].as_str().is_some_and(|level| level != "read")
}

fn snapshot(source: &Value) -> Option<SessionId> {
    source["snapshot"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::engine::evidence::{EvidenceBook, EvidenceChain, EvidenceRecord};
    use holdfast_core::id::MemberId;
    use holdfast_core::name;
    use serde_json::json;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn book(found: &[(&str, &str)]) -> EvidenceBook {
        let member = MemberId([1; 16]);
        let record = |(number, (verdict, reached)): (u64, &(&str, &str))| {
            let source = json!({ "source": "tree", "snapshot": ID, "verdict": verdict, "reached": reached });
            EvidenceRecord {
                name: name::evidence(member, number),
                member,
                number,
                hash: [0; 32],
                time: Time { seconds: number.cast_signed(), nanos: 0 },
                kind: DRILL.into(),
                text: json!({ "sources": [source] }).to_string().into_bytes(),
            }
        };
        let records = (0..).zip(found).map(record).collect();
        EvidenceBook { chains: vec![EvidenceChain { member, records, problems: Vec::new(), removed: None }] }
    }

    fn newest(found: &[(&str, &str)]) -> Option<(i64, String)> {
        let book = book(found);
        let told: Vec<_> = book.records().into_iter().map(|record| Told::of(record, true)).collect();
        let proofs = Proofs::of(&told, 0);
        let proof = proofs.found.get(&ID.parse().unwrap())?;
        Some((proof.time.seconds, proof.verdict.clone()))
    }

    #[test]
    fn the_newest_that_says_something_counts() {
        let is = |second: i64, verdict: &str| Some((second, verdict.to_owned()));
        assert_eq!(newest(&[]), None);
        assert_eq!(newest(&[("pass", "full"), ("fail", "restore")]), is(1, "fail"));
        assert_eq!(newest(&[("fail", "restore"), ("pass", "check")]), is(1, "pass"));
        assert_eq!(newest(&[("pass", "full"), ("inconclusive", "restore")]), is(0, "pass"));
        assert_eq!(newest(&[("pass", "full"), ("pass", "read")]), is(0, "pass"));
        assert_eq!(newest(&[("inconclusive", "boot"), ("inconclusive", "read")]), is(1, "inconclusive"));
    }
}
