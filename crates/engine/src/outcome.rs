//! Partial success as a value: what was skipped inside something that ended well.

/// What is wrong with one thing that was to be captured or restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// It could not be read (permission, device error).
    Unreadable,
    /// Its content changed in every attempt to read it.
    Torn,
    /// It could not be written at the target.
    Unwritable,
    /// Its content was written, but an attribute could not be set.
    Attribute,
    /// Its bytes are missing or damaged in the repository.
    Damaged,
    /// What the repository says of it cannot be carried out safely.
    Refused,
}

/// What is worth telling although nothing is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// A file grew while it was read; stored up to its length at open.
    Grown,
    /// It vanished between listing and reading.
    Vanished,
    /// It was left out on purpose (virtual file system, the repository itself, the cache).
    LeftOut,
    /// It looks like a live database, whose files do not start when copied.
    LiveDatabase,
    /// Anything else.
    Other,
}

/// Something that was skipped, or is not as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path, with slashes, as bytes.
    pub path: Vec<u8>,
    /// What kind of problem.
    pub kind: ProblemKind,
    /// What happened, in words, without the path.
    pub what: String,
}

/// Something that a person may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Path, with slashes, as bytes.
    pub path: Vec<u8>,
    /// What kind of notice.
    pub kind: NoticeKind,
    /// What it is about, in words, without the path.
    pub what: String,
}

/// Problems and notices of one run: all counted, the first thousand of each kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    /// The first problems.
    pub problems: Vec<Problem>,
    /// How many problems there were.
    pub problem_count: u64,
    /// How many of them are damage in the repository.
    pub damaged_count: u64,
    /// How many of them are only an attribute that could not be set: what was meant is there.
    pub attribute_count: u64,
    /// The first notices.
    pub notices: Vec<Notice>,
    /// How many notices there were.
    pub notice_count: u64,
}

impl Problems {
    /// How many of each are kept.
    pub const KEPT_MAX: usize = 1000;

    /// Counts a problem, and keeps it if there is room.
    pub fn problem(&mut self, problem: Problem) {
        self.problem_count += 1;
        self.damaged_count += u64::from(problem.kind == ProblemKind::Damaged);
        self.attribute_count += u64::from(problem.kind == ProblemKind::Attribute);
        if self.problems.len() < Self::KEPT_MAX {
            self.problems.push(problem);
        }
    }

    /// Counts a notice, and keeps it if there is room.
    pub fn notice(&mut self, notice: Notice) {
        self.notice_count += 1;
        if self.notices.len() < Self::KEPT_MAX {
            self.notices.push(notice);
        }
    }

    /// Takes in what another run found.
    pub fn absorb(&mut self, other: Self) {
        self.damaged_count += other.damaged_count - other.kept(ProblemKind::Damaged);
        self.attribute_count += other.attribute_count - other.kept(ProblemKind::Attribute);
        self.problem_count += other.problem_count - other.problems.len() as u64;
        self.notice_count += other.notice_count - other.notices.len() as u64;
        other.problems.into_iter().for_each(|problem| self.problem(problem));
        other.notices.into_iter().for_each(|notice| self.notice(notice));
    }

    /// Forgets those of the kept problems that do not count.
    pub fn retain(&mut self, counts: impl FnMut(&Problem) -> bool) {
        let before =
            (self.problems.len(), self.kept(ProblemKind::Damaged), self.kept(ProblemKind::Attribute));
        self.problems.retain(counts);
        self.problem_count -= (before.0 - self.problems.len()) as u64;
        self.damaged_count -= before.1 - self.kept(ProblemKind::Damaged);
        self.attribute_count -= before.2 - self.kept(ProblemKind::Attribute);
    }

    /// How many are more than an attribute: something is missing, or left over that should be gone.
    #[must_use]
    pub const fn lasting_count(&self) -> u64 {
        self.problem_count.saturating_sub(self.attribute_count)
    }

    fn kept(&self, kind: ProblemKind) -> u64 {
        self.problems.iter().filter(|problem| problem.kind == kind).count() as u64
    }
}

/// A result that may have left something out.
#[derive(Debug, Clone)]
#[must_use]
pub struct Outcome<T> {
    /// What came out.
    pub value: T,
    /// What is missing in it.
    pub problems: Problems,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_counted_beyond_what_is_kept() {
        let problem = |kind| Problem { path: b"x".to_vec(), kind, what: String::new() };
        let mut sum = Problems::default();
        for _ in 0..Problems::KEPT_MAX {
            sum.problem(problem(ProblemKind::Attribute));
        }
        assert_eq!(sum.lasting_count(), 0);
        let mut part = sum.clone();
        part.problem(problem(ProblemKind::Unwritable));
        assert_eq!((part.lasting_count(), part.problems.len()), (1, Problems::KEPT_MAX));
        sum.absorb(part);
        assert_eq!((sum.lasting_count(), sum.attribute_count), (1, 2 * Problems::KEPT_MAX as u64));
        sum.retain(|problem| problem.kind != ProblemKind::Attribute);
        assert_eq!((sum.lasting_count(), sum.attribute_count), (1, Problems::KEPT_MAX as u64));
    }
}
