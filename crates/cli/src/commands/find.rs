//! `find`: which snapshots hold something, and what it was there.

use super::{Run, lists, ls, pick};
use crate::args::FindArgs;
use crate::engine::{ErrorKind, FindReport, Outcome, Repository, Right, Snapshot, find, snapshots};
use crate::fault::Fault;
use crate::ink::{FindSummary, Node, count, counted, parse_time};
use crate::settings;
use crate::wire_up::Excludes;
use holdfast_core::entry::{Entry, Kind, Time};
use holdfast_core::id::SessionId;
use holdfast_core::version::shown_object;

/// Searches, newest snapshot first.
pub(crate) async fn run(run: &Run, args: &FindArgs) -> Result<(), Fault> {
    let query = Query::new(args)?;
    let repository = run.open_for(Right::Read).await?;
    let (searched, unlisted) = searched(run, &repository, args).await?;
    let mut shown: Option<SessionId> = None;
    let mut show = |snapshot: &Snapshot, entry: &Entry| {
        if shown != Some(snapshot.id) {
            shown = Some(snapshot.id);
            if !run.ink.tone.json && !run.ink.tone.quiet {
                run.ink.data(&pick::described(snapshot, run.ctx.clock.now()));
            }
        }
        show(run, args, snapshot, entry);
    };
    let matches = |entry: &Entry| query.matches(entry);
    let result = find(&run.ctx, &repository, &searched, &matches, &mut show).await;
    run.progress.tell_heard();
    let outcome = match result {
        // Whoever reads us had enough: that is no failure.
        Err(error) if error.kind == ErrorKind::Interrupted && !run.ink.is_heard() => return Ok(()),
        result => result?,
    };
    run.tell(&outcome.problems);
    sum_up(run, &outcome);
    finish(&outcome, unlisted)
}

/// The snapshots that are searched, newest first, and how many cannot be listed.
async fn searched(
    run: &Run,
    repository: &Repository,
    args: &FindArgs,
) -> Result<(Vec<Snapshot>, u64), Fault> {
    let mut found = Vec::new();
    for text in &args.snapshot {
        let snapshot = pick::one(run, repository, text, b"", &args.pick).await?.snapshot;
        if !found.iter().any(|other: &Snapshot| other.id == snapshot.id) {
            found.push(snapshot);
        }
    }
    if !args.snapshot.is_empty() {
        return Ok((found, 0));
    }
    let listed = snapshots(&run.ctx, repository, &settings::filter_of(&args.pick)).await?;
    run.tell(&listed.problems);
    let mut all = listed.value;
    all.reverse();
    Ok((all, listed.problems.problem_count))
}

/// What is searched for.
struct Query<'a> {
    args: &'a FindArgs,
    patterns: Excludes,
    newest: Option<Time>,
    oldest: Option<Time>,
}

impl<'a> Query<'a> {
    fn new(args: &'a FindArgs) -> Result<Self, Fault> {
        let (cased, caseless) =
            if args.ignore_case { (&[][..], &args.patterns[..]) } else { (&args.patterns[..], &[][..]) };
        let patterns = Excludes::new(cased, caseless).map_err(lists::not_understood)?;
        let time = |text: &Option<String>, option: &str| {
            let time = text.as_deref().map(parse_time).transpose();
            time.map_err(|what| Fault::usage(format!("{option}: {what}"), ""))
        };
        let (newest, oldest) = (time(&args.newest, "--newest")?, time(&args.oldest, "--oldest")?);
        Ok(Self { args, patterns, newest, oldest })
    }

    fn matches(&self, entry: &Entry) -> bool {
        let kind = self.args.kinds.is_empty() || self.args.kinds.contains(&entry.kind);
        let time = self.newest.is_none_or(|newest| entry.mtime <= newest)
            && self.oldest.is_none_or(|oldest| entry.mtime >= oldest);
        kind && time && self.fits(entry) && {
            let path = shown_object(&entry.key);
            self.patterns.matches_itself(&path, entry.kind == Kind::Directory)
        }
    }

    /// Only files have a size.
    fn fits(&self, entry: &Entry) -> bool {
        let (larger, smaller) = (self.args.larger_than, self.args.smaller_than);
        let asked = larger.is_some() || smaller.is_some();
        !asked
            || entry.kind == Kind::File
                && larger.is_none_or(|bytes| entry.size > bytes)
                && smaller.is_none_or(|bytes| entry.size < bytes)
    }
}

fn show(run: &Run, args: &FindArgs, snapshot: &Snapshot, entry: &Entry) {
    if run.ink.tone.json {
        run.ink.json(&Node::found(entry, snapshot));
    } else {
        let before = format!("{}:", pick::short_id(snapshot));
        let line = if args.long {
            ls::long_line(entry, &before, false)
        } else {
            format!("{before}{}", ls::shown_path(entry))
        };
        run.ink.data(&line);
    }
    if !run.ink.is_heard() {
        run.ctx.cancel.raise();
    }
}

fn sum_up(run: &Run, outcome: &Outcome<FindReport>) {
    let report = &outcome.value;
    if run.ink.tone.json {
        return run.ink.json(&FindSummary::new(report, outcome.problems.problem_count));
    }
    let all = counted(report.snapshots, "snapshot", "snapshots");
    let text = match report.matches {
        0 => format!("nothing found in {all}"),
        number => {
            let matches = counted(number, "match", "matches");
            format!("{matches} in {} of {all}", count(report.snapshots_matching))
        }
    };
    run.ink.talk(&text);
}

fn finish(outcome: &Outcome<FindReport>, unlisted: u64) -> Result<(), Fault> {
    let hint = "see how far the damage goes: holdfast check";
    if outcome.problems.problem_count > 0 {
        let parts = counted(outcome.problems.problem_count, "part", "parts");
        return Err(Fault::failed(format!("{parts} of the snapshots could not be searched"), hint));
    }
    match unlisted {
        0 => Ok(()),
        number => {
            let what =
                format!("{} cannot be read and were not searched", counted(number, "snapshot", "snapshots"));
            Err(Fault::incomplete(what, hint))
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::args::{Cli, Verb};
    use clap::Parser;
    use holdfast_core::entry::{Attributes, Content, path_to_key};

    fn finds(words: &[&str], path: &str, kind: Kind, size: u64) -> bool {
        let cli = Cli::try_parse_from(["holdfast", "find"].iter().chain(words)).unwrap();
        let Verb::Find(args) = cli.verb else { panic!("{words:?}") };
        let entry = Entry {
            key: path_to_key(path.as_bytes()),
            kind,
            mode: 0,
            owner: std::sync::Arc::default(),
            mtime: Time { seconds: 1000, nanos: 0 },
            size,
            content: Content::None,
            digest: None,
            attributes: Attributes::default(),
        };
        Query::new(&args).unwrap().matches(&entry)
    }

    #[test]
    fn names_and_paths() {
        let file = |pattern: &str, path: &str| finds(&[pattern], path, Kind::File, 1);
        assert!(file("*.conf", "/etc/a.conf") && !file("*.conf", "/etc/a.conf/b"));
        assert!(file("etc/*.conf", "/srv/etc/a.conf") && !file("/etc/*.conf", "/srv/etc/a.conf"));
        assert!(file("/etc/**/*.conf", "/etc/x/y/a.conf") && file("/etc/**/*.conf", "/etc/a.conf"));
        assert!(!file("/etc/*", "/etc/x/y") && !file("A", "/a") && finds(&["-i", "A"], "/a", Kind::File, 1));
        assert!(!file("a/", "/a") && finds(&["a/"], "/a", Kind::Directory, 0));
    }

    #[test]
    fn kinds_sizes_and_times() {
        let found = |words: &[&str]| finds(words, "/a", Kind::File, 10);
        assert!(found(&["a", "--type", "d,f"]) && !found(&["a", "--type", "d"]));
        assert!(found(&["a", "--larger-than", "9"]) && !found(&["a", "--larger-than", "10"]));
        assert!(found(&["a", "--smaller-than", "11"]) && !found(&["a", "--smaller-than", "10"]));
        assert!(found(&["a", "-N", "@1000", "-O", "@1000"]));
        assert!(!found(&["a", "-N", "@999"]) && !found(&["a", "-O", "@1001"]));
        assert!(!finds(&["a", "--smaller-than", "10"], "/a", Kind::Directory, 0));
        let odd = Cli::try_parse_from(["holdfast", "find", "a", "--type", "x"]);
        assert!(odd.is_err());
    }
}
