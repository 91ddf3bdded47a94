//! FORMAT.md names the state of the code that it describes.
//!
//! `HOLDFAST_WRITE_VECTORS=1 cargo test -p holdfast-core --test format_doc` puts the new hash in
//! its place, once the page says what changed.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

const SOURCES: [&str; 28] = [
    "wire",
    "crypto",
    "id",
    "object",
    "name",
    "keys/mod",
    "keys/slot",
    "keys/member",
    "keys/ring",
    "keys/session",
    "chunk",
    "chunker",
    "compress",
    "pack",
    "index",
    "segment",
    "entry",
    "entry_code",
    "page",
    "session",
    "root",
    "hold",
    "cutoff",
    "dated",
    "record",
    "repository",
    "version",
    "configuration",
];

/// BLAKE3 over the sources that define the format, one after the other.
fn hash_of_sources(package: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    for source in SOURCES {
        hasher.update(&std::fs::read(package.join(format!("src/{source}.rs"))).unwrap());
    }
    hasher.finalize().to_hex().to_string()
}

#[test]
fn the_page_describes_the_code_as_it_is() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (page, hash) = (package.join("FORMAT.md"), hash_of_sources(package));
    let text = std::fs::read_to_string(&page).unwrap();
    let stated = text.lines().find_map(|line| line.strip_prefix("Sources: ")).expect("a line `Sources: `");
    if std::env::var_os("HOLDFAST_WRITE_VECTORS").is_some_and(|value| value == "1") {
        std::fs::write(&page, text.replace(&format!("Sources: {stated}"), &format!("Sources: {hash}")))
            .unwrap();
    } else {
        assert_eq!(
            stated, hash,
            "the format's code changed: update FORMAT.md and put this hash there: {hash}"
        );
    }
}
