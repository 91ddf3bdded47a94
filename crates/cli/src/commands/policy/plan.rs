//! `policy plan`: what a policy comes down to.
//!
//! On purpose not here: what the rules say of the snapshots that there are (`kept`), and what it comes
//! down to in numbers (`outlook`).

use super::super::Run;
use super::{Lines, Text, all, kept, outlook, settle, tell_lint};
use crate::args::PolicyPlanArgs;
use crate::fault::Fault;
use crate::ink::{
    Align, Ink, PolicyFollowsLine, PolicyKeptLine, PolicyKeyLine, PolicyRunLine, PolicyToldLine, Table,
    escape,
};
use holdfast_core::entry::Time;
use holdfast_scheduler::policy::Policy;
use holdfast_scheduler::policy::lint::{Lint, lint};
use holdfast_scheduler::policy::plan::{
    self, Coming, Follows, Hand, Hears, Kept, coming, follows, hands, told,
};
use jiff::Timestamp;

/// Shows what a policy comes down to.
pub(super) async fn run(run: &Run, args: &PolicyPlanArgs) -> Result<(), Fault> {
    let (text, mut policy) = all(run, &[&args.file])?.remove(0);
    let mut lints = lint(&policy);
    let now = timestamp(run.ctx.clock.now());
    let coming = coming(&policy, now, args.next.into()).map_err(|why| Fault::usage(why, ""))?;
    let (follows, hands, rules_of) = (follows(&policy), hands(&policy), plan::kept(&policy));
    let heard_by = told(&policy);
    let ink = &run.ink;
    if ink.tone.json {
        coming.iter().for_each(|line| ink.json(&PolicyRunLine::from(line)));
        follows.iter().for_each(|line| ink.json(&PolicyFollowsLine::from(line)));
        hands.iter().for_each(|line| ink.json(&PolicyKeyLine::from(line)));
        rules_of.iter().for_each(|line| ink.json(&PolicyKeptLine::from(line)));
        heard_by.iter().for_each(|line| ink.json(&PolicyToldLine::from(line)));
    } else {
        ink.table(&runs(&coming, &follows));
        ink.data("");
        ink.table(&keys(&policy, &hands));
        ink.data("");
        ink.table(&rules(&rules_of));
        ink.data("");
        ink.table(&listeners(&heard_by));
    }
    if !args.offline {
        run.listen()?;
        settle(&text, &mut policy)?;
        kept::show(ink, &kept::look(run, &policy).await);
        let outlook = outlook::look(run, &policy).await;
        outlook::show(ink, &outlook);
        lints.extend(outlook.lints);
        lints.sort_by_key(|lint| lint.severity);
    }
    tell_lints(ink, &text, &lints);
    Ok(())
}

fn timestamp(time: Time) -> Timestamp {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    Timestamp::new(time.seconds, nanos).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn runs(coming: &[Coming], follows: &[Follows]) -> Table {
    let mut table = Table::new(&["WHEN", "ZONE", "WHAT"].map(|name| (name, Align::Left)));
    for line in coming {
        let zone = line.at.time_zone().iana_name().unwrap_or("UTC").to_owned();
        table.row(vec![line.at.strftime("%a %Y-%m-%d %H:%M:%S %:z").to_string(), zone, line.what.clone()]);
    }
    for line in follows {
        table.row(vec![format!("after {}", line.after), String::new(), line.what.clone()]);
    }
    table
}

fn keys(policy: &Policy, hands: &[Hand]) -> Table {
    let mut table = Table::new(&["PLACE", "ACTIVITY", "OPENED BY"].map(|name| (name, Align::Left)));
    let drilled_by =
        policy.drill.as_ref().map(|drill| drill.hosts.join(", ")).filter(|hosts| !hosts.is_empty());
    for hand in hands {
        let opened_by = hand.opened_by.as_deref().unwrap_or("not on this host");
        let only = drilled_by.iter().filter(|_| hand.opened_by.is_some() && hand.activity.contains("drill"));
        let opened_by =
            only.fold(opened_by.to_owned(), |text, hosts| format!("{text}; drills on {hosts} only"));
        let cells = [hand.place.as_str(), hand.activity, &opened_by];
        table.row(cells.map(|cell| escape(cell.as_bytes())).to_vec());
    }
    table
}

fn rules(kept: &[Kept]) -> Table {
    let mut table = Table::new(&["KEPT IN", "BY", "WHAT"].map(|name| (name, Align::Left)));
    for line in kept {
        table.row(vec![line.place.clone(), line.rule.clone(), line.keeps.clone()]);
    }
    table
}

fn listeners(heard_by: &[Hears]) -> Table {
    let mut table = Table::new(&["WHO IS TOLD", "OF", "ADDRESS FROM"].map(|name| (name, Align::Left)));
    for line in heard_by {
        let cells = [&*line.who, &*line.what, line.address.as_deref().unwrap_or_default()];
        table.row(cells.map(|cell| escape(cell.as_bytes())).to_vec());
    }
    if heard_by.is_empty() {
        table.row(vec!["nobody".into(), "`holdfast status` says how it stands".into(), String::new()]);
    }
    table
}

fn tell_lints(ink: &Ink, text: &Text, lints: &[Lint]) {
    if lints.is_empty() {
        return;
    }
    if !ink.tone.json {
        ink.data("");
    }
    let lines = Lines::of(text);
    lints.iter().for_each(|lint| tell_lint(ink, &text.file, &lines, lint));
}
