//! The clockworks of a policy: of the policy itself, of sources with a schedule of their own, of
//! drills, checks and cleaning.
//!
//! Who shows when something runs and who runs it both ask here, so that they agree about keys and
//! zones. On purpose not here: schedules that run after something else.

use super::Clockwork;
use crate::policy::{Policy, Schedule};

/// When a digest goes out where a policy says nothing of it.
pub const DIGEST: &str = "0 8 * * 1";

/// None where there is no schedule.
pub type Maybe = Result<Option<Clockwork>, String>;

/// When the policy runs.
///
/// # Errors
/// Its schedule is none; in words for people.
pub fn of_policy(policy: &Policy) -> Maybe {
    policy.schedule.as_ref().map(|schedule| Clockwork::of(schedule, &policy.name)).transpose()
}

/// When one of its sources is backed up: by its own schedule, else by that of the policy.
///
/// # Errors
/// As above.
pub fn of_source(policy: &Policy, source: &str) -> Maybe {
    match policy.sources.get(source).and_then(|source| source.schedule.as_ref()) {
        Some(schedule) => Clockwork::of(schedule, &format!("{}/{source}", policy.name)).map(Some),
        None => of_policy(policy),
    }
}

/// When it is drilled; none where a drill follows each run.
///
/// # Errors
/// As above.
pub fn of_drill(policy: &Policy) -> Maybe {
    rule(policy, policy.drill.as_ref().and_then(|drill| drill.cron.as_deref()), "drill")
}

/// When its repository is checked; none where that follows each run.
///
/// # Errors
/// As above.
pub fn of_check(policy: &Policy) -> Maybe {
    rule(policy, policy.check.as_ref().and_then(|check| check.cron.as_deref()), "check")
}

/// When its repository is cleaned; none where that follows each run.
///
/// # Errors
/// As above.
pub fn of_prune(policy: &Policy) -> Maybe {
    rule(policy, policy.prune.as_ref().and_then(|prune| prune.cron.as_deref()), "prune")
}

/// When its digest goes out: Mondays at eight, if it does not say otherwise; none if it wants none.
///
/// # Errors
/// As above.
pub fn of_digest(policy: &Policy) -> Maybe {
    let digest = policy.digest.as_ref();
    let cron = digest.and_then(|digest| digest.cron.as_deref()).unwrap_or(DIGEST);
    rule(policy, Some(cron).filter(|_| !digest.is_some_and(|digest| digest.off)), "digest")
}

/// A rule has an expression only; its zone is that of the policy.
fn rule(policy: &Policy, cron: Option<&str>, what: &str) -> Maybe {
    let Some(cron) = cron else { return Ok(None) };
    let timezone = policy.schedule.as_ref().and_then(|schedule| schedule.timezone.clone());
    let schedule = Schedule { cron: cron.to_owned(), timezone, ..Schedule::default() };
    Clockwork::of(&schedule, &format!("{}/{what}", policy.name)).map(Some)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    const POLICY: &str = "
name: shop
repository: { url: /backups/shop, password: { env: X } }
sources:
  tree: { files: { paths: [/srv] } }
  media: { files: { paths: [/media] }, schedule: { cron: '0 * * * *' } }
schedule: { cron: '15 2 * * *', timezone: Asia/Seoul }
drill: { cron: '0 4 * * 0' }
check: { read_data_subset: 5% }
";

    #[test]
    fn each_has_its_own() {
        let policy: Policy = serde_saphyr::from_str(POLICY).unwrap();
        let from = "2026-11-22T00:00:00+09:00".parse().unwrap();
        let next =
            |clock: Maybe| clock.unwrap().and_then(|clock| clock.after(from)).map(|time| time.to_string());
        assert_eq!(next(of_policy(&policy)).unwrap(), "2026-11-21T17:15:00Z");
        assert_eq!(next(of_source(&policy, "tree")), next(of_policy(&policy)));
        assert_eq!(next(of_source(&policy, "media")).unwrap(), "2026-11-21T16:00:00Z");
        assert_eq!(next(of_drill(&policy)).unwrap(), "2026-11-21T19:00:00Z");
        assert_eq!((next(of_check(&policy)), next(of_prune(&policy))), (None, None));
    }
}
