//! What the machine of a server knows of its log: which cluster it is, and the histories beside it.
//!
//! On purpose not here: the repository.

use crate::engine::wal::{Timeline, WalFile};
use crate::fault::Fault;
use crate::settings::current_dir;
use crate::wire_up::{History, system_of};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// More than this nobody writes into a history file.
const HISTORY_BYTES_MAX: u64 = 1 << 20;
/// So much of the control file says which cluster it is.
const FRONT_BYTES: usize = 16;

/// What a name says that the file is.
pub(super) fn kind_of(name: &str) -> Result<WalFile, Fault> {
    WalFile::parse(name).ok_or_else(|| {
        let what = format!("{name:?} is no name of a file of a log");
        let hint = "give it as the server does: 24 hexadecimal digits, or 00000002.history and the like";
        Fault::usage(what, hint)
    })
}

/// The system identifier of a cluster, by its folder; `None` where there is none.
pub(in super::super) fn system_in(data: &Path) -> Result<Option<u64>, Fault> {
    let path = data.join("global/pg_control");
    let mut front = [0; FRONT_BYTES];
    match File::open(&path).and_then(|mut file| file.read_exact(&mut front)) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => {
            let what = format!("cannot read {}", path.display());
            return Err(Fault::failed(what, "run it as the user of the server").because(&error));
        }
    }
    system_of(&front).map(Some).ok_or_else(|| {
        let what = format!("{} is not that of a PostgreSQL from 13 to 18", path.display());
        Fault::failed(what, "use a newer version of holdfast, if that of the server is newer")
    })
}

/// The system identifier of the cluster whose server runs this: its folder is the current one, or
/// that above a folder of the log.
pub(super) fn system_of_server(log: Option<&Path>) -> Result<Option<u64>, Fault> {
    let above = log.and_then(Path::parent);
    let current = current_dir()?;
    for data in above.into_iter().chain([current.as_path()]) {
        if let Some(system) = system_in(data)? {
            return Ok(Some(system));
        }
    }
    Ok(None)
}

/// Reads the history of a timeline in a folder; `None` if there is none.
pub(super) fn history_in(log: &Path, number: u32) -> Result<Option<Vec<u8>>, Fault> {
    let path = log.join(format!("{number:08X}.history"));
    match read_history(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(Fault::failed(format!("cannot read {}", path.display()), "see what it is").because(&error))
        }
    }
}

/// Reads a history file, which has to be one.
pub(super) fn read_history(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(HISTORY_BYTES_MAX + 1).read_to_end(&mut text)?;
    match History::parse(&text) {
        Some(_) if text.len() as u64 <= HISTORY_BYTES_MAX => Ok(text),
        _ => Err(io::Error::new(ErrorKind::InvalidData, "it is no history file")),
    }
}

/// The timeline of a cluster with a number, if this machine can tell: the first has no history, and
/// that of another lies in the folder of the log.
pub(super) fn timeline_in(log: &Path, system: u64, number: u32) -> Result<Option<Timeline>, Fault> {
    if number == 1 {
        return Ok(Some(Timeline::new(system, 1, b"")));
    }
    Ok(history_in(log, number)?.map(|text| Timeline::new(system, number, &text)))
}

/// The folder of a path, absolute.
pub(super) fn folder_of(path: &Path) -> Result<PathBuf, Fault> {
    let path = current_dir()?.join(path);
    Ok(path.parent().map_or_else(|| path.clone(), Path::to_owned))
}

/// Makes a folder for our own eyes.
pub(super) fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::fault::Code;

    #[test]
    fn a_cluster_is_found_by_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(system_in(dir.path()).unwrap(), None);
        fs::create_dir(dir.path().join("global")).unwrap();
        let control = dir.path().join("global/pg_control");
        fs::write(&control, [&7_u64.to_le_bytes()[..], &1300_u32.to_le_bytes(), &[0; 20]].concat()).unwrap();
        assert_eq!(system_in(dir.path()).unwrap(), Some(7));
        assert_eq!(system_of_server(Some(&dir.path().join("pg_wal"))).unwrap(), Some(7));
        fs::write(&control, [0; 20]).unwrap();
        assert_eq!(system_in(dir.path()).unwrap_err().code, Code::Failed);
    }

    #[test]
    fn a_timeline_is_its_history() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(timeline_in(dir.path(), 7, 1).unwrap(), Some(Timeline::new(7, 1, b"")));
        assert_eq!(timeline_in(dir.path(), 7, 2).unwrap(), None);
        let text = b"1\t0/3000060\tx\n";
        fs::write(dir.path().join("00000002.history"), text).unwrap();
        assert_eq!(timeline_in(dir.path(), 7, 2).unwrap(), Some(Timeline::new(7, 2, text)));
        fs::write(dir.path().join("00000002.history"), "").unwrap();
        assert!(timeline_in(dir.path(), 7, 2).is_err());
    }
}
