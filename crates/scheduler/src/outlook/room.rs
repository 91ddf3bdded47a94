//! Whether a drill has room, said today and not on Sunday at four.
//!
//! On purpose not here: making scratch; a drill judges by the same rules once more.

use super::seen::{Seen, keeps_log};
use super::{Outlook, Surroundings};
use crate::drill::scratch::{Foreseen, Needs, foresee as foresee_scratch};
use crate::hands::Hands;
use crate::policy::lint::{Lint, Weight};
use crate::policy::{Drill, Pick, Policy};
use std::path::PathBuf;

/// The room that a drill takes, and that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Where; none where the policy does not say.
    pub path: Option<PathBuf>,
    /// What the newest snapshots take.
    pub snapshots: u64,
    /// What the log takes that is replayed over them.
    pub log: u64,
    /// What is free there.
    pub free: Option<u64>,
    /// Why such a drill would be inconclusive; empty where there is room.
    pub lacks: String,
}

impl Room {
    /// All that it takes.
    #[must_use]
    pub const fn needed(&self) -> u64 {
        self.snapshots.saturating_add(self.log)
    }
}

/// Compares what a drill takes with what there is.
pub(super) fn foresee(
    hands: &dyn Hands,
    policy: &Policy,
    here: &Surroundings,
    seen: &Seen,
    outlook: &mut Outlook,
) {
    let Some(drill) = &policy.drill else { return };
    let host = hands.host();
    if !drill.hosts.is_empty() && !drill.hosts.contains(&host) {
        let hosts = drill.hosts.join(", ");
        return outlook.unseen.push(format!("the room for drills is on {hosts}, and this is {host}"));
    }
    if seen.from.is_none() {
        return outlook
            .unseen
            .push("how much room a drill takes is known from the repository only".to_owned());
    }
    let room = measured(policy, drill, here, seen, &mut outlook.unseen);
    if !room.0.lacks.is_empty() {
        outlook.lints.push(Lint {
            severity: Weight::Error,
            what: format!("{}: this drill would be inconclusive", room.0.lacks),
            next: room.1,
            path: "drill.scratch".to_owned(),
        });
    }
    outlook.room = Some(room.0);
}

/// The room, and what to do where it does not do.
fn measured(
    policy: &Policy,
    drill: &Drill,
    here: &Surroundings,
    seen: &Seen,
    unseen: &mut Vec<String>,
) -> (Room, String) {
    let (mut snapshots, mut log, mut files, mut cluster) = (0_u64, 0_u64, 0_u64, false);
    for (name, source) in &policy.sources.0 {
        if !drill.sources.is_empty() && !drill.sources.contains(name) {
            continue;
        }
        if source.restored_by.is_some() {
            unseen.push(format!("how much room {name} takes only the program knows that restores it"));
            continue;
        }
        cluster |= source.postgres.as_ref().is_some_and(|postgres| postgres.logical.is_none());
        let of = seen.of(name);
        let Some(newest) = of.newest else {
            unseen.push(format!("how much room {name} takes: there is no whole snapshot of it yet"));
            continue;
        };
        snapshots = snapshots.saturating_add(newest.bytes);
        files = files.saturating_add(newest.files);
        // Only what goes along the log needs it.
        if keeps_log(source) && drill.pick != Pick::Oldest {
            log = log.saturating_add(of.log.map_or(0, |log| log.bytes));
        }
    }
    let snapshots = snapshots.min(drill.max_download.map_or(u64::MAX, |most| most.0));
    let url = &policy.repository.url;
    let needs = Needs {
        bytes: snapshots.saturating_add(log),
        files,
        cluster,
        repository: (!url.contains("://")).then(|| PathBuf::from(url)),
        data_directories: here.data_directories.clone(),
    };
    let Foreseen { free, finding } = foresee_scratch(&drill.scratch, &needs);
    let (lacks, next) = finding.map_or_else(Default::default, |finding| (finding.what, finding.next));
    (Room { path: drill.scratch.path.clone(), snapshots, log, free, lacks }, next)
}
