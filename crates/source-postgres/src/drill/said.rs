//! What a server says while it starts, and whose fault it is if it does not.
//!
//! Of its lines only the code and the message are told, never details, which may hold values. On
//! purpose not here: reading the file.

use holdfast_engine::proof::Cause;

/// Words of messages about the place where a server runs.
const ENVIRONMENT: [&str; 22] = [
    "could not access file",
    "could not load library",
    "incompatible library",
    "could not find function",
    "could not create shared memory",
    "could not map anonymous shared memory",
    "could not resize shared memory",
    "could not create semaphores",
    "no space left on device",
    "too many open files",
    "cannot allocate memory",
    "out of memory",
    "permission denied",
    "read-only file system",
    "database locale is incompatible",
    "database files are incompatible with server",
    "collation",
    "insufficient memory",
    "does not recognize",
    "resource manager",
    "invalid value for parameter",
    "unrecognized configuration parameter",
];

/// A line of a server's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub code: String,
    pub level: String,
    pub message: String,
}

/// Takes the log of a server apart; lines that go on from others are left out.
pub(super) fn lines(text: &str) -> Vec<Line> {
    text.lines().filter_map(line).collect()
}

fn line(text: &str) -> Option<Line> {
    let (before, message) = text.split_once(":  ")?;
    let (code, level) = before.trim().split_once(' ')?;
    let known = ["LOG", "WARNING", "ERROR", "FATAL", "PANIC"].contains(&level);
    let is_code = code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (known && is_code).then(|| Line {
        code: code.into(),
        level: level.into(),
        message: message.trim().into(),
    })
}

/// Whose fault it is that a server ended, and why, out of its log.
pub(super) fn cause(lines: &[Line]) -> Option<(Cause, String)> {
    let fatal = |line: &&Line| matches!(line.level.as_str(), "FATAL" | "PANIC") && line.code != "57P03";
    // What made a part of it end says more than that it ended.
    let line = lines.iter().find(fatal)?;
    let about = |words: &[&str]| {
        let small = line.message.to_lowercase();
        words.iter().any(|word| small.contains(word))
    };
    let said = format!("{} (SQLSTATE {})", line.message, line.code);
    Some(match () {
        () if about(&["recovery ended before configured recovery target"]) => {
            let last = lines.iter().rev().find(|line| line.message.starts_with("redo done at"));
            let up_to = last.map(|line| format!(", {}", line.message)).unwrap_or_default();
            (Cause::Backup, format!("the log ends before the point that was meant{up_to}: {said}"))
        }
        () if about(&["requested timeline", "wal ends before", "could not locate required checkpoint"]) => {
            (Cause::Backup, format!("the log that it needs is not there: {said}"))
        }
        // Its class is of resources and of the system.
        () if line.code.starts_with("53") || about(&ENVIRONMENT) => {
            (Cause::Environment, format!("this host lacks something: {said}"))
        }
        () => (Cause::Backup, format!("it does not start: {said}")),
    })
}

/// What a server says of where its recovery stopped, in its own words.
pub(super) fn stopped_at(lines: &[Line]) -> Vec<String> {
    const SAYS: [&str; 5] = [
        "recovery stopping",
        "redo done at",
        "last completed transaction",
        "selected new timeline",
        "consistent recovery state",
    ];
    let of = |line: &&Line| SAYS.iter().any(|start| line.message.starts_with(start));
    let mut found: Vec<String> = lines.iter().filter(of).map(|line| line.message.clone()).collect();
    // The name of a restore point is the user's.
    for line in &mut found {
        if let Some(at) = line.find(" system usage:") {
            line.truncate(at);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    const LOG: &str = "00000 LOG:  starting PostgreSQL 15.18\n00000 LOG:  redo done at 0/30000A0 system usage: CPU: user\n\
        57P03 FATAL:  the database system is starting up\n\
        XX000 FATAL:  recovery ended before configured recovery target was reached\n\tgoes on\nno line\n";

    #[test]
    fn a_log_is_taken_apart() {
        let found = lines(LOG);
        assert_eq!(found.len(), 4);
        assert_eq!(
            found[0],
            Line { code: "00000".into(), level: "LOG".into(), message: "starting PostgreSQL 15.18".into() }
        );
        assert_eq!(stopped_at(&found), ["redo done at 0/30000A0"]);
    }

    #[test]
    fn a_server_that_ends_has_a_cause() {
        let (cause_of, why) = cause(&lines(LOG)).unwrap();
        assert_eq!(cause_of, Cause::Backup);
        assert!(why.contains("log ends before the point") && why.contains("redo done at 0/30000A0"), "{why}");
        let of = |message: &str, code: &str| {
            cause(&lines(&format!("{code} FATAL:  {message}\n"))).map(|found| found.0)
        };
        let environment = Some(Cause::Environment);
        assert_eq!(of("could not access file \"pg_cron\": No such file or directory", "58P01"), environment);
        assert_eq!(of("could not map anonymous shared memory: Cannot allocate memory", "XX000"), environment);
        assert_eq!(of("could not extend file: No space left on device", "53100"), environment);
        assert_eq!(of("could not locate required checkpoint record", "XX000"), Some(Cause::Backup));
        assert_eq!(of("could not find redo location", "XX000"), Some(Cause::Backup));
        assert_eq!(cause(&lines("00000 LOG:  database system is ready\n")), None);
    }
}
