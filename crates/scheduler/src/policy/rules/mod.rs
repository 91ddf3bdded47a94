//! What a policy may say, beyond what its types know: one kind a source, names that exist, words
//! that are times, zones, addresses, and no secret anywhere.
//!
//! Everything here is a mistake: nothing of it could ever be carried out. On purpose not here: what
//! could be carried out and is unwise (`lint`).

mod drill;
mod places;
mod sources;
mod spot;
mod words;

use super::tree::{MISTAKES_MAX, Mistake, Node};
use super::{CatchUp, Hook, Hooks, Notify, Policy, Retention, Rto, Schedule};
use crate::policy::secret::{SecretRef, VaultRef};
use crate::policy::units::Span;
use crate::schedule::{Cron, zone};
use spot::Spot;
use words::Reason;

/// Finds what no policy may say.
pub(super) fn judge(policy: &Policy, root: &Node, mistakes: &mut Vec<Mistake>) {
    let spot = Spot::root(root);
    let mut judge = Judge { mistakes };
    judge.word(&spot.key("name"), words::name(&policy.name));
    places::judge(policy, &spot, &mut judge);
    sources::judge(policy, &spot.key("sources"), &mut judge);
    if let Some(schedule) = &policy.schedule {
        judge.schedule(&spot.key("schedule"), schedule);
    }
    if let Some(retention) = &policy.retention {
        judge.retention(&spot.key("retention"), retention);
    }
    judge.maintenance(policy, &spot);
    let objectives = spot.key("objectives");
    judge.span(&objectives.key("rpo"), policy.objectives.rpo);
    judge.rto(&objectives.key("rto"), policy.objectives.rto.as_ref());
    judge.span(&objectives.key("verified_restore_max_age"), policy.objectives.verified_restore_max_age);
    if let Some(it) = &policy.drill {
        drill::judge(policy, it, &spot.key("drill"), &mut judge);
    }
    for (number, notify) in policy.notify.iter().enumerate() {
        judge.notify(&spot.key("notify").item(number), notify);
    }
    if let Some(heartbeat) = &policy.heartbeat {
        judge.secret(&spot.key("heartbeat").key("url"), &heartbeat.url);
    }
    judge.hooks(&spot.key("hooks"), &policy.hooks);
    for (number, label) in policy.workers.iter().enumerate() {
        judge.word(&spot.key("workers").item(number), words::name(label));
    }
    for (number, ignore) in policy.ignore.iter().enumerate() {
        let spot = spot.key("ignore").item(number);
        judge.word(&spot.key("path"), words::listed(&ignore.path));
        judge.word(&spot.key("until"), words::day(&ignore.until));
        judge.word(&spot.key("reason"), words::stated(&ignore.reason));
    }
}

/// Finds secrets that stand in a text, whatever key they belong to. They are never repeated.
pub(super) fn no_secrets(root: &Node, mistakes: &mut Vec<Mistake>) {
    root.each_text("", &mut |key, at, text| {
        if mistakes.len() < MISTAKES_MAX && words::holds_password(text) {
            let what = format!("`{key}`: there is a password in this address");
            let next = match text.starts_with("s3://") {
                true => "take it out; credentials: { profile: NAME } says what opens a bucket",
                false => "take it out; say where the secret is: passfile, or { file: /path }, { env: NAME }",
            };
            mistakes.push(Mistake { at, what, next: next.to_owned() });
        }
    });
}

/// Collects what is wrong.
#[derive(Debug)]
struct Judge<'a> {
    mistakes: &'a mut Vec<Mistake>,
}

impl Judge<'_> {
    fn wrong(&mut self, spot: &Spot<'_>, what: impl AsRef<str>, next: impl Into<String>) {
        if !self.is_full() {
            self.mistakes.push(spot.wrong(what, next));
        }
    }

    /// Whether enough is wrong.
    fn is_full(&self) -> bool {
        self.mistakes.len() >= MISTAKES_MAX
    }

    fn word(&mut self, spot: &Spot<'_>, judged: Result<(), Reason>) {
        if let Err((what, next)) = judged {
            self.wrong(spot, what, next);
        }
    }

    /// A time that is stated is one.
    fn span(&mut self, spot: &Spot<'_>, span: Option<Span>) {
        if span.is_some_and(|span| span.0.is_zero()) {
            self.wrong(spot, "no time at all cannot be", "write how long: 90m, 26h, 8d");
        }
    }

    fn rto(&mut self, spot: &Spot<'_>, rto: Option<&Rto>) {
        match rto {
            Some(Rto::Anywhere(span)) => self.span(spot, Some(*span)),
            Some(Rto::On(on)) => {
                self.span(&spot.key("target"), Some(on.target));
                if on.enforce_on.is_empty() {
                    let next = "name hosts, or write `rto: 1h` for all";
                    self.wrong(&spot.key("enforce_on"), "no host is named", next);
                }
            }
            None => {}
        }
    }

    fn cron(&mut self, spot: &Spot<'_>, text: &str) {
        if let Err(what) = Cron::parse(text) {
            // The key is named already.
            let what = what.strip_prefix("cron ").unwrap_or(&what);
            let next = "five fields: minute, hour, day of month, month, day of week: \"15 2 * * *\"";
            self.wrong(spot, what, next);
        }
    }

    fn schedule(&mut self, spot: &Spot<'_>, schedule: &Schedule) {
        self.cron(&spot.key("cron"), &schedule.cron);
        if let Err(what) = zone(schedule.timezone.as_deref()) {
            self.wrong(&spot.key("timezone"), what, "");
        }
        if let Some(time) = &schedule.not_after {
            self.word(&spot.key("not_after"), words::time_of_day(time));
        }
        self.span(&spot.key("max_age"), schedule.max_age);
        if schedule.max_age.is_some() && schedule.catch_up == CatchUp::None {
            let next = "leave it out, or write `catch_up: once`";
            self.wrong(&spot.key("max_age"), "nothing is caught up, of whatever age", next);
        }
        if let Some(group) = &schedule.group {
            self.word(&spot.key("group"), words::name(group));
        }
    }

    fn retention(&mut self, spot: &Spot<'_>, retention: &Retention) {
        let counts = [
            ("keep_last", retention.keep_last),
            ("keep_hourly", retention.keep_hourly),
            ("keep_daily", retention.keep_daily),
            ("keep_weekly", retention.keep_weekly),
            ("keep_monthly", retention.keep_monthly),
            ("keep_yearly", retention.keep_yearly),
        ];
        for (key, _) in counts.iter().filter(|(_, count)| *count == Some(0)) {
            self.wrong(&spot.key(key), "none cannot be kept", "leave the key out, or write 1 or more");
        }
        self.span(&spot.key("keep_within"), retention.keep_within);
        self.span(&spot.key("delete_after"), retention.delete_after);
        self.span(&spot.key("wal"), retention.wal);
        if retention.delete_former && retention.delete_after.is_none() {
            let next = "say after how long: delete_after: 400d";
            self.wrong(&spot.key("delete_former"), "nothing says when what is of former sources goes", next);
        }
        let spans = [retention.keep_within, retention.delete_after];
        let says = counts.iter().any(|(_, count)| count.is_some()) || spans.iter().any(Option::is_some);
        if !says && spot.is_whole() {
            let next = "write at least one keep rule: keep_daily: 14; to keep everything leave retention out";
            self.wrong(spot, "it keeps no snapshot", next);
        }
    }

    fn maintenance(&mut self, policy: &Policy, spot: &Spot<'_>) {
        if let Some(prune) = &policy.prune {
            let spot = spot.key("prune");
            prune.cron.iter().for_each(|cron| self.cron(&spot.key("cron"), cron));
            let judged = prune.max_unused.as_deref().map_or(Ok(()), words::max_unused);
            self.word(&spot.key("max_unused"), judged);
        }
        if let Some(check) = &policy.check {
            let spot = spot.key("check");
            check.cron.iter().for_each(|cron| self.cron(&spot.key("cron"), cron));
            let judged = check.read_data_subset.as_deref().map_or(Ok(()), words::subset);
            self.word(&spot.key("read_data_subset"), judged);
        }
        if let Some(digest) = &policy.digest {
            let spot = spot.key("digest");
            digest.cron.iter().for_each(|cron| self.cron(&spot.key("cron"), cron));
            if digest.off && digest.cron.is_some() {
                self.wrong(
                    &spot,
                    "there is a time for a digest, and there is to be none",
                    "leave one of them out",
                );
            }
        }
    }

    fn secret(&mut self, spot: &Spot<'_>, secret: &SecretRef) {
        match secret {
            SecretRef::Env(name) => self.word(&spot.key("env"), words::variable(name)),
            SecretRef::File(path) if path.as_os_str().is_empty() => {
                self.wrong(&spot.key("file"), "no file is named", "write its path");
            }
            SecretRef::Credential(name) if name.is_empty() || name.contains('/') => {
                let next = "write the name that LoadCredential= gives it";
                self.wrong(&spot.key("credential"), "this is no name of a credential", next);
            }
            SecretRef::Command(words) => self.program(&spot.key("command"), words),
            SecretRef::Vault(stored) => self.stored(&spot.key("vault"), stored),
            SecretRef::File(_) | SecretRef::Credential(_) => {}
        }
    }

    /// What Vault keeps has a path and a field.
    fn stored(&mut self, spot: &Spot<'_>, stored: &VaultRef) {
        let parts: Vec<_> = stored.path.split('/').collect();
        if parts.len() < 2 || parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
            let next = "write its path as the server's policies have it: secret/data/backups/shop";
            self.wrong(&spot.key("path"), "this is no path of a mount and of a secret in it", next);
        }
        if stored.field.is_empty() {
            self.wrong(&spot.key("field"), "no field is named", "write its name, as `password`");
        }
    }

    /// A program has a name.
    fn program(&mut self, spot: &Spot<'_>, words: &[String]) {
        if words.first().is_none_or(String::is_empty) {
            let next = "write its name and its arguments: [program, argument]";
            self.wrong(spot, "no program is named", next);
        }
    }

    fn notify(&mut self, spot: &Spot<'_>, notify: &Notify) {
        let ways = [
            notify.slack.is_some(),
            notify.webhook.is_some(),
            notify.mail.is_some(),
            !notify.command.is_empty(),
        ];
        if ways.iter().filter(|is| **is).count() != 1 && spot.is_whole() {
            let next = "write one of them here, and another entry for each other";
            self.wrong(spot, "exactly one of slack, webhook, mail and command says how", next);
        }
        if let Some(slack) = &notify.slack {
            self.secret(&spot.key("slack").key("webhook"), &slack.webhook);
        }
        if let Some(webhook) = &notify.webhook {
            self.secret(&spot.key("webhook").key("url"), &webhook.url);
            self.secret(&spot.key("webhook").key("secret"), &webhook.secret);
        }
        if let Some(mail) = &notify.mail {
            let spot = spot.key("mail");
            self.word(&spot.key("server"), words::mail_server(&mail.server));
            mail.password.iter().for_each(|secret| self.secret(&spot.key("password"), secret));
            if mail.server.contains('@') && mail.password.is_none() && spot.is_whole() {
                let next = "add password: { file: … }, or leave the user out";
                self.wrong(&spot, "the server has a user and no password", next);
            }
            if mail.to.is_empty() {
                self.wrong(&spot.key("to"), "nobody is told", "write at least one address");
            }
        }
    }

    fn hooks(&mut self, spot: &Spot<'_>, hooks: &Hooks) {
        let all = [
            ("before", &hooks.before),
            ("after", &hooks.after),
            ("failed", &hooks.failed),
            ("finally", &hooks.finally),
        ];
        for (key, hooks) in all {
            for (number, hook) in hooks.iter().enumerate() {
                self.hook(&spot.key(key).item(number), hook);
            }
        }
    }

    fn hook(&mut self, spot: &Spot<'_>, hook: &Hook) {
        self.program(&spot.key("run"), &hook.run);
        self.span(&spot.key("timeout"), hook.timeout);
        for (name, value) in &hook.env {
            let spot = spot.key("env").key(name);
            self.word(&spot, words::variable(name));
            if words::is_secret(name, value) {
                let next = "let the program read it from a file, or from the environment of the service";
                self.wrong(&spot, "a secret never stands in a policy", next);
            }
        }
    }
}
