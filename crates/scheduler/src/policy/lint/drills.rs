//! Drills that prove less than they seem to.
//!
//! On purpose not here: what a drill does.

use super::{Lints, gaps_of, span};
use crate::policy::kind::Kind;
use crate::policy::{Drill, Isolation, Policy};
use crate::schedule::which;
use std::path::Path;

/// Below these a disk is often memory, or is emptied by somebody else.
const FLEETING: [&str; 5] = ["/tmp", "/var/tmp", "/dev/shm", "/run", "/var/run"];

pub(super) fn lint(policy: &Policy, lints: &mut Lints) {
    let Some(drill) = &policy.drill else {
        let what = "nothing proves that these backups restore";
        lints.warning("drill", what, "add drill: { cron: \"0 4 * * 0\", level: full, pick: random }");
        if policy.objectives.verified_restore_max_age.is_some() {
            let what = "a proven restore is promised, and there is no drill to prove one";
            lints.error("objectives.verified_restore_max_age", what, "add a drill, or take the promise out");
        }
        return;
    };
    age(policy, lints);
    from(policy, drill, lints);
    scratch(policy, drill, lints);
    isolation(drill, lints);
    let left_out =
        |name: &&str| !drill.sources.is_empty() && !drill.sources.iter().any(|source| source == name);
    let names = policy.sources.0.iter().map(|(name, _)| name.as_str());
    let left_out: Vec<&str> = names.filter(left_out).collect();
    if !left_out.is_empty() {
        let what = format!("no drill ever restores {}", left_out.join(", "));
        lints.warning("drill.sources", what, "leave `sources` out, so that all are drilled");
    }
}

fn age(policy: &Policy, lints: &mut Lints) {
    let Some(age) = policy.objectives.verified_restore_max_age else { return };
    let clock = which::of_drill(policy).ok().flatten();
    // A drill without a time of its own follows each run.
    let clock = clock.or_else(|| which::of_policy(policy).ok().flatten());
    let Some((longest, _)) = clock.and_then(|clock| gaps_of(&clock)) else { return };
    if longest >= age.0 {
        let what = format!(
            "the last proven restore shall be {age} old at most, and {} lie between two drills",
            span(longest)
        );
        lints.error("objectives.verified_restore_max_age", what, "drill more often, or promise less");
    }
}

fn from(policy: &Policy, drill: &Drill, lints: &mut Lints) {
    let reads_copy = drill.from.is_empty() || drill.from.iter().any(|name| name != "repository");
    if !policy.copies.is_empty() && !reads_copy {
        let what = "no drill ever reads a copy: that they restore is not proved";
        lints.warning("drill.from", what, "name the copies too, or leave `from` out: they take turns");
    }
}

fn scratch(policy: &Policy, drill: &Drill, lints: &mut Lints) {
    let drilled = |name: &str| drill.sources.is_empty() || drill.sources.iter().any(|source| source == name);
    let is_cluster = |kind: Kind<'_>| kind.is_cluster() || matches!(kind, Kind::Postgres(_));
    let cluster =
        policy.sources.0.iter().find(|(name, source)| drilled(name) && source.kind().is_some_and(is_cluster));
    match (&drill.scratch.path, cluster) {
        (None, Some((name, _))) => {
            let what =
                format!("nothing says where `{name}` is restored to, and a cluster needs room of its own");
            lints.error("drill.scratch", what, "add scratch: { path: /scratch, max: 500GiB }");
        }
        (Some(path), _) if fleeting(path) => {
            let what = format!(
                "{} is often memory, or emptied by others: a drill there takes the host's memory or fails",
                path.display()
            );
            lints.warning("drill.scratch.path", what, "name a folder on a disk with room");
        }
        _ => {}
    }
    if drill.scratch.path.is_some() && drill.scratch.max.is_none() {
        let what = "nothing says how much room a drill may take";
        lints.warning("drill.scratch", what, "add max: 500GiB");
    }
    if drill.scratch.allow_same_filesystem {
        let what = "a drill may fill the disk of a running cluster or of the repository";
        lints.warning("drill.scratch.allow_same_filesystem", what, "give scratch a disk of its own");
    }
}

fn fleeting(path: &Path) -> bool {
    FLEETING.iter().any(|folder| path.starts_with(folder))
}

fn isolation(drill: &Drill, lints: &mut Lints) {
    if let Some(user) = drill.run_as.as_deref().filter(|user| matches!(*user, "root" | "0")) {
        let what =
            format!("a restored server would run as {user}, who can write into everything on this host");
        lints.error(
            "drill.run_as",
            what,
            "name a user of its own, or leave it out: holdfast-drill, else nobody",
        );
    }
    if drill.network == Isolation::Host {
        let what =
            "a restored server can reach the network: subscriptions and jobs of production may run again";
        lints.warning("drill.network", what, "leave it out: without the network is the default");
    }
}
