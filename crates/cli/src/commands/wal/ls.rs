//! `wal ls`: the files of the log.

use super::Run;
use crate::args::WalLsArgs;
use crate::engine::wal::{WalArchive, WalListed};
use crate::fault::Fault;
use crate::ink::{Align, Table, WalFileLine, size};

/// Lists them, by their names.
pub(super) async fn run(run: &Run, args: &WalLsArgs) -> Result<(), Fault> {
    if let Some(text) = &args.commits {
        return super::commits::run(run, args.system, text).await;
    }
    let repository = run.open_for_any().await?;
    let listed = WalArchive::new(&run.ctx, &repository).list(args.system).await?;
    if run.ink.tone.json {
        listed.iter().for_each(|listed| run.ink.json(&WalFileLine::from(listed)));
    } else if listed.is_empty() {
        run.ink.talk("no log");
    } else {
        run.ink.table(&table(&listed));
    }
    Ok(())
}

fn table(listed: &[WalListed]) -> Table {
    let columns = [
        ("SYSTEM", Align::Left),
        ("TIMELINE", Align::Left),
        ("FILE", Align::Left),
        ("PIECE", Align::Right),
        ("STORED", Align::Right),
    ];
    let mut table = Table::new(&columns);
    for WalListed { name, stored_bytes } in listed {
        table.row(vec![
            name.timeline.system.to_string(),
            name.timeline.to_string(),
            name.file.clone(),
            name.piece.map(|piece| piece.to_string()).unwrap_or_default(),
            size(*stored_bytes),
        ]);
    }
    table
}
