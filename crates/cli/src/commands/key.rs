//! `key`: what opens the repository is listed, added, removed and changed, and who holds it.
//!
//! On purpose not here: how it is done so that a key is always left; the engine knows.

use super::Run;
use super::domain::{Changed, follow};
use super::init::cost;
use super::kit::{Kit, KitFile, Opens, program_hash};
use crate::args::{KeyAddArgs, KeyPasswdArgs, KeyRemoveArgs, KeyVerb, NewSecret};
use crate::engine::{
    ChangedKey, Error, ErrorKind, KeyInfo, MemberInfo, NewKey, RemovedKey, RemovedMember, Repository,
    RotatedKeys, add_key, admit, change_key, keys, last_slot_of, members, remove_key, remove_member, rotate,
};
use crate::fault::{Code, Fault};
use crate::ink::{
    Align, KeyAddedLine, KeyChangedLine, KeyLine, KeyRemovedLine, KeysRotatedLine, MemberLine,
    MemberRemovedLine, Table, counted, escape, local, size,
};
use crate::{secrets, wire_up};
use holdfast_core::id::{MemberId, ObjectId};

const COLUMNS: [(&str, Align); 8] = [
    ("ID", Align::Left),
    ("LABEL", Align::Left),
    ("ROLE", Align::Left),
    ("MEMBER", Align::Left),
    ("KIND", Align::Left),
    ("CREATED", Align::Left),
    ("MEMORY", Align::Right),
    ("IN USE", Align::Left),
];

/// Longest label that a table shows.
const LABEL_CHARS_SHOWN_MAX: usize = 60;

/// Carries out what is to be done with keys.
pub(crate) async fn run(run: &Run, verb: &KeyVerb) -> Result<(), Fault> {
    if !matches!(verb, KeyVerb::Rotate) {
        run.refuse_domain("the keys of the repository open its domains")?;
    }
    match verb {
        KeyVerb::List => list(run).await,
        KeyVerb::Add(args) => {
            let repository = add(run, args).await?;
            match args.role {
                Some(_) => follow(run, &repository, Changed::Members).await,
                None => Ok(()),
            }
        }
        KeyVerb::Remove(args) => remove(run, args).await,
        KeyVerb::Rotate => rotate_keys(run, &run.open().await?).await,
        KeyVerb::Passwd(args) => passwd(run, args).await,
    }
}

async fn list(run: &Run) -> Result<(), Fault> {
    let repository = run.open_for_any().await?;
    let outcome = keys(&run.ctx, &repository).await?;
    run.tell(&outcome.problems);
    if run.ink.tone.json {
        outcome.value.iter().for_each(|key| run.ink.json(&KeyLine::from(key)));
        for member in members(&repository) {
            let own = outcome.value.iter().filter(|key| key.member == member.id).count();
            run.ink.json(&MemberLine::new(&member, own));
        }
    } else {
        show(run, &outcome.value, &members(&repository));
    }
    match outcome.problems.problem_count {
        0 => Ok(()),
        number => {
            let what = format!("{} cannot be read", counted(number, "key", "keys"));
            Err(Fault::incomplete(what, "it opens nothing any more; remove it: holdfast key remove ID"))
        }
    }
}

fn show(run: &Run, listed: &[KeyInfo], members: &[MemberInfo]) {
    let mut table = Table::new(&COLUMNS);
    listed.iter().for_each(|key| table.row(cells(key)));
    run.ink.table(&table);
    let without =
        |member: &&MemberInfo| !member.is_removed && listed.iter().all(|key| key.member != member.id);
    for member in members.iter().filter(without) {
        let (id, label, role) = (brief(member.id), shown_label(&member.label), member.role.word());
        run.ink.talk(&format!(
            "member {id} ({role}, {label}) has no key here: holdfast key remove --member {id} shuts it out"
        ));
    }
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
        key.role.word().to_owned(),
        brief(key.member),
        match (&key.transit, key.password_cost) {
            (Some(transit), _) => format!("sealed by {}", escape(transit.as_bytes())),
            (None, Some(_)) => "password".to_owned(),
            (None, None) => "key file".to_owned(),
        },
        key.created.map(local).unwrap_or_else(|| "not known".into()),
        memory.unwrap_or_else(|| "-".into()),
        match (key.in_use, key.is_removed) {
            (_, true) => "removed",
            (true, false) => "yes",
            (false, false) => "",
        }
        .to_owned(),
    ]
}

/// The beginning of a member's id that people are shown.
fn brief(member: MemberId) -> String {
    member.to_string()[..8].to_owned()
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
    let secret = secrets::get_new(new, &run.reach, || [run.ctx.random(), run.ctx.random()])?;
    run.tell_open_secrets();
    Ok(NewKey { cost: new.kdf_memory.map(cost).transpose()?, label: new.label.clone(), secret })
}

/// Opens the repository before a new password is asked for; the kit's file is made before the key is.
async fn add(run: &Run, args: &KeyAddArgs) -> Result<Repository, Fault> {
    let repository = run.open_for_any().await?;
    let new = new_key(run, &args.new)?;
    let file = args.kit.as_deref().map(KitFile::reserve).transpose()?;
    let key = match args.role {
        None => add_key(&run.ctx, &repository, &new).await?,
        Some(role) => admit(&run.ctx, &repository, role.into(), &new).await?,
    };
    let text = kit_text(&repository, &key, &new);
    if let Some(file) = file {
        file.write(&text, &format!("key {} was added", short(key.id)))?;
    }
    let kit_file = args.kit.as_ref().map(|path| path.display().to_string());
    if run.ink.tone.json {
        let kit = kit_file.is_none().then_some(text);
        run.ink.json(&KeyAddedLine::new(&key, kit, kit_file));
        return Ok(repository);
    }
    run.ink.talk(&format!("added key {}; it was read back and opens the repository", short(key.id)));
    if args.role.is_some() {
        run.ink.talk(&format!("it is of a new member, {}: {}", brief(key.member), key.role.word()));
    }
    if let Some(file) = kit_file {
        run.ink.talk(&format!("recovery kit written to {file}: keep it apart from this machine"));
        return Ok(repository);
    }
    run.ink.talk("keep this recovery kit apart from this machine:\n");
    run.ink.data(text.trim_end());
    Ok(repository)
}

fn kit_text(repository: &Repository, key: &KeyInfo, new: &NewKey) -> String {
    let kit = Kit {
        location: &repository.location(),
        id: &repository.id().to_string(),
        host: &wire_up::host_name(),
        opens: Opens::of(&new.secret),
        key: &shown_label(&key.label),
        role: key.role,
        program: program_hash(),
    };
    kit.text()
}

async fn remove(run: &Run, args: &KeyRemoveArgs) -> Result<(), Fault> {
    let (repository, secret) = run.open_with_secret().await?;
    let (member, id) = match (&args.member, &args.id) {
        (Some(text), _) => (Some(find_member(&repository, text)?), String::new()),
        (None, id) => {
            let id = id.clone().unwrap_or_default();
            (last_slot_of(&repository, &id).await.map_err(with_hint)?, id)
        }
    };
    if let Some(member) = member {
        let removed = remove_member(&run.ctx, &repository, member).await?;
        tell_member(run, &removed, args.rotate);
        let rotates = args.rotate;
        return if rotates {
            rotate_after(run, &repository).await
        } else {
            follow_members(run, &repository).await
        };
    }
    if args.rotate {
        let what = "--rotate is for a member that is removed, and this is one key of several";
        return Err(Fault::usage(
            what,
            "leave it out, or remove the member: holdfast key remove --member MEMBER",
        ));
    }
    let removed = remove_key(&run.ctx, &repository, &secret, &id).await.map_err(with_hint)?;
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

/// The member that a person means by its id or the beginning of one.
fn find_member(repository: &Repository, text: &str) -> Result<MemberId, Fault> {
    let all = members(repository);
    let matching: Vec<_> = all.iter().filter(|member| member.id.to_string().starts_with(text)).collect();
    let hint = "see which there are: holdfast key list";
    let text = escape(text.as_bytes());
    match matching[..] {
        [member] if !text.is_empty() => Ok(member.id),
        [] => Err(Fault::failed(format!("there is no member {text}"), hint)),
        _ => Err(Fault::usage(format!("`{text}` could mean several members"), hint)),
    }
}

fn tell_member(run: &Run, removed: &RemovedMember, rotates: bool) {
    if run.ink.tone.json {
        run.ink.json(&MemberRemovedLine::from(removed));
        return;
    }
    let RemovedMember { member, slots, aborted, .. } = removed;
    run.ink.talk(&format!(
        "removed member {} ({}, {}): nothing that it writes from now on counts; what it had stored stays",
        brief(member.id),
        member.role.word(),
        shown_label(&member.label)
    ));
    let (keys, sessions) = (slots.len() as u64, aborted.len() as u64);
    run.ink.talk(&format!(
        "{} removed, {} ended",
        counted(keys, "key", "keys"),
        counted(sessions, "open session", "open sessions")
    ));
    run.ink.talk("take its right to write to the repository's place away, where it has one of its own");
    if !rotates {
        run.ink.talk(
            "it keeps the keys that it had: so that it cannot open what is stored later, holdfast key rotate",
        );
    }
    copies(run);
}

async fn follow_members(run: &Run, repository: &Repository) -> Result<(), Fault> {
    follow(run, repository, Changed::Members).await
}

/// Rotates after a removal: domains follow both at once. Where nothing is rotated they still follow the removal.
async fn rotate_after(run: &Run, repository: &Repository) -> Result<(), Fault> {
    let fault = match rotate(&run.ctx, repository).await {
        Ok(rotated) => return follow_rotated(run, repository, &rotated).await,
        Err(error) => Fault::from(error),
    };
    if fault.code != Code::Interrupted
        && let Err(later) = follow_members(run, repository).await
    {
        run.ink.warn(&later.to_string());
    }
    Err(fault)
}

async fn rotate_keys(run: &Run, repository: &Repository) -> Result<(), Fault> {
    let rotated = rotate(&run.ctx, repository).await?;
    follow_rotated(run, repository, &rotated).await
}

async fn follow_rotated(run: &Run, repository: &Repository, rotated: &RotatedKeys) -> Result<(), Fault> {
    tell_rotated(run, rotated);
    if repository.is_domain() {
        return Ok(());
    }
    follow(run, repository, Changed::Keys).await
}

fn tell_rotated(run: &Run, rotated: &RotatedKeys) {
    if run.ink.tone.json {
        run.ink.json(&KeysRotatedLine::from(rotated));
        return;
    }
    let members = counted(rotated.members.into(), "member", "members");
    run.ink.talk(&format!(
        "{members} got new keys (key epoch {}): what is stored from now on is sealed with them; what was stored \
         before stays as it is, and readable",
        rotated.key_epoch
    ));
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
    run.ink.talk(&match &key.transit {
        None => "note on your recovery kits where the new password or key file is kept".to_owned(),
        Some(transit) => format!(
            "note on your recovery kits: no password opens it any more, but HOLDFAST_KEY_TRANSIT={} with \
             VAULT_ADDR and leave to decrypt with that key",
            escape(transit.as_bytes())
        ),
    });
    copies(run);
    Ok(())
}

/// What is missing here is a key, not a snapshot.
fn with_hint(error: Error) -> Fault {
    let is_about_keys = matches!(error.kind, ErrorKind::NotFound | ErrorKind::Ambiguous);
    let fault = Fault::from(error);
    if is_about_keys {
        let hint = "see which there are: holdfast key list; to go on with the removal of a member: holdfast key remove \
                    --member MEMBER";
        Fault { hint: hint.into(), ..fault }
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
