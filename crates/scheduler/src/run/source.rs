//! Backs up the sources of a policy, each with its hooks.
//!
//! On purpose not here: what becomes of snapshots afterwards.

use super::hooks::{self, Around};
use super::report::{State, Step};
use super::{Names, Runner, create, failed, words};
use crate::hands::{Answer, Call, Place, Said};
use crate::policy::units::Span;
use crate::policy::{Activity, Hooks, LogMode, REPOSITORY, Source};
use jiff::Timestamp;
use std::path::Path;

/// Errors that a verb told of, of all that it counted.
const TOLD_MAX: usize = 1000;

impl Runner<'_> {
    /// Whether a repository is there and opens; one that is not is made if that is stated.
    pub(super) async fn there(&mut self, place: &Place, make: bool, from: Option<&Place>) -> bool {
        let step = Step::new("open", None, &place.name);
        let answer = match self.hands.verb(Call::on(place, ["key", "list"])).await {
            Ok(answer) => answer,
            Err(why) => {
                // What opens it cannot be had: as if it had not been stated.
                let step = Step { code: Some(2), ..step };
                self.done(step.ends(State::Failed, why, "see what opens it in the policy")).await;
                return false;
            }
        };
        match answer.code {
            10 if make => self.make(place, from).await,
            // With 3 there is a key that cannot be read, and it is not this one.
            0 | 3 => true,
            code => {
                let step = Step { code: Some(code), ..step };
                self.done(failed(step, &answer)).await;
                false
            }
        }
    }

    async fn make(&mut self, place: &Place, from: Option<&Place>) -> bool {
        let step = Step::new("init", None, &place.name);
        if self.was_there(place).await {
            let what = format!("there is no repository at {}, and there was one", place.url);
            let next = "mount its disk, or give the policy another name to begin anew";
            self.done(Step { code: Some(10), ..step }.ends(State::Failed, what, next)).await;
            return false;
        }
        let made = create::folders_above(place).and_then(|()| create::password(self.hands, place));
        match made {
            Err(why) => {
                self.done(step.ends(State::Failed, why, "make it by hand, or change the policy")).await;
                return false;
            }
            Ok(Some(file)) => self.hands.say(Said::Lacking(&format!(
                "made up a password and wrote it into {}. KEEP IT, also somewhere else: without it nothing comes back",
                file.display()
            ))),
            Ok(None) => {}
        }
        let kit = create::kit(place);
        let told = match &kit {
            Some(kit) => {
                format!("made a repository at {}; its recovery kit is {kit}: keep it apart", place.url)
            }
            None => format!("made a repository at {}; its recovery kit lies in it as RECOVER.txt", place.url),
        };
        let judge = |step: Step, answer: &Answer| match answer.code {
            0 => step.ends(State::Done, told, ""),
            _ => failed(step, answer),
        };
        self.verb(step, words::init(place, from, kit.as_deref()), judge).await == State::Done
    }

    /// Whether this host has backed up to this place before: then it is not made anew where its disk is missing.
    async fn was_there(&self, place: &Place) -> bool {
        let Some(catalog) = self.catalog else { return false };
        let name = Some(place.name.as_str()).filter(|name| *name != REPOSITORY);
        let activity = if name.is_none() { "backup" } else { "copy" };
        let runs = catalog.runs(&self.policy.name, u32::MAX).await.unwrap_or_default();
        runs.iter().any(|ran| {
            let well = ran.end.as_ref().is_some_and(|end| [0, 3].contains(&end.code));
            well && ran.run.activity == activity && (name.is_none() || ran.run.source.as_deref() == name)
        })
    }

    /// Backs up each source; the names of those that are whole.
    pub(super) async fn backups(&mut self) -> Names {
        let mut good = Names::new();
        let sources: Vec<_> =
            self.sources().into_iter().filter(|(_, source)| source.restored_by.is_none()).collect();
        if sources.is_empty() {
            return good;
        }
        let Some(place) = self.policy.place(REPOSITORY, Activity::Backup) else {
            let step = Step::new("backup", None, REPOSITORY);
            self.done(step.ends(State::NotHere, "there is no key for it on this host", "")).await;
            // What another host backs up is as good as it is there.
            return sources.iter().map(|(name, _)| (*name).to_owned()).collect();
        };
        let all = &self.policy.hooks;
        if !self.before(all, "").await {
            for (name, _) in &sources {
                let step = Step::new("backup", Some(name), REPOSITORY);
                self.done(step.ends(State::Skipped, "a hook before it failed", "")).await;
            }
            self.afterwards(all, "", None, State::Failed).await;
            return good;
        }
        let mut worst = State::Done;
        for (name, source) in sources {
            let state = self.one(name, source, &place).await;
            match state {
                State::Done | State::Planned => drop(good.insert(name.to_owned())),
                State::Incomplete => {
                    good.insert(name.to_owned());
                    if worst == State::Done {
                        worst = state;
                    }
                }
                _ => worst = State::Failed,
            }
        }
        self.afterwards(all, "", None, worst).await;
        good
    }

    /// Backs one source up, with its hooks.
    async fn one(&mut self, name: &str, source: &Source, place: &Place) -> State {
        let step = Step::new("backup", Some(name), REPOSITORY);
        let Some(call) = words::backup(self.policy, name, source, place) else { return State::Done };
        if !self.before(&source.hooks, name).await {
            self.done(step.ends(State::Skipped, "a hook before it failed", "")).await;
            self.afterwards(&source.hooks, name, None, State::Failed).await;
            return State::Failed;
        }
        let accept: &[String] = source.accept.as_ref().map_or(&[], |accept| &accept.unreadable);
        let state = self.verb(step, call, |step, answer| judge(step, answer, accept)).await;
        let snapshot = self.steps.last().and_then(|step| step.snapshot.clone());
        self.afterwards(&source.hooks, name, snapshot.as_deref(), state).await;
        if source.postgres.as_ref().is_some_and(|postgres| postgres.wal != LogMode::Off) {
            self.log(name, source).await;
        }
        state
    }

    /// Runs hooks before a backup; whether all went well.
    async fn before(&mut self, hooks: &Hooks, source: &str) -> bool {
        let around = Around { policy: &self.policy.name, source, snapshot: "", status: "begin" };
        self.hooks(&hooks.before, around, false).await
    }

    /// Runs hooks after it.
    async fn afterwards(&mut self, hooks: &Hooks, source: &str, snapshot: Option<&str>, state: State) {
        let (status, which) = match state {
            State::Done | State::Planned => ("ok", &hooks.after),
            State::Incomplete => ("incomplete", &hooks.failed),
            State::Failed | State::Skipped | State::NotHere | State::Held => ("failed", &hooks.failed),
        };
        let around =
            Around { policy: &self.policy.name, source, snapshot: snapshot.unwrap_or_default(), status };
        self.hooks(which, around, true).await;
        self.hooks(&hooks.finally, around, true).await;
    }

    async fn hooks(&mut self, hooks: &[crate::policy::Hook], around: Around<'_>, all: bool) -> bool {
        if self.options.dry_run {
            for hook in hooks {
                self.hands.say(Said::Note(&format!("hook: {}", hook.run.join(" "))));
            }
            return true;
        }
        let mut well = true;
        for step in hooks::run(self.hands, hooks, around, all).await {
            well &= step.state == State::Done;
            self.done(step).await;
        }
        well
    }

    /// Looks how far the log of a cluster is behind, and whether it is whole.
    async fn log(&mut self, name: &str, source: &Source) {
        let places = [Activity::Read, Activity::Maintain].map(|of| self.policy.place(REPOSITORY, of));
        let Some(place) = places.into_iter().flatten().next() else { return };
        let facts = |step: &&Step| step.activity == "backup" && step.source.as_deref() == Some(name);
        let system = self.steps.iter().rev().find(facts).and_then(|step| step.system.clone());
        let step = Step::new("log", Some(name), REPOSITORY);
        if system.is_none() && !self.options.dry_run {
            // Any other cluster of the repository may have a log that is newer.
            let why = "its backup did not say which cluster it is";
            return self.done(step.ends(State::Skipped, why, "")).await;
        }
        let mut call = Call::on(&place, ["wal", "status"]);
        call.words.extend(system.map(Into::into));
        let rpo = source.rpo.or(self.policy.objectives.rpo);
        let now = self.hands.now();
        self.verb(step, call, |step, answer| judge_log(step, answer, rpo, now)).await;
    }
}

/// What is to be said of a log: that there is one, is whole, and came lately.
fn judge_log(step: Step, answer: &Answer, rpo: Option<Span>, now: Timestamp) -> Step {
    if ![0, 3].contains(&answer.code) {
        return failed(step, answer);
    }
    let newest = answer.all("wal_timeline").filter_map(|line| line["newest"].as_str()?.parse().ok()).max();
    let Some(newest) = newest else {
        let next = "start `holdfast wal stream` for it";
        return step.ends(State::Incomplete, "there is no log of it in the repository", next);
    };
    let behind = Span(behind(newest, now));
    let told = format!("the newest log is of {behind} ago");
    // Log that no snapshot needs any more goes, and leaves gaps behind that are none.
    let told = match answer.code {
        3 => format!("{told}; it has gaps: holdfast wal status"),
        _ => told,
    };
    match rpo.filter(|rpo| behind.0 > rpo.0) {
        Some(rpo) => {
            let next =
                "see whether `holdfast wal stream` runs, or what the server says of its archive_command";
            step.ends(State::Incomplete, format!("{told}, and {rpo} may be lost at most"), next)
        }
        None => step.ends(State::Done, told, ""),
    }
}

fn behind(newest: Timestamp, now: Timestamp) -> std::time::Duration {
    now.duration_since(newest).try_into().unwrap_or_default()
}

/// What came out of a backup.
fn judge(step: Step, answer: &Answer, accept: &[String]) -> Step {
    let summary = answer.line("summary");
    let text = |name: &str| summary.and_then(|line| line[name].as_str()).map(str::to_owned);
    let system =
        summary.and_then(|line| line["source_facts"]["system identifier"].as_str()).map(str::to_owned);
    let step = Step { snapshot: text("snapshot_id"), system, ..step };
    match answer.code {
        0 if step.snapshot.is_some() => {
            let message = counted(summary);
            step.ends(State::Done, message, "")
        }
        3 if step.snapshot.is_some() => {
            let (accepted, others) = missing(answer, summary, accept);
            let message = counted(summary);
            if others == 0 {
                let accepted_message = format!("{message}; unreadable as accepted: {}", accepted.join(", "));
                return Step { accepted, ..step.ends(State::Done, accepted_message, "") };
            }
            let (what, next) = answer.failure();
            Step {
                accepted,
                ..step.ends(State::Incomplete, format!("{message}; {what}{}", first(answer)), next)
            }
        }
        0 => step.ends(
            State::Failed,
            "it ended well and told of no snapshot",
            "report this as a mistake of holdfast",
        ),
        _ => failed(step, answer),
    }
}

/// The first thing that went wrong, in brackets.
fn first(answer: &Answer) -> String {
    let error = answer.problems.iter().find(|line| line["message_type"] == "error");
    let text = |name: &str| error.and_then(|line| line[name].as_str()).unwrap_or_default();
    match error {
        Some(_) => format!(" (first {}: {})", text("item"), text("message")),
        None => String::new(),
    }
}

/// What a snapshot holds, in a line.
fn counted(summary: Option<&serde_json::Value>) -> String {
    let Some(summary) = summary else { return String::new() };
    let number = |name: &str| summary[name].as_u64().unwrap_or_default();
    let id = summary["snapshot_id"].as_str().and_then(|id| id.get(..8)).unwrap_or_default();
    let (files, bytes) = (number("total_files_processed"), shown(number("total_bytes_processed")));
    let (new, changed) = (number("files_new"), number("files_changed"));
    format!(
        "snapshot {id}: {files} files, {bytes}; {new} new, {changed} changed, {} added",
        shown(number("data_added_packed"))
    )
}

/// A size for people.
pub(super) fn shown(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(power, _)| bytes >> power > 0) {
        Some((power, unit)) => format!("{:.1} {unit}", bytes as f64 / (1u64 << power) as f64),
        None => format!("{bytes} B"),
    }
}

/// What could not be read and is accepted, and how much else could not be read.
fn missing(answer: &Answer, summary: Option<&serde_json::Value>, accept: &[String]) -> (Vec<String>, u64) {
    let errors = answer.problems.iter().filter(|line| line["message_type"] == "error");
    let all = summary.and_then(|line| line["error_count"].as_u64()).unwrap_or(u64::MAX);
    let mut accepted = Vec::new();
    for error in errors.take(TOLD_MAX) {
        let item = error["item"].as_str().unwrap_or_default();
        // A name that is not UTF-8 cannot stand in a policy.
        let exact = error["item_base64"].is_null() && error["kind"] == "unreadable";
        if exact && accept.iter().any(|path| is_within(item, path)) {
            accepted.push(item.to_owned());
        }
    }
    let others = all.saturating_sub(accepted.len() as u64);
    (accepted, others)
}

/// Whether an item is what is accepted, or lies below it.
fn is_within(item: &str, accepted: &str) -> bool {
    let absolute = |path: &str| Path::new("/").join(path);
    !accepted.is_empty() && absolute(item).starts_with(absolute(accepted))
}
