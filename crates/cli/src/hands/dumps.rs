//! Dumps that a drill loads: by `restore` into a server, as on the worst day, in a process of its own with
//! the key of the drill and nothing else.
//!
//! On purpose not here: the server, and whose fault it is that it refuses.

use crate::wire_up::GLOBALS;
use crate::wire_up::drill::{LoadDumps, Loaded};
use holdfast_engine::proof::Cause;
use holdfast_scheduler::hands::{Answer, Begun, Call, Dumps, Hands};
use std::ffi::OsString;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;

/// How `restore` begins to say that the server, or one of its programs, did not take something.
const REFUSED: [&str; 3] = ["cannot restore the database", "cannot restore to", "cannot run /globals.sql"];
/// Files of a snapshot that dumps of databases are.
const DATABASES: &str = "/databases/";

/// Restores them into a server.
pub(super) struct Restoring<'a> {
    pub(super) hands: &'a dyn Hands,
    pub(super) dumps: &'a Dumps,
    /// The drill that it is for.
    pub(super) within: Option<&'a Begun>,
}

impl Restoring<'_> {
    fn call(&self, server: &str, programs: &Path) -> Call {
        let words: [OsString; 5] = [
            "restore".into(),
            self.dumps.snapshot.clone().into(),
            "--target".into(),
            server.into(),
            "--globals".into(),
        ];
        let env = vec![("HOLDFAST_PG_BIN".to_owned(), programs.as_os_str().to_owned())];
        let within = self.within.cloned();
        Call { bare: true, within, env, ..Call::on(&self.dumps.from, words) }
    }
}

impl LoadDumps for Restoring<'_> {
    fn load<'a>(
        &'a self,
        server: &'a str,
        programs: &'a Path,
    ) -> Pin<Box<dyn Future<Output = Loaded> + Send + 'a>> {
        Box::pin(async move {
            match self.hands.verb(self.call(server, programs)).await {
                Ok(answer) => ended(&answer),
                Err(why) => Loaded::Failed(Cause::Environment, format!("restore: {why}"), String::new()),
            }
        })
    }
}

fn ended(answer: &Answer) -> Loaded {
    let warned = |line: &serde_json::Value| {
        let said = line["message"].as_str().filter(|_| line["message_type"] == "warning")?;
        let of_ours = said.starts_with(GLOBALS) || said.starts_with(DATABASES);
        of_ours.then(|| said.to_owned())
    };
    let (said, next) = answer.failure();
    let silent = !answer.problems.iter().any(|line| line["message_type"] == "exit_error");
    match answer.code {
        0 => Loaded::There(Vec::new()),
        3 => Loaded::There(answer.problems.iter().filter_map(warned).collect()),
        2 | 130 => Loaded::Failed(Cause::Environment, said, next),
        _ if silent => Loaded::Failed(Cause::Environment, said, next),
        _ if REFUSED.iter().any(|how| said.starts_with(how)) => Loaded::Refused(said),
        _ => Loaded::Failed(Cause::Backup, said, next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(code: i32, message: &str) -> Answer {
        let problems = vec![
            json!({ "message_type": "warning", "message": "/globals.sql: 42704: role \"x\" does not exist" }),
            json!({ "message_type": "warning", "message": "something else" }),
            json!({ "message_type": "warning", "message": "/databases/template1.dump: 42501: denied" }),
            json!({ "message_type": "exit_error", "code": code, "message": message }),
        ];
        Answer { code, problems, ..Answer::default() }
    }

    #[test]
    fn what_a_server_refuses_is_told_from_what_never_came_to_it() {
        assert_eq!(ended(&Answer::default()), Loaded::There(Vec::new()));
        let failed = Loaded::There(vec![
            "/globals.sql: 42704: role \"x\" does not exist".into(),
            "/databases/template1.dump: 42501: denied".into(),
        ]);
        assert_eq!(ended(&answer(3, "restored, and 1 statement failed")), failed);
        let refused = "cannot restore the database shop: pg_restore failed";
        assert_eq!(ended(&answer(1, refused)), Loaded::Refused(refused.into()));
        let cause = |answer: &Answer| match ended(answer) {
            Loaded::Failed(cause, ..) => Some(cause),
            _ => None,
        };
        assert_eq!(cause(&answer(12, "no slot opens")), Some(Cause::Backup));
        assert_eq!(cause(&answer(130, "interrupted")), Some(Cause::Environment));
        assert_eq!(cause(&Answer { code: 1, ..Answer::default() }), Some(Cause::Environment));
    }
}
