//! `backup s3://…`: what of the command line has a meaning for a bucket, and what is left out of it.
//!
//! On purpose not here: reading it.

use super::{Run, lists};
use crate::args::{BackupArgs, Cold, Objects, WhichVersions};
use crate::engine::Source;
use crate::fault::Fault;
use crate::ink::{count, size};
use crate::secrets;
use crate::settings::{self, RepositoryPlace};
use crate::wire_up::{
    self, Address, BucketOptions, COUNTED, Keep, KeepConfiguration, Keys, LeftOut, Meter, Overlap, Sweep,
    Versions, overlap, parse_metadata, parse_source,
};
use holdfast_store::Traffic;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// The bucket that is to be backed up, if one is.
pub(super) fn stated(args: &BackupArgs) -> Result<Option<Address>, Fault> {
    let is_bucket = |text: &&OsString| text.as_bytes().starts_with(b"s3://");
    let Some(text) = args.paths.iter().find(is_bucket) else { return Ok(None) };
    settings::refuse_password(text)?;
    let lists = [&args.files_from, &args.files_from_verbatim, &args.files_from_raw];
    if args.paths.len() > 1 || lists.iter().any(|files| !files.is_empty()) {
        let hint = "back up each bucket, and the paths of this host, with a command of its own";
        return Err(Fault::usage("a bucket cannot stand beside other things to back up", hint));
    }
    let text = text.to_str().ok_or_else(|| Fault::usage("the URL of the bucket is no text", ""))?;
    let address = parse_source(text).map_err(|error| {
        let hint = "write s3://bucket/prefix, and ?endpoint=https://host:port for a server that is not AWS";
        Fault::usage(format!("the bucket cannot be used: {error}"), hint)
    })?;
    refuse_options_of_files(args)?;
    Ok(Some(address))
}

/// Nothing that was asked for is passed over in silence.
fn refuse_options_of_files(args: &BackupArgs) -> Result<(), Fault> {
    let (leave_out, compare) = (&args.leave_out, &args.compare);
    let given = [
        (leave_out.one_file_system, "--one-file-system"),
        (leave_out.exclude_caches, "--exclude-caches"),
        (!leave_out.exclude_if_present.is_empty(), "--exclude-if-present"),
        (compare.ignore_ctime, "--ignore-ctime"),
        (compare.ignore_inode, "--ignore-inode"),
    ];
    match given.iter().find(|(given, _)| *given) {
        Some((_, option)) => {
            let hint = "leave it out; --exclude and --exclude-larger-than work on keys too";
            Err(Fault::usage(format!("{option} has no meaning for a bucket"), hint))
        }
        None => Ok(()),
    }
}

/// Which versions are meant. Without the newest one an older one would pass for what is there now.
fn versions(args: &BackupArgs) -> Result<Versions, Fault> {
    match args.versions {
        None | Some(WhichVersions::Current) => Ok(Versions::Current),
        Some(WhichVersions::All) if args.leave_out.exclude_larger_than.is_some() => {
            let what = "--exclude-larger-than and --versions all: where the newest version is larger, an older \
                        one would take its place";
            Err(Fault::usage(what, "leave objects out by their keys, with --exclude"))
        }
        Some(WhichVersions::All) => Ok(Versions::All),
    }
}

/// Nothing else has objects.
pub(super) fn refuse_options_of_buckets(args: &BackupArgs) -> Result<(), Fault> {
    let Objects { metadata, metadata_sweep, cold } = &args.objects;
    let given = [
        (metadata.is_some(), "--metadata"),
        (metadata_sweep.is_some(), "--metadata-sweep"),
        (cold.is_some(), "--cold"),
        (args.versions.is_some(), "--versions"),
    ];
    match given.iter().find(|(given, _)| *given) {
        Some((_, option)) => {
            Err(Fault::usage(format!("{option} is about a bucket"), "leave it out, or back up s3://bucket"))
        }
        None => Ok(()),
    }
}

/// What is kept of objects where nothing is stated; the bucket's configuration is kept too then, as
/// far as it may be read.
const USUAL: &str = "tags,lock";

/// What is kept of objects and of the bucket, and how often that of objects is looked at again.
fn kept(objects: &Objects) -> Result<(Keep, KeepConfiguration, Sweep), Fault> {
    let Objects { metadata, metadata_sweep, .. } = objects;
    let (keep, stated) = parse_metadata(metadata.as_deref().unwrap_or(USUAL))
        .map_err(|what| Fault::usage(format!("--metadata: {what}"), "write --metadata tags,lock,bucket"))?;
    let configuration = if metadata.is_some() { stated } else { KeepConfiguration::IfAllowed };
    let sweep = Sweep::parse(metadata_sweep.as_deref().unwrap_or("1/30"));
    let sweep = sweep
        .map_err(|what| Fault::usage(format!("--metadata-sweep: {what}"), "write --metadata-sweep 1/30"))?;
    if !keep.is_any() && metadata_sweep.is_some() && sweep.0.is_some() {
        let what = "--metadata-sweep has nothing to look at: --metadata keeps nothing of objects";
        return Err(Fault::usage(what, "leave one of them out"));
    }
    Ok((keep, configuration, if keep.is_any() { sweep } else { Sweep(None) }))
}

/// A bucket that is ready to be opened.
pub(super) struct Plan {
    options: BucketOptions,
    keys: Option<Keys>,
}

impl Plan {
    /// Gathers what is known before the repository is open.
    pub(super) fn new(run: &Run, args: &BackupArgs, address: &Address) -> Result<Self, Fault> {
        let own = match run.repository_place()? {
            RepositoryPlace::Bucket(repository) => own_prefix(address, &repository)?,
            RepositoryPlace::Folder(_) => None,
        };
        let leave_out = &args.leave_out;
        let excludes = lists::patterns(
            [&leave_out.exclude, &leave_out.iexclude],
            [&leave_out.exclude_file, &leave_out.iexclude_file],
            "--exclude-file",
        )?;
        let larger = leave_out.exclude_larger_than;
        let record = LeftOut::new(&excludes, larger).encode();
        let left_out = move |path: &[u8], bytes: u64| {
            larger.is_some_and(|most| bytes > most) || !excludes.is_empty() && excludes.matches(path, false)
        };
        let host = args.name.host.clone();
        let left_out = Arc::new(left_out);
        let (keep, configuration, sweep) = kept(&args.objects)?;
        let options = BucketOptions {
            address: address.clone(),
            versions: versions(args)?,
            host,
            left_out,
            own,
            keep,
            configuration,
            sweep,
            accept_cold: args.objects.cold == Some(Cold::Accept),
            record,
        };
        Ok(Self { options, keys: secrets::bucket_keys("SOURCE_")? })
    }

    /// Opens it.
    pub(super) async fn open(self, run: &Run) -> Result<(Box<dyn Source>, Meter), Fault> {
        Ok(wire_up::bucket_source(self.options, self.keys, run.network()?, &run.watchdog).await)
    }
}

/// What keys of the repository begin with, if some of them would be met.
fn own_prefix(source: &Address, repository: &Address) -> Result<Option<String>, Fault> {
    match overlap(source, repository) {
        None => Ok(None),
        Some(Overlap::Around) => Ok(Some(repository.prefix.clone())),
        Some(Overlap::Inside) => {
            let what = format!("{source} lies in the repository {repository}, which cannot hold itself");
            Err(Fault::usage(what, "back up another prefix; the one of the repository is left out of it"))
        }
    }
}

/// What became of each listed object, if this is what the facts of a snapshot say.
pub(super) fn counted(facts: &[(String, String)]) -> Option<BTreeMap<String, u64>> {
    let number = |(name, value): &(String, String)| {
        Some((name.strip_prefix(COUNTED)?.to_owned(), value.parse().ok()?))
    };
    let counts: BTreeMap<_, _> = facts.iter().filter_map(number).collect();
    (!counts.is_empty()).then_some(counts)
}

/// The same in a line: what there is.
pub(super) fn shown_counts(counts: &BTreeMap<String, u64>) -> String {
    const ORDER: [&str; 8] =
        ["listed", "stored", "unchanged", "cold", "unreadable", "excluded", "vanished", "own"];
    let words = ORDER.iter().filter_map(|word| Some((word, *counts.get(*word)?)));
    let words = words.filter(|(word, number)| **word == "listed" || *number > 0);
    let words: Vec<_> = words.map(|(word, number)| format!("{} {word}", count(number))).collect();
    format!("  objects    {}", words.join(", "))
}

/// What was asked of the server, in a line.
pub(super) fn shown(traffic: &Traffic) -> String {
    let kinds = traffic.requests.iter().map(|(kind, number)| format!("{} {kind}", count(*number)));
    let kinds = kinds.collect::<Vec<_>>().join(", ");
    format!("  requests   {kinds}, {} came", size(traffic.received_bytes))
}
