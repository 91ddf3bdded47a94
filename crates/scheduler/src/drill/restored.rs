//! Runs `restore` in a process of its own, and says what follows from how it ended.
//!
//! Nobody but the program itself restores: what a drill proves is the road that is taken on the worst
//! day. On purpose not here: looking at what was restored.

use super::told::{self, Told, told};
use super::{Phase, Subject};
use crate::hands::{Answer, Call, Hands};
use crate::policy::secret::Credentials;
use holdfast_engine::proof::{Cause, Level, Probe};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

/// How `restore` begins to say that not the repository but the target is at fault.
const TARGET_FAILED: [&str; 3] = ["the target ", "cannot restore to ", "the bucket "];
/// How it is said of a verb that it could not say itself how it ended.
const BROKEN_OFF: [&str; 2] = ["it was killed", "it was stopped"];
/// How it says that the name is taken in the target's own way of telling names apart.
const SAME_NAME: &str = "the target holds this name already";
/// How it says that a backup knew the object and did not keep its content.
const NOT_KEPT: &str = "its content was not kept";

/// What the process that restored may not set, so that nobody can see whether it would come back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unset {
    /// Paths of which something could not be set, relative to the target.
    pub(crate) items: BTreeSet<String>,
    /// What that was: `owner`, `mode`, `time`, `xattrs`, `flags`.
    pub(crate) words: BTreeSet<&'static str>,
    /// Which of `owner` and `mode` it may not set of anything. Of a file with several names only one is told.
    pub(crate) never: BTreeSet<&'static str>,
    /// Paths that could not be made, or that are damaged: told already.
    pub(crate) missing: BTreeSet<String>,
    /// How many of these the backup kept no content of: no rehearsal would make them either.
    pub(crate) without_content: u64,
    /// Problems that were counted and not told.
    pub(crate) untold: u64,
}

impl Unset {
    /// Whether a path is one that is known to be missing, or lies below one.
    pub(crate) fn is_missing(&self, item: &str) -> bool {
        let mut above = Some(item);
        while let Some(path) = above {
            if self.missing.contains(path) {
                return true;
            }
            above = path.rsplit_once('/').map(|(above, _)| above);
        }
        false
    }

    /// Whether that these differ follows from what could not be set.
    pub(crate) fn explains(&self, item: &str, words: &[&str]) -> bool {
        let known = if self.untold > 0 { &self.words } else { &self.never };
        self.items.contains(item) || !words.is_empty() && words.iter().all(|word| known.contains(word))
    }
}

/// A restore that was carried out.
#[derive(Debug)]
pub(crate) struct Restored {
    /// What follows; its level is that every chunk was opened.
    pub(crate) probe: Probe,
    /// How long it took.
    pub(crate) phase: Phase,
    /// How much was restored, in bytes.
    pub(crate) bytes: u64,
    /// The host that the source belongs to.
    pub(crate) host: Option<String>,
    /// What could not be set.
    pub(crate) unset: Unset,
    /// It came to its end: what is there can be looked at.
    pub(crate) ended: bool,
    /// Everything of the snapshot that was asked for came back, but for what could not be set.
    pub(crate) whole: bool,
}

/// Restores what the words choose into a target.
pub(crate) async fn restore(
    hands: &dyn Hands,
    subject: Subject<'_>,
    words: Vec<OsString>,
    target: Option<&Credentials>,
) -> Restored {
    let mut restored = Restored {
        probe: Probe::new("restore", Level::Read),
        phase: Phase { name: "restore".into(), seconds: 0.0, counts: true },
        bytes: 0,
        host: None,
        unset: Unset::default(),
        ended: false,
        whole: false,
    };
    match hands.verb(bare(subject, words, target)).await {
        Err(why) => restored.probe.finds(Cause::Environment, format!("restore: {why}"), ""),
        Ok(answer) => restored.take(&answer),
    }
    restored
}

/// Whether nothing came back because nothing is in the snapshot: then nothing was looked at, and nothing is proved.
pub(crate) fn is_nothing(restored: &mut Restored) -> bool {
    let count = |name: &str| restored.probe.counts.get(name).copied().unwrap_or_default();
    let nothing = restored.whole && count("files") == 0 && count("others") == 0;
    if nothing {
        let next = "see whether the source was there when it was backed up (a disk that is not mounted?) ; \
                    one that is always empty is left out of drills by drill.sources";
        restored.probe.finds(
            Cause::Environment,
            "nothing was restored, nothing is proved: the snapshot is empty",
            next,
        );
    }
    nothing
}

/// A verb with nothing but the repository and what opens it.
pub(crate) fn bare(subject: Subject<'_>, words: Vec<OsString>, target: Option<&Credentials>) -> Call {
    let within = subject.within.cloned();
    Call { bare: true, within, target: target.cloned(), ..Call::on(subject.from, words) }
}

/// The words of a restore of a snapshot, or of a path in it.
pub(crate) fn words(snapshot: &str, target: impl AsRef<Path>) -> Vec<OsString> {
    vec!["restore".into(), snapshot.into(), "--target".into(), target.as_ref().into()]
}

/// A number that a line states.
pub(crate) fn number(answer: &Answer, line: &str, field: &str) -> u64 {
    answer.line(line).and_then(|line| line[field].as_u64()).unwrap_or_default()
}

impl Restored {
    fn take(&mut self, answer: &Answer) {
        self.phase.seconds = answer.seconds;
        self.probe.seconds = answer.seconds;
        let host = answer.line("plan").and_then(|line| line["hostname"].as_str());
        self.host = host.map(str::to_owned);
        self.bytes = number(answer, "summary", "bytes_restored");
        if answer.line("summary").is_some() {
            for (count, field) in [
                ("files", "files_restored"),
                ("folders", "dirs_restored"),
                ("others", "others_restored"),
                ("bytes", "bytes_restored"),
                ("bytes fetched", "bytes_fetched"),
            ] {
                self.probe.counts.insert(count.into(), number(answer, "summary", field));
            }
        }
        let before = self.probe.findings.len();
        self.take_problems(answer);
        let explained = self.probe.findings.len() > before;
        self.ended = answer.line("summary").is_some();
        self.whole = self.ended && matches!(answer.code, 0 | 3) && !explained;
        if !matches!(answer.code, 0 | 3) && !explained {
            ends_badly(&mut self.probe, answer, "it could not be restored");
        }
    }

    /// What was told while it ran: each kind of trouble has one to blame.
    fn take_problems(&mut self, answer: &Answer) {
        let mut unset: BTreeMap<&'static str, (u64, String)> = BTreeMap::new();
        let (mut found, mut lines) = (Vec::new(), 0);
        for Told { kind, item, name, message } in told(answer) {
            lines += 1;
            let denied = is_denied(&message);
            match kind {
                "attribute" => {
                    for word in words_of(&message) {
                        self.unset.words.insert(word);
                        if denied && matches!(word, "owner" | "mode") {
                            self.unset.never.insert(word);
                        }
                        unset.entry(word).or_insert_with(|| (0, reason(&message))).0 += 1;
                    }
                    self.unset.items.insert(item);
                }
                "unwritable" if denied => {
                    unset.entry("devices").or_insert_with(|| (0, reason(&message))).0 += 1;
                    self.unset.missing.insert(item);
                }
                "refused" if message.contains(NOT_KEPT) => {
                    unset.entry("archived content").or_insert_with(|| (0, message.clone())).0 += 1;
                    self.unset.without_content += u64::from(self.unset.missing.insert(item));
                }
                other => {
                    found.push((blames(other, &message), format!("{}: {message}", shown(&name))));
                    self.unset.missing.insert(item);
                }
            }
        }
        self.unset.untold = number(answer, "summary", "error_count").saturating_sub(lines);
        for (word, (count, why)) in unset {
            let what = format!("{}: {} ({why})", many(count), describes(word));
            self.probe.not_provable.push(what);
        }
        let worst = if answer.code == 1 { Cause::Backup } else { Cause::Environment };
        if self.unset.untold > 0 && (answer.code == 1 || !found.is_empty()) {
            found.push((worst, format!("{} more could not be restored", self.unset.untold)));
        } else if self.unset.untold > 0 {
            let more = self.unset.untold;
            self.probe.not_provable.push(format!("{more} more: something of them could not be set here"));
        }
        told::add(&mut self.probe, &found, "see how far it goes: holdfast check --read-data");
    }
}

/// There is no snapshot: whatever is promised of this source is not kept.
pub(crate) fn nothing() -> Probe {
    let mut probe = Probe::new("restore", Level::Read);
    probe.finds(Cause::Backup, "there is no snapshot of this source", "back it up: holdfast run");
    probe
}

/// What the end of a verb means, where it said nothing of single things.
pub(crate) fn ends_badly(probe: &mut Probe, answer: &Answer, what: &str) {
    let (said, next) = answer.failure();
    let silent = !answer.problems.iter().any(|line| line["message_type"] == "exit_error");
    let (cause, what) = match answer.code {
        12 => (Cause::Backup, format!("the key does not open the repository: {said}")),
        10 => (Cause::Backup, format!("the repository is not there: {said}")),
        2 | 130 => (Cause::Environment, format!("{what}: {said}")),
        _ if silent => (Cause::Environment, format!("{what}: {said}")),
        _ if TARGET_FAILED.iter().chain(&BROKEN_OFF).any(|way| said.starts_with(way)) => {
            (Cause::Environment, format!("{what}: {said}"))
        }
        _ => (Cause::Backup, format!("{what}: {said}")),
    };
    probe.finds(cause, what, next);
}

/// Whose fault it is that something did not come back.
fn blames(kind: &str, message: &str) -> Cause {
    match kind {
        "damaged" => Cause::Backup,
        "refused" if !message.contains(SAME_NAME) => Cause::Backup,
        _ => Cause::Environment,
    }
}

/// Whether the process may not do it, or the file system has no place for it.
pub(crate) fn is_denied(message: &str) -> bool {
    ["Operation not permitted", "Permission denied", "not supported"].iter().any(|why| message.contains(why))
}

/// Which attributes a message says were not set.
fn words_of(message: &str) -> Vec<&'static str> {
    let marks = [
        ("owner ", "owner"),
        ("extended attribute", "xattrs"),
        ("set-user-id", "mode"),
        ("mode ", "mode"),
        ("time: ", "time"),
        ("inode flags", "flags"),
    ];
    let words: BTreeSet<_> =
        marks.iter().filter(|(mark, _)| message.contains(mark)).map(|(_, w)| *w).collect();
    if words.is_empty() { vec!["attributes"] } else { words.into_iter().collect() }
}

/// What words that are counted stand for.
fn describes(word: &str) -> &str {
    match word {
        "owner" => "the owner could not be set here",
        "xattrs" => "extended attributes could not be set here",
        "mode" => "permissions could not be set here",
        "time" => "the time could not be set here",
        "flags" => "inode flags could not be set here",
        "devices" => "could not be made here",
        "archived content" => "the backup kept no content",
        _ => "attributes could not be set here",
    }
}

/// The system's own words in a message.
fn reason(message: &str) -> String {
    let known = ["Operation not permitted", "Permission denied", "Operation not supported"];
    known
        .iter()
        .find(|why| message.contains(**why))
        .map_or_else(|| message.to_owned(), |why| (*why).to_owned())
}

fn many(count: u64) -> String {
    if count == 1 { "1 thing".into() } else { format!("{count} things") }
}

/// A path as people see it.
pub(crate) fn shown(item: &str) -> String {
    if item.is_empty() {
        return "the target".into();
    }
    let mut shown = String::with_capacity(item.len());
    for letter in item.chars() {
        if letter.is_control() { shown.extend(letter.escape_default()) } else { shown.push(letter) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn error(kind: &str, item: &str, message: &str) -> Value {
        json!({ "message_type": "error", "kind": kind, "item": item, "message": message })
    }

    fn ended(code: i32, problems: Vec<Value>) -> Restored {
        let count = problems.iter().filter(|line| line["message_type"] == "error").count();
        let lines = vec![
            json!({ "message_type": "plan", "hostname": "web1" }),
            json!({ "message_type": "summary", "files_restored": 3, "bytes_restored": 7, "error_count": count }),
        ];
        let mut restored = empty();
        restored.take(&Answer { code, lines, problems, seconds: 2.0 });
        restored
    }

    fn empty() -> Restored {
        Restored {
            probe: Probe::new("restore", Level::Read),
            phase: Phase { name: "restore".into(), seconds: 0.0, counts: true },
            bytes: 0,
            host: None,
            unset: Unset::default(),
            ended: false,
            whole: false,
        }
    }

    fn failed(code: i32, message: &str) -> (Cause, String) {
        let problems = vec![json!({ "message_type": "exit_error", "code": code, "message": message })];
        let mut restored = empty();
        restored.take(&Answer { code, problems, ..Answer::default() });
        assert!(!restored.ended && restored.probe.findings.len() == 1, "{restored:?}");
        let finding = restored.probe.findings.remove(0);
        (finding.cause, finding.what)
    }

    #[test]
    fn an_end_has_one_to_blame() {
        assert_eq!(failed(12, "the password opens no slot").0, Cause::Backup);
        assert_eq!(failed(10, "there is no repository at /x").0, Cause::Backup);
        assert_eq!(failed(1, "there is no snapshot ffff").0, Cause::Backup);
        assert_eq!(failed(130, "interrupted").0, Cause::Environment);
        let (cause, what) = failed(1, "the target failed: write x: the target is full");
        assert_eq!(cause, Cause::Environment);
        assert!(what.contains("the target is full"));
        assert_eq!(
            failed(1, "it was killed by signal 9; was there not enough memory?").0,
            Cause::Environment
        );
        assert_eq!(failed(1, "cannot restore to s3://scratch/x: list: access denied").0, Cause::Environment);
        // It said nothing at all.
        let mut restored = empty();
        restored.take(&Answer { code: 1, ..Answer::default() });
        assert_eq!(restored.probe.findings[0].cause, Cause::Environment);
    }

    #[test]
    fn what_may_not_be_set_is_no_failure() {
        let denied = "not set: owner 0:0: Operation not permitted (os error 1)";
        let restored = ended(
            3,
            vec![
                error("attribute", "srv/a", denied),
                error("attribute", "srv", denied),
                error("unwritable", "srv/dev", "make device: Operation not permitted (os error 1)"),
            ],
        );
        assert!(restored.whole && restored.probe.findings.is_empty(), "{restored:?}");
        assert_eq!(restored.probe.not_provable.len(), 2);
        assert!(restored.probe.not_provable.iter().any(|line| line.contains("2 things: the owner")));
        assert!(restored.unset.is_missing("srv/dev") && restored.unset.explains("srv/a", &["owner"]));
        assert!(restored.unset.explains("srv/b", &["owner"]), "another name of the same file");
        assert!(!restored.unset.explains("srv/b", &["owner", "time"]), "all problems were told");
        assert_eq!((restored.bytes, restored.host.as_deref()), (7, Some("web1")));
    }

    #[test]
    fn damage_is_named_and_counted() {
        let problems: Vec<_> =
            (0..30).map(|n| error("damaged", &format!("/srv/f{n:02}"), "not restored")).collect();
        let restored = ended(1, problems);
        assert!(!restored.whole && restored.ended);
        let findings = &restored.probe.findings;
        assert!(findings.iter().all(|finding| finding.cause == Cause::Backup));
        assert!(findings[0].what.contains("srv/f00"), "{findings:?}");
        assert_eq!(findings.len(), 21);
        assert!(findings[20].what.contains("10 more"), "{findings:?}");
        assert!(restored.unset.is_missing("srv/f29"));
    }

    #[test]
    fn room_for_names_is_the_environments() {
        let restored =
            ended(3, vec![error("refused", "srv/A", "the target holds this name already, or one it")]);
        assert_eq!(restored.probe.findings[0].cause, Cause::Environment);
        let cold = "its content was not kept: it lay in GLACIER when it was backed up";
        let restored = ended(3, vec![error("refused", "cold", cold)]);
        assert!(restored.probe.findings.is_empty() && restored.probe.not_provable.len() == 1);
    }
}
