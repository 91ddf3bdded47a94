//! Up to where a restored cluster goes, by what its restore wrote, and the log for that.
//!
//! On purpose not here: fetching and reading it.

use super::control::Control;
use super::course::blocking;
use super::links::Ground;
use super::run::run;
use super::settings::value;
use super::trail::{Begin, Stop, Tracker, Trail, timeline};
use super::{Drill, FetchLog, Fetched};
use holdfast_engine::ctx::Cancel;
use holdfast_engine::proof::{Cause, Probe};
use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::time::Duration;

/// Settings that a restore writes.
pub(super) const AUTO: &str = "postgresql.auto.conf";
/// What tells a server to recover.
pub(super) const SIGNALS: [&str; 2] = ["recovery.signal", "standby.signal"];
/// So long a command of the cluster's own may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where the log is put for the server.
pub(super) fn shelf(ground: &Ground) -> PathBuf {
    ground.work.join("wal")
}

/// Whether it recovers to a point along a log.
pub(super) fn recovers(ground: &Ground) -> bool {
    SIGNALS.iter().any(|signal| ground.folder.join(signal).exists())
}

/// Fetches the log that it needs, and reads it.
pub(super) async fn trail(
    drill: &Drill,
    ground: &Ground,
    control: &Control,
    probe: &mut Probe,
) -> Option<Trail> {
    let auto = fs::read_to_string(ground.folder.join(AUTO)).unwrap_or_default();
    let label = fs::read_to_string(ground.folder.join("backup_label")).unwrap_or_default();
    let own =
        control.redo.map(|at| Begin { at, timeline: control.timeline, segment_bytes: control.segment_bytes });
    let Some(begin) = Begin::of(&label, control.segment_bytes).or(own) else {
        probe.finds(Cause::Backup, "neither backup_label nor pg_control says where its log begins", "");
        return None;
    };
    if let Err(error) = fs::create_dir_all(shelf(ground)) {
        probe.finds(Cause::Environment, format!("the log has no place in scratch: {error}"), "");
        return None;
    }
    let line = value(&auto, "restore_command").filter(|line| !line.is_empty() && line != "false");
    let line = line.map(|line| Line { line, folder: ground.folder.clone(), cancel: drill.cancel.clone() });
    let line = line.as_ref().map(|line| line as &dyn FetchLog);
    let fetch = drill.fetch.as_deref().or(line).filter(|_| recovers(ground));
    let tracker = Tracker {
        fetch,
        shelf: &shelf(ground),
        own: &ground.folder.join("pg_wal"),
        begin,
        stop: if recovers(ground) { Stop::of(&auto) } else { Stop::End },
        timeline: timeline(&auto, begin.timeline),
        cancel: &drill.cancel,
    };
    match tracker.track().await {
        Ok(trail) => {
            probe.counts.insert("segments".to_owned(), trail.segments);
            Some(trail)
        }
        Err(lack) => {
            let next = match lack.cause {
                Cause::Backup => {
                    "see `holdfast wal status`: what lies behind it can be restored from later snapshots only"
                }
                _ => "put that right and drill again",
            };
            probe.finds(lack.cause, lack.what, next);
            None
        }
    }
}

/// The command by which the cluster itself would fetch its log, run before it starts.
struct Line {
    line: String,
    folder: PathBuf,
    cancel: Cancel,
}

impl Line {
    fn command(&self, name: &str, to: &Path) -> Command {
        let mut line = String::new();
        let mut letters = self.line.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '%' => match letters.next() {
                    Some('f') => line += name,
                    Some('p') => line += &to.display().to_string(),
                    Some('r') => line += "000000010000000000000000",
                    Some('%') => line.push('%'),
                    other => {
                        line.push('%');
                        line.extend(other);
                    }
                },
                other => line.push(other),
            }
        }
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(line).current_dir(&self.folder);
        command
    }
}

impl FetchLog for Line {
    fn fetch<'a>(
        &'a self,
        name: &'a str,
        to: &'a Path,
    ) -> Pin<Box<dyn Future<Output = Fetched> + Send + 'a>> {
        let (command, cancel) = (self.command(name, to), self.cancel.clone());
        let work = to.parent().map(Path::to_owned).unwrap_or_default();
        let to = to.to_owned();
        Box::pin(async move {
            let ran = blocking(move || run(command, &work, Some(PATIENCE), &cancel)).await;
            match ran {
                Ok(ran) => ended(ran.code, to.is_file(), &ran.why()),
                Err(error) => Fetched::Failed(unrun(&error)),
            }
        })
    }
}

/// As a server takes it: every code up to 125 says that there is no such file.
fn ended(code: Option<i32>, is_there: bool, why: &str) -> Fetched {
    match code {
        Some(0) if is_there => Fetched::There,
        Some(0) => Fetched::Failed("restore_command ended well and fetched nothing".to_owned()),
        Some(1..=125) => Fetched::Absent,
        _ => Fetched::Failed(format!("restore_command failed: {why}")),
    }
}

fn unrun(error: &io::Error) -> String {
    format!("restore_command cannot be run: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_the_cluster_is_taken_as_its_server_takes_it() {
        let line =
            Line { line: "cp /a/%f \"%p\" # 100%%".into(), folder: "/".into(), cancel: Cancel::default() };
        let command = line.command("000000010000000000000003", Path::new("/s/wal/x"));
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(words, ["-c", "cp /a/000000010000000000000003 \"/s/wal/x\" # 100%"]);
        assert_eq!(ended(Some(0), true, ""), Fetched::There);
        assert_eq!(ended(Some(1), false, ""), Fetched::Absent);
        assert!(matches!(ended(Some(126), false, "x"), Fetched::Failed(_)));
        assert!(matches!(ended(None, false, "x"), Fetched::Failed(_)));
        assert!(matches!(ended(Some(0), false, "x"), Fetched::Failed(_)));
    }
}
