//! What becomes of snapshots: they are copied, forgotten by the rules, and freed; and the repository is
//! checked.
//!
//! On purpose not here: which snapshots the rules keep.

use super::report::{State, Step};
use super::source::shown;
use super::{Names, Runner, failed, words};
use crate::former::{Former, former, told};
use crate::hands::{Answer, Call, Place, Said};
use crate::lacking::{Snapshot, lacking};
use crate::policy::{Activity, CopyTo, LogMode, REPOSITORY, Retention};
use crate::schedule::which::{self, Maybe};
use jiff::{SignedDuration, Timestamp};

/// So often log is looked through for what is over its time, where nothing else is to be freed.
const LOGS_AFTER: SignedDuration = SignedDuration::from_hours(24);

impl Runner<'_> {
    /// Copies to each of the copies; the names of those that have everything.
    pub(super) async fn copies(&mut self, good: &Names) -> Names {
        let mut copied = Names::new();
        for copy in &self.policy.copies {
            let step = Step::new("copy", None, &copy.name);
            let from = self.policy.place(REPOSITORY, Activity::Read);
            let Some((from, to)) = from.zip(self.policy.place(&copy.name, Activity::Backup)) else {
                self.done(step.ends(State::NotHere, "there is no key for it on this host", "")).await;
                continue;
            };
            let call = match self.what_to_copy(copy, &from).await {
                Ok(ids) if ids.as_ref().is_some_and(Vec::is_empty) => {
                    self.done(step.ends(State::Done, "there is nothing new", "")).await;
                    copied.insert(copy.name.clone());
                    continue;
                }
                Ok(ids) => words::copy(self.policy, &from, &to, ids.as_deref()),
                Err(step_failed) => {
                    self.done(step_failed).await;
                    continue;
                }
            };
            // What was not backed up cannot be copied; what was is worth it all the same.
            let lacking = good.is_empty() && !self.options.dry_run;
            let state = self.verb(step, call, judge_copy).await;
            if matches!(state, State::Done | State::Planned) && !lacking {
                copied.insert(copy.name.clone());
            }
        }
        copied
    }

    /// Which snapshots are to be copied: all of the policy, unless the copy forgets by rules of its own; then those
    /// that it lacks and would keep, or it would take back each time what it forgot.
    async fn what_to_copy(&self, copy: &CopyTo, from: &Place) -> Result<Option<Vec<String>>, Step> {
        let there = self.policy.place(&copy.name, Activity::Read).filter(|_| copy.retention.is_some());
        let Some(there) = there.filter(|_| !self.options.dry_run) else { return Ok(None) };
        let theirs = self.listed(&there, &copy.name).await?;
        let ours = self.listed(from, &copy.name).await?;
        let lacks = lacking(self.policy, (&ours, &theirs), copy.retention.as_ref(), self.hands.now());
        Ok(Some(lacks.into_iter().map(|one| one.id.clone()).collect()))
    }

    /// The snapshots of the policy in a place.
    async fn listed(&self, place: &Place, copy: &str) -> Result<Vec<Snapshot>, Step> {
        let step = Step::new("copy", None, copy);
        let tag = format!("--tag={}", words::tag(&self.policy.name));
        let answer = self.hands.verb(Call::on(place, ["snapshots".to_owned(), tag])).await;
        match answer {
            Ok(answer) if [0, 3].contains(&answer.code) => {
                Ok(answer.all("snapshot").filter_map(Snapshot::read).collect())
            }
            Ok(answer) => Err(failed(Step { code: Some(answer.code), ..step }, &answer)),
            Err(why) => Err(step.ends(State::Failed, why, "")),
        }
    }

    /// Forgets by the rules and frees, in the repository and in each copy.
    pub(super) async fn forget_and_prune(&mut self, good: &Names, copied: &Names) {
        let own = self.policy.retention.as_ref();
        self.forget_in(REPOSITORY, own, good).await;
        for copy in &self.policy.copies {
            let retention = copy.retention.as_ref().or(own);
            match copied.contains(&copy.name) {
                true => self.forget_in(&copy.name, retention, good).await,
                // What has to go does not wait for a copy that works again.
                false if retention.is_some_and(|retention| retention.delete_after.is_some()) => {
                    self.forget_in(&copy.name, retention, &Names::new()).await;
                }
                false if retention.is_some() => {
                    let step = Step::new("forget", None, &copy.name);
                    self.done(step.ends(State::Skipped, "not everything was copied", "")).await;
                }
                false => {}
            }
        }
    }

    async fn forget_in(&mut self, name: &str, retention: Option<&Retention>, good: &Names) {
        let Some(retention) = retention else { return };
        let Some(place) = self.policy.place(name, Activity::Maintain) else {
            let step = Step::new("forget", None, name);
            return self.done(step.ends(State::NotHere, "there is no key for it on this host", "")).await;
        };
        let (mut forgotten, mut planned) = (0, false);
        let deadline = Retention { delete_after: retention.delete_after, ..Retention::default() };
        for (source, _) in self.sources() {
            let Some(call) = words::forget(self.policy, source, retention, &place) else { break };
            let step = Step::new("forget", Some(source), name);
            if self.policy.sources.get(source).is_some_and(|source| source.restored_by.is_some()) {
                continue;
            }
            // What has to go does not wait for a backup that works again; no rule forgets anything until then.
            let alone = || words::forget(self.policy, source, &deadline, &place);
            let call = if good.contains(source) { Some(call) } else { alone() };
            let Some(call) = call else {
                let why = "its backup failed: what is there is kept";
                self.done(step.ends(State::Skipped, why, "")).await;
                continue;
            };
            let mut count = 0;
            let state = self.verb(step, call, |step, answer| judge_forget(step, answer, &mut count)).await;
            planned |= state == State::Planned;
            forgotten += count;
        }
        let gone = self.former(&place, retention).await;
        forgotten += self.forget_former(name, &place, retention, &gone).await;
        self.prune(name, &place, retention, forgotten > 0 || planned).await;
    }

    /// Sources that were taken out of the policy, of which something has to go. In a rehearsal nobody is asked.
    async fn former(&self, place: &Place, retention: &Retention) -> Vec<Former> {
        let Some(after) = retention.delete_after else { return Vec::new() };
        if self.options.dry_run || !self.options.sources.is_empty() || self.hands.stopped() {
            return Vec::new();
        }
        let tag = format!("--tag={}", words::tag(&self.policy.name));
        let why = match self.hands.verb(Call::on(place, ["snapshots".to_owned(), tag])).await {
            Ok(answer) if [0, 3].contains(&answer.code) => {
                let all: Vec<_> = answer.all("snapshot").filter_map(told).collect();
                return former(self.policy, &all, &self.hands.host(), after, self.hands.now());
            }
            Ok(answer) => answer.failure().0,
            Err(why) => why,
        };
        let what =
            format!("whether {} has more that delete_after is meant for is not known: {why}", place.name);
        self.hands.say(Said::Lacking(&what));
        Vec::new()
    }

    /// Forgets what has to go of them where the policy says so, and else tells how; how much was forgotten.
    async fn forget_former(
        &mut self,
        name: &str,
        place: &Place,
        retention: &Retention,
        gone: &[Former],
    ) -> u64 {
        let Some(after) = retention.delete_after else { return 0 };
        let mut forgotten = 0;
        for one in gone {
            if !retention.delete_former {
                self.hands.say(Said::Lacking(&format!(
                    "{}: {} in {name} are older than delete_after ({after}), and no source of the policy is called so: \
                     they stay for ever\nto delete what is older: {}; or say `delete_former: true` beside it",
                    one.name(),
                    snapshots(one.old),
                    one.typed(after, place)
                )));
                continue;
            }
            let source = one.source.rsplit_once('/').map(|(_, source)| source);
            let (step, mut count) = (Step::new("forget", source, name), 0);
            self.verb(step, one.forget(after, place), |step, answer| judge_forget(step, answer, &mut count))
                .await;
            forgotten += count;
        }
        forgotten
    }

    /// Of which sources' databases log goes when it is over its time: of the policy's own, and of what it had before
    /// where no snapshot is left.
    fn with_log(&self) -> Vec<String> {
        let all = self.policy.sources.0.iter().filter(|(_, source)| source.postgres.is_some());
        let own = all.map(|(name, _)| self.policy.label(name));
        own.chain([format!("{}/*", self.policy.name)]).collect()
    }

    /// Whether log may be over its time, though nothing was forgotten: it is looked at once a day.
    async fn is_log_due(&self, name: &str, retention: &Retention) -> bool {
        let streams = |source: &crate::policy::Source| {
            source.postgres.as_ref().is_some_and(|postgres| postgres.wal != LogMode::Off)
        };
        if retention.delete_after.is_none()
            || !self.policy.sources.0.iter().any(|(_, source)| streams(source))
        {
            return false;
        }
        let last = self.last_good("prune", name).await;
        last.is_none_or(|last| self.hands.now().duration_since(last) >= LOGS_AFTER)
    }

    /// Frees, if something was forgotten, or if it is time where a time is stated.
    async fn prune(&mut self, name: &str, place: &Place, retention: &Retention, forgot: bool) {
        let stated = self.policy.prune.as_ref().is_some_and(|rule| rule.cron.is_some());
        let due = match (stated, self.options.only) {
            (false, _) => forgot || self.is_log_due(name, retention).await,
            (true, None) => self.is_due(which::of_prune(self.policy), "prune", name).await,
            (true, Some(_)) => false,
        };
        if due {
            self.prune_now(name, place, Some(retention)).await;
        }
    }

    /// Frees what no snapshot needs, unless a hold stands and nobody is there to judge.
    async fn prune_now(&mut self, name: &str, place: &Place, retention: Option<&Retention>) {
        let step = Step::new("prune", None, name);
        if let Some(why) = self.is_held(place).await {
            return self.done(step.ends(State::Held, why, "")).await;
        }
        let call = words::prune(self.policy.prune.as_ref(), retention, &self.with_log(), place);
        self.verb(step, call, judge_prune).await;
    }

    /// Frees what no snapshot needs, in the repository and in each copy.
    pub(super) async fn prune_all(&mut self) {
        let names: Vec<String> = self.policy.places().map(str::to_owned).collect();
        for name in names {
            let Some(place) = self.policy.place(&name, Activity::Maintain) else {
                let step = Step::new("prune", None, &name);
                self.done(step.ends(State::NotHere, "there is no key for it on this host", "")).await;
                continue;
            };
            let own = self.policy.copies.iter().find(|copy| copy.name == name);
            let own = own.and_then(|copy| copy.retention.as_ref());
            let retention = own.or(self.policy.retention.as_ref());
            self.prune_now(&name, &place, retention).await;
        }
    }

    /// Checks the repository, if it is time.
    pub(super) async fn check(&mut self) {
        let Some(rule) = &self.policy.check else { return };
        let due = match (rule.cron.is_some(), self.options.only) {
            (false, _) => true,
            (true, None) => self.is_due(which::of_check(self.policy), "check", REPOSITORY).await,
            (true, Some(_)) => false,
        };
        if due {
            self.check_now().await;
        }
    }

    /// Checks the repository, unless a hold stands and nobody is there to judge.
    pub(super) async fn check_now(&mut self) {
        let step = Step::new("check", None, REPOSITORY);
        let Some(place) = self.policy.place(REPOSITORY, Activity::Maintain) else {
            return self.done(step.ends(State::NotHere, "there is no key for it on this host", "")).await;
        };
        if let Some(why) = self.is_held(&place).await {
            return self.done(step.ends(State::Held, why, "")).await;
        }
        let rule = self.policy.check.clone().unwrap_or_default();
        self.verb(step, words::check(&rule, &place), judge_check).await;
    }

    /// Whether a time of the schedule has come since it was last done here. Without a catalog nobody knows when that
    /// was: it is done.
    async fn is_due(&self, clockwork: Maybe, activity: &str, place: &str) -> bool {
        let Ok(Some(clockwork)) = clockwork else { return true };
        let Some(last) = self.last_good(activity, place).await else { return true };
        clockwork.after(last).is_some_and(|next| next <= self.hands.now())
    }

    /// When something was last done here, as far as it is remembered.
    async fn last_good(&self, activity: &str, place: &str) -> Option<Timestamp> {
        let source = Some(place).filter(|place| *place != REPOSITORY);
        let last = self.catalog?.last(&self.policy.name, source, activity).await;
        last.ok().and_then(|last| last.good).map(|ran| ran.run.started)
    }
}

fn snapshots(number: usize) -> String {
    if number == 1 { "1 snapshot".to_owned() } else { format!("{number} snapshots") }
}

fn number(answer: &Answer, name: &str) -> u64 {
    answer.line("summary").and_then(|line| line[name].as_u64()).unwrap_or_default()
}

fn judge_copy(step: Step, answer: &Answer) -> Step {
    let number = |name| number(answer, name);
    match answer.code {
        0 => {
            let (new, had) = (number("copied_snapshots"), number("already_there_snapshots"));
            let added = shown(number("data_added_packed"));
            step.ends(State::Done, format!("{new} copied, {had} there already; {added} added"), "")
        }
        3 => {
            let (what, next) = answer.failure();
            step.ends(State::Incomplete, what, next)
        }
        _ => failed(step, answer),
    }
}

fn judge_forget(step: Step, answer: &Answer, count: &mut u64) -> Step {
    *count = number(answer, "forgotten_snapshots");
    match answer.code {
        0 => {
            let kept = number(answer, "kept_snapshots");
            step.ends(State::Done, format!("{kept} kept, {count} forgotten"), "")
        }
        3 => {
            let (what, next) = answer.failure();
            step.ends(State::Incomplete, what, next)
        }
        _ => failed(step, answer),
    }
}

fn judge_prune(step: Step, answer: &Answer) -> Step {
    match answer.code {
        0 => {
            let freed = number(answer, "freed_bytes") + number(answer, "wal_freed_bytes");
            let warned = answer.problems.iter().filter(|line| line["message_type"] == "warning");
            let warned = warned.filter_map(|line| line["message"].as_str()).map(|what| format!("; {what}"));
            step.ends(State::Done, format!("{} freed{}", shown(freed), warned.collect::<String>()), "")
        }
        _ => failed(step, answer),
    }
}

fn judge_check(step: Step, answer: &Answer) -> Step {
    match answer.code {
        0 => step.ends(State::Done, "it is whole", ""),
        _ => failed(step, answer),
    }
}
