//! The tree that is backed up: copied, gathered or generated, changed a little, and compared.
//!
//! On purpose not here: the original of anybody. Only copies are changed.

use crate::Noise;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Picks `/dev/shm` if it has room for that many bytes, else the folder for temporary files.
#[must_use]
pub fn roomy_folder(bytes: u64) -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let free = rustix::fs::statvfs(&memory).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    if free > bytes { memory } else { std::env::temp_dir() }
}

/// Counts the files below a folder and their bytes.
///
/// # Errors
/// A folder cannot be listed.
pub fn totals(folder: &Path) -> io::Result<(u64, u64)> {
    let files = files(folder)?;
    let bytes = files
        .iter()
        .map(|path| fs::symlink_metadata(path).map(|meta| meta.len()))
        .sum::<io::Result<u64>>()?;
    Ok((files.len() as u64, bytes))
}

/// Lists the regular files below a folder, in order; of anything else only itself.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::symlink_metadata(folder)?.is_dir() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Copies a tree with everything that `cp -a` keeps.
///
/// # Errors
/// `cp` says so.
pub fn copy(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    succeed(Command::new("cp").arg("-a").arg(from).arg(to))
}

/// Says where a tree comes from.
#[must_use]
pub fn origin(given: Option<&Path>) -> String {
    given.map_or_else(
        || "this machine's Rust sources and libraries, or generated".to_owned(),
        |path| path.display().to_string(),
    )
}

/// Gathers a tree of real files up to a size: Rust sources of the cargo registry, then Debian's
/// libraries. Where they do not reach the size, as on a new machine, the rest is generated.
///
/// # Errors
/// Something cannot be copied or written.
pub fn gather(to: &Path, bytes: u64) -> Result<(), Box<dyn Error>> {
    fs::create_dir(to)?;
    let home = std::env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from);
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let mut room = bytes;
    for source in [cargo.join("registry/src"), "/usr/lib/x86_64-linux-gnu".into(), "/usr/share".into()] {
        for folder in children(&source) {
            let Ok((_, size)) = totals(&folder) else { continue };
            let parent = to.join(source.strip_prefix("/").unwrap_or(&source));
            if size <= room {
                fs::create_dir_all(&parent)?;
                copy(&folder, &parent)?;
                room -= size;
            }
        }
    }
    // A last package that just did not fit is no reason to invent any.
    if room > bytes / 10 { generate(&to.join("generated"), room) } else { Ok(()) }
}

/// Lists what lies in a folder; a level deeper for the one folder of a registry.
fn children(folder: &Path) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let mut found = list(folder);
    if let [only] = &found[..] {
        found = list(only);
    }
    found.sort();
    found
}

/// Generates a tree: nine files of ten are small texts, the tenth is larger and does not compress.
///
/// # Errors
/// Something cannot be written.
pub fn generate(to: &Path, bytes: u64) -> Result<(), Box<dyn Error>> {
    let mut noise = Noise::new(bytes);
    let (mut written, mut number) = (0, 0u64);
    while written < bytes {
        let folder = to.join(format!("folder {:03}", number / 50));
        fs::create_dir_all(&folder)?;
        let size = if number % 10 == 9 { noise.below(400_000) } else { noise.below(30_000) };
        let content = if number % 10 == 9 { noise.bytes(size as usize) } else { noise.text(size as usize) };
        fs::write(folder.join(format!("file {number:06}")), content)?;
        (written, number) = (written + size, number + 1);
    }
    Ok(std::os::unix::fs::symlink("folder 000", to.join("link"))?)
}

/// Rewrites one file of a hundred, at least one, with a line more in its middle; returns how many.
///
/// # Errors
/// A file cannot be read or written.
pub fn change_one_percent(tree: &Path, seed: u64) -> io::Result<usize> {
    let files = files(tree)?;
    let mut noise = Noise::new(seed + 1);
    let first = noise.below(100).min(files.len() as u64 - 1) as usize;
    let chosen: Vec<_> = files.iter().skip(first).step_by(100).collect();
    for path in &chosen {
        let mut content = fs::read(path)?;
        let middle = content.len() / 2;
        let line = format!("\n// changed {:016x}\n", noise.next_u64());
        content.splice(middle..middle, line.into_bytes());
        let permissions = fs::metadata(path)?.permissions();
        fs::remove_file(path)?;
        fs::write(path, content)?;
        fs::set_permissions(path, permissions)?;
    }
    Ok(chosen.len())
}

/// Compares two trees to the last byte.
///
/// # Errors
/// They differ; `diff` names where.
pub fn compare(tree: &Path, restored: &Path) -> Result<(), Box<dyn Error>> {
    succeed(Command::new("diff").args(["-r", "--no-dereference"]).arg(tree).arg(restored))
        .map_err(|error| format!("the restored tree differs: {error}").into())
}

fn succeed(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [&output.stdout[..], &output.stderr].concat();
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&said).chars().take(2_000).collect::<String>())
        .into())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn one_file_of_a_hundred_changes_and_the_comparison_sees_it() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, other) = (folder.path().join("tree"), folder.path().join("other"));
        generate(&tree, 6 << 20).unwrap();
        copy(&tree, &other).unwrap();
        compare(&tree, &other).unwrap();
        let (files, bytes) = totals(&tree).unwrap();
        assert!(bytes >= 6 << 20 && files > 100, "{files} files, {bytes} bytes");
        let changed = change_one_percent(&tree, 1).unwrap();
        assert!(changed >= 1 && changed as u64 <= files.div_ceil(100));
        assert!(compare(&tree, &other).is_err());
    }
}
