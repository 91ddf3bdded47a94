//! `policy coverage`: what on this machine, and beside the buckets of policies, no policy backs up.
//!
//! On purpose not here: whether a backup of it ever ran; `status` says that.

use super::super::Run;
use super::buckets;
use super::clusters::{Running, running};
use super::mounts::{self, Mount};
use super::{all, settle};
use crate::args::{Ignored, PolicyCoverageArgs};
use crate::fault::Fault;
use crate::ink::{Align, CoverageLine, CoverageSummary, Ink, Table, counted, escape};
use crate::wire_up::{Host, parse_server};
use holdfast_scheduler::policy::{Ignore, Kind, Policy};
use jiff::Zoned;
use jiff::civil::Date;
use std::path::{Path, PathBuf};

/// How far something is backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Protected,
    Partly,
    Not,
    Ignored,
    /// Nobody can tell.
    Unknown,
}

impl State {
    const fn words(self) -> &'static str {
        match self {
            Self::Protected => "protected",
            Self::Partly => "partly",
            Self::Not => "NOT PROTECTED",
            Self::Ignored => "ignored",
            Self::Unknown => "UNKNOWN",
        }
    }

    const fn json(self) -> &'static str {
        match self {
            Self::Not => "not_protected",
            Self::Unknown => "unknown",
            other => other.words(),
        }
    }
}

/// Something that can be backed up, and who does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) kind: &'static str,
    pub(super) path: String,
    pub(super) about: String,
    pub(super) state: State,
    /// `shop/tree`, and the folder where it is only a part.
    pub(super) by: Vec<String>,
    pub(super) reason: Option<String>,
}

/// A folder that a policy backs up.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Folder {
    /// `shop/tree`.
    source: String,
    path: PathBuf,
    exclude: Vec<String>,
    one_file_system: bool,
}

/// A server that a policy backs up.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    /// `shop/db`.
    source: String,
    hosts: Vec<Host>,
}

/// Looks at this machine and at accounts of buckets, and says what no policy backs up.
pub(super) async fn run(run: &Run, args: &PolicyCoverageArgs) -> Result<(), Fault> {
    let mut policies = all(run, &args.files)?;
    policies.iter_mut().try_for_each(|(text, policy)| settle(text, policy))?;
    let folders: Vec<_> = policies.iter().flat_map(|(_, policy)| folders(policy)).collect();
    let servers: Vec<_> = policies.iter().flat_map(|(_, policy)| servers(policy)).collect();
    let text = std::fs::read("/proc/self/mountinfo").map_err(|error| {
        let hint = "this verb needs Linux and /proc";
        Fault::failed("cannot tell which file systems are mounted", hint).because(&error)
    })?;
    let mounts = mounts::parse(&text);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut covered: Vec<_> = mounts.iter().map(|mount| of_mount(mount, &mounts, &folders)).collect();
    covered.extend(running().iter().map(|cluster| of_cluster(cluster, &servers, &host)));
    if !args.offline {
        let policies: Vec<_> = policies.iter().map(|(_, policy)| policy).collect();
        covered.extend(buckets::look(run, &policies).await);
    }
    let ignored: Vec<Ignored> =
        args.ignore.iter().cloned().chain(policies.iter().flat_map(|(_, policy)| ignored(policy))).collect();
    let unknown = ignore(&mut covered, &ignored, Zoned::now().date());
    show(&run.ink, &covered);
    for path in unknown {
        let path = escape(path.as_bytes());
        run.ink.warn(&format!("to be left out is {path}: there is no such mount point, cluster or bucket"));
    }
    judged(&run.ink, &covered, args.files.is_empty())
}

/// What a policy says that nobody wants back; its day was read before.
fn ignored(policy: &Policy) -> Vec<Ignored> {
    let all = policy.ignore.iter();
    let one = |ignore: &Ignore| {
        let until = ignore.until.parse().ok()?;
        Some(Ignored { path: ignore.path.clone(), until, reason: ignore.reason.clone() })
    };
    all.filter_map(one).collect()
}

/// The folders of a policy whose paths are settled.
fn folders(policy: &Policy) -> Vec<Folder> {
    let mut folders = Vec::new();
    for (name, source) in &policy.sources.0 {
        let Some(Kind::Files(files)) = source.kind() else { continue };
        folders.extend(files.paths.iter().map(|path| Folder {
            source: policy.label(name),
            path: path.canonicalize().unwrap_or_else(|_| mounts::plain(path)),
            exclude: files.exclude.clone(),
            one_file_system: files.one_file_system,
        }));
    }
    folders
}

fn servers(policy: &Policy) -> Vec<Server> {
    let mut servers = Vec::new();
    for (name, source) in &policy.sources.0 {
        // A URL that cannot be read protects nothing here; a run says why.
        if let Some(Kind::Postgres(postgres)) = source.kind()
            && let Ok((server, _)) = parse_server(&postgres.url, "")
        {
            servers.push(Server { source: policy.label(name), hosts: server.hosts });
        }
    }
    servers
}

fn of_mount(mount: &Mount, mounts: &[Mount], folders: &[Folder]) -> Covered {
    let left_out = |folder: &Folder| folder.exclude.iter().any(|out| mounts::leaves_out(out, &mount.point));
    let whole = |folder: &&Folder| {
        let reaches = !folder.one_file_system || mounts::of(mounts, &folder.path) == Some(mount);
        mount.point.starts_with(&folder.path) && reaches && !left_out(folder)
    };
    let part = |folder: &&Folder| mounts::of(mounts, &folder.path) == Some(mount);
    let all: Vec<_> = folders.iter().filter(whole).map(|folder| folder.source.clone()).collect();
    let parts = folders.iter().filter(part);
    let parts: Vec<_> =
        parts.map(|folder| format!("{} ({})", folder.source, folder.path.display())).collect();
    let (state, by) = match (all.is_empty(), parts.is_empty()) {
        (false, _) => (State::Protected, all),
        (true, false) => (State::Partly, parts),
        (true, true) => (State::Not, Vec::new()),
    };
    let about = format!("{} of {}", mount.kind, mount.from);
    Covered { kind: "mount", path: mount.point.display().to_string(), about, state, by, reason: None }
}

fn of_cluster(cluster: &Running, servers: &[Server], host: &str) -> Covered {
    let is_it = |server: &&Server| {
        server.hosts.iter().any(|at| at.port == cluster.port && is_here(at, cluster, host))
    };
    let by: Vec<_> = servers.iter().filter(is_it).map(|server| server.source.clone()).collect();
    let state = if by.is_empty() { State::Not } else { State::Protected };
    let about = format!("PostgreSQL at port {}", cluster.port);
    Covered { kind: "cluster", path: cluster.name(), about, state, by, reason: None }
}

/// Whether a host of a URL is this machine.
fn is_here(at: &Host, cluster: &Running, host: &str) -> bool {
    if at.is_socket() {
        let folder = Path::new(&at.name);
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        return cluster.socket_folder.as_ref() == Some(&folder);
    }
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_lowercase();
    let local = at.name == "localhost" || at.name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    let is_address = at.name.parse::<std::net::IpAddr>().is_ok();
    local || (!is_address && short(&at.name) == short(host))
}

/// Marks what nobody wants back for now; hands out what is not there.
fn ignore<'a>(covered: &mut [Covered], ignored: &'a [Ignored], today: Date) -> Vec<&'a str> {
    let mut unknown = Vec::new();
    for Ignored { path, until, reason } in ignored {
        match covered.iter_mut().find(|one| one.path == *path) {
            // What is protected needs no excuse.
            Some(one) if one.state == State::Protected => {}
            Some(one) if *until < today => {
                one.reason = Some(format!("was left out until {until}, which is over: {reason}"));
            }
            Some(one) => {
                one.state = State::Ignored;
                one.reason = Some(format!("until {until}: {reason}"));
            }
            None => unknown.push(path.as_str()),
        }
    }
    unknown
}

fn show(ink: &Ink, covered: &[Covered]) {
    if ink.tone.json {
        for one in covered {
            let Covered { kind, path, about, state, by, reason } = one;
            let (state, reason) = (state.json(), reason.as_deref());
            ink.json(&CoverageLine { message_type: "coverage", kind, path, about, state, by, reason });
        }
        return;
    }
    let mut table = Table::new(&["WHAT", "PATH", "STATE", "BY"].map(|name| (name, Align::Left)));
    for one in covered {
        let by = one.by.iter().chain(&one.reason).cloned().collect::<Vec<_>>().join("; ");
        let cells = [&one.about, &one.path, one.state.words(), &by];
        table.row(cells.map(|cell: &str| escape(cell.as_bytes())).to_vec());
    }
    ink.table(&table);
}

fn judged(ink: &Ink, covered: &[Covered], without: bool) -> Result<(), Fault> {
    let count = |state: State| covered.iter().filter(|one| one.state == state).count();
    let not_protected = count(State::Not);
    if ink.tone.json {
        ink.json(&CoverageSummary {
            message_type: "summary",
            protected: count(State::Protected),
            partly: count(State::Partly),
            not_protected,
            ignored: count(State::Ignored),
            unknown: count(State::Unknown),
        });
    }
    let unknown = count(State::Unknown) as u64;
    if not_protected == 0 && unknown > 0 {
        let what = format!("{} not be looked at", counted(unknown, "account could", "accounts could"));
        let hint = "allow whoever reads the bucket s3:ListAllMyBuckets, or leave the account out: --ignore PATH=DATE: why";
        return Err(Fault::incomplete(what, hint));
    }
    if not_protected == 0 {
        return Ok(());
    }
    let things = counted(not_protected as u64, "thing is", "things are");
    let what = format!("{things} not protected");
    let hint = if without {
        "name the policies of this host: holdfast policy coverage /etc/holdfast/*.yaml"
    } else {
        "add it to a policy, or leave it out for a time: `ignore` in a policy, or --ignore '/mnt/cache=2027-06-30: can be made anew'"
    };
    Err(Fault::failed(what, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &str) -> Mount {
        Mount { point: point.into(), kind: "ext4".into(), from: "/dev/x".into() }
    }

    fn folder(path: &str) -> Folder {
        Folder { source: "shop/tree".into(), path: path.into(), exclude: Vec::new(), one_file_system: false }
    }

    #[test]
    fn a_file_system_is_protected_by_its_top_or_what_lies_above() {
        let mounts = [mount("/"), mount("/srv"), mount("/mnt/data")];
        let state = |at: usize, folders: &[Folder]| of_mount(&mounts[at], &mounts, folders).state;
        assert_eq!(state(1, &[folder("/srv")]), State::Protected);
        assert_eq!(state(1, &[folder("/")]), State::Protected);
        assert_eq!(state(1, &[folder("/srv/shop")]), State::Partly);
        assert_eq!(state(0, &[folder("/srv/shop")]), State::Not);
        assert_eq!(state(0, &[folder("/mnt")]), State::Partly);
        assert_eq!(state(2, &[folder("/mnt")]), State::Protected);
        let one = Folder { one_file_system: true, ..folder("/") };
        assert_eq!((state(0, std::slice::from_ref(&one)), state(1, &[one])), (State::Protected, State::Not));
        let without = Folder { exclude: vec!["/srv".into()], ..folder("/") };
        assert_eq!(state(1, &[without]), State::Not);
    }

    #[test]
    fn a_cluster_is_protected_where_a_url_means_it() {
        let cluster =
            Running { port: 5433, folder: Some("/data".into()), socket_folder: Some("/no/sockets".into()) };
        let state = |url: &str| {
            let hosts = parse_server(url, "me").map(|(server, _)| server.hosts).unwrap_or_default();
            let servers = [Server { source: "shop/db".into(), hosts }];
            of_cluster(&cluster, &servers, "db1.example").state
        };
        for url in [
            "postgres://me@localhost:5433/",
            "postgres://me@127.0.0.1:5433/",
            "postgres://me@[::1]:5433/",
            "postgres://me@db2:5432,db1:5433/",
            "postgres://me@/?host=/no/sockets&port=5433",
        ] {
            assert_eq!(state(url), State::Protected, "{url}");
        }
        for url in ["postgres://me@localhost/", "postgres://me@db2:5433/", "postgres://me@10.0.0.1:5433/"] {
            assert_eq!(state(url), State::Not, "{url}");
        }
    }

    #[test]
    fn what_is_left_out_has_a_reason_a_date_and_is_there() {
        let mounts = [mount("/"), mount("/srv")];
        let folders = [folder("/srv")];
        let mut covered: Vec<_> = mounts.iter().map(|one| of_mount(one, &mounts, &folders)).collect();
        let until = Date::constant(2026, 11, 26);
        let ignored = [("/", "no data"), ("/srv", "x"), ("/nowhere", "y")];
        let ignored =
            ignored.map(|(path, reason)| Ignored { path: path.to_owned(), until, reason: reason.to_owned() });
        assert_eq!(ignore(&mut covered, &ignored, until), ["/nowhere"]);
        let told = |covered: &[Covered]| -> Vec<_> {
            covered.iter().map(|one| (one.state, one.reason.clone().unwrap_or_default())).collect()
        };
        let wanted =
            [(State::Ignored, "until 2026-11-26: no data".to_owned()), (State::Protected, String::new())];
        assert_eq!(told(&covered), wanted);
        // The day after it counts again.
        let mut covered: Vec<_> = mounts.iter().map(|one| of_mount(one, &mounts, &folders)).collect();
        ignore(&mut covered, &ignored[..1], Date::constant(2026, 11, 27));
        assert_eq!(covered[0].state, State::Not);
        assert!(covered[0].reason.as_ref().is_some_and(|reason| reason.contains("is over: no data")));
    }
}
