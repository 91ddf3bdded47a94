//! What is backed up: one kind each, and what each kind needs.
//!
//! On purpose not here: drills of it.

use super::super::kind::Kind;
use super::super::{CommandSource, LogMode, Policy, Postgres, RestoredBy, Source};
use super::spot::Spot;
use super::{Judge, places, words};

pub(super) fn judge(policy: &Policy, spot: &Spot<'_>, judge: &mut Judge<'_>) {
    if policy.sources.0.is_empty() && spot.is_whole() {
        judge.wrong(
            spot,
            "nothing is backed up",
            "name at least one source: tree: { files: { paths: [/srv] } }",
        );
    }
    for (name, source) in &policy.sources.0 {
        let spot = spot.key(name);
        judge.word(&spot, words::name(name));
        self::source(source, &spot, judge);
    }
}

fn source(source: &Source, spot: &Spot<'_>, judge: &mut Judge<'_>) {
    match source.kind() {
        None if spot.is_whole() => {
            let next = "give each thing that is backed up a name of its own below `sources`";
            judge.wrong(spot, "exactly one of files, postgres, s3, command, restored_by", next);
        }
        None => {}
        Some(Kind::Files(files)) => {
            if files.paths.is_empty() {
                judge.wrong(&spot.key("files").key("paths"), "nothing is named", "write paths: [/srv/shop]");
            }
            for (number, path) in files.paths.iter().enumerate() {
                if path.as_os_str().is_empty() {
                    let next = "write /path, ~/path, or one from the folder of this file";
                    judge.wrong(&spot.key("files").key("paths").item(number), "this is no path", next);
                }
            }
        }
        Some(Kind::Postgres(it)) => postgres(it, &spot.key("postgres"), judge),
        Some(Kind::S3(bucket)) => {
            let spot = spot.key("s3");
            judge.word(&spot.key("url"), words::bucket(&bucket.url));
            places::credentials(bucket.credentials.as_ref(), &spot.key("credentials"), judge);
        }
        Some(Kind::Command(it)) => command(it, &spot.key("command"), judge),
        Some(Kind::RestoredBy(it)) => restored_by(source, it, spot, judge),
    }
    if let Some(schedule) = &source.schedule {
        judge.schedule(&spot.key("schedule"), schedule);
    }
    judge.span(&spot.key("rpo"), source.rpo);
    judge.rto(&spot.key("rto"), source.rto.as_ref());
    judge.hooks(&spot.key("hooks"), &source.hooks);
}

fn postgres(postgres: &Postgres, spot: &Spot<'_>, judge: &mut Judge<'_>) {
    judge.word(&spot.key("url"), words::cluster(&postgres.url));
    if let Some(slot) = &postgres.slot {
        judge.word(&spot.key("slot"), words::slot(slot));
    }
    for (key, is) in [("slot", postgres.slot.is_some()), ("slot_limit", postgres.slot_limit.is_some())] {
        if is && postgres.wal != LogMode::Stream {
            judge.wrong(
                &spot.key(key),
                "only `wal: stream` has a slot",
                "leave it out, or write `wal: stream`",
            );
        }
    }
    if postgres.logical.is_some() && postgres.wal != LogMode::Off {
        let next = "leave `logical` out: a cluster with its log can be restored to any moment";
        judge.wrong(&spot.key("wal"), "dumps of databases have no log", next);
    }
    for (number, table) in postgres.count_rows.iter().enumerate() {
        judge.word(&spot.key("count_rows").item(number), words::table(table));
    }
}

fn command(command: &CommandSource, spot: &Spot<'_>, judge: &mut Judge<'_>) {
    judge.program(&spot.key("run"), &command.run);
    judge.word(&spot.key("file_name"), words::file_name(&command.file_name));
    judge.span(&spot.key("timeout"), command.timeout);
    needs_target(&command.verify, &spot.key("verify"), "the file that was restored", judge);
}

fn restored_by(source: &Source, restored: &RestoredBy, spot: &Spot<'_>, judge: &mut Judge<'_>) {
    let here = [
        ("schedule", source.schedule.is_some()),
        ("rpo", source.rpo.is_some()),
        ("accept", source.accept.is_some()),
        ("hooks", !source.hooks.is_empty()),
    ];
    for (key, _) in here.into_iter().filter(|(_, is)| *is) {
        let what = "another program backs this up; here it is only drilled";
        judge.wrong(&spot.key(key), what, "leave it out");
    }
    let spot = spot.key("restored_by");
    judge.program(&spot.key("command"), &restored.command);
    if !restored.command.is_empty() {
        needs_target(&restored.command, &spot.key("command"), "the folder to restore into", judge);
    }
    needs_target(&restored.verify, &spot.key("verify"), "the folder that was restored", judge);
    judge.span(&spot.key("timeout"), restored.timeout);
}

/// A program that is to look at what was restored has to be told where that is.
pub(super) fn needs_target(words: &[String], spot: &Spot<'_>, meant: &str, judge: &mut Judge<'_>) {
    if !words.is_empty() && !words.iter().any(|word| word.contains("{target}")) {
        let next = format!("write {{target}} where {meant} belongs");
        judge.wrong(spot, "it is not told where to work: there is no {target} in it", next);
    }
}
