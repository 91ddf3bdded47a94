//! `hold`: stops forget and prune, lists what is held, lets go again.

use super::{Run, held, pick};
use crate::args::{HoldArgs, Pick};
use crate::engine::maintain::{Hold, HoldScope, hold, holds, release};
use crate::engine::{Repository, Right, Snapshot, SnapshotFilter, snapshots};
use crate::fault::Fault;
use crate::ink::{Align, HoldLine, Table, counted, escape, local, parse_duration, parse_time};
use holdfast_core::entry::Time;
use holdfast_core::id::hex;
use std::collections::BTreeSet;

/// Puts holds, releases them, or lists those that stand.
pub(crate) async fn run(run: &Run, args: &HoldArgs) -> Result<(), Fault> {
    let names = !args.words.is_empty() || !args.source.is_empty() || args.all;
    let reason = args.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    match (names, args.release, reason) {
        (false, true, _) => {
            let hint = "name ids of `holdfast hold`, snapshots or sources, or --all";
            Err(Fault::usage("nothing says which hold to release", hint))
        }
        (true, false, None) => {
            let hint = "say it for whoever meets the hold later: --reason 'files are being encrypted'";
            Err(Fault::usage("a hold needs a reason", hint))
        }
        (false, false, _) if args.reason.is_some() => {
            Err(Fault::usage("nothing says what to hold", "name snapshots or sources, or --all"))
        }
        (true, true, _) => let_go(run, args).await,
        (true, false, Some(reason)) => put(run, args, reason).await,
        (false, false, _) => list(run).await,
    }
}

async fn list(run: &Run) -> Result<(), Fault> {
    let repository = run.open().await?;
    let standing = holds(&run.ctx, &repository).await?;
    if run.ink.tone.json {
        standing.iter().for_each(|hold| run.ink.json(&HoldLine::new("hold", hold)));
    } else if standing.is_empty() {
        run.ink.talk("nothing is held");
    } else {
        run.ink.table(&table(&standing));
    }
    Ok(())
}

fn table(standing: &[Hold]) -> Table {
    let columns = ["ID", "HOLDS", "SINCE", "UNTIL", "REASON"].map(|name| (name, Align::Left));
    let mut table = Table::new(&columns);
    for hold in standing {
        table.row(vec![
            held::short_id(hold),
            held::scope(hold),
            local(hold.since),
            hold.until.map_or_else(|| "released".to_owned(), local),
            escape(hold.reason.as_bytes()),
        ]);
    }
    table
}

async fn put(run: &Run, args: &HoldArgs, reason: &str) -> Result<(), Fault> {
    let until = args.until.as_deref().map(|text| until(text, run.ctx.clock.now())).transpose()?;
    let repository = run.open_for(Right::Maintain).await?;
    let scopes = scopes(run, args, &repository).await?;
    let put = hold(&run.ctx, &repository, &scopes, reason, until).await?;
    for hold in &put {
        if run.ink.tone.json {
            run.ink.json(&HoldLine::new("hold_put", hold));
        } else {
            run.ink.data(&held::described(hold));
        }
    }
    if put.iter().any(|hold| hold.scope == HoldScope::All) {
        run.ink.talk("forget and prune do nothing now, wherever they run");
    }
    Ok(())
}

/// Reads until when: a moment, or how long from now.
fn until(text: &str, now: Time) -> Result<Time, Fault> {
    let wrong = |what: String| Fault::usage(format!("--until: {what}"), "write 2027-04-01, 12h or 14d");
    let time = match (parse_time(text), parse_duration(text)) {
        (Ok(time), _) => time,
        (_, Ok(span)) => {
            let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
            Time { seconds: now.seconds.saturating_add(seconds), ..now }
        }
        (Err(_), Err(_)) => {
            let text = escape(text.as_bytes());
            return Err(wrong(format!("`{text}` is neither a time nor how long")));
        }
    };
    if time > now { Ok(time) } else { Err(wrong(format!("{} is past", local(time)))) }
}

/// What there is that a word can mean.
struct Known {
    snapshots: Vec<Snapshot>,
    sources: BTreeSet<String>,
}

impl Known {
    async fn read(run: &Run, repository: &Repository) -> Result<Self, Fault> {
        let listed = snapshots(&run.ctx, repository, &SnapshotFilter::default()).await?;
        run.tell(&listed.problems);
        let sources = listed.value.iter().map(|snapshot| snapshot.summary.label.clone()).collect();
        Ok(Self { snapshots: listed.value, sources })
    }

    /// The scopes that a word can mean, each with words for it.
    fn meant(&self, word: &str) -> Vec<(HoldScope, String)> {
        let fits = |one: &&Snapshot| one.id.to_string().starts_with(word);
        let snapshot = |one: &Snapshot| {
            let text = format!("{}  {}  {}", one.id, local(one.summary.end), pick::source_name(one));
            (HoldScope::Snapshot(one.id), text)
        };
        let source = |name: &String| {
            (HoldScope::Source(name.clone()), format!("the source {}", escape(name.as_bytes())))
        };
        let sources = self.sources.iter().filter(|name| *name == word).map(source);
        self.snapshots.iter().filter(fits).map(snapshot).chain(sources).collect()
    }

    fn unknown(&self, word: &str) -> Fault {
        let names: Vec<_> = self.sources.iter().map(|name| escape(name.as_bytes())).collect();
        let what = format!("there is no snapshot and no source {}", escape(word.as_bytes()));
        let hint =
            if names.is_empty() { String::new() } else { format!("sources are: {}", names.join(", ")) };
        Fault::failed(what, hint)
    }
}

async fn scopes(run: &Run, args: &HoldArgs, repository: &Repository) -> Result<Vec<HoldScope>, Fault> {
    let mut scopes: Vec<HoldScope> = args.all.then_some(HoldScope::All).into_iter().collect();
    if args.words.is_empty() && args.source.is_empty() {
        return Ok(scopes);
    }
    let known = Known::read(run, repository).await?;
    for name in &args.source {
        if !known.sources.contains(name) {
            return Err(known.unknown(name));
        }
        scopes.push(HoldScope::Source(name.clone()));
    }
    for word in &args.words {
        scopes.push(scope(run, repository, &known, &word.to_string_lossy()).await?);
    }
    Ok(scopes)
}

async fn scope(run: &Run, repository: &Repository, known: &Known, word: &str) -> Result<HoldScope, Fault> {
    match word {
        "" => return Err(Fault::usage("a name is empty", "is a variable of your script not set?")),
        "latest" => {
            let latest = pick::one(run, repository, word, b"", &Pick::default()).await?;
            return Ok(HoldScope::Snapshot(latest.snapshot.id));
        }
        _ => {}
    }
    let mut meant = known.meant(word);
    match meant.len() {
        0 => Err(known.unknown(word)),
        1 => Ok(meant.remove(0).0),
        _ => Err(several(word, meant.into_iter().map(|(_, text)| text))),
    }
}

fn several(word: &str, meant: impl Iterator<Item = String>) -> Fault {
    let meant = meant.collect::<Vec<_>>().join("\n");
    let what = format!("`{}` could mean several things:\n{meant}", escape(word.as_bytes()));
    Fault::usage(what, "write more of the id, or --source NAME for a source")
}

async fn let_go(run: &Run, args: &HoldArgs) -> Result<(), Fault> {
    let repository = run.open_for(Right::Maintain).await?;
    let standing = holds(&run.ctx, &repository).await?;
    let chosen = chosen(args, &standing)?;
    let released = release(&run.ctx, &repository, &chosen).await?;
    for hold in &released {
        if run.ink.tone.json {
            run.ink.json(&HoldLine::new("hold_released", hold));
        } else {
            run.ink.data(&format!("released {}", held::described(hold)));
        }
    }
    let left: Vec<_> = standing.iter().filter(|hold| !chosen.contains(&hold.id)).collect();
    if !left.is_empty() {
        let number = counted(left.len() as u64, "hold stands", "holds stand");
        run.ink.talk(&format!("{number} yet; see which: holdfast hold"));
    }
    Ok(())
}

/// Finds the holds that are to be released: by their ids, or by what they hold.
fn chosen(args: &HoldArgs, standing: &[Hold]) -> Result<Vec<[u8; 16]>, Fault> {
    let mut chosen = BTreeSet::new();
    let mut take = |found: &[&Hold], what: String| match found {
        [] => {
            let what = format!("no hold that stands is {what}");
            Err(Fault::failed(what, "see which there are: holdfast hold"))
        }
        found => {
            chosen.extend(found.iter().map(|hold| hold.id));
            Ok(())
        }
    };
    let on = |scope: &HoldScope| standing.iter().filter(|hold| hold.scope == *scope).collect::<Vec<_>>();
    if args.all {
        take(&on(&HoldScope::All), "on everything".to_owned())?;
    }
    for name in &args.source {
        take(&on(&HoldScope::Source(name.clone())), format!("on source {}", escape(name.as_bytes())))?;
    }
    for word in &args.words {
        let word = word.to_string_lossy();
        take(&called(&word, standing)?, escape(word.as_bytes()))?;
    }
    Ok(chosen.into_iter().collect())
}

/// Finds the hold with such an id, or those that hold one thing.
fn called<'a>(word: &str, standing: &'a [Hold]) -> Result<Vec<&'a Hold>, Fault> {
    let names = |hold: &&Hold| match &hold.scope {
        HoldScope::All => false,
        HoldScope::Source(name) => name == word,
        HoldScope::Snapshot(id) => id.to_string().starts_with(word),
    };
    let by_id = || standing.iter().filter(|hold| hex(&hold.id).starts_with(word));
    let by_name: Vec<_> = standing.iter().filter(names).collect();
    let one_thing = by_name.iter().all(|hold| hold.scope == by_name[0].scope);
    match (by_id().count(), by_name.len()) {
        _ if word.is_empty() => Ok(Vec::new()),
        (0, _) if one_thing => Ok(by_name),
        (1, 0) => Ok(by_id().collect()),
        _ => Err(several(word, by_id().chain(by_name).map(held::described))),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::fault::Code;
    use holdfast_core::id::SessionId;

    fn standing(id: u8, scope: HoldScope) -> Hold {
        Hold { id: [id; 16], scope, reason: "why".into(), since: Time::default(), until: None }
    }

    fn args(words: &[&str], source: &[&str], all: bool) -> HoldArgs {
        HoldArgs {
            words: words.iter().map(Into::into).collect(),
            source: source.iter().map(|&name| name.to_owned()).collect(),
            all,
            reason: None,
            until: None,
            release: true,
        }
    }

    #[test]
    fn holds_are_released_by_id_and_by_what_they_hold() {
        let there = [
            standing(0xa1, HoldScope::All),
            standing(0xa2, HoldScope::Source("shop/db".into())),
            standing(0xb3, HoldScope::Source("shop/db".into())),
            standing(0xb4, HoldScope::Snapshot(SessionId([0xa2; 16]))),
        ];
        let ids =
            |args: &HoldArgs| chosen(args, &there).map(|ids| ids.iter().map(|id| id[0]).collect::<Vec<_>>());
        assert_eq!(ids(&args(&["b4"], &[], false)).unwrap(), [0xb4]);
        assert_eq!(ids(&args(&["shop/db"], &[], false)).unwrap(), [0xa2, 0xb3]);
        assert_eq!(ids(&args(&[], &["shop/db"], true)).unwrap(), [0xa1, 0xa2, 0xb3]);
        // The id of a hold, and the id of a snapshot that another holds.
        assert_eq!(ids(&args(&["a2"], &[], false)).unwrap_err().code, Code::Usage);
        for unknown in [args(&["nothing"], &[], false), args(&[""], &[], false), args(&[], &["x"], false)] {
            assert_eq!(ids(&unknown).unwrap_err().code, Code::Failed);
        }
    }

    #[test]
    fn an_end_is_a_moment_or_a_while() {
        let now = Time { seconds: 1_764_000_000, nanos: 7 };
        assert_eq!(until("2d", now).unwrap(), Time { seconds: now.seconds + 172_800, nanos: 7 });
        assert_eq!(until("2100-01-01T00:00:00Z", now).unwrap().seconds, 4_102_444_800);
        for text in ["2001-01-01", "0", "soon"] {
            assert_eq!(until(text, now).unwrap_err().code, Code::Usage, "{text}");
        }
    }
}
