//! What goes to and from each repository in a month: what drills and copies cost is seen before the
//! bill comes.
//!
//! On purpose not here: prices.

use super::seen::{OfSource, Seen, keeps_log};
use super::{Surroundings, times};
use crate::policy::{Pick, Policy, REPOSITORY};
use crate::schedule::which;
use jiff::Timestamp;

/// Objects of a run beside those with contents: its beginning, pins, index, end.
const OBJECTS_OF_A_RUN: u64 = 6;

/// What goes to or from a repository in a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// `repository`, or the name of a copy.
    pub place: String,
    /// `back up`, `copy to it`, `drill`.
    pub what: &'static str,
    /// How often; none where the policy does not say when.
    pub times: Option<u64>,
    /// How many bytes, about; none where nobody can tell.
    pub bytes: Option<u64>,
    /// How many requests, at least.
    pub requests: Option<u64>,
    /// What the figures are from, or why there are none.
    pub says: String,
}

/// A sum of which a part may be unknown.
#[derive(Default)]
struct Sum {
    bytes: u64,
    requests: u64,
    unknown: Vec<String>,
    /// Sources of which there is only what says too much.
    first: Vec<String>,
}

impl Sum {
    fn add(&mut self, times: u64, bytes: u64, requests: u64) {
        self.bytes = self.bytes.saturating_add(bytes.saturating_mul(times));
        self.requests = self.requests.saturating_add(requests.saturating_mul(times));
    }

    fn traffic(self, place: &str, what: &'static str, times: Option<u64>, says: &str) -> Traffic {
        let known = times.is_some() && self.unknown.is_empty();
        let says = match (times, &self.unknown[..]) {
            (None, _) => "when it runs is not in the policy".to_owned(),
            (Some(_), []) if self.first.is_empty() => says.to_owned(),
            (Some(_), []) => {
                format!("{says}; of {} there is only the first one, which stores all", self.first.join(", "))
            }
            (Some(_), unknown) => format!("of {} nothing is known yet", unknown.join(", ")),
        };
        let (bytes, requests) = (known.then_some(self.bytes), known.then_some(self.requests));
        Traffic { place: place.to_owned(), what, times, bytes, requests, says }
    }
}

/// Says it of the repository and of each copy.
pub(super) fn foresee(policy: &Policy, here: &Surroundings, seen: &Seen, now: Timestamp) -> Vec<Traffic> {
    let mut all = vec![backups(policy, here, seen, now, REPOSITORY, "back up")];
    all.extend(policy.copies.iter().map(|copy| backups(policy, here, seen, now, &copy.name, "copy to it")));
    all.extend(drills(policy, seen, now));
    all
}

/// What a backup stored in the mean.
fn mean(of: &OfSource) -> Option<u64> {
    let sum: u64 = of.stored.iter().sum();
    sum.checked_div(of.stored.len() as u64)
}

fn backups(
    policy: &Policy,
    here: &Surroundings,
    seen: &Seen,
    now: Timestamp,
    place: &str,
    what: &'static str,
) -> Traffic {
    let (mut sum, mut runs) = (Sum::default(), None::<u64>);
    for (name, source) in &policy.sources.0 {
        if !source.kind().is_some_and(|kind| kind.is_backed_up()) {
            continue;
        }
        let Some(times) = times(which::of_source(policy, name).ok().flatten(), now) else { continue };
        runs = Some(runs.unwrap_or(0).max(times));
        let of = seen.of(name);
        if of.is_first {
            sum.first.push(format!("{}/{name}", policy.name));
        }
        match mean(&of) {
            Some(bytes) => sum.add(times, bytes, bytes.div_ceil(here.pack_bytes.max(1)) + OBJECTS_OF_A_RUN),
            None => sum.unknown.push(format!("{}/{name}", policy.name)),
        }
    }
    sum.traffic(place, what, runs, "by what the last backups stored, without the log of clusters")
}

/// What drills fetch. Repositories that take turns share it.
fn drills(policy: &Policy, seen: &Seen, now: Timestamp) -> Vec<Traffic> {
    let Some(drill) = &policy.drill else { return Vec::new() };
    let own = times(which::of_drill(policy).ok().flatten(), now);
    let with_run = || times(which::of_policy(policy).ok().flatten(), now);
    let all = own.or_else(|| drill.cron.is_none().then(with_run).flatten());
    let places: Vec<&str> = match &drill.from[..] {
        [] => policy.places().collect(),
        stated => stated.iter().map(String::as_str).collect(),
    };
    let turns = places.len().max(1) as u64;
    let most = drill.max_download.map_or(u64::MAX, |most| most.0);
    let one = |place: &str| {
        let times = all.map(|all| all.div_ceil(turns));
        let mut sum = Sum::default();
        for (name, source) in &policy.sources.0 {
            let left_out = !drill.sources.is_empty() && !drill.sources.contains(name);
            if left_out || source.restored_by.is_some() {
                continue;
            }
            let of = seen.of(name);
            match of.fetched {
                Some(fetched) => sum.add(times.unwrap_or(0), fetched.bytes.min(most), fetched.requests),
                None => sum.unknown.push(format!("{}/{name}", policy.name)),
            }
            if let Some(log) = of.log.filter(|_| keeps_log(source) && drill.pick != Pick::Oldest) {
                sum.add(times.unwrap_or(0), log.stored, log.objects);
            }
        }
        let says = match turns {
            1 => "by a rehearsed restore of the newest snapshots".to_owned(),
            turns => {
                format!("by a rehearsed restore of the newest snapshots; {turns} repositories take turns")
            }
        };
        sum.traffic(place, "drill", times, &says)
    };
    places.into_iter().map(one).collect()
}
