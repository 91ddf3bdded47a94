//! The option of all verbs that take contents out of a repository: why.

use clap::Args;

/// Why contents are taken out.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Because {
    /// Why, for the record that this leaves in the repository's evidence [HOLDFAST_REASON]
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}
