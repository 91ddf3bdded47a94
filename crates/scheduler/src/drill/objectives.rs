//! What was promised, and what a drill measured: how long it takes to have a source back, and how much is
//! lost at most.
//!
//! On purpose not here: alarms.

use super::verdict::Verdict;
use super::{Phase, Proof};
use crate::evidence::Objective;
use crate::policy::{Policy, Rto, Source};
use holdfast_engine::proof::Level;
use jiff::Timestamp;

/// What there is to say of one source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// The source.
    pub(super) source: &'a Source,
    /// When the drill began.
    pub(super) began: Timestamp,
    /// Whether it is known what there is.
    pub(super) listed: bool,
    /// The newest moment that can be had back; none if there is none.
    pub(super) newest: Option<Timestamp>,
    /// What was proved of it.
    pub(super) proof: &'a Proof,
    /// The host that it was drilled on.
    pub(super) host: &'a str,
}

/// The promises about one source.
pub(super) fn of(policy: &Policy, measured: Measured<'_>) -> Vec<Objective> {
    rpo(policy, measured).into_iter().chain(rto(policy, measured)).collect()
}

/// How much is lost: from the newest moment that can be had back until the drill began. Where there is
/// none, everything is.
fn rpo(policy: &Policy, measured: Measured<'_>) -> Option<Objective> {
    if measured.source.restored_by.is_some() || !measured.listed {
        // What another program backs up does not say of when it is, and what was not seen says nothing.
        return None;
    }
    let limit = measured.source.rpo.or(policy.objectives.rpo)?.0.as_secs_f64();
    let lost = match measured.newest {
        Some(newest) => seconds(newest, measured.began).max(0.0),
        None => seconds(Timestamp::UNIX_EPOCH, measured.began),
    };
    let name = "rpo".to_owned();
    let source = measured.name.to_owned();
    Some(Objective {
        name,
        source,
        limit,
        measured: lost,
        // Without anything everything is lost, whatever the clock says.
        met: measured.newest.is_some() && lost <= limit,
        enforced: true,
        estimated: false,
    })
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// How long it took: what counts of the phases; scaled up where only a part was restored. Of what did
/// not come back nothing is measured.
fn rto(policy: &Policy, measured: Measured<'_>) -> Option<Objective> {
    let stated = measured.source.rto.as_ref().or(policy.objectives.rto.as_ref())?;
    let (limit, enforced) = match stated {
        Rto::Anywhere(span) => (span.0.as_secs_f64(), true),
        Rto::On(on) => (on.target.0.as_secs_f64(), on.enforce_on.iter().any(|host| host == measured.host)),
    };
    let Proof { phases, probes, reached, share, .. } = measured.proof;
    let came_back =
        Verdict::of(probes) == Verdict::Pass || reached.is_some_and(|level| level >= Level::Restore);
    if !came_back || !phases.iter().any(|phase| phase.counts) {
        return None;
    }
    let share = share.filter(|share| *share > 0.0 && *share < 1.0);
    let took = counted(phases) / share.unwrap_or(1.0);
    Some(Objective {
        name: "rto".to_owned(),
        source: measured.name.to_owned(),
        limit,
        measured: took,
        met: took <= limit,
        enforced,
        estimated: share.is_some(),
    })
}

fn counted(phases: &[Phase]) -> f64 {
    phases.iter().filter(|phase| phase.counts).map(|phase| phase.seconds).sum()
}

/// The exit code of a drill: the first that applies.
pub(super) fn code(verdict: Verdict, objectives: &[Objective]) -> u8 {
    let missed = |name: &str| objectives.iter().any(|one| one.name == name && one.enforced && !one.met);
    match verdict {
        Verdict::Fail => 20,
        _ if missed("rpo") => 22,
        _ if missed("rto") => 21,
        Verdict::Inconclusive => 23,
        Verdict::Pass => 0,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use holdfast_engine::proof::{Cause, Probe};

    const TEXT: &str = "
name: shop
repository: { url: /r, password: { env: X } }
sources:
  tree: { files: { paths: [ /srv ] } }
  db: { postgres: { url: 'postgres://b@db' }, rpo: 5m, rto: { target: 10m, enforce_on: [ drill-1 ] } }
  old: { restored_by: { command: [ x ] } }
objectives: { rpo: 26h, rto: 1m }
";

    fn proof(share: Option<f64>) -> Proof {
        let mut probe = Probe::new("files", Level::Restore);
        probe.counts.insert("files".into(), 1);
        let phase = |name: &str, seconds, counts| Phase { name: name.into(), seconds, counts };
        Proof {
            probes: vec![probe],
            phases: vec![
                phase("restore", 20.0, true),
                phase("replay", 10.0, true),
                phase("checks", 500.0, false),
            ],
            reached: Some(Level::Restore),
            bytes: 1,
            share,
        }
    }

    fn objectives(name: &str, newest: Option<i64>, proof: &Proof, host: &str) -> Vec<Objective> {
        let policy: Policy = serde_saphyr::from_str(TEXT).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let source = policy.sources.get(name).unwrap();
        of(
            &policy,
            Measured {
                name,
                source,
                began: at(1_000_000),
                listed: true,
                newest: newest.map(at),
                proof,
                host,
            },
        )
    }

    #[test]
    fn what_is_lost_is_what_came_after_the_newest_moment() {
        let of = |name, newest| {
            let found = objectives(name, newest, &proof(None), "h");
            found.into_iter().find(|one| one.name == "rpo").map(|one| (one.limit, one.measured, one.met))
        };
        assert_eq!(of("tree", Some(1_000_000 - 3600)), Some((93_600.0, 3600.0, true)));
        assert_eq!(of("db", Some(1_000_000 - 301)), Some((300.0, 301.0, false)));
        // A clock that is ahead loses nothing; without a snapshot all is lost.
        assert_eq!(of("db", Some(1_000_001)), Some((300.0, 0.0, true)));
        assert_eq!(of("tree", None), Some((93_600.0, 1_000_000.0, false)));
        assert_eq!(of("old", None), None);
    }

    #[test]
    fn checks_are_no_part_of_having_it_back() {
        let rto = |name, share, host| {
            let found = objectives(name, None, &proof(share), host);
            found.into_iter().find(|one| one.name == "rto").unwrap()
        };
        let plain = rto("tree", None, "h");
        assert_eq!(
            (plain.limit, plain.measured, plain.met, plain.enforced, plain.estimated),
            (60.0, 30.0, true, true, false)
        );
        let sampled = rto("tree", Some(0.25), "h");
        assert_eq!((sampled.measured, sampled.met, sampled.estimated), (120.0, false, true));
        assert!(!rto("db", None, "laptop").enforced && rto("db", None, "drill-1").enforced);
        let mut broken = proof(None);
        broken.reached = Some(Level::Read);
        broken.probes[0].finds(Cause::Backup, "gone", "");
        assert!(objectives("tree", Some(999_999), &broken, "h").iter().all(|one| one.name == "rpo"));
    }

    #[test]
    fn one_drill_is_one_code() {
        let objective = |name: &str, met, enforced| Objective {
            name: name.into(),
            source: "s".into(),
            limit: 1.0,
            measured: 2.0,
            met,
            enforced,
            estimated: false,
        };
        let (rpo, rto) = (objective("rpo", false, true), objective("rto", false, true));
        assert_eq!(code(Verdict::Fail, &[rpo.clone(), rto.clone()]), 20);
        assert_eq!(code(Verdict::Pass, &[rto.clone(), rpo.clone()]), 22);
        assert_eq!(code(Verdict::Inconclusive, std::slice::from_ref(&rto)), 21);
        assert_eq!(code(Verdict::Inconclusive, &[]), 23);
        assert_eq!(code(Verdict::Pass, &[objective("rto", false, false), objective("rpo", true, true)]), 0);
    }
}
