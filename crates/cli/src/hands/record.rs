//! Appends to the evidence in a repository, in this process: no verb writes what a verb was not told.
//!
//! On purpose not here: what is recorded.

use super::OwnHands;
use super::environment::{Ours, read};
use crate::engine::{Error, ErrorKind, RollBack, Secret};
use crate::fault::Fault;
use crate::wire_up::{Keys, open_store_with};
use crate::{opening, secrets, settings};
use holdfast_engine::evidence;
use holdfast_scheduler::hands::{Opens, Place};
use holdfast_scheduler::policy::secret::{Credentials, KeyRef};
use std::ffi::OsStr;

/// Appends a record; its name there.
pub(super) async fn append(hands: &OwnHands, place: &Place, kind: &str, text: &str) -> Result<String, Fault> {
    let address = settings::parse_repository(OsStr::new(&place.address()), &settings::current_dir()?)?;
    let keys = tokio::task::block_in_place(|| keys_of(&hands.ours, place.credentials.as_ref()))?;
    let Some(store) = open_store_with(&address, keys.clone(), &hands.reach).await? else {
        let what = format!("there is no repository at {address}");
        return Err(Fault::from(Error::new(ErrorKind::NoRepository, what)));
    };
    let secret = tokio::task::block_in_place(|| opener(hands, place))?;
    let opener = (&secret, keys, RollBack::Refuse);
    let repository = opening::open(&hands.ctx, &address, store, opener, &hands.reach, |store| store).await?;
    Ok(evidence::append(&hands.ctx, &repository, kind, text.as_bytes()).await?)
}

fn opener(hands: &OwnHands, place: &Place) -> Result<Secret, Fault> {
    let of = |what: String| Fault::usage(what, "");
    let ours = &hands.ours;
    match &place.opens {
        Opens::Key(KeyRef::File(path)) => secrets::key_file(path),
        Opens::Key(KeyRef::Credential(name)) => secrets::key_file(&ours.credential(name).map_err(of)?),
        Opens::Key(KeyRef::Vault(stored)) => {
            let what = format!("the key of {}", place.name);
            secrets::key_of(ours.stored(stored, &what).map_err(of)?, &what)
        }
        Opens::Key(KeyRef::Transit(sealed)) => {
            let what = format!("the key of {}", place.name);
            secrets::key_of(ours.unsealed(sealed, place).map_err(of)?, &what)
        }
        Opens::Password(secret) => {
            let mut bytes = read(secret, &format!("the password of {}", place.name), ours).map_err(of)?;
            Ok(Secret::Password(std::mem::take(&mut *bytes)))
        }
    }
}

/// The keys of a bucket; none where those are meant that the environment has, or the profile in its URL.
pub(super) fn keys_of(ours: &Ours, credentials: Option<&Credentials>) -> Result<Option<Keys>, Fault> {
    let Some(Credentials::AccessKey(key)) = credentials else { return Ok(None) };
    let what = format!("the secret of the access key {}", key.id);
    let no_text = |_| Fault::usage(format!("{what} is no text"), "");
    let secret = read(&key.secret, &what, ours).map_err(|what| Fault::usage(what, ""))?;
    let secret = str::from_utf8(&secret).map_err(no_text)?.to_owned().into();
    Ok(Some(Keys { access: key.id.clone(), secret, token: None }))
}
