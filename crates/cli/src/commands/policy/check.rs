//! `policy check`: mistakes and what is unwise.
//!
//! On purpose not here: what those are.

use super::super::Run;
use super::{Lines, Text, tell_lint, tell_mistake, wrong_policy};
use crate::args::PolicyCheckArgs;
use crate::fault::Fault;
use crate::ink::{PolicyCheckSummary, counted, escape};
use holdfast_scheduler::policy::lint::{Weight, lint};

/// What was found in all files.
#[derive(Debug, Default)]
struct Found {
    mistakes: usize,
    errors: usize,
    warnings: usize,
}

/// Looks at policies, and says what is wrong with each.
pub(super) fn run(run: &Run, args: &PolicyCheckArgs) -> Result<(), Fault> {
    let mut all = Found::default();
    for path in &args.files {
        let found = file(run, &Text::read(path)?);
        all.mistakes += found.mistakes;
        all.errors += found.errors;
        all.warnings += found.warnings;
    }
    if run.ink.tone.json {
        let Found { mistakes, errors, warnings } = all;
        let files = args.files.len();
        let message_type = "summary";
        run.ink.json(&PolicyCheckSummary { message_type, files, mistakes, errors, warnings });
    }
    judged(&all, args.strict)
}

fn file(run: &Run, text: &Text) -> Found {
    let mut found = Found::default();
    match text.parse() {
        Err(wrong) => {
            wrong.iter().for_each(|wrong| tell_mistake(&run.ink, wrong));
            found.mistakes = wrong.len();
        }
        Ok(policy) => {
            let lines = Lines::of(text);
            for lint in lint(&policy) {
                tell_lint(&run.ink, &text.file, &lines, &lint);
                match lint.severity {
                    Weight::Error => found.errors += 1,
                    Weight::Warning => found.warnings += 1,
                }
            }
        }
    }
    let Found { mistakes, errors, warnings } = found;
    let parts =
        [(mistakes, "mistake", "mistakes"), (errors, "error", "errors"), (warnings, "warning", "warnings")];
    let parts = parts.iter().filter(|(count, ..)| *count > 0);
    let parts: Vec<_> = parts.map(|(count, one, many)| counted(*count as u64, one, many)).collect();
    let said = if parts.is_empty() { "nothing is wrong".to_owned() } else { parts.join(", ") };
    run.ink.talk(&format!("{}: {said}", escape(text.file.as_bytes())));
    found
}

fn judged(found: &Found, strict: bool) -> Result<(), Fault> {
    let Found { mistakes, errors, warnings } = *found;
    if mistakes > 0 {
        return Err(wrong_policy(mistakes));
    }
    let hint = "change what stands above, or promise less";
    if errors > 0 {
        let what = format!("{} can never come out as written", counted(errors as u64, "thing", "things"));
        return Err(Fault::failed(what, hint));
    }
    if strict && warnings > 0 {
        let what = format!("{}, and --strict allows none", counted(warnings as u64, "warning", "warnings"));
        return Err(Fault::failed(what, "change what stands above, or leave --strict out"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Code;

    #[test]
    fn mistakes_end_with_2_errors_with_1_and_warnings_only_strictly() {
        let code = |mistakes, errors, warnings, strict| {
            judged(&Found { mistakes, errors, warnings }, strict).err().map(|fault| fault.code)
        };
        assert_eq!(code(1, 1, 1, false), Some(Code::Usage));
        assert_eq!(code(0, 1, 0, false), Some(Code::Failed));
        assert_eq!(code(0, 0, 1, false), None);
        assert_eq!(code(0, 0, 1, true), Some(Code::Failed));
        assert_eq!(code(0, 0, 0, true), None);
    }
}
