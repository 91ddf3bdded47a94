//! `ls`: what is in a snapshot.

use super::versions::{Newest, state};
use super::{Run, pick};
use crate::args::LsArgs;
use crate::engine::Right;
use crate::engine::list;
use crate::fault::Fault;
use crate::ink::{Node, SnapshotLine, escape, local, size};
use crate::settings;
use holdfast_core::entry::{Entry, Kind};
use holdfast_core::version::{shown_key, split_version};

/// Lists a snapshot's entries, in the order of their paths.
pub(crate) async fn run(run: &Run, args: &LsArgs) -> Result<(), Fault> {
    let (text, path) = settings::snapshot_and_path(&args.snapshot)?;
    let repository = run.open_for(Right::Read).await?;
    let resolved = pick::one(run, &repository, &text, &path, &args.pick).await?;
    let snapshot = &resolved.snapshot;
    if run.ink.tone.json {
        run.ink.json(&SnapshotLine::from(snapshot));
    }
    run.ink.talk(&pick::described(snapshot, run.ctx.clock.now()));
    pick::passed_over(&resolved).iter().for_each(|text| run.ink.talk(text));
    let path = settings::path_in(snapshot.summary.space, &path);
    let recursive = args.recursive || path.is_empty();
    let mut show = |entry: &Entry, is_newest: Option<bool>| show(run, args, entry, is_newest);
    let mut newest = Newest::default();
    let mut visit = |entry: &Entry| newest.take(entry.clone(), &mut show);
    let result = list(&run.ctx, &repository, snapshot, &path, recursive, &mut visit).await;
    newest.end(result.is_ok(), &mut show);
    // Whoever reads us had enough: that is no failure, and `close` tells it from a full disk.
    if run.ink.is_heard() { Ok(result?) } else { Ok(()) }
}

fn show(run: &Run, args: &LsArgs, entry: &Entry, is_newest: Option<bool>) {
    if run.ink.tone.json {
        run.ink.json(&Node::listed(entry, is_newest));
    } else {
        run.ink.data(&line(args, entry, is_newest));
    }
    if !run.ink.is_heard() {
        run.ctx.cancel.raise();
    }
}

/// A path; of a version also its time, and what it is among the others.
fn line(args: &LsArgs, entry: &Entry, is_newest: Option<bool>) -> String {
    let version = split_version(&entry.key).map(|(_, version)| version);
    let state = version.map(|version| format!("{:<8}", state(&version, is_newest.unwrap_or_default())));
    match state {
        state if args.long => long_line(entry, &state.unwrap_or_default(), args.human_readable),
        Some(state) => format!("{} {state}{}", local(entry.mtime), shown_path(entry)),
        None => shown_path(entry),
    }
}

/// The path of an entry, of a version with its id.
pub(super) fn shown_path(entry: &Entry) -> String {
    escape(&shown_key(&entry.key))
}

pub(super) fn long_line(entry: &Entry, before_path: &str, human: bool) -> String {
    let name =
        |name: &str, number: u32| if name.is_empty() { number.to_string() } else { escape(name.as_bytes()) };
    let owner = name(&entry.owner.user, entry.owner.uid);
    let group = name(&entry.owner.group, entry.owner.gid);
    let size_text = match entry.attributes.device {
        Some((major, minor)) => format!("{major},{minor}"),
        None if human => size(entry.size),
        None => entry.size.to_string(),
    };
    let target = entry.attributes.link_target.as_deref();
    let arrow = target.map(|target| format!(" -> {}", escape(target))).unwrap_or_default();
    let (mode, time, path) = (mode_text(entry.kind, entry.mode), local(entry.mtime), shown_path(entry));
    format!("{mode} {owner:<8} {group:<8} {size_text:>12} {time} {before_path}{path}{arrow}")
}

/// Writes kind and permissions as `ls -l` does.
fn mode_text(kind: Kind, mode: u16) -> String {
    let kind = match kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
    };
    let triple = |shift: u16, special: bool, letter: char| {
        let bits = mode >> shift;
        let execute = match (special, bits & 1 != 0) {
            (false, true) => 'x',
            (false, false) => '-',
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
        };
        [if bits & 4 != 0 { 'r' } else { '-' }, if bits & 2 != 0 { 'w' } else { '-' }, execute]
    };
    let user = triple(6, mode & 0o4000 != 0, 's');
    let group = triple(3, mode & 0o2000 != 0, 's');
    let others = triple(0, mode & 0o1000 != 0, 't');
    std::iter::once(kind).chain(user).chain(group).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_in_ls() {
        assert_eq!(mode_text(Kind::File, 0o644), "-rw-r--r--");
        assert_eq!(mode_text(Kind::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(mode_text(Kind::File, 0o4755), "-rwsr-xr-x");
        assert_eq!(mode_text(Kind::File, 0o2640), "-rw-r-S---");
        assert_eq!(mode_text(Kind::Symlink, 0o777), "lrwxrwxrwx");
    }
}
