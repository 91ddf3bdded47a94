//! The options of `domain` and `shred`.

use clap::{Args, Subcommand};
use holdfast_core::name::is_domain_name;

/// List the domains of a repository, or bring their members in line with it.
///
/// A domain is a part of the repository with keys of its own: nothing in it is deduplicated against
/// anything outside, and `holdfast shred` makes all of it unreadable for ever by destroying its
/// keys. It is made by `holdfast init --domain NAME`; every other verb works in it with `--domain
/// NAME`, or with its place: REPOSITORY/domains/NAME. The keys of the repository open it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast init --domain tenant-7
  holdfast --domain tenant-7 backup /srv/tenant-7
  holdfast domain list
  holdfast domain grant")]
pub(crate) struct DomainArgs {
    #[command(subcommand)]
    pub(crate) verb: DomainVerb,
}

/// What to do with domains.
#[derive(Debug, Subcommand)]
pub(crate) enum DomainVerb {
    /// List the domains
    #[command(after_help = "Examples:\n  holdfast domain list\n  holdfast domain list --json")]
    List,
    Grant(DomainGrantArgs),
}

/// Bring the members of domains in line with those of the repository.
///
/// Keys that were added to the repository open its domains too, and keys that were removed do not.
/// `holdfast key` does this by itself; it is for when that was cut off.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast domain grant\n  holdfast domain grant tenant-7")]
pub(crate) struct DomainGrantArgs {
    /// Only these domains
    #[arg(value_name = "NAME", value_parser = domain_name)]
    pub(crate) names: Vec<String>,
}

/// Make all that is in a domain unreadable for ever, by destroying its keys; then delete it.
///
/// There is no way back. What is outside of the domain stays as it is. Not erased by this: copies in
/// other repositories, what was restored, local caches of other hosts (they hold names of files),
/// and what a disk or bucket keeps of deleted objects. Of a bucket that keeps versions the old
/// versions of the keys are deleted too; where that is not possible this ends with 3 and says so.
///
/// Who read there stays told: of each access and drill in the domain's evidence who, host, time, snapshots
/// and reason go into the evidence of the repository first, and no path, name or target.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast shred tenant-7 --confirm tenant-7 --reason 'contract ended 2026-11-30, ticket 4711'")]
pub(crate) struct ShredArgs {
    /// The domain
    #[arg(value_name = "NAME", value_parser = domain_name)]
    pub(crate) name: String,
    /// The name of the domain once more
    #[arg(long, value_name = "NAME")]
    pub(crate) confirm: String,
    /// Why, for the evidence
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

/// Reads the name of a domain.
pub(crate) fn domain_name(text: &str) -> Result<String, String> {
    if is_domain_name(text) {
        return Ok(text.to_owned());
    }
    Err("a name has 1 to 63 of a-z, 0-9, - _ . and begins with a letter or digit".to_owned())
}
