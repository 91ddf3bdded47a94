//! `wal slot`: how much log a server keeps for a slot.
//!
//! It asks a server that may not answer, for somebody who waits: there is a limit to that. On purpose
//! not here: whether it is too much, which `status` says.

use super::Run;
use super::stream::{server, slot};
use crate::args::WalSlotArgs;
use crate::fault::Fault;
use crate::ink::{SlotLine, duration, escape, size};
use crate::secrets;
use crate::wire_up::{SlotKept, SlotTold, slot_told};

/// Asks, and shows it.
pub(super) async fn run(run: &Run, args: &WalSlotArgs) -> Result<(), Fault> {
    let (server, name) = (server(&args.server)?, slot(&args.slot)?);
    let secrets = secrets::of_server()?;
    let asked = async {
        slot_told(&server, &secrets, &name).await.map_err(|error| {
            let hint = error.advice().unwrap_or("see what `holdfast preflight URL` says of the server");
            Fault::failed(format!("the slot {name} cannot be asked for"), hint).because(&error)
        })
    };
    let told = tokio::time::timeout(args.timeout, asked).await.map_err(|_| {
        let what = format!("the server did not answer within {}", duration(args.timeout));
        Fault::failed(what, "see whether it runs and can be reached from here; --timeout allows more")
    })??;
    show(run, &name, &told);
    Ok(())
}

fn show(run: &Run, name: &str, told: &SlotTold) {
    let SlotTold { host, kept, limit } = told;
    let (state, retained_bytes) = match kept {
        SlotKept::Bytes(bytes) => ("keeps", Some(*bytes)),
        SlotKept::Nothing => ("nothing", None),
        SlotKept::Missing => ("missing", None),
        SlotKept::Untold => ("untold", None),
    };
    if run.ink.tone.json {
        let (message_type, limit_bytes) = ("slot", *limit);
        let line = SlotLine { message_type, slot: name, host, state, retained_bytes, limit_bytes };
        return run.ink.json(&line);
    }
    let most = limit.map_or_else(|| "no limit on the server".to_owned(), |most| format!("of {}", size(most)));
    let says = match kept {
        SlotKept::Bytes(bytes) => format!("keeps {} ({most})", size(*bytes)),
        SlotKept::Nothing => "keeps nothing: the server let go of it, or nobody used it yet".to_owned(),
        SlotKept::Missing => "is not there".to_owned(),
        SlotKept::Untold => "keeps what a server before 15 does not tell".to_owned(),
    };
    run.ink.data(&format!("slot {name} on {}: {says}", escape(host.as_bytes())));
}
