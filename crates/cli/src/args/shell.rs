//! The options of `completions` and `man`.

use clap::Args;
use clap_complete::Shell;
use std::path::PathBuf;

/// Write a script that completes verbs and options in a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast completions bash > /usr/share/bash-completion/completions/holdfast
  holdfast completions zsh > /usr/local/share/zsh/site-functions/_holdfast
  holdfast completions fish > ~/.config/fish/completions/holdfast.fish")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// Write the manual: the main page, or with --dir a page for each verb.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast man | man -l -
  holdfast man --dir /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write all pages into DIR, which is made if it is missing; pages that are there are replaced
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
