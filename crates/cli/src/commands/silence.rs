//! `silence`: keeps alerts from being told for a while.
//!
//! On purpose not here: what a silence does.

use super::Run;
use crate::args::{Remembering, SilenceArgs};
use crate::conducting::{open_catalog, user};
use crate::fault::Fault;
use crate::hands::OwnHands;
use crate::ink::{SilenceEndedLine, SilenceLine, escape};
use crate::wire_up;
use holdfast_scheduler::alert::Silence;
use holdfast_scheduler::alert::message::moment;
use holdfast_scheduler::catalog::{Catalog, CatalogError, Remembered};
use holdfast_scheduler::hands::Hands;
use holdfast_scheduler::policy::Policy;
use holdfast_scheduler::policy::read::parse;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// What is quiet for longer is forgotten.
const LONGEST: Duration = Duration::from_secs(14 * 86_400);

/// Carries out what was asked for.
pub(crate) async fn run(run: &Run, args: &SilenceArgs) -> Result<(), Fault> {
    let remembering = Remembering { catalog: args.catalog.clone(), evidence: None };
    let catalog = open_catalog(run, &remembering).await?;
    let Some(catalog) = catalog else {
        return Err(Fault::failed("there is no catalog that could remember it", "name one: --catalog PLACE"));
    };
    let now = OwnHands::new(run).now();
    match (&args.subject, args.time, &args.reason, args.end) {
        (Some(subject), Some(time), Some(reason), _) => {
            begin(run, &catalog, (subject, time, reason), now).await
        }
        (_, _, _, Some(id)) => end(run, &catalog, id, now).await,
        _ => list(run, &catalog, now).await,
    }
}

async fn begin(
    run: &Run,
    catalog: &Catalog,
    (subject, time, reason): (&str, Duration, &str),
    now: Timestamp,
) -> Result<(), Fault> {
    if time.is_zero() || time > LONGEST {
        return Err(Fault::usage("a silence lasts for a while, and for 14 days at most", "write --for 2h"));
    }
    let (policy, part) = meant(catalog, subject).await?;
    let until =
        SignedDuration::try_from(time).ok().and_then(|time| now.checked_add(time).ok()).unwrap_or(now);
    let by = format!("{}@{}", user(), wire_up::host_name());
    let mut silence = Silence { id: 0, policy, part, since: now, until, reason: reason.to_owned(), by };
    silence.id = catalog.silence(&silence).await.map_err(|error| lost(&error))?;
    show(run, &silence);
    run.ink.talk("a disaster is told all the same; what is still wrong then is told when the silence ends");
    Ok(())
}

async fn end(run: &Run, catalog: &Catalog, id: i64, now: Timestamp) -> Result<(), Fault> {
    if !catalog.end_silence(id, now).await.map_err(|error| lost(&error))? {
        return Err(Fault::usage(
            format!("no silence {id} stands"),
            "see those that do: holdfast silence --list",
        ));
    }
    if run.ink.tone.json {
        run.ink.json(&SilenceEndedLine { message_type: "silence_ended", id });
    } else {
        run.ink.talk(&format!("silence {id} has ended"));
    }
    Ok(())
}

async fn list(run: &Run, catalog: &Catalog, now: Timestamp) -> Result<(), Fault> {
    let all = catalog.silences(now).await.map_err(|error| lost(&error))?;
    all.iter().for_each(|silence| show(run, silence));
    if all.is_empty() && !run.ink.tone.json {
        run.ink.talk("nothing is silenced");
    }
    Ok(())
}

fn show(run: &Run, silence: &Silence) {
    if run.ink.tone.json {
        return run.ink.json(&SilenceLine::from(silence));
    }
    let part = silence.part.as_ref().map(|part| format!("/{part}")).unwrap_or_default();
    let until = moment(silence.until, &TimeZone::system());
    let line = format!(
        "silence {} of {}{part} until {until}, by {}: {}",
        silence.id, silence.policy, silence.by, silence.reason
    );
    run.ink.data(&escape(line.as_bytes()));
}

fn lost(error: &CatalogError) -> Fault {
    Fault::failed("the catalog does not do it", "see whether it can be read and written").because(error)
}

/// The policy, and the source or copy, that a word means: nobody is to believe something quiet that is not.
async fn meant(catalog: &Catalog, subject: &str) -> Result<(String, Option<String>), Fault> {
    let remembered = catalog.policies().await.map_err(|error| lost(&error))?;
    let (name, part) = match subject.split_once('/') {
        Some((name, part)) => (name, Some(part)),
        None => (subject, None),
    };
    let Some(found) = remembered.iter().find(|one| one.name == name) else {
        let known: Vec<&str> = remembered.iter().map(|one| one.name.as_str()).collect();
        let what = format!("no policy {} is remembered", escape(name.as_bytes()));
        let hint = match known.as_slice() {
            [] => "those that `holdfast run` ran are remembered".to_owned(),
            known => format!("those that are: {}", known.join(", ")),
        };
        return Err(Fault::usage(what, hint));
    };
    let parts = read(found).map(|policy| parts(&policy));
    match (part, parts) {
        // Its names are not known; it is quiet if there is such a part.
        (Some(part), Some(parts)) if !parts.iter().any(|known| known == part) => {
            let what = format!("the policy {name} has no source or copy {}", escape(part.as_bytes()));
            Err(Fault::usage(what, format!("it has: {}", parts.join(", "))))
        }
        (part, _) => Ok((name.to_owned(), part.map(str::to_owned))),
    }
}

fn read(remembered: &Remembered) -> Option<Policy> {
    parse(&std::fs::read_to_string(&remembered.file).ok()?, &remembered.file).ok()
}

fn parts(policy: &Policy) -> Vec<String> {
    let sources = policy.sources.0.iter().map(|(name, _)| name.clone());
    sources.chain(policy.copies.iter().map(|copy| copy.name.clone())).collect()
}
