//! A restored cluster, started and looked at by the source that knows clusters.
//!
//! Its log is fetched by `wal fetch`, and dumps are loaded by `restore`, in processes of their own with
//! the key of the drill. On purpose not here: restoring it, and what follows from what was found.

use super::dumps::Restoring;
use crate::commands::tool_places;
use crate::engine::{Cancel, Clock, Ctx};
use crate::wire_up::drill::{
    Assertion, Drill, Dumps, Expect, FetchLog, Fetched, Proved, User, prove as prove_cluster,
};
use crate::wire_up::owner_numbers;
use holdfast_engine::proof::{Cause, Level, Probe};
use holdfast_scheduler::hands::{Answer, Call, Cluster, ClusterProof, Hands, Place, SqlAssertion, SqlExpect};
use holdfast_scheduler::policy::{Expect as Stated, Isolation};
use std::ffi::OsString;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

/// A user that drills have for themselves, if somebody made it.
const OWN_USER: &str = "holdfast-drill";
/// The user of nothing.
const NOBODY: &str = "nobody";
/// Numbers that no user has, of those that systems give to services for as long as they run: one for
/// each of the drills that may run here side by side.
const NUMBERS: std::ops::RangeInclusive<u32> = 61_992..=61_999;
const SECONDS_A_DAY: i64 = 86_400;

/// Starts it, looks at it, and stops it. Whatever goes wrong is a finding.
pub(crate) async fn prove(hands: &dyn Hands, ctx: &Ctx, cluster: Cluster) -> ClusterProof {
    let users = match users(cluster.run_as.as_deref()) {
        Ok(users) => users,
        Err(what) => return refused(&what, "make that user, or name another one in drill.run_as"),
    };
    if let Err(error) = std::fs::create_dir_all(&cluster.work) {
        let what = format!("{} cannot be made: {error}", cluster.work.display());
        return refused(&what, "use another scratch folder");
    }
    let fetch = cluster.log.as_ref().map(|(place, timeline)| Archive {
        hands,
        place,
        timeline,
        system: cluster.facts.get("system identifier").cloned(),
        cancel: &ctx.cancel,
    });
    let within = cluster.within.as_ref();
    let restoring = cluster.dumps.as_ref().map(|dumps| Restoring { hands, dumps, within });
    let loaded = cluster.dumps.as_ref().zip(restoring.as_ref());
    let dumps = loaded.map(|(dumps, load)| Dumps { files: &dumps.files, load });
    let drill = Drill {
        folder: cluster.folder,
        work: cluster.work,
        level: cluster.level,
        users,
        no_network: cluster.network == Isolation::None,
        bin_dirs: cluster.bin_dirs,
        tools: tool_places(),
        verified: !cluster.facts.is_empty(),
        facts: cluster.facts,
        along: cluster.log.is_some(),
        fetch: fetch.as_ref().map(|fetch| fetch as &dyn FetchLog),
        dumps,
        assertions: cluster.assertions.iter().map(assertion).collect(),
        budget: cluster.budget,
        turn: turn(&*ctx.clock),
        clock: Arc::clone(&ctx.clock),
        cancel: ctx.cancel.clone(),
    };
    let Proved { probes, phases, reached } = prove_cluster(&drill).await;
    ClusterProof { probes, phases, reached }
}

/// Each day begins elsewhere.
fn turn(clock: &dyn Clock) -> u64 {
    // Far apart, so that a few days take all that a day does not come to.
    u64::try_from(clock.now().seconds / SECONDS_A_DAY).unwrap_or_default().wrapping_mul(0x9E37_79B9)
}

fn refused(what: &str, next: &str) -> ClusterProof {
    let mut probe = Probe::new("isolation", Level::Boot);
    probe.finds(Cause::Environment, what, next);
    ClusterProof { probes: vec![probe], ..ClusterProof::default() }
}

/// Who may run the server, the best first; the one that was stated alone.
fn users(stated: Option<&str>) -> Result<Vec<User>, String> {
    let known = |name: &str| owner_numbers(name).map(|(uid, gid)| User { name: name.to_owned(), uid, gid });
    if let Some(name) = stated {
        return known(name).map(|user| vec![user]).ok_or_else(|| format!("there is no user {name} here"));
    }
    let numbers =
        NUMBERS.rev().map(|number| User { name: format!("user {number}"), uid: number, gid: number });
    Ok([known(OWN_USER), known(NOBODY)].into_iter().flatten().chain(numbers).collect())
}

fn assertion(stated: &SqlAssertion) -> Assertion {
    let expect = match &stated.expect {
        SqlExpect::Keys(folder) => Expect::Keys(folder.clone()),
        SqlExpect::Value(Stated::Truth(truth)) => Expect::Truth(*truth),
        SqlExpect::Value(Stated::Number(number)) => Expect::Between(Some(*number), Some(*number)),
        SqlExpect::Value(Stated::Range(range)) => Expect::Between(range.min, range.max),
    };
    let SqlAssertion { name, database, sql, timeout, .. } = stated.clone();
    Assertion { name, database, sql, expect, timeout }
}

/// The log in a repository.
struct Archive<'a> {
    hands: &'a dyn Hands,
    place: &'a Place,
    /// Which timeline; empty if there is no choice.
    timeline: &'a str,
    system: Option<String>,
    cancel: &'a Cancel,
}

impl Archive<'_> {
    fn call(&self, name: &str, to: &Path) -> Call {
        let mut words: Vec<OsString> = vec!["wal".into(), "fetch".into()];
        if let Some(system) = &self.system {
            words.extend(["--system".into(), system.into()]);
        }
        if !self.timeline.is_empty() {
            words.extend(["--timeline".into(), self.timeline.into()]);
        }
        words.extend([name.into(), to.into()]);
        Call { bare: true, ..Call::on(self.place, words) }
    }
}

impl FetchLog for Archive<'_> {
    fn fetch<'a>(
        &'a self,
        name: &'a str,
        to: &'a Path,
    ) -> Pin<Box<dyn Future<Output = Fetched> + Send + 'a>> {
        Box::pin(async move {
            if self.cancel.is_raised() {
                return Fetched::Failed("the drill was stopped".to_owned());
            }
            match self.hands.verb(self.call(name, to)).await {
                Ok(answer) => ended(&answer),
                Err(why) => Fetched::Failed(why),
            }
        })
    }
}

fn ended(answer: &Answer) -> Fetched {
    let said = || {
        let (what, next) = answer.failure();
        if next.is_empty() { what } else { format!("{what}; {next}") }
    };
    match answer.code {
        0 => Fetched::There,
        // It has a code of its own for that, and says so.
        1 if answer.problems.iter().any(|line| line["message_type"] == "exit_error") => Fetched::Absent,
        _ => match said() {
            what if what.contains("a gap:") => Fetched::Gap(what),
            what => Fetched::Failed(what),
        },
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use serde_json::json;

    fn answer(code: i32, message: &str) -> Answer {
        let problems = vec![json!({ "message_type": "exit_error", "code": code, "message": message })];
        Answer { code, problems, ..Answer::default() }
    }

    #[test]
    fn only_what_is_proved_absent_ends_a_log() {
        assert_eq!(ended(&Answer::default()), Fetched::There);
        assert_eq!(ended(&answer(1, "000000010000000000000003")), Fetched::Absent);
        // Somebody killed it.
        assert!(matches!(ended(&Answer { code: 1, ..Answer::default() }), Fetched::Failed(_)));
        let gap = "a gap: the archive lacks 000000010000000000000003 of timeline 1";
        assert!(matches!(ended(&answer(126, gap)), Fetched::Gap(_)));
        assert!(matches!(ended(&answer(126, "the store does not answer")), Fetched::Failed(_)));
    }

    #[test]
    fn the_server_runs_as_whoever_was_stated_or_as_nobody() {
        assert_eq!(users(Some("64123:64123")).unwrap()[0].uid, 64_123);
        assert!(users(Some("no such user")).unwrap_err().contains("no such user"));
        let users = users(None).unwrap();
        assert!(NUMBERS.rev().eq(users.iter().rev().take(8).rev().map(|user| user.uid)), "{users:?}");
    }
}
