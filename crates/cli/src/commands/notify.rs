//! `notify`: tries whether people are told; and telling them what is wrong, at the end of a run or a drill.
//!
//! On purpose not here: what is told, and how it is carried.

use super::Run;
use crate::args::{NotifyTestArgs, NotifyVerb};
use crate::conducting::Conducting;
use crate::fault::Fault;
use crate::hands::{OwnHands, OwnPost, leash};
use crate::ink::{NotifyTestedLine, escape};
use crate::settings;
use holdfast_scheduler::alert::{Outcome, Tested, test, tick};
use holdfast_scheduler::hands::Hands;
use holdfast_scheduler::schedule::zone;
use holdfast_scheduler::status::{Known, look};
use jiff::tz::TimeZone;

/// Carries out what was asked for.
pub(crate) async fn run(run: &Run, verb: &NotifyVerb) -> Result<(), Fault> {
    match verb {
        NotifyVerb::Test(args) => try_channels(run, args).await,
    }
}

async fn try_channels(run: &Run, args: &NotifyTestArgs) -> Result<(), Fault> {
    let conducting = Conducting::new(run, &args.policy, &args.remembering).await?;
    let policy = &conducting.policy;
    if policy.notify.is_empty() {
        let what = format!("the policy {} tells nobody", escape(policy.name.as_bytes()));
        return Err(Fault::usage(what, "add notify: [ { slack: … } ], or webhook, mail or command"));
    }
    run.listen()?;
    let post = post(run, &conducting);
    let now = OwnHands::new(run).now();
    conducting.remember(run, now).await;
    let tested = test(&post, conducting.catalog.as_ref(), policy, now).await.map_err(|error| {
        Fault::failed("what came of it is not remembered", "see whether the catalog can be written")
            .because(&error)
    })?;
    tested.iter().for_each(|one| show(run, &policy.name, one));
    let failed: Vec<&str> =
        tested.iter().filter(|one| !is_well(one)).map(|one| one.channel.as_str()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let what = format!("nobody is told by {}", failed.join(", "));
    Err(Fault::failed(what, "see what is said of each above, and try again"))
}

fn is_well(tested: &Tested) -> bool {
    tested.outcome == Outcome::Delivered
}

fn show(run: &Run, policy: &str, tested: &Tested) {
    if run.ink.tone.json {
        return run.ink.json(&NotifyTestedLine::new(policy, tested));
    }
    let name = &tested.channel;
    run.ink.data(&match &tested.outcome {
        Outcome::Delivered => format!("{name}: took it"),
        Outcome::TryAgain { why, .. } => format!("{name}: did not take it now: {}", escape(why.as_bytes())),
        Outcome::Refused { why } | Outcome::Never { why } => {
            format!("{name}: DOES NOT WORK: {}", escape(why.as_bytes()))
        }
    });
}

/// Carries messages for a policy.
fn post(run: &Run, conducting: &Conducting) -> OwnPost {
    OwnPost::new(OwnHands::silent(run).of(&conducting.policy), settings::certificates(&run.global))
}

/// Tells what is wrong with a policy, now that it was run or drilled. Nothing that goes wrong here changes how
/// that ended.
pub(super) async fn tell(run: &Run, conducting: &Conducting) {
    let policy = &conducting.policy;
    // Whoever started this tells, and looks more often.
    if (policy.notify.is_empty() && policy.heartbeat.is_none()) || leash::is_held() {
        return;
    }
    let hands = OwnHands::silent(run).of(policy);
    if hands.stopped() {
        return;
    }
    let Some(catalog) = &conducting.catalog else {
        return run
            .ink
            .warn("nobody was told how it stands: without a catalog it is not known what they know");
    };
    let since = match catalog.policies().await {
        Ok(all) => all.into_iter().find(|one| one.name == policy.name).map(|one| one.first_seen),
        Err(error) => return run.ink.warn(&format!("nobody was told how it stands: {error}")),
    };
    let file = conducting.file.display().to_string();
    let known = [Known { policy: policy.clone(), file, since }];
    let stated = policy.schedule.as_ref().and_then(|schedule| schedule.timezone.as_deref());
    let zone = zone(stated).unwrap_or(TimeZone::UTC);
    let status = look(&hands, &known, &[], Some(catalog), &zone).await;
    if hands.stopped() {
        return;
    }
    let ticked = tick(&post(run, conducting), catalog, &known, &status, status.now).await;
    for trouble in &ticked.troubles {
        run.ink.warn(&format!(
            "somebody was not told: {}; the next run tries again",
            escape(trouble.as_bytes())
        ));
    }
}
