//! `preflight`: whether a place can keep a repository, or a cluster be backed up, and what a role has
//! to be allowed there.
//!
//! On purpose not here: how it is found out; the stores do that.

use super::{Run, cluster};
use crate::args::{PreflightArgs, PrintedRole};
use crate::fault::Fault;
use crate::ink::{PolicyLine, PreflightLine};
use crate::settings::{self, RepositoryPlace};
use crate::wire_up::{self, PolicyRole, Preflight, Server};
use std::ffi::OsString;

/// Looks, and says what was found.
pub(crate) async fn run(run: &Run, args: &PreflightArgs) -> Result<(), Fault> {
    if let Some(text) = &args.place
        && let Some(server) = cluster::server(text)?
    {
        return cluster(run, args, text, &server).await;
    }
    let place = match &args.place {
        Some(text) => settings::parse_repository(text, &settings::current_dir()?)?,
        None => run.repository_place()?,
    };
    if let Some(role) = args.print_policy {
        return print_policy(run, &place, role, args);
    }
    run.listen()?;
    let found = {
        let _looking = run.watchdog.repository();
        wire_up::preflight(&place, &run.reach).await?
    };
    show(run, &place, &found);
    match found.findings.iter().find(|finding| finding.harmful) {
        None => Ok(()),
        Some(harmful) => Err(Fault::failed(
            format!("{place} cannot keep a repository as it is: {}", harmful.what),
            "change it, and run `holdfast preflight` again",
        )),
    }
}

/// A cluster is no place for a repository, but something to back up.
async fn cluster(run: &Run, args: &PreflightArgs, text: &OsString, server: &Server) -> Result<(), Fault> {
    if args.print_policy.is_some() {
        let hint = "leave it out: what a role has to be allowed is printed where it is missing";
        return Err(Fault::usage("--print-policy is about buckets", hint));
    }
    cluster::preflight(run, text, server).await
}

fn print_policy(
    run: &Run,
    place: &RepositoryPlace,
    role: PrintedRole,
    args: &PreflightArgs,
) -> Result<(), Fault> {
    let RepositoryPlace::Bucket(address) = place else {
        let hint = "give it the URL of a bucket: s3://bucket/prefix";
        return Err(Fault::usage(format!("{place} is no bucket: it has no policy"), hint));
    };
    let (role, name) = match role {
        PrintedRole::Writer => (PolicyRole::Writer, "writer"),
        PrintedRole::Maintainer => (PolicyRole::Maintainer, "maintainer"),
        PrintedRole::Reader => (PolicyRole::Reader, "reader"),
        PrintedRole::LogReader => (PolicyRole::LogReader, "reader:wal"),
    };
    let policy = wire_up::policy(address, role, args.member.as_deref(), args.principal.as_deref());
    if run.ink.tone.json {
        run.ink.json(&PolicyLine { message_type: "policy", role: name, policy });
    } else {
        run.ink.data(&policy);
    }
    Ok(())
}

fn show(run: &Run, place: &RepositoryPlace, found: &Preflight) {
    if run.ink.tone.json {
        let (harmful, notes) = found.findings.iter().partition::<Vec<_>, _>(|finding| finding.harmful);
        let texts = |findings: Vec<&wire_up::Finding>| findings.iter().map(|one| one.what.clone()).collect();
        return run.ink.json(&PreflightLine {
            message_type: "preflight",
            repository: place.to_string(),
            proved: found.proved.iter().map(|&name| name.to_owned()).collect(),
            harmful: texts(harmful),
            notes: texts(notes),
            remedy: None,
        });
    }
    if run.ink.tone.quiet {
        return;
    }
    for name in &found.proved {
        run.ink.data(&format!("ok       {}", in_words(name)));
    }
    for finding in &found.findings {
        run.ink.data(&format!("{}  {}", if finding.harmful { "harmful" } else { "note   " }, finding.what));
    }
}

fn in_words(proved: &str) -> &str {
    match proved {
        "probed-atomic-put" => "of several writers of one name one wins, and nothing is replaced",
        "probed-atomic-multipart" => "so it is with objects that are uploaded in parts",
        "probed-listing" => "a listing holds what was just stored",
        other => other,
    }
}
