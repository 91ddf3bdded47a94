//! `wal adopt`: a restored cluster archives its log again.

use super::Run;
use super::local::system_in;
use crate::args::WalAdoptArgs;
use crate::fault::Fault;
use crate::ink::{AdoptedLine, escape};
use crate::settings::{current_dir, normalise};
use crate::wire_up::adopt_cluster;
use std::os::unix::ffi::OsStrExt;

/// Takes out of its settings what a restore wrote.
pub(super) fn run(run: &Run, args: &WalAdoptArgs) -> Result<(), Fault> {
    let dir = normalise(&args.pgdata, &current_dir()?);
    let shown = escape(dir.as_os_str().as_bytes());
    let system = system_in(&dir)?.ok_or_else(|| {
        let what = format!("{shown} is no cluster: it has no global/pg_control");
        Fault::usage(what, "state the folder that holds PG_VERSION")
    })?;
    let adopted = adopt_cluster(&dir).map_err(|error| {
        let what = format!("cannot let {shown} archive again");
        Fault::failed(what, "run it as the owner of the cluster").because(&error)
    })?;
    if run.ink.tone.json {
        let was_off = adopted.was_off;
        run.ink.json(&AdoptedLine { message_type: "adopted", system: system.to_string(), was_off });
        return Ok(());
    }
    for name in &adopted.histories {
        run.ink.data(&format!("{name} waits for the archive"));
    }
    if adopted.was_off {
        run.ink.data(&format!("{shown} archives again once its server is restarted"));
        run.ink.talk(
            "see that archive_mode = on and archive_command are in its postgresql.conf, and restart it",
        );
        run.ink.talk("then back it up: log of the time without archiving is missing, and only a new snapshot goes on from here");
    } else {
        run.ink.data(&format!("{shown}: no restore had turned archiving off"));
    }
    Ok(())
}
