//! `completions` and `man`, which need no repository, and `mount`, which there is not yet.

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::fault::Fault;
use crate::ink::{CompletionsLine, Ink, ManLine, counted};
use clap::{Command, CommandFactory};
use std::fs;
use std::io;
use std::path::Path;

/// Shows the script that completes commands in a shell.
pub(crate) fn completions(ink: &Ink, args: &CompletionsArgs) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut offered(), "holdfast", &mut script);
    let script = String::from_utf8_lossy(&script);
    if ink.tone.json {
        let shell = args.shell.to_string();
        ink.json(&CompletionsLine { message_type: "completions", shell: &shell, script: &script });
    } else {
        ink.data(script.trim_end());
    }
}

/// The grammar without what is hidden: no shell is to offer that.
fn offered() -> Command {
    let all = Cli::command();
    let verbs = all.get_subcommands().filter(|verb| !verb.is_hide_set());
    Command::new("holdfast").args(all.get_arguments()).subcommands(verbs)
}

/// Shows the main page of the manual, or writes all pages.
pub(crate) fn man(ink: &Ink, args: &ManArgs) -> Result<(), Fault> {
    let fault = |what: String| move |error: io::Error| Fault::failed(what, "").because(&error);
    let pages = pages().map_err(fault("cannot write the manual".into()))?;
    let Some(dir) = &args.dir else {
        let (name, text) = &pages[0];
        show(ink, name, text);
        return Ok(());
    };
    fs::create_dir_all(dir).map_err(fault(format!("cannot make the folder {}", dir.display())))?;
    for (name, text) in &pages {
        let path = dir.join(name);
        replace(&path, text).map_err(fault(format!("cannot write {}", path.display())))?;
        if ink.tone.json {
            show(ink, name, text);
        }
    }
    ink.talk(&format!("{} written to {}", counted(pages.len() as u64, "page", "pages"), dir.display()));
    Ok(())
}

fn show(ink: &Ink, name: &str, text: &str) {
    if ink.tone.json {
        ink.json(&ManLine { message_type: "man", name, page: text });
    } else {
        ink.data(text.trim_end());
    }
}

/// Writes a page beside its place first: a reader finds the old one or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("1.new");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}

/// All pages, by the names of their files; the main page first.
fn pages() -> io::Result<Vec<(String, String)>> {
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, &mut pages)?;
    Ok(pages)
}

fn add_pages(command: &Command, pages: &mut Vec<(String, String)>) -> io::Result<()> {
    // Built commands know the names above theirs: "holdfast-key-add".
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().version(super::version::VERSION))
        .title(name.clone())
        .render(&mut page)?;
    pages.push((format!("{name}.1"), String::from_utf8_lossy(&page).into_owned()));
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help" && !verb.is_hide_set()) {
        add_pages(verb, pages)?;
    }
    Ok(())
}

/// There is no `mount` yet; what to use says so.
pub(crate) fn mount() -> Fault {
    Fault::usage(
        "holdfast cannot mount a repository yet",
        "look with `holdfast ls SNAPSHOT:/PATH`; take out with `holdfast restore SNAPSHOT:/PATH --target DIR`",
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn each_verb_has_a_page_that_names_its_options() {
        let pages = pages().unwrap();
        assert_eq!(pages[0].0, "holdfast.1");
        for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = format!("holdfast-{}.1", verb.get_name());
            let (_, text) = pages.iter().find(|(page, _)| *page == name).unwrap();
            for option in verb.get_arguments().filter_map(|option| option.get_long()) {
                assert!(text.contains(&option.replace('-', "\\-")), "{name}: {option}");
            }
        }
        assert!(pages.iter().any(|(name, _)| name == "holdfast-key-add.1"));
    }
}
