//! `status`: how things stand.
//!
//! It speaks the language of monitoring: 0, 1, 2, and 3 for all that keeps it from telling. On
//! purpose not here: judging; the scheduler does that.

mod metrics;

use super::Run;
use crate::args::{Cli, StatusArgs};
use crate::conducting::catalog_place;
use crate::fault::{Code, Fault};
use crate::hands::OwnHands;
use crate::ink::{
    ChannelStatusLine, CopyStatusLine, ProblemLine, SilenceLine, SlotStatusLine, SourceStatusLine,
    StatusSummary, counted, escape,
};
use crate::settings::{current_dir, normalise, variable};
use clap::CommandFactory;
use holdfast_scheduler::catalog::{Catalog, Remembered};
use holdfast_scheduler::hands::Hands;
use holdfast_scheduler::policy::read::parse;
use holdfast_scheduler::status::{Known, State, Status, Unreadable, look, screen};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Looks, and shows it.
pub(crate) async fn run(run: &Run, args: &StatusArgs) -> Result<(), Fault> {
    let (catalog, lost) = open_catalog(run, args).await?;
    if let Some(name) = &args.forget {
        return forget(run, catalog.as_ref(), name).await;
    }
    let (known, unreadable) = policies(args, catalog.as_ref()).await?;
    run.listen()?;
    let hands = known.iter().fold(OwnHands::silent(run), |hands, known| hands.of(&known.policy));
    let mut status = look(&hands, &known, &unreadable, catalog.as_ref(), &TimeZone::system()).await;
    if run.ctx.cancel.is_raised() {
        return Err(Fault::new(Code::Interrupted, "interrupted", "run it again"));
    }
    lost.iter().for_each(|why| status.lacks_catalog(&known, why));
    show(run, &status);
    if let Some(file) = &args.metrics {
        metrics::write(file, &holdfast_scheduler::status::metrics(&status))?;
    }
    finish(&status)
}

/// What is remembered. It is not made for a look, and a broken one is told and passed over; one that hosts share
/// and that is out of reach keeps them from beginning anything: why it is.
async fn open_catalog(run: &Run, args: &StatusArgs) -> Result<(Option<Catalog>, Option<String>), Fault> {
    let Some(place) = catalog_place(args.catalog.as_deref())? else { return Ok((None, None)) };
    match Catalog::open_if_there(&place).await {
        Ok(catalog) => Ok((catalog, None)),
        Err(error) => {
            run.ink.warn(&format!("nothing is known of earlier runs: {error}"));
            Ok((None, place.server().map(|_| error.to_string())))
        }
    }
}

async fn forget(run: &Run, catalog: Option<&Catalog>, name: &str) -> Result<(), Fault> {
    let gone = match catalog {
        None => false,
        Some(catalog) => {
            let forgotten = async || {
                catalog.forget_alerts(name, OwnHands::new(run).now()).await?;
                catalog.forget_policy(name).await
            };
            forgotten().await.map_err(|error| {
                Fault::failed(format!("cannot forget the policy {}", escape(name.as_bytes())), "")
                    .because(&error)
            })?
        }
    };
    if !gone {
        let what = format!("no policy {} is remembered here", escape(name.as_bytes()));
        return Err(Fault::usage(what, "see those that are: holdfast status"));
    }
    run.ink.talk(&format!("forgot the policy {}; its snapshots are as they were", escape(name.as_bytes())));
    Ok(())
}

/// The policies that are asked for: those that are named, else those that are remembered.
async fn policies(
    args: &StatusArgs,
    catalog: Option<&Catalog>,
) -> Result<(Vec<Known>, Vec<Unreadable>), Fault> {
    let remembered = match catalog {
        None => Vec::new(),
        Some(catalog) => catalog.policies().await.map_err(|error| {
            Fault::failed("cannot tell which policies there are", "name one: holdfast status POLICY")
                .because(&error)
        })?,
    };
    let (mut known, mut unreadable) = (Vec::new(), Vec::new());
    if args.policies.is_empty() {
        for one in &remembered {
            match read(Path::new(&one.file), &remembered) {
                Ok(policy) => known.push(policy),
                Err(why) => {
                    unreadable.push(Unreadable { name: one.name.clone(), file: one.file.clone(), why });
                }
            }
        }
        if remembered.is_empty() {
            let hint = "name one: holdfast status POLICY; those that `holdfast run` ran are remembered";
            return Err(Fault::new(Code::CannotTell, "no policy is remembered on this host", hint));
        }
    }
    for word in &args.policies {
        let file = file_of(word, &remembered)?;
        known.push(read(&file, &remembered).map_err(|why| {
            let what = format!("cannot read the policy {}: {why}", file.display());
            Fault::usage(what, format!("see what is wrong with it: holdfast policy check {}", file.display()))
        })?);
    }
    Ok((known, unreadable))
}

/// The file that a word means: that of a remembered policy with this name, else itself.
fn file_of(word: &OsStr, remembered: &[Remembered]) -> Result<PathBuf, Fault> {
    let path = normalise(Path::new(word), &current_dir()?);
    let named = remembered.iter().find(|one| word == one.name.as_str() && !path.exists());
    Ok(named.map_or(path, |one| one.file.clone().into()))
}

/// Reads a policy; in words for people if that cannot be.
fn read(file: &Path, remembered: &[Remembered]) -> Result<Known, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let name = file.display().to_string();
    let mut policy = parse(&text, &name).map_err(|wrong| {
        let first = wrong.first().map(ToString::to_string).unwrap_or_default();
        let more = wrong.len().saturating_sub(1);
        if more == 0 { first } else { format!("{first} (and {more} more)") }
    })?;
    policy.settle(file.parent().unwrap_or(Path::new("/")), variable("HOME").as_deref().map(Path::new));
    let since: Option<Timestamp> =
        remembered.iter().find(|one| one.name == policy.name).map(|one| one.first_seen);
    Ok(Known { policy, file: name, since })
}

fn show(run: &Run, status: &Status) {
    let ink = &run.ink;
    if !ink.tone.json {
        return screen(status, &TimeZone::system()).lines().for_each(|line| ink.data(line));
    }
    status.sources.iter().for_each(|source| ink.json(&SourceStatusLine::new(source, status.now)));
    status.copies.iter().for_each(|copy| ink.json(&CopyStatusLine::new(copy, status.now)));
    status.slots.iter().for_each(|slot| ink.json(&SlotStatusLine::from(slot)));
    status.holds.iter().for_each(|hold| ink.json(&hold.line));
    status.channels.iter().for_each(|channel| ink.json(&ChannelStatusLine::from(channel)));
    status.silences.iter().for_each(|silence| ink.json(&SilenceLine::from(silence)));
    status.problems.iter().for_each(|problem| ink.json(&ProblemLine::from(problem)));
    ink.json(&StatusSummary::from(status));
}

/// Ends with what monitoring takes it for.
fn finish(status: &Status) -> Result<(), Fault> {
    let code = match status.state() {
        State::Ok => return Ok(()),
        State::Warning => Code::Degraded,
        State::High | State::Disaster => Code::Broken,
        State::Unknown => Code::CannotTell,
    };
    let count = |state: State| status.problems.iter().filter(|problem| problem.state == state).count() as u64;
    let told =
        [State::Disaster, State::High, State::Unknown, State::Warning].map(|state| (state, count(state)));
    let told = told.iter().filter(|(_, count)| *count > 0);
    let told: Vec<String> = told.map(|(state, count)| format!("{count} {}", state.word())).collect();
    let what = match &told[..] {
        [] => "of some sources nobody can tell from this host how they stand".to_owned(),
        told => {
            format!("{}: {}", counted(status.problems.len() as u64, "problem", "problems"), told.join(", "))
        }
    };
    Err(Fault::new(code, what, ""))
}

/// Whether a command line that cannot be understood is one of monitoring: its verb is `status`.
pub(crate) fn may_be_status(words: &[OsString]) -> bool {
    let command = Cli::command();
    let is_verb = |word: &&OsString| command.get_subcommands().any(|verb| *word == verb.get_name());
    words.iter().skip(1).find(is_verb).is_some_and(|word| word == "status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_command_of_monitoring_is_known() {
        let may = |text: &str| may_be_status(&text.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(may("holdfast status --x") && may("holdfast --json status a b --metrics"));
        assert!(!may("holdfast wal status --x") && !may("holdfast restore status") && !may("holdfast"));
    }
}
