//! A repository that is to be made if it is not there: where, with which password, and its kit.
//!
//! On purpose not here: making it, which a verb does.

use crate::hands::{Hands, Opens, Place};
use crate::policy::secret::SecretRef;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// So many names of kits are tried.
const KITS_MAX: u32 = 1000;

/// Makes the folders above a local repository.
///
/// # Errors
/// They cannot be made; in words for people.
pub(super) fn folders_above(place: &Place) -> Result<(), String> {
    let Some(above) = folder(place).and_then(|folder| folder.parent().map(Path::to_owned)) else {
        return Ok(());
    };
    fs::create_dir_all(&above).map_err(|error| format!("cannot make the folder {}: {error}", above.display()))
}

/// The folder of a local repository.
fn folder(place: &Place) -> Option<PathBuf> {
    (!place.url.contains("://")).then(|| PathBuf::from(&place.url))
}

/// A file for the kit of a local repository, beside it, that is not there yet.
pub(super) fn kit(place: &Place) -> Option<String> {
    let folder = folder(place)?;
    let name = folder.file_name()?.to_str()?.to_owned();
    let file = |number: u32| match number {
        0 => folder.with_file_name(format!("{name}.recovery-kit.txt")),
        _ => folder.with_file_name(format!("{name}.recovery-kit-{number}.txt")),
    };
    let free = (0..KITS_MAX).map(file).find(|path| fs::symlink_metadata(path).is_err())?;
    free.to_str().map(str::to_owned)
}

/// Makes up a password where it is to come from a file that is not there; the file.
///
/// # Errors
/// The file cannot be written; in words for people.
pub(super) fn password(hands: &dyn Hands, place: &Place) -> Result<Option<PathBuf>, String> {
    let Opens::Password(SecretRef::File(path)) = &place.opens else { return Ok(None) };
    if fs::symlink_metadata(path).is_ok() {
        return Ok(None);
    }
    let text: String = (0..4).map(|_| format!("{:016x}", hands.random())).collect();
    let wrong = |error: io::Error| format!("cannot write a password into {}: {error}", path.display());
    write(path, &text).map_err(wrong)?;
    Ok(Some(path.clone()))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(format!("{text}\n").as_bytes())?;
    file.sync_all()?;
    // A repository whose password a power cut took would be lost with it.
    path.parent().map_or(Ok(()), |above| fs::File::open(above)?.sync_all())
}
