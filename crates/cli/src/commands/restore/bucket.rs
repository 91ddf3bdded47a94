//! A bucket as the target of a restore: what is asked of it, and refused, before anything is written.
//!
//! On purpose not here: writing; the target does it.

use super::{Ready, Run};
use crate::args::RestoreArgs;
use crate::engine::Carry;
use crate::fault::Fault;
use crate::secrets;
use crate::settings::{self, RepositoryPlace};
use crate::stuck::WatchedPlace;
use crate::wire_up::{
    Address, BucketOverwrite, BucketPlace, BucketTargetOptions, Events, FileTargetOptions, Overwrite, Told,
    overlap,
};
use holdfast_core::entry::Time;
use holdfast_store::{ErrorKind, StoreError};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Where all versions can be restored to.
const ANEW: &str = "restore to an empty bucket or a prefix under which nothing ever was; a restore of all versions that \
                    was interrupted is not gone on with either, but begun anew there";

/// A bucket that may be restored to.
pub(super) struct Bucket {
    pub(super) place: BucketPlace,
    /// Nothing lies there.
    pub(super) empty: bool,
    /// Access rights are to be set.
    with_acl: bool,
    /// Objects that are newer than the snapshot, once that is known.
    pub(super) newer: AtomicU64,
}

/// Reads a target that is a bucket; none if it is something else.
pub(super) fn address(target: &Path) -> Result<Option<Address>, Fault> {
    let text = target.as_os_str();
    if !text.as_bytes().starts_with(b"s3://") {
        return Ok(None);
    }
    settings::refuse_password(text)?;
    Address::parse(&text.to_string_lossy()).map(Some).map_err(|error| {
        let hint = "write s3://bucket/prefix, and ?endpoint=https://host:port for a server that is not AWS";
        Fault::usage(format!("{} is no bucket to restore to", text.display()), hint).because(&error)
    })
}

/// Refuses what a bucket cannot have.
pub(super) fn refuse_options(args: &RestoreArgs) -> Result<(), Fault> {
    for (stated, option) in [(args.sparse, "--sparse"), (args.ownership_by_name, "--ownership-by-name")] {
        if stated {
            let what =
                format!("{option} is about files, and objects of a bucket have neither holes nor owners");
            return Err(Fault::usage(what, "leave it out"));
        }
    }
    Ok(())
}

/// Refuses to delete where it cannot be told what a snapshot left out.
pub(super) fn refuse_delete(place: &Ready, opaque: bool) -> Result<(), Fault> {
    match place {
        Ready::Folder(_) if opaque => Err(Fault::usage(
            "--delete does not work when objects of a bucket are restored into a folder",
            "restore into an empty folder, or back into a bucket",
        )),
        _ => Ok(()),
    }
}

/// Refuses to delete where a backup left out folders that hold a certain file.
pub(super) fn refuse_tagged(place: &Ready, into: &FileTargetOptions) -> Result<(), Fault> {
    match place {
        Ready::Bucket(_) if !into.keep_tagged.is_empty() => Err(Fault::usage(
            "--delete does not work here: the backup left out folders that hold a certain file, \
             and which those are cannot be told of a bucket",
            "restore without --delete",
        )),
        _ => Ok(()),
    }
}

/// Looks at the target, and refuses what would harm.
pub(super) async fn ready(
    run: &Run,
    args: &RestoreArgs,
    address: &Address,
    overwrite: Option<Overwrite>,
) -> Result<Bucket, Fault> {
    if let RepositoryPlace::Bucket(repository) = run.repository_place()?
        && overlap(address, &repository).is_some()
    {
        return Err(is_repository(address, &repository.to_string()));
    }
    let place = BucketPlace::open(address, secrets::bucket_keys("TARGET_")?, run.network()?).await;
    let (watchdog, top) = (Arc::clone(&run.watchdog), format!("s3://{}/", address.bucket).into_bytes());
    let place = place.watched(Arc::new(WatchedPlace { watchdog, top }));
    let failed = |error: StoreError| {
        let hint = match error.kind {
            ErrorKind::Denied => {
                "check the credentials for the target (HOLDFAST_TARGET_AWS_ACCESS_KEY_ID and \
                 HOLDFAST_TARGET_AWS_SECRET_ACCESS_KEY, or profile= in its URL; else those of the repository)"
            }
            ErrorKind::Unusable => "a bucket is not made by a restore: make it, or check its name and region",
            _ => "check that the server can be reached, and the endpoint and region in the URL",
        };
        let hint = Told::remedy(&error.source).unwrap_or(hint);
        Fault::failed(format!("cannot restore to {address}"), hint).because(&error)
    };
    let empty = place.is_empty().await.map_err(failed)?;
    if !empty && args.all_versions && !args.dry_run {
        return Err(Fault::usage(format!("--all-versions: the target {address} is not empty"), ANEW));
    }
    if !empty && overwrite.is_none() {
        return Err(Fault::usage(
            format!("the target {address} is not empty"),
            "say what becomes of what lies there: --overwrite always (also to go on with an interrupted restore), \
             if-changed, if-newer or never; see what would happen with --dry-run",
        ));
    }
    if let Some(repository) = place.repository_around().await.map_err(failed)? {
        return Err(is_repository(address, &repository));
    }
    // The same server may have several names.
    if let RepositoryPlace::Bucket(repository) = run.repository_place()?
        && place.holds(&repository).await.map_err(failed)?
    {
        return Err(is_repository(address, &repository.to_string()));
    }
    if args.all_versions {
        refuse_without_versions(&place).await?;
    }
    heed_events(run, args, &place).await?;
    Ok(Bucket { place, empty, with_acl: args.with_acl, newer: AtomicU64::new(0) })
}

/// Refuses a place where versions would be lost, or would mix with others.
async fn refuse_without_versions(place: &BucketPlace) -> Result<(), Fault> {
    let address = place.address();
    let failed = |error: StoreError| {
        let hint = "check that the credentials for the target may ask (s3:GetBucketVersioning, \
                    s3:ListBucketVersions), and that the server knows versions";
        Fault::failed(format!("cannot restore all versions to {address}"), hint).because(&error)
    };
    if !place.keeps_versions().await.map_err(failed)? {
        return Err(Fault::usage(
            format!(
                "--all-versions: the bucket {} does not keep versions: each would replace the one before",
                address.bucket
            ),
            "switch its versioning on (aws s3api put-bucket-versioning --versioning-configuration Status=Enabled), \
             or restore one version of each object, with --at",
        ));
    }
    if !place.has_no_versions().await.map_err(failed)? {
        return Err(Fault::usage(
            format!(
                "--all-versions: in {address} there are versions or delete markers, which would mix with the restored"
            ),
            ANEW,
        ));
    }
    Ok(())
}

/// A bucket that tells others of new objects makes them work, and pay.
async fn heed_events(run: &Run, args: &RestoreArgs, place: &BucketPlace) -> Result<(), Fault> {
    match place.events().await {
        Events::None => Ok(()),
        Events::To(names) => {
            let what = format!(
                "the bucket {} tells of each new object: {}",
                place.address().bucket,
                names.join(", ")
            );
            if args.with_events || args.dry_run {
                run.ink.warn(&what);
                return Ok(());
            }
            Err(Fault::usage(what, "switch that off for the restore, or say --with-events if it is meant"))
        }
        Events::Unknown(why) => {
            run.ink.warn(&format!("whether somebody is told of each new object cannot be seen: {why}"));
            Ok(())
        }
    }
}

fn is_repository(address: &Address, repository: &str) -> Fault {
    let what = format!("the target {address} overlaps with the repository at {repository}");
    Fault::usage(what, "restore to another bucket or prefix")
}

impl Bucket {
    /// How the target is opened.
    pub(super) fn options(
        &self,
        into: &FileTargetOptions,
        carry: Carry,
        (opaque, replay): (bool, bool),
        made: Time,
        run: &Run,
    ) -> BucketTargetOptions {
        let overwrite = into.overwrite.map(|overwrite| match overwrite {
            Overwrite::Always => BucketOverwrite::Always,
            Overwrite::IfChanged => BucketOverwrite::IfChanged,
            Overwrite::IfNewer => BucketOverwrite::IfNewer,
            Overwrite::Never => BucketOverwrite::Never,
        });
        let cache = run.ctx.cache.clone().filter(|cache| cache.is_dir());
        BucketTargetOptions {
            overwrite,
            delete: into.delete.clone(),
            keep_larger_than: into.keep_larger_than,
            replay,
            with_acl: self.with_acl,
            rehearse: into.rehearse,
            survey: carry == Carry::Survey,
            opaque,
            made,
            spool: cache.unwrap_or_else(std::env::temp_dir),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn a_target_that_is_a_bucket_is_told_from_a_folder() {
        assert_eq!(address(Path::new("/srv/s3:")), Ok(None));
        assert_eq!(address(Path::new("s3://bucket/x")).unwrap().unwrap().prefix, "x/");
        assert!(address(Path::new("s3://b")).is_err());
    }

    #[test]
    fn a_repository_is_not_restored_over() {
        let overlap = |one: &str, other: &str| {
            overlap(&Address::parse(one).unwrap(), &Address::parse(other).unwrap()).is_some()
        };
        assert!(overlap("s3://bucket/a", "s3://bucket"));
        assert!(overlap("s3://bucket/a", "s3://bucket/a/b"));
        assert!(!overlap("s3://bucket/a", "s3://bucket/ab"));
        assert!(!overlap("s3://bucket/a", "s3://other/a"));
    }
}
