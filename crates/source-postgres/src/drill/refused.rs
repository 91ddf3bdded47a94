//! Why dumps were not taken, by what programs say, and whose fault that is. Of what they say only what
//! went wrong is kept: details, rows and statements may hold values.
//!
//! On purpose not here: loading them.

use holdfast_engine::proof::Cause;

/// Words about what this host lacks: extensions and libraries, locales, room, programs.
const LACKS: [&str; 30] = [
    "is not available",
    "extension control file",
    "could not access file",
    "could not load library",
    "could not find function",
    "incompatible library",
    "shared_preload_libraries",
    "has no installation script",
    "invalid locale name",
    "lc_collate",
    "lc_ctype",
    "could not create locale",
    "icu is not supported",
    "could not open collator",
    "could not find icu",
    "locale provider",
    "is not supported by this build",
    "no space left",
    "could not extend file",
    "out of memory",
    "out of shared memory",
    "cannot allocate memory",
    "too many open files",
    "server closed the connection",
    "terminating connection",
    "connection to server",
    "there is no pg_restore",
    "there is no psql",
    "unrecognized configuration parameter",
    "in file header",
];
/// What follows in what programs say once it is told what went wrong.
const DETAILS: [&str; 9] = [
    "; DETAIL:",
    "; HINT:",
    "; CONTEXT:",
    "; QUERY:",
    "; STATEMENT:",
    "; LINE ",
    "; Command was:",
    "; detail:",
    "; hint:",
];
const PROGRAMS: [&str; 2] = ["pg_restore failed", "psql failed"];

/// Of what a server was made that refuses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused {
    /// It is of the version that the dumps are of.
    pub same_version: bool,
}

impl Refused {
    /// Whose fault it is, and what to do.
    pub(super) fn blames(self, said: &str) -> (Cause, &'static str) {
        let small = said.split("; Command was:").next().unwrap_or_default().to_lowercase();
        if LACKS.iter().any(|word| small.contains(word)) {
            return (Cause::Environment, "install what it names on this host, or drill where it is");
        }
        if !self.same_version {
            let next =
                "install the server of the version that was dumped: this one may not know all that it had";
            return (Cause::Environment, next);
        }
        (Cause::Backup, "look into other snapshots, and load a dump of production by hand")
    }
}

/// What went wrong, without what may hold values.
pub(super) fn without_values(said: &str) -> String {
    let end = DETAILS.iter().filter_map(|word| said.find(word)).min().unwrap_or(said.len());
    let kept = &said[..end];
    let is_programs = PROGRAMS.iter().any(|program| kept.contains(program));
    match kept.find("failed (") {
        // What stands there is the tail of a long statement.
        Some(at) if is_programs && !kept.to_lowercase().contains("error:") => {
            format!("{}failed, and what it said is too long to tell why", &kept[..at])
        }
        _ => kept.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "cannot restore the database shop: pg_restore failed (exit status: 1): while PROCESSING TOC:; from \
        TOC entry 2; 3079 16385 EXTENSION postgis; error: could not execute query: ERROR:  extension \"postgis\" is not \
        available; DETAIL:  Could not open it; Command was: CREATE EXTENSION postgis";

    #[test]
    fn whoever_lacks_something_is_told_from_what_is_broken() {
        let here = Refused { same_version: true };
        assert_eq!(here.blames(SAID).0, Cause::Environment);
        let locale =
            "error: could not execute query: ERROR:  invalid LC_COLLATE locale name: \"ko_KR.UTF-8\"";
        assert_eq!(here.blames(locale).0, Cause::Environment);
        let broken = "pg_restore failed (exit status: 1): error: could not read from input file: end of file";
        assert_eq!(here.blames(broken).0, Cause::Backup);
        // A statement may hold any word.
        let statement =
            "error: could not execute query: ERROR:  syntax error; Command was: SELECT 'is not available'";
        assert_eq!(here.blames(statement).0, Cause::Backup);
        assert_eq!(Refused { same_version: false }.blames(statement).0, Cause::Environment);
    }

    #[test]
    fn values_are_left_out() {
        let told = without_values(SAID);
        assert!(told.ends_with("is not available") && told.contains("shop"), "{told}");
        let copy = "pg_restore failed (exit status: 1): error: COPY failed for table \"t\": ERROR:  duplicate key value \
                    violates unique constraint \"t_pkey\"; DETAIL:  Key (email)=(x@y) already exists.; CONTEXT:  COPY t, line 2";
        assert!(without_values(copy).ends_with("\"t_pkey\""));
        let long = "cannot restore the database shop: pg_restore failed (exit status: 1): ues (1, 'x@y')";
        assert!(!without_values(long).contains("x@y") && without_values(long).contains("shop"));
        assert_eq!(without_values("there is no pg_restore"), "there is no pg_restore");
    }
}
