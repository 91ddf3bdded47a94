//! Stand-ins for the local store and the file adapter until both are there.
//!
//! The signatures are theirs, the bodies refuse. This file goes away; `wire_up` says how.
#![allow(
    dead_code,
    clippy::needless_pass_by_value,
    clippy::unused_async,
    clippy::new_ret_no_self,
    reason = "stands in for other crates"
)]

use crate::engine::{Source, SourceError};
use holdfast_engine::target::{Target, TargetError};
use holdfast_store::{ErrorKind, ObjectStore, StoreError};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn absent() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "not in this build")
}

pub(crate) struct LocalStore;

impl LocalStore {
    pub(crate) async fn create(path: &Path) -> Result<Arc<dyn ObjectStore>, StoreError> {
        Self::open(path).await
    }

    pub(crate) async fn open(path: &Path) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let subject = path.display().to_string();
        Err(StoreError { kind: ErrorKind::Unusable, operation: "open", subject, source: absent() })
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Excludes(Vec<String>);

impl Excludes {
    pub(crate) fn new(patterns: &[String], ipatterns: &[String]) -> Result<Self, String> {
        Ok(Self([patterns, ipatterns].concat()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whole paths only, and what lies below them.
    pub(crate) fn matches(&self, path: &[u8], _is_dir: bool) -> bool {
        let below = |pattern: &String| {
            let rest = path.strip_prefix(pattern.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        self.0.iter().any(below)
    }

    pub(crate) fn may_contain(&self, dir: &[u8]) -> bool {
        self.0.iter().any(|pattern| pattern.as_bytes().starts_with(dir))
    }
}

pub(crate) fn parse_exclude_file(
    text: &str,
    _lookup: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, String> {
    Ok(text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

#[derive(Debug, Clone, Default)]
pub(crate) struct FileSourceOptions {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) host: String,
    pub(crate) excludes: Excludes,
    pub(crate) one_file_system: bool,
    pub(crate) exclude_caches: bool,
    pub(crate) exclude_if_present: Vec<String>,
    pub(crate) exclude_larger_than: Option<u64>,
    pub(crate) skip_paths: Vec<PathBuf>,
}

pub(crate) struct FileSource;

impl FileSource {
    pub(crate) fn new(_options: FileSourceOptions) -> Result<Box<dyn Source>, SourceError> {
        Err(SourceError { what: "cannot read files".into(), source: Some(absent()) })
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FileTargetOptions {
    pub(crate) sparse: bool,
    pub(crate) ownership_by_name: bool,
}

pub(crate) struct FileTarget;

impl FileTarget {
    pub(crate) fn create(_dir: &Path, _options: FileTargetOptions) -> Result<Box<dyn Target>, TargetError> {
        Err(TargetError { what: "cannot restore files".into(), source: Some(absent()) })
    }
}

pub(crate) fn open_beneath(_dir: &Path, _key: &[u8]) -> io::Result<File> {
    Err(absent())
}
