//! `key`: what opens the repository is listed, added, removed and changed.
//!
//! On purpose not here: how it is done so that a key is always left; the engine knows.

use super::Run;
use super::init::cost;
use super::kit::{Kit, KitFile, is_key_file, program_hash};
use crate::args::{KeyAddArgs, KeyPasswdArgs, KeyRemoveArgs, KeyVerb, NewSecret};
use crate::engine::{
    ChangedKey, Error, ErrorKind, KeyInfo, NewKey, RemovedKey, Repository, add_key, change_key, keys,
    remove_key,
};
use crate::fault::Fault;
use crate::ink::{
    Align, KeyAddedLine, KeyChangedLine, KeyLine, KeyRemovedLine, Table, counted, escape, local, size,
};
use crate::{secrets, wire_up};
use holdfast_core::id::ObjectId;

const COLUMNS: [(&str, Align); 6] = [
    ("ID", Align::Left),
    ("LABEL", Align::Left),
    ("KIND", Align::Left),
    ("CREATED", Align::Left),
    ("MEMORY", Align::Right),
    ("IN USE", Align::Left),
];

/// Longest label that a table shows.
const LABEL_CHARS_SHOWN_MAX: usize = 60;

/// Carries out what is to be done with keys.
pub(crate) async fn run(run: &Run, verb: &KeyVerb) -> Result<(), Fault> {
    match verb {
        KeyVerb::List => list(run).await,
        KeyVerb::Add(args) => add(run, args).await,
        KeyVerb::Remove(args) => remove(run, args).await,
        KeyVerb::Passwd(args) => passwd(run, args).await,
    }
}

async fn list(run: &Run) -> Result<(), Fault> {
    let repository = run.open().await?;
    let outcome = keys(&run.ctx, &repository).await?;
    run.tell(&outcome.problems);
    if run.ink.tone.json {
        outcome.value.iter().for_each(|key| run.ink.json(&KeyLine::from(key)));
    } else {
        show(run, &outcome.value);
    }
    match outcome.problems.problem_count {
        0 => Ok(()),
        number => {
            let what = format!("{} cannot be read", counted(number, "key", "keys"));
            Err(Fault::incomplete(what, "it opens nothing any more; remove it: holdfast key remove ID"))
        }
    }
}

fn show(run: &Run, listed: &[KeyInfo]) {
    let mut table = Table::new(&COLUMNS);
    listed.iter().for_each(|key| table.row(cells(key)));
    run.ink.table(&table);
    if listed.len() == 1 {
        run.ink
            .talk("this is the only key: add another and keep it apart from this machine (holdfast key add)");
    }
}

fn cells(key: &KeyInfo) -> Vec<String> {
    let memory = key.password_cost.map(|cost| size(u64::from(cost.memory_kib) << 10));
    vec![
        short(key.id),
        shown_label(&key.label),
        if key.password_cost.is_some() { "password" } else { "key file" }.to_owned(),
        key.created.map(local).unwrap_or_else(|| "not known".into()),
        memory.unwrap_or_else(|| "-".into()),
        if key.in_use { "yes" } else { "" }.to_owned(),
    ]
}

fn short(id: ObjectId) -> String {
    id.to_string()[..8].to_owned()
}

/// A label may be as long as a book; `--json` has all of it.
fn shown_label(label: &str) -> String {
    let text = escape(label.as_bytes());
    if text.chars().count() <= LABEL_CHARS_SHOWN_MAX {
        return text;
    }
    text.chars().take(LABEL_CHARS_SHOWN_MAX - 3).chain("...".chars()).collect()
}

fn new_key(run: &Run, new: &NewSecret) -> Result<NewKey, Fault> {
    Ok(NewKey {
        cost: new.kdf_memory.map(cost).transpose()?,
        label: new.label.clone(),
        secret: secrets::get_new(new, &run.reach)?,
    })
}

/// Opens the repository before a new password is asked for; the kit's file is made before the key is.
async fn add(run: &Run, args: &KeyAddArgs) -> Result<(), Fault> {
    let repository = run.open().await?;
    let new = new_key(run, &args.new)?;
    let file = args.kit.as_deref().map(KitFile::reserve).transpose()?;
    let key = add_key(&run.ctx, &repository, &new).await?;
    let text = kit_text(&repository, &key, &new);
    if let Some(file) = file {
        file.write(&text, &format!("key {} was added", short(key.id)))?;
    }
    let kit_file = args.kit.as_ref().map(|path| path.display().to_string());
    if run.ink.tone.json {
        let kit = kit_file.is_none().then_some(text);
        run.ink.json(&KeyAddedLine::new(&key, kit, kit_file));
        return Ok(());
    }
    run.ink.talk(&format!("added key {}; it was read back and opens the repository", short(key.id)));
    if let Some(file) = kit_file {
        run.ink.talk(&format!("recovery kit written to {file}: keep it apart from this machine"));
        return Ok(());
    }
    run.ink.talk("keep this recovery kit apart from this machine:\n");
    run.ink.data(text.trim_end());
    Ok(())
}

fn kit_text(repository: &Repository, key: &KeyInfo, new: &NewKey) -> String {
    let kit = Kit {
        location: &repository.location(),
        id: &repository.id().to_string(),
        host: &wire_up::host_name(),
        with_key_file: is_key_file(&new.secret),
        key: &shown_label(&key.label),
        program: program_hash(),
    };
    kit.text()
}

async fn remove(run: &Run, args: &KeyRemoveArgs) -> Result<(), Fault> {
    let (repository, secret) = run.open_with_secret().await?;
    let removed = remove_key(&run.ctx, &repository, &secret, &args.id).await.map_err(with_hint)?;
    warn(run, &removed);
    if run.ink.tone.json {
        run.ink.json(&KeyRemovedLine::from(&removed));
        return Ok(());
    }
    let RemovedKey { removed, in_use, replaced, .. } = &removed;
    run.ink.talk(&format!("removed key {}", short(*removed)));
    run.ink.talk(&format!(
        "the key in use was written anew: it is {} now, was {}; what opens it is the same",
        short(in_use.id),
        short(*replaced)
    ));
    copies(run);
    Ok(())
}

fn warn(run: &Run, removed: &RemovedKey) {
    let (old, new) = (short(removed.replaced), short(removed.in_use.id));
    if removed.was_removed {
        run.ink.warn(&format!(
            "another process removed the key in use, {old}, at the same time; it is kept as {new}, so that a key is \
             left. If it shall go, remove {new}"
        ));
    }
    if removed.stays {
        run.ink.warn(&format!(
            "the key in use was written anew as {new}, but its old place {old} could not be cleared; \
             remove {old} later"
        ));
    }
}

/// What changing and removing keys does not do.
fn copies(run: &Run) {
    run.ink.talk(
        "who copied the repository before and knows the old password or has the old key file still opens that copy",
    );
}

async fn passwd(run: &Run, args: &KeyPasswdArgs) -> Result<(), Fault> {
    let (repository, secret) = run.open_with_secret().await?;
    let new = new_key(run, &args.new)?;
    let changed = change_key(&run.ctx, &repository, &secret, &new).await?;
    for id in &changed.unreadable {
        run.ink.warn(&format!("key {} is damaged: nobody can tell what opens it; remove it", short(*id)));
    }
    if run.ink.tone.json {
        run.ink.json(&KeyChangedLine::from(&changed));
        return Ok(());
    }
    let ChangedKey { key, removed, .. } = &changed;
    let removed: Vec<_> = removed.iter().map(|id| short(*id)).collect();
    run.ink.talk(&format!("new key {} opens the repository; removed {}", short(key.id), removed.join(", ")));
    run.ink.talk("note on your recovery kits where the new password or key file is kept");
    copies(run);
    Ok(())
}

/// What is missing here is a key, not a snapshot.
fn with_hint(error: Error) -> Fault {
    let is_about_keys = matches!(error.kind, ErrorKind::NotFound | ErrorKind::Ambiguous);
    let fault = Fault::from(error);
    if is_about_keys {
        Fault { hint: "see which there are: holdfast key list".into(), ..fault }
    } else {
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_shown_safely_and_not_at_any_length() {
        assert_eq!(shown_label("my \u{1b}[2J\nkey"), "my \\x1b[2J\\nkey");
        let long = shown_label(&"가".repeat(1_000));
        assert_eq!((long.chars().count(), long.ends_with("가...")), (LABEL_CHARS_SHOWN_MAX, true));
    }
}
