//! Compares what was restored with the snapshot: every byte, every attribute, every hard link.
//!
//! Two verbs look, and both read the tree anew: `diff` compares contents and attributes, and a
//! rehearsed `restore` over the same tree says whether anything would have to be made again, which
//! only broken hard links are then. On purpose not here: whether the snapshot is right.

use super::Subject;
use super::restored::{Unset, bare, ends_badly, is_denied, number, shown, words};
use super::told::{self, told};
use crate::hands::{Answer, Hands};
use holdfast_engine::proof::{Cause, Level, Probe};
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const NEXT: &str = "do not rely on this snapshot; check the repository: holdfast check --read-data";

/// What is compared with what.
#[derive(Debug)]
pub(super) struct Sides<'a> {
    /// The snapshot.
    pub(super) id: &'a str,
    /// Paths in it that were restored; none if all of it was.
    pub(super) parts: &'a [String],
    /// The target.
    pub(super) target: &'a Path,
    /// What is known not to be as it was recorded.
    pub(super) unset: &'a Unset,
}

/// Compares all that was restored.
pub(super) async fn compare(hands: &dyn Hands, subject: Subject<'_>, sides: &Sides<'_>) -> Probe {
    let mut probe = Probe::new("contents and attributes", Level::Restore);
    let mut found = Found::default();
    let whole = (sides.id.to_owned(), sides.target.to_owned());
    let part = |path: &String| (format!("{}:{path}", sides.id), below(sides.target, path));
    let pairs = if sides.parts.is_empty() { vec![whole] } else { sides.parts.iter().map(part).collect() };
    for (snapshot, live) in pairs {
        let words = [snapshot.into(), "--live".into(), live.into_os_string()];
        let words = ["diff".into()].into_iter().chain(words);
        let words = words.chain(["--metadata".into(), "--read-data".into()]).collect();
        match hands.verb(bare(subject, words, None)).await {
            Err(why) => return failed(probe, &why),
            Ok(answer) => found.take(&mut probe, sides, &answer),
        }
    }
    told::add(&mut probe, &found.wrong, NEXT);
    found.not_provable(&mut probe);
    links(hands, subject, sides, &mut probe).await;
    probe
}

fn failed(mut probe: Probe, why: &str) -> Probe {
    probe.finds(Cause::Environment, format!("it could not be compared: {why}"), "");
    probe
}

/// A path of the snapshot, below the target.
pub(super) fn below(target: &Path, path: &str) -> PathBuf {
    target.join(path.trim_start_matches('/'))
}

/// What differs.
#[derive(Default)]
struct Found {
    wrong: Vec<(Cause, String)>,
    /// Differ as far as follows from what could not be set.
    excused: u64,
    /// Were not there to be compared, which was told before.
    absent: u64,
    /// May not be read by this process.
    unreadable: u64,
}

impl Found {
    fn take(&mut self, probe: &mut Probe, sides: &Sides<'_>, answer: &Answer) {
        probe.seconds += answer.seconds;
        answer.all("change").for_each(|change| self.change(sides, change));
        let mut told_of = 0;
        for problem in told(answer) {
            told_of += 1;
            if is_denied(&problem.message) {
                self.unreadable += 1;
            } else {
                let what =
                    format!("{}: it could not be read again: {}", shown(&problem.item), problem.message);
                self.wrong.push((Cause::Environment, what));
            }
        }
        self.unreadable += number(answer, "statistics", "error_count").saturating_sub(told_of);
        if !matches!(answer.code, 0 | 3) {
            ends_badly(probe, answer, "what was restored could not be compared with the snapshot");
        }
    }

    fn change(&mut self, sides: &Sides<'_>, change: &Value) {
        let text = |field: &str| change[field].as_str().unwrap_or_default();
        let target = sides.target.to_string_lossy();
        let path = text("path");
        let item = path.strip_prefix(&*target).unwrap_or(path).trim_start_matches('/');
        let words = change["metadata"].as_array().into_iter().flatten().filter_map(Value::as_str);
        // Names that go with numbers are the host's, not the backup's.
        let words: Vec<&str> = words.filter(|word| *word != "owner_name").collect();
        let what = match text("modifier") {
            // The target itself is in no snapshot, unless that begins at the root.
            "+" if item.is_empty() => return,
            "+" => "is there, and is not in the snapshot".to_owned(),
            "-" if sides.unset.is_missing(item) => return self.absent += 1,
            "-" => "is in the snapshot, and did not come back".to_owned(),
            "U" if words.is_empty() => return,
            "U" if sides.unset.explains(item, &words) => return self.excused += 1,
            "U" => format!("differs from what was recorded: {}", words.join(", ")),
            _ if sides.unset.is_missing(item) => return self.absent += 1,
            modifier if modifier.starts_with('T') => "is another kind of thing than was recorded".to_owned(),
            _ => "has another content than was recorded".to_owned(),
        };
        self.wrong.push((Cause::Backup, format!("/{}: {what}", shown(item))));
    }

    fn not_provable(&self, probe: &mut Probe) {
        let lines = [
            (
                self.excused,
                "have attributes that this process may not set: whether they come back is not proved",
            ),
            (self.absent, "were not restored, as told above, and could not be compared"),
            (self.unreadable, "may not be read by this process, and were not compared"),
        ];
        let lines = lines.into_iter().filter(|(count, _)| *count > 0);
        probe.not_provable.extend(lines.map(|(count, what)| format!("{count} of them {what}")));
    }
}

/// Names of one file stay names of one file.
async fn links(hands: &dyn Hands, subject: Subject<'_>, sides: &Sides<'_>, probe: &mut Probe) {
    let mut words: Vec<OsString> = words(sides.id, sides.target);
    words.extend(["--overwrite", "if-changed", "--dry-run"].map(Into::into));
    words.extend(includes(sides.parts));
    let answer = match hands.verb(bare(subject, words, None)).await {
        Ok(answer) => answer,
        Err(why) => {
            return probe.finds(Cause::Environment, format!("hard links were not compared: {why}"), "");
        }
    };
    probe.seconds += answer.seconds;
    if !matches!(answer.code, 0 | 3) {
        // Damage was told when it was restored.
        if probe.findings.is_empty() && sides.unset.missing.is_empty() {
            ends_badly(probe, &answer, "hard links could not be compared");
        }
        return;
    }
    let again = number(&answer, "summary", "items_rewritten");
    if again > 0 && !sides.unset.words.is_empty() {
        // A file whose owner could not be set is made anew by a restore, all names of it.
        let what = format!(
            "{again} of them would be written again: whether names of one file stay so is not proved"
        );
        probe.not_provable.push(what);
    } else if again > 0 && probe.findings.is_empty() {
        let what =
            format!("{again} things are not as recorded, though their contents are: hard links are broken");
        probe.finds(Cause::Backup, what, NEXT);
    }
    probe.counts.insert("compared".into(), number(&answer, "summary", "files_restored"));
}

/// The options that choose parts.
pub(super) fn includes(parts: &[String]) -> impl Iterator<Item = OsString> {
    parts.iter().flat_map(|path| [OsString::from("--include"), literally(path).into()])
}

/// A pattern that means this path and what is below it.
fn literally(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for letter in path.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn change(modifier: &str, path: &str, words: &[&str]) -> Value {
        json!({ "message_type": "change", "modifier": modifier, "path": path, "metadata": words })
    }

    fn found(unset: &Unset, lines: Vec<Value>, problems: Vec<Value>) -> (Found, Probe) {
        let sides = Sides { id: "3f", parts: &[], target: Path::new("/scratch/t"), unset };
        let (mut found, mut probe) = (Found::default(), Probe::new("x", Level::Restore));
        let code = if problems.is_empty() { 0 } else { 3 };
        found.take(&mut probe, &sides, &Answer { code, lines, problems, seconds: 1.0 });
        (found, probe)
    }

    #[test]
    fn each_difference_is_the_backups() {
        let lines = vec![
            change("+", "/scratch/t", &[]),
            change("+", "/scratch/t/more", &[]),
            change("-", "/scratch/t/gone", &[]),
            change("M?", "/scratch/t/rot", &[]),
            change("T", "/scratch/t/link", &[]),
            change("U", "/scratch/t/mode", &["mode", "owner_name", "time"]),
            change("U", "/scratch/t/name", &["owner_name"]),
        ];
        let (found, _) = found(&Unset::default(), lines, Vec::new());
        let what: Vec<_> = found.wrong.iter().map(|(_, what)| what.as_str()).collect();
        assert_eq!(what.len(), 5, "{what:?}");
        assert!(found.wrong.iter().all(|(cause, _)| *cause == Cause::Backup));
        assert!(
            what[4].contains("mode, time") && what[2].starts_with("/rot: has another content"),
            "{what:?}"
        );
    }

    #[test]
    fn what_could_not_be_set_or_read_is_not_provable() {
        let unset = Unset {
            items: ["srv/a".to_owned()].into(),
            words: ["owner"].into(),
            never: ["owner"].into(),
            missing: ["srv/dev".to_owned()].into(),
            without_content: 0,
            untold: 3,
        };
        let lines = vec![
            change("U", "/scratch/t/srv/a", &["owner", "mode"]),
            change("U", "/scratch/t/srv/b", &["owner"]),
            change("U", "/scratch/t/srv/c", &["time"]),
            change("-", "/scratch/t/srv/dev", &[]),
        ];
        let denied = json!({ "message_type": "error", "kind": "unreadable", "item": "/scratch/t/srv/0",
            "message": "open: Permission denied (os error 13)" });
        let (found, mut probe) = found(&unset, lines, vec![denied]);
        assert_eq!((found.excused, found.absent, found.unreadable), (2, 1, 1));
        assert_eq!(found.wrong.len(), 1, "the time could be set");
        found.not_provable(&mut probe);
        assert_eq!(probe.not_provable.len(), 3);
    }

    #[test]
    fn a_path_as_a_pattern_means_itself() {
        assert_eq!(literally("/srv/a*[b]?\\"), "/srv/a\\*\\[b\\]\\?\\\\");
        assert_eq!(below(Path::new("/s"), "/srv/x"), Path::new("/s/srv/x"));
    }
}
