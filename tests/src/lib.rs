//! What tests of the whole share: where the project is, its files, and its decoders as functions.
//!
//! On purpose not here: running the real program, which is in `tests/e2e/world.rs`.

pub mod bao;
pub mod forward;
pub mod fuzz;
pub mod hook;
pub mod iam;
pub mod memory;
pub mod pooler;
pub mod postgres;
pub mod proxy;
pub mod python;
pub mod sim;
pub mod smtp;
pub mod tls;
pub mod weed;
pub mod year;

use std::path::Path;

/// The project's top folder.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the project")
}

/// Lists the project's own files below a folder of it, in order, as paths from the top.
///
/// # Panics
/// A folder cannot be listed.
#[must_use]
pub fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}")) {
            let entry = entry.expect("an entry of a folder");
            if entry.file_type().expect("a kind").is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path();
                let path = path.strip_prefix(root()).expect("below the top");
                found.push(path.to_str().expect("a name in UTF-8").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Reads one of the project's files.
///
/// # Panics
/// It is missing or not text.
#[must_use]
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
