//! What a source is.
//!
//! On purpose not here: what follows from it.

use super::{Bucket, CommandSource, Files, LogMode, Postgres, RestoredBy, RestoredKind, Source};

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind<'a> {
    /// Folders and files.
    Files(&'a Files),
    /// A cluster of PostgreSQL, or dumps of its databases.
    Postgres(&'a Postgres),
    /// A bucket.
    S3(&'a Bucket),
    /// What a program writes.
    Command(&'a CommandSource),
    /// Something that another program backs up.
    RestoredBy(&'a RestoredBy),
}

impl Source {
    /// What it is; none where nothing or several things say so, which no policy that was read has.
    #[must_use]
    pub fn kind(&self) -> Option<Kind<'_>> {
        let kinds = [
            self.files.as_ref().map(Kind::Files),
            self.postgres.as_ref().map(Kind::Postgres),
            self.s3.as_ref().map(Kind::S3),
            self.command.as_ref().map(Kind::Command),
            self.restored_by.as_ref().map(Kind::RestoredBy),
        ];
        let mut kinds = kinds.into_iter().flatten();
        kinds.next().filter(|_| kinds.next().is_none())
    }
}

impl Kind<'_> {
    /// Its word in evidence: `files`, `postgres`, `dumps`, `s3`, `command`, `restored_by`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Postgres(Postgres { logical: Some(_), .. }) => "dumps",
            Self::Postgres(_) => "postgres",
            Self::S3(_) => "s3",
            Self::Command(_) => "command",
            Self::RestoredBy(_) => "restored_by",
        }
    }

    /// Whether it is backed up here, and not only drilled.
    #[must_use]
    pub fn is_backed_up(self) -> bool {
        !matches!(self, Self::RestoredBy(_))
    }

    /// Whether any moment of it can be restored, because its log is kept.
    #[must_use]
    pub fn keeps_log(self) -> bool {
        matches!(self, Self::Postgres(Postgres { wal: LogMode::Stream | LogMode::Archive, .. }))
    }

    /// Whether a drill starts a cluster of it.
    #[must_use]
    pub fn is_cluster(self) -> bool {
        match self {
            Self::Postgres(postgres) => postgres.logical.is_none(),
            Self::RestoredBy(restored) => restored.kind == RestoredKind::Postgres,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_one_thing() {
        let mut source = Source { files: Some(Files::default()), ..Source::default() };
        assert_eq!(source.kind().map(Kind::word), Some("files"));
        assert!(source.kind().is_some_and(Kind::is_backed_up));
        source.s3 = Some(Bucket::default());
        assert_eq!(source.kind(), None);
        assert_eq!(Source::default().kind(), None);
        let postgres = Postgres { wal: LogMode::Archive, ..Postgres::default() };
        assert!(Kind::Postgres(&postgres).keeps_log() && Kind::Postgres(&postgres).is_cluster());
    }
}
