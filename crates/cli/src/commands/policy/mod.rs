//! `policy`: what is wrong with policies, what they come down to, what has none.
//!
//! Nothing here changes anything. On purpose not here: carrying policies out.

mod buckets;
mod check;
pub(crate) mod clusters;
mod coverage;
mod kept;
mod mounts;
mod outlook;
mod plan;

use super::Run;
use crate::args::PolicyVerb;
use crate::fault::Fault;
use crate::hands::POLICY_TEXT;
use crate::ink::{Ink, PolicyLintLine, PolicyMistakeLine, PolicySchemaLine, counted, escape};
use crate::secrets::handed;
use crate::settings::{current_dir, normalise, variable};
use holdfast_scheduler::policy::lint::{Lint, Weight};
use holdfast_scheduler::policy::read::{Wrong, parse, places};
use holdfast_scheduler::policy::{Policy, schema};
use std::collections::BTreeMap;
use std::path::Path;

/// Looks at policies.
pub(crate) async fn run(run: &Run, verb: &PolicyVerb) -> Result<(), Fault> {
    match verb {
        PolicyVerb::Check(args) => check::run(run, args),
        PolicyVerb::Plan(args) => plan::run(run, args).await,
        PolicyVerb::Coverage(args) => coverage::run(run, args).await,
        PolicyVerb::Schema => {
            if run.ink.tone.json {
                let schema = schema::value();
                run.ink.json(&PolicySchemaLine { message_type: "policy_schema", schema });
            } else {
                run.ink.data(schema::text().trim_end());
            }
            Ok(())
        }
    }
}

/// The text of a policy and its file's name.
struct Text {
    file: String,
    text: String,
}

impl Text {
    /// Reads a file, or takes what `serve` read of it.
    fn read(path: &Path) -> Result<Self, Fault> {
        let file = path.display().to_string();
        if let Some(text) = handed::get(POLICY_TEXT).and_then(|text| String::from_utf8(text.to_vec()).ok()) {
            return Ok(Self { file, text });
        }
        let text = std::fs::read_to_string(path).map_err(|error| {
            let hint = "name a policy: a YAML file that this user may read";
            Fault::usage(format!("cannot read the policy {}", escape(file.as_bytes())), hint).because(&error)
        })?;
        Ok(Self { file, text })
    }

    fn parse(&self) -> Result<Policy, Vec<Wrong>> {
        parse(&self.text, &self.file)
    }
}

/// Reads policies that have to be right; what is wrong with them is told.
fn all(run: &Run, paths: &[impl AsRef<Path>]) -> Result<Vec<(Text, Policy)>, Fault> {
    let (mut policies, mut mistakes) = (Vec::new(), 0);
    for path in paths {
        let text = Text::read(path.as_ref())?;
        match text.parse() {
            Ok(policy) => policies.push((text, policy)),
            Err(wrong) => {
                wrong.iter().for_each(|wrong| tell_mistake(&run.ink, wrong));
                mistakes += wrong.len();
            }
        }
    }
    if mistakes == 0 { Ok(policies) } else { Err(wrong_policy(mistakes)) }
}

/// Reads one policy that has to be right, and its text.
pub(crate) fn read_one(run: &Run, path: &Path) -> Result<(Policy, String), Fault> {
    let mut read = all(run, &[path])?;
    let (text, policy) = read.pop().ok_or_else(|| wrong_policy(0))?;
    Ok((policy, text.text))
}

/// Makes the paths of a policy absolute: they are from the folder of its file.
fn settle(text: &Text, policy: &mut Policy) -> Result<(), Fault> {
    let file = normalise(Path::new(&text.file), &current_dir()?);
    let folder = file.parent().unwrap_or(Path::new("/"));
    policy.settle(folder, variable("HOME").as_deref().map(Path::new));
    Ok(())
}

fn wrong_policy(mistakes: usize) -> Fault {
    let what = format!("the policy cannot be used: {}", counted(mistakes as u64, "mistake", "mistakes"));
    Fault::usage(what, "put right what stands above, and run the same command again")
}

fn tell_mistake(ink: &Ink, wrong: &Wrong) {
    if ink.tone.json {
        ink.json(&PolicyMistakeLine::from(wrong));
        return;
    }
    ink.data(&escape(wrong.to_string().as_bytes()));
    tell_next(ink, &wrong.next);
}

fn tell_next(ink: &Ink, next: &str) {
    if !next.is_empty() {
        ink.data(&format!("    {}", escape(next.as_bytes())));
    }
}

/// Where lints of a policy stand.
struct Lines(BTreeMap<String, (usize, usize)>);

impl Lines {
    fn of(text: &Text) -> Self {
        Self(places(&text.text))
    }

    /// The line of a key, or of what it would belong to.
    fn line(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some((line, _)) = self.0.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

const fn word(weight: Weight) -> &'static str {
    match weight {
        Weight::Error => "error",
        Weight::Warning => "warning",
    }
}

fn tell_lint(ink: &Ink, file: &str, lines: &Lines, lint: &Lint) {
    let line = lines.line(&lint.path);
    if ink.tone.json {
        ink.json(&PolicyLintLine::new(file, line, word(lint.severity), lint));
        return;
    }
    let place = line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"));
    let Lint { severity, what, path, next } = lint;
    ink.data(&escape(format!("{place}: {}: `{path}`: {what}", word(*severity)).as_bytes()));
    tell_next(ink, next);
}
