//! The course of a drill: from programs over walls and log to a server that has reached its point, and
//! to its end, which comes whatever happens.
//!
//! On purpose not here: what is looked at once it is up.

use super::bench::{Bench, Watch};
use super::control::Control;
use super::isolation::Isolation;
use super::links::{Ground, survey};
use super::programs::Programs;
use super::run::{Ran, run};
use super::server::Running;
use super::start::{self, Opened, USUAL_ROLE};
use super::trail::Trail;
use super::user::{Owners, User};
use super::walls::{Cover, covers};
use super::{Drill, Proved, amcheck, assertions, checks, dumps, manifest, way};
use crate::lsn::Lsn;
use holdfast_engine::ctx::Cancel;
use holdfast_engine::proof::{Cause, Level, Probe};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// So often it is looked whether the drill shall stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So long a small program may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts a restored cluster, looks at it, and stops it. Whatever goes wrong is a finding.
pub async fn prove(drill: &Drill<'_>) -> Proved {
    let mut proved = Proved::default();
    let mut server = None;
    let stopped = {
        let (proved, server) = (&mut proved, &mut server);
        let course = async move {
            match &drill.dumps {
                Some(dumps) => dumps::course(drill, dumps, proved, server).await,
                None => course(drill, proved, server).await,
            }
        };
        tokio::pin!(course);
        tokio::select! {
            _ = &mut course => false,
            () = raised(&drill.cancel) => true,
        }
    };
    let mut probe = Probe::new("end", Level::Boot);
    if let Some(mut running) = server.take()
        && let Err(error) = running.quit().await
    {
        probe.finds(Cause::Environment, format!("the server could not be ended: {error}"), "");
    }
    if stopped {
        probe.finds(Cause::Environment, "the drill was stopped before its end", "");
    }
    if !probe.findings.is_empty() {
        proved.probes.push(probe);
    }
    proved
}

async fn raised(cancel: &Cancel) {
    while !cancel.is_raised() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What is known before a server is started.
pub(super) struct Prepared {
    pub ground: Ground,
    pub programs: Programs,
    pub control: Control,
    pub isolation: Isolation,
    pub trail: Trail,
    /// The superuser that is tried first.
    pub role: String,
}

async fn course(drill: &Drill<'_>, proved: &mut Proved, server: &mut Option<Running>) -> Option<()> {
    if drill.level < Level::Boot {
        return None;
    }
    let prepared = prepare(drill, proved).await?;
    let clock = &*drill.clock;
    let watch = Watch::begin(clock);
    let mut probe = Probe::new("boot", Level::Boot);
    let opened = start::open(drill, &prepared, &mut probe, server).await;
    proved.phases.push(("replay".to_owned(), watch.seconds()));
    probe.seconds = watch.seconds();
    let opened = keep(proved, probe, opened)?;
    let Prepared { ground, programs, control, isolation, trail, .. } = prepared;
    let Opened { sockets, role, replayed } = opened;
    let watch = Watch::begin(clock);
    let bench = Bench { drill, ground, programs, isolation, sockets, role, trail, replayed, watch };
    proved.probes.push(point(&bench));
    proved.reached = Some(Level::Boot);
    if drill.level < Level::Check {
        return Some(());
    }
    looked_through(&bench, &mut proved.probes).await;
    let is_whole = match server {
        Some(running) => running.stop().await.unwrap_or(false),
        None => false,
    };
    let one = Watch::begin(clock);
    let mut probe = checks::checksums(&bench, control.checksums && is_whole).await;
    if control.checksums && !is_whole {
        probe.not_provable = vec!["the server did not stop in order, so that they cannot be read".to_owned()];
    }
    probe.seconds = one.seconds();
    proved.probes.push(probe);
    proved.phases.push(("checks".to_owned(), bench.watch.seconds()));
    proved.reached = Some(amcheck::reached(drill.level, &proved.probes));
    Some(())
}

/// Looks at all that is in it, and asks what its users state.
pub(super) async fn looked_through(bench: &Bench<'_>, probes: &mut Vec<Probe>) {
    let (drill, first) = (bench.drill, probes.len());
    let one = Watch::begin(&*drill.clock);
    checks::look(bench, probes).await;
    stamp(&mut probes[first..], &one);
    if drill.level < Level::Full {
        return;
    }
    for assertion in &drill.assertions {
        let one = Watch::begin(&*drill.clock);
        let mut probe = assertions::look(bench, assertion).await;
        probe.seconds = one.seconds();
        probes.push(probe);
    }
}

/// Shares the time that probes took together among those that say none themselves.
fn stamp(probes: &mut [Probe], watch: &Watch<'_>) {
    let silent = probes.iter().filter(|probe| probe.seconds == 0.0).count().max(1);
    let known: f64 = probes.iter().map(|probe| probe.seconds).sum();
    let each = (watch.seconds() - known).max(0.0) / silent as f64;
    probes.iter_mut().filter(|probe| probe.seconds == 0.0).for_each(|probe| probe.seconds = each);
}

/// Keeps a probe, and goes on if there is something to go on with.
pub(super) fn keep<T>(proved: &mut Proved, probe: Probe, outcome: Option<T>) -> Option<T> {
    proved.probes.push(probe);
    outcome
}

async fn prepare(drill: &Drill<'_>, proved: &mut Proved) -> Option<Prepared> {
    let mut probe = Probe::new("server programs", Level::Boot);
    let found = programs(drill, &mut probe).await;
    let (programs, control) = keep(proved, probe, found)?;
    let mut probe = Probe::new("isolation", Level::Boot);
    let found = isolate(drill, &programs, &mut probe).await;
    let (ground, isolation, is_other) = keep(proved, probe, found)?;
    if !drill.verified
        && let Some(probe) = manifest::look(drill, &ground, &programs, &isolation).await
    {
        proved.probes.push(probe);
    }
    let watch = Watch::begin(&*drill.clock);
    let mut probe = Probe::new("log", Level::Boot);
    let found = way::trail(drill, &ground, &control, &mut probe).await;
    let found = match found {
        Some(trail) => cover(drill, &ground, &programs, isolation, is_other, trail, &mut probe).await,
        None => None,
    };
    probe.seconds = watch.seconds();
    proved.phases.push(("fetch log".to_owned(), watch.seconds()));
    let (isolation, trail) = keep(proved, probe, found)?;
    Some(Prepared { ground, programs, control, isolation, trail, role: USUAL_ROLE.to_owned() })
}

/// Runs what may wait for a disk where that keeps nobody else waiting.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Finds programs for the cluster, and asks them what it is.
async fn programs(drill: &Drill<'_>, probe: &mut Probe) -> Option<(Programs, Control)> {
    let folder = drill.folder.clone();
    let version = fs::read_to_string(folder.join("PG_VERSION"));
    let Some(major) = version.ok().and_then(|text| text.trim().parse::<u32>().ok()) else {
        let what = format!("{} is no cluster: it has no PG_VERSION", folder.display());
        probe.finds(Cause::Backup, what, "");
        return None;
    };
    if !folder.join("global/pg_control").is_file() {
        probe.finds(Cause::Backup, "global/pg_control is missing: it was restored by half", "");
        return None;
    }
    let (places, bins, work) = (drill.tools.clone(), drill.bin_dirs.clone(), drill.work.clone());
    let cancel = drill.cancel.clone();
    let asked = blocking(move || {
        let programs = match Programs::find(major, &bins, &places, &work) {
            Ok(programs) => programs,
            Err(why) => return Ok(Err(why)),
        };
        let mut command = Command::new(programs.folder.join("pg_controldata"));
        programs.furnish(&mut command);
        command.arg("-D").arg(&folder);
        run(command, &work, Some(PATIENCE), &cancel).map(|ran| Ok((programs, ran)))
    });
    let (programs, ran) = match asked.await {
        Ok(Ok(found)) => found,
        Ok(Err(why)) => {
            probe.finds(Cause::Environment, why, Programs::advice(major));
            return None;
        }
        Err(error) => {
            probe.finds(Cause::Environment, format!("programs of PostgreSQL cannot be run: {error}"), "");
            return None;
        }
    };
    probe.counts.insert("version".to_owned(), u64::from(major));
    probe.notes.push(format!("programs of PostgreSQL {} in {}", programs.version, programs.folder.display()));
    if let Some(recorded) =
        drill.facts.get("server version").filter(|recorded| programs.is_older_than(recorded))
    {
        let what = format!(
            "the programs here are {}, older than the server, which was {recorded}",
            programs.version
        );
        probe.finds(Cause::Environment, what, "update them: newer ones mend faults of older ones");
    }
    let control = control(drill, &ran, probe)?;
    Some((programs, control))
}

fn control(drill: &Drill<'_>, ran: &Ran, probe: &mut Probe) -> Option<Control> {
    let parsed = if ran.is_ok() { Control::parse(&ran.out) } else { Err(ran.why()) };
    let control = match parsed {
        Ok(control) => control,
        Err(why) => {
            probe.finds(Cause::Backup, format!("global/pg_control cannot be read: {why}"), "");
            return None;
        }
    };
    if let Some(warned) = Control::warned(&ran.out).or_else(|| Control::warned(&ran.err)) {
        let what = format!("global/pg_control: {warned}");
        let other_machine = warned.contains("byte ordering");
        probe.finds(if other_machine { Cause::Environment } else { Cause::Backup }, what, "");
        return None;
    }
    let facts = [
        ("system identifier", control.system.clone()),
        ("WAL segment bytes", control.segment_bytes.to_string()),
        ("data checksums", control.checksums.to_string()),
    ];
    for (name, found) in facts {
        if let Some(recorded) = drill.facts.get(name).filter(|recorded| **recorded != found) {
            let what = format!("{name}: recorded {recorded}, restored {found}");
            probe.finds(Cause::Backup, what, "this is not the cluster that was backed up");
        }
    }
    probe.findings.iter().all(|finding| finding.cause != Cause::Backup).then_some(control)
}

/// Whom it runs as, and behind which walls; and whether that is somebody else than we are.
async fn isolate(
    drill: &Drill<'_>,
    programs: &Programs,
    probe: &mut Probe,
) -> Option<(Ground, Isolation, bool)> {
    let (folder, work) = (drill.folder.clone(), drill.work.clone());
    let (ground, outside) = match blocking(move || survey(&folder, &work)).await {
        Ok(found) => found,
        Err(error) => {
            probe.finds(Cause::Environment, format!("what was restored cannot be looked at: {error}"), "");
            return None;
        }
    };
    if !outside.is_empty() {
        let what = format!("the restored cluster leads out of scratch: {}", outside.join(", "));
        probe.finds(Cause::Environment, what, "restore its tablespaces and its log below scratch too");
        return None;
    }
    walled(drill, ground, programs, probe).await
}

/// The same on a ground that leads nowhere else.
pub(super) async fn walled(
    drill: &Drill<'_>,
    ground: Ground,
    programs: &Programs,
    probe: &mut Probe,
) -> Option<(Ground, Isolation, bool)> {
    let (user, is_other) = match user(drill) {
        Ok(found) => found,
        Err(why) => {
            let next =
                "name another one in drill.run_as, or make a user holdfast-drill who owns nothing else";
            probe.finds(Cause::Environment, format!("nobody may run the restored server: {why}"), next);
            return None;
        }
    };
    let (lent, own, cancel) = (ground.clone(), programs.clone(), drill.cancel.clone());
    let tried = blocking(move || {
        lent.give(&user)?;
        Isolation::find(&user, &lent, &own, &cancel)
    });
    let isolation = match tried.await {
        Ok(Ok(isolation)) => isolation,
        Ok(Err(why)) => {
            let next = "use a scratch folder that this user can reach, and install util-linux";
            probe.finds(Cause::Environment, format!("no program runs in scratch: {why}"), next);
            return None;
        }
        Err(error) => {
            probe.finds(
                Cause::Environment,
                format!("scratch cannot be given to the server's user: {error}"),
                "",
            );
            return None;
        }
    };
    probe.notes = isolation.notes();
    probe
        .counts
        .insert("walls".to_owned(), u64::from(isolation.walls.files) + u64::from(isolation.walls.network));
    if drill.no_network && !isolation.walls.network {
        let what = format!("the network cannot be taken away from a server here: {}", isolation.lacks);
        probe.finds(Cause::Environment, what, "run drills as root, or say `network: host` in the policy");
        return None;
    }
    Some((ground, isolation, is_other))
}

fn user(drill: &Drill<'_>) -> Result<(User, bool), String> {
    let owners = Owners::of_host(&drill.facts);
    if rustix::process::geteuid().is_root() {
        return owners.choose(&drill.users).map(|user| (user, true));
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if let [stated] = &drill.users[..]
        && stated.uid != uid
    {
        return Err(format!("only root can run it as {}", stated.name));
    }
    let own = User { name: format!("user {uid}"), uid, gid };
    owners.choose(&[own]).map(|user| (user, false))
}

/// Puts something of scratch in the place of folders in which a replay would make tablespaces.
async fn cover(
    drill: &Drill<'_>,
    ground: &Ground,
    programs: &Programs,
    isolation: Isolation,
    is_other: bool,
    trail: Trail,
    probe: &mut Probe,
) -> Option<(Isolation, Trail)> {
    if trail.spaces.is_empty() {
        return Some((isolation, trail));
    }
    let shown: Vec<String> = trail.spaces.iter().map(|path| path.display().to_string()).collect();
    let shown = shown.join(", ");
    if !isolation.walls.files || !isolation.is_safe(is_other) {
        let what = format!(
            "the log makes tablespaces in {shown}, which a replay would write to: {}",
            isolation.lacks
        );
        probe.finds(Cause::Environment, what, "run drills as root on a host where unshare works");
        return None;
    }
    let mut needed = ground.writable();
    needed.push(programs.folder.clone());
    let found = covers(&trail.spaces, &ground.work.join("covers"), &needed, Path::is_dir);
    let found = match found {
        Ok(found) => found,
        Err(path) => {
            let what =
                format!("the log makes a tablespace in {}, which nothing can be put over", path.display());
            probe.finds(Cause::Environment, what, "make an empty folder of that name on this host");
            return None;
        }
    };
    probe.notes.push(format!("tablespaces that the log makes went to scratch instead of {shown}"));
    let (lent, cancel, programs) = (ground.clone(), drill.cancel.clone(), programs.clone());
    let covered = blocking(move || covered(&lent, &programs, isolation, found, &cancel)).await;
    match covered {
        Ok(isolation) => Some((isolation, trail)),
        Err(error) => {
            let what = format!("folders of production's cannot be covered: {error}");
            probe.finds(Cause::Environment, what, "");
            None
        }
    }
}

pub(super) fn covered(
    ground: &Ground,
    programs: &Programs,
    isolation: Isolation,
    found: Vec<(Cover, Vec<PathBuf>)>,
    cancel: &Cancel,
) -> io::Result<Isolation> {
    let mut covers = Vec::new();
    for (cover, within) in found {
        fs::create_dir_all(&cover.by)?;
        within.iter().try_for_each(|rest| fs::create_dir_all(cover.by.join(rest)))?;
        covers.push(cover);
    }
    ground.give(&isolation.user)?;
    let isolation = isolation.covered(ground, &covers)?;
    match isolation.tried(ground, programs, cancel)? {
        None => Ok(isolation),
        Some(why) => Err(io::Error::other(why)),
    }
}

/// Whether the point was reached that was meant, by what was recorded.
fn point(bench: &Bench<'_>) -> Probe {
    let mut probe = Probe::new("point", Level::Boot);
    let facts = &bench.drill.facts;
    if let Some(replayed) = bench.replayed {
        probe.notes.push(format!("the log was replayed up to {replayed}"));
        probe.counts.insert("segments fetched".to_owned(), bench.trail.segments);
    }
    let recorded = |name: &str| facts.get(name).and_then(|text| Lsn::parse(text));
    if let Some((start, replayed)) = recorded("start LSN").zip(bench.replayed) {
        probe.counts.insert("log bytes replayed".to_owned(), replayed.0.saturating_sub(start.0));
    }
    let stop = recorded("stop LSN");
    if let Some((stop, replayed)) = stop.zip(bench.replayed).filter(|(stop, replayed)| replayed < stop) {
        let what = format!("it was replayed up to {replayed}, and the backup ended at {stop}");
        probe.finds(Cause::Backup, what, "");
    }
    let last = bench.trail.last.filter(|_| bench.trail.to_end);
    // What was replayed ends behind the beginning of its last record.
    if let Some((last, replayed)) = last.zip(bench.replayed).filter(|(last, replayed)| replayed <= last) {
        let what = format!(
            "it was replayed up to {replayed}, and the log goes on to {last}: what stands there is no log to a server, \
             which opens as if it were the end"
        );
        let next = "restore to before that point, or from a later snapshot; see `holdfast check --read-data`";
        probe.finds(Cause::Backup, what, next);
    }
    let mark = facts.get("restore point").and_then(|text| {
        let (name, at) = text.rsplit_once(' ')?;
        Some((name, Lsn::parse(at)?))
    });
    match (mark, bench.replayed) {
        (Some((name, at)), Some(replayed)) if replayed >= at => {
            match bench.trail.points.iter().any(|(found, begin)| found == name && *begin < at) {
                true => drop(probe.counts.insert("marks".to_owned(), 1)),
                false => {
                    let what = format!("the mark that the backup left at {at} is not in the log");
                    probe.finds(Cause::Backup, what, "this is the log of another cluster");
                }
            }
        }
        (Some((_, at)), _) => {
            probe.notes.push(format!("the mark of the backup lies behind this point, at {at}"));
        }
        (None, _) => {}
    }
    probe
}
