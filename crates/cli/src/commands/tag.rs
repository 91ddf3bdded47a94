//! `tag`: changes the tags of snapshots.

use super::{Run, pick};
use crate::args::TagArgs;
use crate::engine::{Repository, Right, Snapshot, TagChange, Tagged, snapshots, tag};
use crate::fault::Fault;
use crate::ink::{ChangedLine, TagSummary, counted, escape};
use crate::settings;

/// Changes the tags of what is named or picked, and tells which id became which.
pub(crate) async fn run(run: &Run, args: &TagArgs) -> Result<(), Fault> {
    let change = change(args)?;
    let picks = !(args.pick.host.is_empty() && args.pick.tag.is_empty() && args.pick.source.is_none());
    if args.snapshots.is_empty() && !picks {
        let hint = "name snapshots, or pick them with --host, --tag or --source";
        return Err(Fault::usage("no snapshots given", hint));
    }
    let repository = run.open_for(Right::Rewrite).await?;
    let chosen = chosen(run, args, &repository).await?;
    let mut told = |tagged: &Tagged| tell(run, tagged);
    let done = tag(&run.ctx, &repository, &chosen, &change, &mut told).await;
    let done = done.map_err(|error| Fault::from(error).or_interrupted(run.ctx.cancel.is_raised()))?;
    let changed = done.iter().filter(|tagged| tagged.new.is_some()).count() as u64;
    if run.ink.tone.json {
        run.ink.json(&TagSummary::from(&*done));
    } else if done.is_empty() {
        run.ink.talk("no snapshots fit; see which there are: holdfast snapshots");
    } else {
        run.ink.talk(&format!("{} changed", counted(changed, "snapshot", "snapshots")));
    }
    Ok(())
}

fn change(args: &TagArgs) -> Result<TagChange, Fault> {
    let change = TagChange {
        set: (!args.set.is_empty()).then(|| settings::split_tags(&args.set)),
        add: settings::split_tags(&args.add),
        remove: settings::split_tags(&args.remove),
    };
    if change == TagChange::default() {
        return Err(Fault::usage(
            "no tags given",
            "name them after --add or --remove; --set '' takes all away",
        ));
    }
    Ok(change)
}

async fn chosen(run: &Run, args: &TagArgs, repository: &Repository) -> Result<Vec<Snapshot>, Fault> {
    let mut chosen = Vec::new();
    for text in &args.snapshots {
        let (text, path) = settings::snapshot_and_path(text)?;
        if !path.is_empty() {
            let hint = "leave out the colon and what follows";
            return Err(Fault::usage("tags are of whole snapshots, not of a path in one", hint));
        }
        chosen.push(pick::one(run, repository, &text, b"", &args.pick).await?.snapshot);
    }
    if args.snapshots.is_empty() {
        let outcome = snapshots(&run.ctx, repository, &settings::filter_of(&args.pick)).await?;
        run.tell(&outcome.problems);
        chosen = outcome.value;
    }
    Ok(chosen)
}

fn tell(run: &Run, tagged: &Tagged) {
    if run.ink.tone.json {
        return run.ink.json_now(&ChangedLine::from(tagged));
    }
    let short = |id: &dyn ToString| id.to_string()[..8].to_owned();
    let (old, tags) = (short(&tagged.old), escape(tagged.tags.join(",").as_bytes()));
    let tags = if tags.is_empty() { "no tags".to_owned() } else { tags };
    match &tagged.new {
        Some(new) => run.ink.data(&format!("{old} -> {}  {tags}", short(new))),
        None => run.ink.data(&format!("{old} unchanged  {tags}")),
    }
}
