//! `init --domain`, `domain` and `shred`: parts of a repository with keys of their own are made,
//! listed, opened to its members, and destroyed.
//!
//! On purpose not here: work in a domain. Every verb does that as in any repository.

use super::Run;
use crate::args::{DomainGrantArgs, DomainVerb, InitArgs, ShredArgs};
use crate::engine::Repository;
use crate::fault::{Code, Fault};
use crate::ink::{DomainLine, GrantedLine, ShredSummary, counted, escape};
use crate::settings::RepositoryPlace;
use crate::wire_up::{self, Founded};
use holdfast_core::crypto::KdfCost;
use holdfast_engine::{Granted, domains, grant, is_erased, rotate, shred};
use holdfast_store::ObjectStore;
use std::sync::Arc;

/// Makes a domain of the repository.
pub(super) async fn make(run: &Run, args: &InitArgs, name: &str) -> Result<(), Fault> {
    refuse_options(args)?;
    let above = run.open_above().await?;
    let place = run.repository_place()?;
    if let RepositoryPlace::Folder(path) = &place {
        wire_up::make_folder_above(path)?;
    }
    let Founded { store, proved, .. } = {
        let _making = run.watchdog.repository();
        wire_up::create_store(&place, &run.reach).await?
    };
    let domain = Repository::create_domain(&run.ctx, run.guard(store), &above, proved).await?;
    let (id, location) = (domain.id().to_string(), domain.location());
    if run.ink.tone.json {
        run.ink.json(&DomainLine { message_type: "domain_made", name, id: Some(id), repository: &location });
    } else {
        run.ink.talk(&format!("made domain {name} at {location}"));
        run.ink.talk(&format!("back up into it: holdfast --domain {name} backup ..."));
    }
    Ok(())
}

/// A domain is opened by the keys that are there.
fn refuse_options(args: &InitArgs) -> Result<(), Fault> {
    let from = &args.from;
    let stated = [
        ("--kit", args.kit.is_some()),
        ("--kdf-memory", args.kdf_memory << 10 != KdfCost::DEFAULT.memory_kib),
        ("--label", args.label != "owner"),
        ("--from", from.from.is_some() || from.from_repository_file.is_some()),
    ];
    match stated.iter().find(|(_, stated)| *stated) {
        Some((option, _)) => {
            let what = format!("{option} is of no use for a domain: the keys of the repository open it");
            Err(Fault::usage(what, "leave it out"))
        }
        None => Ok(()),
    }
}

/// Carries out what is to be done with domains.
pub(crate) async fn run(run: &Run, verb: &DomainVerb) -> Result<(), Fault> {
    run.refuse_domain("the domains of a repository are all in it")?;
    let above = run.open().await?;
    match verb {
        DomainVerb::List => list(run, &above).await,
        DomainVerb::Grant(args) => grant_to(run, &above, args).await,
    }
}

async fn list(run: &Run, above: &Repository) -> Result<(), Fault> {
    let names = domains(above).await?;
    let place = run.repository_place()?;
    for name in &names {
        if run.ink.tone.json {
            let repository = place.domain(name).to_string();
            run.ink.json(&DomainLine { message_type: "domain", name, id: None, repository: &repository });
        } else {
            run.ink.data(name);
        }
    }
    if names.is_empty() && !run.ink.tone.json {
        run.ink.talk("there are no domains; make one: holdfast init --domain NAME");
    }
    Ok(())
}

/// Brings the named domains in line, or all. One that cannot be keeps none after it from being.
async fn grant_to(run: &Run, above: &Repository, args: &DomainGrantArgs) -> Result<(), Fault> {
    let names = if args.names.is_empty() { there(run, above).await? } else { args.names.clone() };
    let mut faults = Vec::new();
    for name in names {
        match align(run, above, &name).await {
            Ok(granted) => tell_granted(run, &name, &granted),
            Err(fault) => faults.push((name, stop_if_interrupted(fault)?)),
        }
    }
    match faults.len() {
        0 => Ok(()),
        1 if args.names.len() == 1 => Err(faults.swap_remove(0).1),
        _ => {
            let hint = format!("see to it, then run: holdfast domain grant {}", joined(&faults, " "));
            Err(Fault::incomplete(format!("not brought in line: {}", told(&faults)), hint))
        }
    }
}

fn tell_granted(run: &Run, name: &str, granted: &Granted) {
    if run.ink.tone.json {
        run.ink.json(&GrantedLine::new(name, granted));
    } else {
        let Granted { admitted, removed } = granted;
        run.ink.data(&format!("{name}: {admitted} admitted, {removed} removed"));
    }
}

/// Brings the members of one domain in line with the repository.
async fn align(run: &Run, above: &Repository, name: &str) -> Result<Granted, Fault> {
    let place = run.repository_place()?.domain(name);
    let store = store_of(run, &place).await?;
    let domain = Repository::open_domain(&run.ctx, store, above).await?;
    Ok(grant(&run.ctx, above, &domain).await?)
}

/// The domains whose members are of any use. What lies below a name that is none, or none any more, is
/// passed over aloud: anybody who writes the store can put something there.
async fn there(run: &Run, above: &Repository) -> Result<Vec<String>, Fault> {
    let mut names = Vec::new();
    for name in domains(above).await? {
        let place = run.repository_place()?.domain(&name);
        match why_passed_over(run, above, &place).await {
            Some(why) => run.ink.warn(&format!("{place} is passed over: {why}")),
            None => names.push(name),
        }
    }
    Ok(names)
}

/// Why a place has no members to see to; none if it has, or cannot be read: opening it says why.
async fn why_passed_over(run: &Run, above: &Repository, place: &RepositoryPlace) -> Option<&'static str> {
    let Some(store) = wire_up::open_store(place, &run.reach).await.ok()? else {
        return Some(
            "nothing there says that it is a domain; if it was one, holdfast shred destroys its keys, else delete what lies there",
        );
    };
    let erased = is_erased(&run.ctx, &*run.guard(store), above).await.ok()?;
    erased.then_some("its erasure was begun; end it with the same holdfast shred")
}

/// A fault that concerns one domain, unless the run was asked to stop.
fn stop_if_interrupted(fault: Fault) -> Result<Fault, Fault> {
    if fault.code == Code::Interrupted { Err(fault) } else { Ok(fault) }
}

/// What failed in which domain.
fn told(faults: &[(String, Fault)]) -> String {
    let each: Vec<_> = faults.iter().map(|(name, fault)| format!("domain {name} ({fault})")).collect();
    each.join(", ")
}

fn joined(faults: &[(String, Fault)], between: &str) -> String {
    let names: Vec<_> = faults.iter().map(|(name, _)| &**name).collect();
    names.join(between)
}

async fn store_of(run: &Run, place: &RepositoryPlace) -> Result<Arc<dyn ObjectStore>, Fault> {
    let store = wire_up::open_store(place, &run.reach).await?;
    Ok(run.guard(store.ok_or_else(|| no_domain(place))?))
}

fn no_domain(place: &RepositoryPlace) -> Fault {
    Fault::failed(format!("there is no domain at {place}"), "see which there are: holdfast domain list")
}

/// Destroys the keys of a domain.
pub(crate) async fn destroy(run: &Run, args: &ShredArgs) -> Result<(), Fault> {
    run.refuse_domain("the domain to destroy is the argument")?;
    let name = &*args.name;
    if args.confirm != name {
        let what = format!("--confirm says `{}` and not {name}", escape(args.confirm.as_bytes()));
        return Err(Fault::usage(what, "name the domain twice: nothing brings it back"));
    }
    let reason = args.reason.trim();
    if reason.is_empty() {
        return Err(Fault::usage("--reason is empty", "say it for whoever reads the evidence"));
    }
    let above = run.open().await?;
    let place = run.repository_place()?.domain(name);
    let rest = wire_up::open_rest(&place, &run.reach).await?;
    let store = run.guard(rest.ok_or_else(|| no_domain(&place))?);
    let versions = || erase_versions(run, &place);
    let outcome = run.follow("shred", shred(&run.ctx, &above, store, (name, reason), versions)).await?;
    let (report, problems) = (outcome.value, outcome.problems.problem_count);
    match (&run.ctx.cache, report.id) {
        (Some(cache), Some(id)) => wire_up::remove_cache(&cache.join(id.to_string()))?,
        (_, None) => run.ink.warn(&format!(
            "the holdfast.json of {name} was lost: which domain it was, what was in it, whether a hold stood in it \
             and which local cache is its own are not known; the keys that were there are destroyed"
        )),
        (None, Some(_)) => {}
    }
    let left = *report.versions.as_ref().unwrap_or(&0);
    if run.ink.tone.json {
        run.ink.json(&ShredSummary::new(name, &report, left));
    } else {
        let snapshots = report.snapshots.map(|number| counted(number, "snapshot", "snapshots"));
        let snapshots = snapshots.unwrap_or_else(|| "what was in it".to_owned());
        run.ink.talk(&format!("destroyed the keys of {name}: {snapshots} can be read no more"));
        if report.accesses > 0 {
            let number = counted(report.accesses, "access", "accesses");
            run.ink.talk(&format!("{number} to it stay told: holdfast evidence show --kind inherited"));
        }
        run.ink.talk(&format!(
            "{} deleted; recorded as {}",
            counted(report.deleted, "object", "objects"),
            report.evidence
        ));
    }
    match (&report.versions, problems) {
        (Err(what), _) => {
            let what =
                format!("whether old versions of the keys are left in the bucket is not known: {what}");
            Err(Fault::incomplete(
                what,
                "let its key list and delete versions (s3:ListBucketVersions, s3:DeleteObjectVersion) and run it again",
            ))
        }
        (Ok(1..), _) => {
            let what = format!(
                "{} of the keys are left in the bucket",
                counted(left, "old version", "old versions")
            );
            Err(Fault::incomplete(what, "run it again when their locks have ended"))
        }
        (_, 1..) => {
            let what = format!("{} could not be deleted", counted(problems, "object", "objects"));
            Err(Fault::incomplete(what, "nobody can read them; run it again when their locks have ended"))
        }
        (Ok(_), 0) => Ok(()),
    }
}

/// Erases old versions of the keys, where a bucket keeps them; how many are left, or what the server said if that
/// cannot be told.
async fn erase_versions(run: &Run, place: &RepositoryPlace) -> Result<u64, String> {
    match place {
        RepositoryPlace::Folder(_) => Ok(0),
        RepositoryPlace::Bucket(address) => wire_up::erase_key_versions(address, &run.reach).await,
    }
}

/// What changed in the repository, so that its domains follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    /// Who belongs to it.
    Members,
    /// The keys that all its members have.
    Keys,
}

/// After members of the repository, or their keys, changed: the same for its domains. One that does not
/// follow keeps none after it from following.
pub(super) async fn follow(run: &Run, above: &Repository, changed: Changed) -> Result<(), Fault> {
    let mut faults = Vec::new();
    for name in there(run, above).await? {
        if let Err(fault) = follow_in(run, above, &name, changed).await {
            faults.push((name, stop_if_interrupted(fault)?));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let hint = match changed {
        Changed::Members => format!("run: holdfast domain grant {}", joined(&faults, " ")),
        Changed::Keys => {
            let (names, between) = (joined(&faults, " "), " key rotate; holdfast --domain ");
            let each = joined(&faults, between);
            format!("run: holdfast domain grant {names}; holdfast --domain {each} key rotate")
        }
    };
    let what = format!("the repository was changed, and not all of its domains: {}", told(&faults));
    Err(Fault::incomplete(what, hint))
}

async fn follow_in(run: &Run, above: &Repository, name: &str, changed: Changed) -> Result<(), Fault> {
    let store = store_of(run, &run.repository_place()?.domain(name)).await?;
    let domain = Repository::open_domain(&run.ctx, store, above).await?;
    grant(&run.ctx, above, &domain).await?;
    if changed == Changed::Keys {
        rotate(&run.ctx, &domain).await?;
    }
    Ok(())
}
