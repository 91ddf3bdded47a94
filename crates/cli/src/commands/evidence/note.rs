//! `evidence note`: what was done about a record becomes a record.
//!
//! On purpose not here: changing what was noted. A second note says so.

use super::super::Run;
use super::super::access::user;
use super::pick::{NOTE, all, one};
use crate::args::EvidenceNoteArgs;
use crate::engine::evidence::{append, records};
use crate::fault::Fault;
use crate::ink::{NotedLine, escape};
use crate::wire_up;
use serde::Serialize;

/// Longest note in bytes.
const ACTION_BYTES_MAX: usize = 64 << 10;

/// What a note says.
#[derive(Serialize)]
struct Note<'a> {
    /// The name of the record that it is about.
    of: &'a str,
    /// What was done.
    action: &'a str,
    /// Who did it.
    by: &'a str,
}

/// Appends the note.
pub(super) async fn run(run: &Run, args: &EvidenceNoteArgs) -> Result<(), Fault> {
    let action = args.action.trim();
    if action.is_empty() {
        return Err(Fault::usage("--action: the note is empty", "say what was done"));
    }
    if action.len() > ACTION_BYTES_MAX {
        let what =
            format!("--action: the note has {} bytes, and {ACTION_BYTES_MAX} are the most", action.len());
        return Err(Fault::usage(what, "write less, or where more of it is"));
    }
    let by = args.by.clone().unwrap_or_else(who);
    let repository = run.open().await?;
    let book = run.watch("reading evidence", records(&run.ctx, &repository)).await?;
    let told = all(&book, &repository);
    let of = &one(&told, &args.record)?.record.name;
    let text = serde_json::to_vec(&Note { of, action, by: &by })
        .map_err(|error| Fault::failed("the note cannot be written down", "").because(&error))?;
    let name = append(&run.ctx, &repository, NOTE, &text).await?;
    if run.ink.tone.json {
        run.ink.json(&NotedLine { message_type: "evidence_noted", name: &name, of });
    } else {
        run.ink.data(&format!("{name} notes on {}", escape(of.as_bytes())));
    }
    Ok(())
}

/// Who runs this.
fn who() -> String {
    format!("{}@{}", user(), wire_up::host_name())
}
