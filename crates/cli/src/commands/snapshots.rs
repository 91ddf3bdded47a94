//! `snapshots`: which ones there are.

use super::evidence::proven::{Proof, Proofs};
use super::{Run, groups, pick};
use crate::args::SnapshotsArgs;
use crate::engine::maintain::{GroupBy, GroupKey, Hold, HoldScope, holds};
use crate::engine::{Repository, Snapshot, details, snapshots};
use crate::fault::Fault;
use crate::ink::{Align, ProofField, SnapshotLine, Table, counted, escape, local, size};
use holdfast_core::id::SessionId;
use std::collections::{BTreeMap, HashMap};

const COLUMNS: [(&str, Align); 8] = [
    ("ID", Align::Left),
    ("TIME", Align::Left),
    ("HOST", Align::Left),
    ("SOURCE", Align::Left),
    ("TAGS", Align::Left),
    ("SIZE", Align::Right),
    ("STATUS", Align::Left),
    ("PROVEN", Align::Left),
];

/// The columns that are left where room is scarce.
const COMPACT: [&str; 4] = ["ID", "TIME", "HOST", "TAGS"];

/// Lists the snapshots that are asked for, oldest first.
pub(crate) async fn run(run: &Run, args: &SnapshotsArgs) -> Result<(), Fault> {
    let filter = pick::filter(&args.pick, &args.path)?;
    let repository = run.open().await?;
    let outcome = snapshots(&run.ctx, &repository, &filter).await?;
    run.tell(&outcome.problems);
    let names = (&args.snapshots[..], &args.pick);
    let chosen = pick::chosen(run, &repository, outcome.value, names, |_| Ok(())).await?;
    let by = args.group_by.unwrap_or(GroupBy::NOTHING);
    let listed = newest(chosen, args.latest, by);
    let facts = if args.facts { facts(run, &repository, &listed).await? } else { Facts::new() };
    let holds = standing(run, &repository).await;
    let listing = Listing { run, args, holds, facts, proofs: proofs(run, &repository, &listed).await };
    if by == GroupBy::NOTHING || listed.is_empty() {
        listing.show(&listed);
    } else {
        listing.show_groups(&listed, by);
    }
    match outcome.problems.problem_count {
        0 => Ok(()),
        number => {
            let what = format!("{} cannot be read", counted(number, "snapshot", "snapshots"));
            Err(Fault::incomplete(what, "see how far it goes: holdfast check"))
        }
    }
}

/// Keeps the newest few of each stream, or of each group.
fn newest(mut listed: Vec<Snapshot>, latest: Option<u64>, by: GroupBy) -> Vec<Snapshot> {
    let Some(latest) = latest else { return listed };
    let mut seen = HashMap::new();
    listed.reverse();
    listed.retain(|snapshot| {
        let stream = (by == GroupBy::NOTHING).then_some(snapshot.summary.stream);
        let number = seen.entry((stream, GroupKey::of(&snapshot.summary, by))).or_insert(0);
        *number += 1;
        *number <= latest
    });
    listed.reverse();
    listed
}

/// What was recorded beside snapshots, by their ids.
type Facts = BTreeMap<SessionId, BTreeMap<String, String>>;

async fn facts(run: &Run, repository: &Repository, listed: &[Snapshot]) -> Result<Facts, Fault> {
    let mut facts = Facts::new();
    for snapshot in listed {
        let details = details(&run.ctx, repository, snapshot).await?;
        facts.insert(snapshot.id, details.facts.into_iter().collect());
    }
    Ok(facts)
}

/// The holds that stand. The list is of use without them too.
async fn standing(run: &Run, repository: &Repository) -> Vec<Hold> {
    holds(&run.ctx, repository).await.unwrap_or_else(|error| {
        run.ink.warn(&format!("cannot tell what is held: {error}"));
        Vec::new()
    })
}

/// What drills found; none if nobody can tell. The list is of use without that too.
async fn proofs(run: &Run, repository: &Repository, listed: &[Snapshot]) -> Option<Proofs> {
    if listed.is_empty() {
        return Some(Proofs::default());
    }
    match Proofs::read(run, repository).await {
        Ok(proofs) => {
            if proofs.lost > 0 {
                let records = counted(proofs.lost, "record is", "records are");
                let what = format!("{records} not as it should be, and may have proved something");
                run.ink.warn(&format!("{what}; see which: holdfast evidence verify"));
            }
            Some(proofs)
        }
        Err(error) => {
            run.ink.warn(&format!("cannot tell what drills proved: {error}"));
            None
        }
    }
}

/// How snapshots are listed.
struct Listing<'a> {
    run: &'a Run,
    args: &'a SnapshotsArgs,
    holds: Vec<Hold>,
    facts: Facts,
    proofs: Option<Proofs>,
}

impl Listing<'_> {
    fn show_groups(&self, listed: &[Snapshot], by: GroupBy) {
        let mut groups: BTreeMap<GroupKey, Vec<Snapshot>> = BTreeMap::new();
        for snapshot in listed {
            groups.entry(GroupKey::of(&snapshot.summary, by)).or_default().push(snapshot.clone());
        }
        for (at, (group, snapshots)) in groups.iter().enumerate() {
            if self.run.ink.tone.json {
                self.run.ink.json(&groups::line(group, snapshots.len()));
            } else {
                let space = if at == 0 { "" } else { "\n" };
                self.run.ink.data(&format!("{space}{}", groups::heading(group)));
            }
            self.show(snapshots);
        }
    }

    fn show(&self, listed: &[Snapshot]) {
        let ink = &self.run.ink;
        if ink.tone.json {
            let line = |snapshot: &Snapshot| {
                let facts = self.facts.get(&snapshot.id).cloned();
                let line = SnapshotLine::with_held(snapshot, self.is_held(snapshot)).with_facts(facts);
                line.with_proof(proof_field(self.proof(snapshot)))
            };
            return listed.iter().for_each(|snapshot| ink.json(&line(snapshot)));
        }
        if listed.is_empty() {
            return ink.talk("no snapshots");
        }
        let keep = |at: usize| !self.args.compact || COMPACT.contains(&COLUMNS[at].0);
        let columns: Vec<_> = (0..COLUMNS.len()).filter(|at| keep(*at)).map(|at| COLUMNS[at]).collect();
        let mut table = Table::new(&columns);
        for snapshot in listed {
            let cells = self.cells(snapshot).into_iter().enumerate();
            table.row(cells.filter(|(at, _)| keep(*at)).map(|(_, cell)| cell).collect());
        }
        ink.table(&table);
        for (snapshot, facts) in listed.iter().filter_map(|one| Some((one, self.facts.get(&one.id)?))) {
            ink.data(&format!("\n{}", pick::short_id(snapshot)));
            let line = |(name, value): (&String, &String)| {
                ink.data(&format!("  {}: {}", escape(name.as_bytes()), escape(value.as_bytes())));
            };
            facts.iter().for_each(line);
        }
        ink.talk(&counted(listed.len() as u64, "snapshot", "snapshots"));
    }

    fn is_held(&self, snapshot: &Snapshot) -> bool {
        self.holds.iter().any(|hold| match &hold.scope {
            HoldScope::All => true,
            HoldScope::Source(name) => *name == snapshot.summary.label,
            // What took its place is held too.
            HoldScope::Snapshot(id) => *id == snapshot.id || snapshot.summary.supersedes.contains(id),
        })
    }

    /// What drills found of a snapshot; else a word that says why there is nothing.
    fn proof(&self, snapshot: &Snapshot) -> Result<&Proof, &'static str> {
        let Some(proofs) = &self.proofs else { return Err("unknown") };
        // Where records are lost nobody can tell that nothing was proved.
        proofs.of_snapshot(snapshot).ok_or(if proofs.lost > 0 { "unknown" } else { "never" })
    }

    fn cells(&self, snapshot: &Snapshot) -> Vec<String> {
        let summary = &snapshot.summary;
        let status = match (summary.incomplete, summary.problems) {
            (false, _) => "ok".to_owned(),
            (true, number) => format!("incomplete ({})", counted(number, "problem", "problems")),
        };
        let held = if self.is_held(snapshot) { ", held" } else { "" };
        vec![
            pick::short_id(snapshot),
            local(summary.end),
            escape(summary.host.as_bytes()),
            pick::source_name(snapshot),
            escape(summary.tags.join(",").as_bytes()),
            size(summary.counts.bytes),
            format!("{status}{held}"),
            proven(self.proof(snapshot)),
        ]
    }
}

/// What was proved and when: the level of a proof, else the verdict.
fn proven(proof: Result<&Proof, &str>) -> String {
    let shown = match proof {
        Err("unknown") => return "cannot tell".to_owned(),
        Err(word) => return word.to_owned(),
        Ok(proof) => match (proof.verdict.as_str(), &proof.level) {
            ("pass", Some(level)) => format!("{level} {}", local(proof.time)),
            ("fail", _) => format!("FAIL {}", local(proof.time)),
            (verdict, _) => format!("{verdict} {}", local(proof.time)),
        },
    };
    escape(shown.as_bytes())
}

fn proof_field(proof: Result<&Proof, &str>) -> ProofField {
    match proof {
        Err(word) => ProofField::without(word),
        Ok(Proof { time, verdict, level, record, .. }) => {
            ProofField::new(verdict, *time, level.as_deref(), record)
        }
    }
}
