//! What is told, to whom: from what is wrong now and what was told before.
//!
//! Of each thing: opened once, told again with growing patience, told at once when it is worse than a
//! channel knows, resolved once, to those who know of it. What comes and goes stays open until it stayed
//! away. On purpose not here: words, and anything that has to be asked for.

use super::blind::Sight;
use super::channel::Channel;
use super::message::Event;
use super::rules::{NEWER_MAX, OPENINGS_COUNT_FOR, again_after, escalated, gone_for, is_beyond};
use super::stored::{Silence, Stored, Text, ToldTo, fingerprint};
use crate::status::{Problem, State};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What is decided from, of one policy.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What time it is.
    pub now: Timestamp,
    /// What is wrong with the policy.
    pub problems: &'a [&'a Problem],
    /// What could be looked at.
    pub sight: Sight<'a>,
    /// Alerts of the policy, open and closed.
    pub stored: &'a [Stored],
    /// What is to be quiet.
    pub silences: &'a [Silence],
    /// Who is told.
    pub channels: &'a [Channel],
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// By which channel.
    pub channel: String,
    /// What it is.
    pub event: Event,
    /// Which message of the episode.
    pub number: u32,
}

/// What becomes of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// As it is now.
    pub alert: Stored,
    /// What is told of it.
    pub told: Vec<Told>,
}

/// Decides; alerts of which nothing changes are left out.
#[must_use]
pub fn decide(input: &Input<'_>) -> Vec<Step> {
    let mut observed: BTreeMap<String, &Problem> = BTreeMap::new();
    for problem in input.problems {
        let entry = observed.entry(fingerprint(problem)).or_insert(problem);
        // Of several of one kind the worst says the others.
        if problem.state > entry.state {
            *entry = problem;
        }
    }
    let known = input.stored.iter().map(|stored| {
        let step = step(input, stored.clone(), observed.remove(&stored.fingerprint));
        (Some(stored), step)
    });
    let known: Vec<(Option<&Stored>, Step)> = known.collect();
    let new = observed
        .into_values()
        .map(|problem| (None, step(input, Stored::new(problem, input.now), Some(problem))));
    let all = known.into_iter().chain(new);
    all.filter(|(before, step)| *before != Some(&step.alert)).map(|(_, step)| step).collect()
}

fn step(input: &Input<'_>, alert: Stored, problem: Option<&Problem>) -> Step {
    let mut step = Step { alert, told: Vec::new() };
    if is_newer(&step.alert, input.now) {
        return step;
    }
    believe(&mut step.alert, input.now);
    match problem {
        Some(problem) => observe(input, &mut step.alert, problem),
        None if !step.alert.open => return step,
        None if input.sight.is_blind(&step.alert) => step.alert.gone = None,
        None => _ = step.alert.gone.get_or_insert(input.now),
    }
    let alert = &mut step.alert;
    alert.severity = escalated(&alert.condition, alert.state, alert.since, input.now);
    let is_quiet =
        alert.severity < State::Disaster && !alert.told.values().any(|told| told.severity == State::Disaster);
    if is_quiet && input.silences.iter().any(|silence| silence.covers(alert, input.now)) {
        return step;
    }
    match alert.gone {
        Some(gone) => close(input, &mut step, gone),
        None => input.channels.iter().for_each(|channel| tell(input.now, &mut step, channel)),
    }
    step
}

/// Whether somebody changed it who looked later than this look: what was seen before says nothing of it.
fn is_newer(alert: &Stored, now: Timestamp) -> bool {
    let told = alert.told.values().map(|told| told.at);
    let mut moments = told.chain([alert.since]).chain(alert.gone).chain(alert.closed);
    // What lies further ahead was not written by a look that went on beside this one, but by another clock.
    moments.any(|at| at > now && at.duration_since(now) <= NEWER_MAX)
}

/// What a clock wrote that had leapt ahead is taken for written now, or nothing would be told for years.
fn believe(alert: &mut Stored, now: Timestamp) {
    let told = alert.told.values_mut().map(|told| &mut told.at);
    let ends = alert.gone.iter_mut().chain(&mut alert.closed);
    let all = told.chain(ends).chain(&mut alert.openings).chain([&mut alert.since]);
    all.filter(|at| is_beyond(**at, now)).for_each(|at| *at = now);
}

/// Takes in how it is now.
fn observe(input: &Input<'_>, alert: &mut Stored, problem: &Problem) {
    if !alert.open {
        let openings = alert.openings.iter().copied();
        alert.openings = openings.filter(|at| input.now.duration_since(*at) < OPENINGS_COUNT_FOR).collect();
        alert.episode += 1;
        (alert.open, alert.since, alert.closed) = (true, input.now, None);
        (alert.messages, alert.told) = (0, BTreeMap::new());
    }
    alert.gone = None;
    alert.state = problem.state;
    problem.condition.clone_into(&mut alert.condition);
    alert.by_reading = input.sight.reads();
    alert.text = Text::from(problem);
}

/// Closes it, if it stayed away for long enough, and tells those who know of it.
fn close(input: &Input<'_>, step: &mut Step, gone: Timestamp) {
    let openings = step.alert.openings.iter();
    let openings = openings.filter(|at| input.now.duration_since(**at) < OPENINGS_COUNT_FOR).count();
    let is_known = !step.alert.told.is_empty();
    if is_known && input.now.duration_since(gone) < gone_for(openings) {
        return;
    }
    for channel in input.channels {
        if step.alert.told.contains_key(&channel.id) {
            add(&mut step.alert, &mut step.told, channel, Event::Resolved);
        }
    }
    let alert = &mut step.alert;
    (alert.open, alert.gone, alert.closed) = (false, None, Some(input.now));
}

/// Tells one channel, if there is something to tell.
fn tell(now: Timestamp, step: &mut Step, channel: &Channel) {
    let alert = &mut step.alert;
    let severity = alert.severity;
    // Nobody is told by a channel that it does not work.
    let is_itself = alert.channel.as_ref() == Some(&channel.id);
    if is_itself || !channel.hears(severity) {
        return;
    }
    let event = match alert.told.get(&channel.id) {
        None => Event::Opened,
        Some(told) if severity > told.severity => Event::Worsened,
        Some(told) if now.duration_since(told.at) >= again_after(severity, told.reminders) => Event::Reminder,
        Some(_) => return,
    };
    if event == Event::Opened && alert.told.is_empty() {
        alert.openings.push(now);
    }
    let before = alert.told.get(&channel.id);
    let reminders = before.filter(|_| event == Event::Reminder).map_or(0, |told| told.reminders + 1);
    // The worst that it knows: what goes to and fro between two is told once.
    let severity = before.map_or(severity, |told| told.severity.max(severity));
    alert.told.insert(channel.id.clone(), ToldTo { severity, at: now, reminders });
    add(alert, &mut step.told, channel, event);
}

fn add(alert: &mut Stored, told: &mut Vec<Told>, channel: &Channel, event: Event) {
    alert.messages += 1;
    told.push(Told { channel: channel.id.clone(), event, number: alert.messages });
}
