//! The course of a drill of dumps: a cluster is made for them behind the same walls as a restored one,
//! they are loaded into it by the ordinary road, and it is looked through.
//!
//! The programs that take the dumps run behind the walls too: what stands in a dump may call programs.
//! On purpose not here: the road ([`super::LoadDumps`]), and what is held against what was recorded.

use super::bench::{Bench, Watch, told};
use super::clients::{self, Origin};
use super::control::Control;
use super::course::{Prepared, blocking, keep, looked_through, walled};
use super::isolation::Isolation;
use super::links::Ground;
use super::loaded::databases;
use super::programs::Programs;
use super::refused::{Refused, without_values};
use super::run::run;
use super::server::Running;
use super::spaces::spaces;
use super::start::{self, Opened};
use super::trail::Trail;
use super::{Drill, Dumps, Loaded, Proved, amcheck};
use crate::error::PgError;
use crate::logical_record::GLOBALS;
use crate::sql::{identifier, literal, quoted};
use holdfast_engine::proof::{Cause, Level, Probe};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So long it may take to make a cluster.
const PATIENCE: Duration = Duration::from_secs(600);
/// So many things are locked at once at least: a dump of a database locks all of its tables.
const LOCKS: u64 = 512;
/// A database that every cluster has and no dump brings.
const FIRST: &str = "template1";

pub(super) async fn course(
    drill: &Drill<'_>,
    dumps: &Dumps<'_>,
    proved: &mut Proved,
    server: &mut Option<Running>,
) -> Option<()> {
    if drill.level < Level::Boot {
        return None;
    }
    let clock = &*drill.clock;
    let mut probe = Probe::new("server programs", Level::Boot);
    let found = programs(drill, &mut probe).await;
    let (origin, programs) = keep(proved, probe, found)?;
    let watch = Watch::begin(clock);
    let mut probe = Probe::new("isolation", Level::Boot);
    let found = place(drill, dumps, &programs, &mut probe).await;
    let place = keep(proved, probe, found)?;
    let mut probe = Probe::new("boot", Level::Boot);
    let opened = open(drill, &origin, programs, place, &mut probe, server).await;
    probe.seconds = watch.seconds();
    proved.phases.push(("start".to_owned(), watch.seconds()));
    let (bench, spaces) = keep(proved, probe, opened)?;
    let watch = Watch::begin(clock);
    let mut probe = Probe::new("load", Level::Boot);
    let loaded = load(&bench, &origin, dumps, &spaces, &mut probe).await;
    if loaded.is_none() && server.as_ref().is_some_and(Running::has_ended) {
        probe.findings.clear();
        server.iter().for_each(|running| start::ended(running, &mut probe));
    }
    probe.seconds = watch.seconds();
    proved.phases.extend(loaded.map(|seconds| ("load".to_owned(), seconds)));
    keep(proved, probe, loaded)?;
    proved.reached = Some(Level::Boot);
    if drill.level < Level::Check {
        return Some(());
    }
    let bench = Bench { watch: Watch::begin(clock), ..bench };
    looked_through(&bench, &mut proved.probes).await;
    proved.phases.push(("checks".to_owned(), bench.watch.seconds()));
    proved.reached = Some(amcheck::reached(drill.level, &proved.probes));
    Some(())
}

/// Finds a server that takes the dumps: of the version that they are of, else of the nearest newer one.
async fn programs(drill: &Drill<'_>, probe: &mut Probe) -> Option<(Origin, Programs)> {
    let Some(origin) = Origin::of(&drill.facts) else {
        let what = "the snapshot does not say of which version its dumps are";
        probe.finds(Cause::Backup, what, "restore them by hand: holdfast restore SNAPSHOT --target DIR");
        return None;
    };
    let (places, bins, work) = (drill.tools.clone(), drill.bin_dirs.clone(), drill.work.clone());
    let wanted = origin.clone();
    let found = match blocking(move || Ok(clients::find(&wanted, &bins, &places, &work))).await {
        Ok(found) => found,
        Err(error) => Err(format!("programs of PostgreSQL cannot be run: {error}")),
    };
    let programs = match found {
        Ok(programs) => programs,
        Err(why) => {
            probe.finds(Cause::Environment, why, Programs::advice(origin.server));
            return None;
        }
    };
    probe.counts.insert("version".to_owned(), u64::from(programs.major));
    probe.notes.push(format!("programs of PostgreSQL {} in {}", programs.version, programs.folder.display()));
    if programs.major != origin.server {
        let what = format!(
            "the dumps are of PostgreSQL {}, made by programs of {}: they are loaded into {}",
            origin.server, origin.tool, programs.major
        );
        probe.notes.push(what);
    }
    Some((origin, programs))
}

/// Where the cluster is made, and behind which walls; tablespaces by their names and the folders that
/// stand for theirs.
struct Place {
    ground: Ground,
    isolation: Isolation,
    spaces: Vec<(String, PathBuf)>,
    /// Programs that take dumps, behind the walls.
    clients: PathBuf,
}

async fn place(
    drill: &Drill<'_>,
    dumps: &Dumps<'_>,
    programs: &Programs,
    probe: &mut Probe,
) -> Option<Place> {
    let (folder, work) = (drill.folder.clone(), drill.work.clone());
    let globals = dumps.files.join(GLOBALS.trim_start_matches('/'));
    let made = blocking(move || {
        fs::create_dir_all(&folder)?;
        let (folder, work) = (fs::canonicalize(folder)?, fs::canonicalize(work)?);
        let names = spaces(&String::from_utf8_lossy(&fs::read(globals)?));
        let of = |(number, name): (usize, String)| (name, work.join(format!("space-{number}")));
        let spaces: Vec<_> = names.into_iter().enumerate().map(of).collect();
        spaces.iter().try_for_each(|(_, path)| fs::create_dir_all(path))?;
        Ok((Ground { folder, work, spaces: Vec::new() }, spaces))
    });
    let (ground, spaces) = match made.await {
        Ok(made) => made,
        Err(error) => {
            probe.finds(Cause::Environment, format!("a cluster has no place in scratch: {error}"), "");
            return None;
        }
    };
    let (ground, isolation, _) = walled(drill, ground, programs, probe).await?;
    let (ours, bins, tools) = (programs.clone(), drill.bin_dirs.clone(), drill.tools.clone());
    let (facts, cancel) = (Origin::of(&drill.facts)?, drill.cancel.clone());
    let readied = blocking(move || {
        let isolation = isolation.known(&ground)?;
        if let Some(why) = isolation.tried(&ground, &ours, &cancel)? {
            return Err(io::Error::other(why));
        }
        let clients = clients::behind(&isolation, &ground, &ours, &facts, &bins, &tools)?;
        Ok(Place { ground, isolation, spaces, clients })
    });
    match readied.await {
        Ok(place) => Some(place),
        Err(error) => {
            let what = format!("programs cannot be run behind the walls: {error}");
            probe.finds(Cause::Environment, what, "install all client programs of that version");
            None
        }
    }
}

/// Makes a cluster, and starts it.
async fn open<'a>(
    drill: &'a Drill<'a>,
    origin: &Origin,
    programs: Programs,
    place: Place,
    probe: &mut Probe,
    server: &mut Option<Running>,
) -> Option<(Bench<'a>, Made)> {
    let Place { ground, isolation, spaces, clients } = place;
    if let Err(why) = make(drill, origin, &programs, &ground, &isolation).await {
        let next = "make a user holdfast-drill on this host, or see that initdb works here";
        probe.finds(Cause::Environment, format!("no cluster can be made: {why}"), next);
        return None;
    }
    let control = Control { max_connections: 100, max_locks: LOCKS, ..Control::default() };
    let (trail, role) = (Trail::default(), origin.superuser.clone());
    let prepared = Prepared { ground, programs, control, isolation, trail, role };
    let Opened { sockets, role, .. } = start::open(drill, &prepared, probe, server).await?;
    let Prepared { ground, programs, isolation, trail, .. } = prepared;
    let watch = Watch::begin(&*drill.clock);
    let bench = Bench { drill, ground, programs, isolation, sockets, role, trail, replayed: None, watch };
    Some((bench, Made { spaces, clients }))
}

/// What was made beside the cluster.
struct Made {
    spaces: Vec<(String, PathBuf)>,
    clients: PathBuf,
}

async fn make(
    drill: &Drill<'_>,
    origin: &Origin,
    programs: &Programs,
    ground: &Ground,
    isolation: &Isolation,
) -> Result<(), String> {
    let program = programs.path("initdb").ok_or("initdb is gone")?;
    let mut command = isolation.command(programs, &program);
    command.arg("-D").arg(&ground.folder).args(["-U", &origin.superuser, "-A", "trust", "-N"]);
    command.args(["--no-locale", "-E", "UTF8"]);
    let (work, cancel) = (ground.work.clone(), drill.cancel.clone());
    let ran = blocking(move || run(command, &work, Some(PATIENCE), &cancel)).await;
    let ran = ran.map_err(|error| error.to_string())?;
    if ran.is_ok() { Ok(()) } else { Err(ran.why()) }
}

/// Loads the dumps; how many seconds that took, or nothing if they are not all there.
async fn load(
    bench: &Bench<'_>,
    origin: &Origin,
    dumps: &Dumps<'_>,
    made: &Made,
    probe: &mut Probe,
) -> Option<f64> {
    if let Err(error) = ready(bench, &made.spaces, probe).await {
        probe.finds(Cause::Environment, format!("the server cannot be made ready: {}", told(&error)), "");
        return None;
    }
    let url = bench.sockets.url(&bench.role);
    let watch = Watch::begin(&*bench.drill.clock);
    let ended = dumps.load.load(&url, &made.clients).await;
    let seconds = watch.seconds();
    let of = Refused { same_version: bench.major() == origin.server };
    match ended {
        Loaded::There(failed) => {
            probe.counts.insert("databases".to_owned(), databases(&bench.drill.facts).len() as u64);
            for said in failed {
                let (cause, next) = of.blames(&said);
                probe.finds(cause, without_values(&said), next);
            }
            Some(seconds)
        }
        Loaded::Refused(said) => {
            let (cause, next) = of.blames(&said);
            probe.finds(cause, without_values(&said), next);
            None
        }
        Loaded::Failed(cause, what, next) => {
            probe.finds(cause, what, next);
            None
        }
    }
}

/// Makes tablespaces that the dumps would make elsewhere, and room for a database that a new cluster
/// has: each is to come back as it was, with its own encoding and order.
async fn ready(bench: &Bench<'_>, spaces: &[(String, PathBuf)], probe: &mut Probe) -> Result<(), PgError> {
    let mut session = bench.session(FIRST).await?;
    for (name, path) in spaces {
        let path: &Path = path;
        let text =
            format!("CREATE TABLESPACE {} LOCATION {}", identifier(name), literal(&path.to_string_lossy()));
        session.run("make a tablespace", &text).await?;
    }
    if !spaces.is_empty() {
        let names: Vec<_> = spaces.iter().map(|(name, _)| quoted(name)).collect();
        probe.notes.push(format!("tablespaces went to scratch: {}", names.join(", ")));
    }
    for name in databases(&bench.drill.facts).iter().filter(|name| *name != FIRST) {
        let text = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name));
        session.run("make room for a database", &text).await?;
    }
    session.close().await;
    Ok(())
}
