//! `init`: makes a repository and its recovery kit.

use super::Run;
use super::kit::{Kit, KitFile, Opens, program_hash};
use crate::args::{FromArgs, InitArgs};
use crate::engine::{Error, ErrorKind, Identifying, InitOptions, Repository};
use crate::fault::Fault;
use crate::ink::InitLine;
use crate::wire_up::Founded;
use crate::{secrets, wire_up};
use holdfast_core::crypto::KdfCost;
use holdfast_core::keys::Role;

/// Makes the repository; the kit's file first, so that a repository never lacks a kit for a typing error.
pub(crate) async fn run(run: &Run, args: &InitArgs) -> Result<(), Fault> {
    if let Some(name) = &run.global.domain {
        return super::domain::make(run, args, name).await;
    }
    let place = run.repository_place()?;
    let looking = run.watchdog.repository();
    if wire_up::open_store(&place, &run.reach).await?.is_some() {
        let what = format!("there is a repository already at {place}");
        return Err(Fault::from(Error::new(ErrorKind::RepositoryExists, what)));
    }
    drop(looking);
    let identifying = identifying(run, args).await?;
    let kdf = cost(args.kdf_memory)?;
    let file = args.kit.as_deref().map(KitFile::reserve).transpose()?;
    let secret = secrets::get(&run.global, &run.reach, true)?;
    run.tell_open_secrets();
    run.listen()?;
    let Founded { store, shared, proved } = {
        let _making = run.watchdog.repository();
        wire_up::create_store(&place, &run.reach).await?
    };
    let options = InitOptions { label: args.label.clone(), kdf, proved, identifying };
    if let Some(kind) = shared {
        run.ink.talk(&format!(
            "note: {place} lies on {kind}: only one host at a time may write to this repository"
        ));
    }
    let store = run.guard(store);
    let repository = Repository::create(&run.ctx, store, &secret, &options).await?;
    let (location, id) = (repository.location(), repository.id().to_string());
    let kit = Kit {
        location: &location,
        id: &id,
        host: &wire_up::host_name(),
        opens: Opens::of(&secret),
        key: "",
        role: Role::Owner,
        program: program_hash(),
    };
    let text = kit.text();
    if let Some(file) = file {
        file.write(&text, "the repository was made")?;
    }
    show(run, args, &kit, text);
    Ok(())
}

/// The keys that are another repository's, if it was named.
async fn identifying(run: &Run, args: &InitArgs) -> Result<Option<Identifying>, Fault> {
    let FromArgs { from, from_repository_file, .. } = &args.from;
    if from.is_some() || from_repository_file.is_some() {
        return Ok(Some(run.open_from(&args.from).await?.identifying()?));
    }
    if args.from.says_what_opens_it() {
        let hint = "name it with --from, or leave out what opens it";
        return Err(Fault::usage("no repository given to share keys with", hint));
    }
    Ok(None)
}

pub(crate) fn cost(memory_mib: u32) -> Result<KdfCost, Fault> {
    let cost = KdfCost { memory_kib: memory_mib << 10, ..KdfCost::DEFAULT };
    cost.checked()
        .map_err(|error| Fault::usage("--kdf-memory cannot be that", "leave it at 64").because(&error))
}

fn show(run: &Run, args: &InitArgs, kit: &Kit<'_>, text: String) {
    let kit_file = args.kit.as_ref().map(|path| path.display().to_string());
    if run.ink.tone.json {
        let kit_text = kit_file.is_none().then_some(text);
        let (message_type, id) = ("initialized", kit.id.to_owned());
        return run.ink.json(&InitLine {
            message_type,
            id,
            repository: kit.location,
            kit: kit_text,
            kit_file,
        });
    }
    run.ink.talk(&format!("created repository {} at {}", kit.id, kit.location));
    if let Some(file) = kit_file {
        return run.ink.talk(&format!("recovery kit written to {file}: keep it apart from this machine"));
    }
    run.ink.talk("keep this recovery kit apart from this machine:\n");
    run.ink.data(text.trim_end());
}
