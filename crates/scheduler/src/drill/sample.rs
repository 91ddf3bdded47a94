//! A sample of the live source: what has the size and time that was recorded has the same bytes too.
//!
//! The backup's bytes prove themselves. So where they differ from the source's and nothing says that
//! somebody wrote there, the source is damaged, and backups begin to copy that. What was changed since
//! is no finding. On purpose not here: anything that writes; the source is only read, and little of it.

use super::parts::{self, Measure};
use super::restored::{bare, number, shown};
use super::told::{self, told};
use super::{Recorded, Subject};
use crate::hands::{Answer, Hands};
use holdfast_engine::proof::{Cause, Level, Probe};

/// So much of the source is read, in bytes.
const SAMPLE_BYTES: u64 = 64 << 20;
/// A snapshot of so many files at most is compared whole.
const SAMPLE_FILES: u64 = 20_000;

const CHANGED: &str = "files changed since";
const GONE: &str = "files gone since";

const NEXT: &str = "look at the file and its disk: restore it from an older snapshot if it is damaged, and do not \
                    forget the snapshots that have it whole";

/// Compares a part of the source with the snapshot.
pub(super) async fn sample(
    hands: &dyn Hands,
    subject: Subject<'_>,
    snapshot: &Recorded,
    host: Option<&str>,
) -> Probe {
    let mut probe = Probe::new("sample of the source", Level::Restore);
    let here = hands.host();
    if host.is_some_and(|host| host != here) {
        let host = host.unwrap_or_default();
        probe.not_provable.push(format!("the source is on {host}, this is {here}: it was not looked at"));
        return probe;
    }
    let whole = snapshot.bytes <= SAMPLE_BYTES && snapshot.files <= SAMPLE_FILES;
    let picked = if whole {
        vec![snapshot.id.clone()]
    } else {
        let what = (snapshot.id.as_str(), snapshot.paths.as_slice());
        match parts::pick(hands, subject, what, SAMPLE_BYTES, Measure::Restored).await {
            Ok(parts) => parts.paths.into_iter().map(|path| format!("{}:{path}", snapshot.id)).collect(),
            Err(finding) => {
                probe.not_provable.push(format!("the source was not looked at: {}", finding.what));
                return probe;
            }
        }
    };
    for one in picked {
        let words = vec!["diff".into(), one.into(), "--live".into(), "--read-data".into()];
        match hands.verb(bare(subject, words, None)).await {
            Err(why) => probe.not_provable.push(format!("the source was not looked at: {why}")),
            Ok(answer) => take(&mut probe, &answer),
        }
    }
    if whole {
        nothing_left(&mut probe, snapshot.files);
    }
    probe
}

/// Where nothing is as it was backed up nothing was compared: that proves nothing of the source.
fn nothing_left(probe: &mut Probe, files: u64) {
    let other: u64 = [CHANGED, GONE].iter().filter_map(|name| probe.counts.get(*name)).sum();
    if files > 0 && other >= files && probe.findings.is_empty() {
        probe.counts.clear();
        probe
            .not_provable
            .push(format!("no file of the source is as it was backed up: {other} changed or gone"));
    }
}

fn take(probe: &mut Probe, answer: &Answer) {
    probe.seconds += answer.seconds;
    if !matches!(answer.code, 0 | 3) {
        return probe.not_provable.push(format!("the source was not looked at: {}", answer.failure().0));
    }
    let marked = |line: &&serde_json::Value| line["modifier"].as_str().is_some_and(|mark| mark.contains('?'));
    let rotten = answer.all("change").filter(marked).filter_map(|line| line["path"].as_str());
    let found: Vec<_> = rotten
        .map(|path| {
            let path = shown(path);
            (
                Cause::Source,
                format!("{path}: its content is not what was backed up, though its size and time are"),
            )
        })
        .collect();
    told::add(probe, &found, NEXT);
    let unread = told(answer).count();
    if unread > 0 {
        probe.not_provable.push(format!("{unread} things of the source could not be read"));
    }
    let changed = number(answer, "statistics", "changed_files").saturating_sub(found.len() as u64);
    let gone =
        answer.line("statistics").and_then(|line| line["removed"]["files"].as_u64()).unwrap_or_default();
    for (name, count) in [(CHANGED, changed), (GONE, gone)] {
        *probe.counts.entry(name.into()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::super::fake::{Fake, Stage, ok};
    use super::*;
    use serde_json::json;

    async fn sampled(host: &str) -> Probe {
        let fake = Fake::new(|_| {
            ok(vec![
                json!({ "message_type": "change", "modifier": "M", "path": "/srv/new" }),
                json!({ "message_type": "change", "modifier": "M?", "path": "/srv/rot" }),
                json!({ "message_type": "statistics", "changed_files": 2, "removed": { "files": 1 } }),
            ])
        });
        let stage = Stage::files(&["/srv"]);
        sample(&fake, stage.subject(), stage.snapshot.as_ref().unwrap(), Some(host)).await
    }

    #[tokio::test]
    async fn rot_is_the_sources_and_change_is_nobodys() {
        let probe = sampled("web1").await;
        let [finding] = &probe.findings[..] else { panic!("{probe:?}") };
        assert!(finding.cause == Cause::Source && finding.what.starts_with("/srv/rot"), "{finding:?}");
        assert_eq!((probe.counts["files changed since"], probe.counts["files gone since"]), (1, 1));
    }

    #[tokio::test]
    async fn a_source_that_is_gone_proves_nothing() {
        let fake = Fake::new(|_| {
            ok(vec![json!({ "message_type": "statistics", "changed_files": 0, "removed": { "files": 2 } })])
        });
        let stage = Stage::files(&["/srv"]);
        let probe = sample(&fake, stage.subject(), stage.snapshot.as_ref().unwrap(), None).await;
        assert!(probe.counts.is_empty() && probe.findings.is_empty(), "{probe:?}");
        assert_eq!(probe.not_provable, ["no file of the source is as it was backed up: 2 changed or gone"]);
    }

    #[tokio::test]
    async fn another_hosts_files_are_not_looked_at() {
        let probe = sampled("web2").await;
        assert!(probe.findings.is_empty() && probe.not_provable[0].contains("web2"), "{probe:?}");
        assert!(probe.counts.is_empty());
    }
}
