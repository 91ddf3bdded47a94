//! A leash: a verb that was started by `run` or `drill` ends when whoever started it is gone, however
//! that ended.
//!
//! Its standard input is a pipe by which secrets come first, and then nothing. The pipe ends with the process that holds its
//! other end, also one that was killed. On purpose not here: stopping in time, which signals do.

use crate::secrets::{Bytes, handed};
use crate::settings::variable;
use rustix::process::{Pid, Signal, getpgrp, getpid, getppid, kill_current_process_group, kill_process};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::time::Duration;
use zeroize::Zeroizing;

/// Names the process that holds the other end.
pub(crate) const LEASH: &str = "HOLDFAST_LEASH";

/// Under this name a verb is handed which drill it is a part of. It is no variable: nobody sets it but a drill.
pub(super) const WITHIN_DRILL: &str = "HOLDFAST_WITHIN_DRILL";

/// So long may a verb take to stop at a safe place.
const GRACE: Duration = Duration::from_secs(30);

/// Watches the leash, if there is one: in the process that was given it, and not in what that starts.
pub(crate) fn heed() {
    if is_held() {
        // What is missing then is missed by whoever needs it, if this is not ended before.
        let _ = handed::take(Held);
        // Without a thread it is as with any other program whose caller is gone.
        let _ = std::thread::Builder::new().name("leash".into()).spawn(wait);
    }
}

/// The drill that this verb is a part of: the name of the record that it began, and the token whose hash that has.
pub(crate) fn drill() -> Option<(String, Zeroizing<String>)> {
    let told = handed::get(WITHIN_DRILL)?;
    let (record, token) = str::from_utf8(&told).ok()?.split_once(' ')?;
    Some((record.to_owned(), Zeroizing::new(token.to_owned())))
}

/// Puts it as it is handed over.
pub(super) fn within(record: &str, token: &str) -> Bytes {
    Zeroizing::new(format!("{record} {token}").into_bytes())
}

/// Our standard input, without a buffer that would keep what came.
struct Held;

impl Read for Held {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), buffer)?)
    }
}

/// Whether this process was given it.
pub(crate) fn is_held() -> bool {
    variable(LEASH).is_some_and(|holder| is_parent(&holder, getppid()))
}

fn is_parent(holder: &OsStr, parent: Option<Pid>) -> bool {
    let holder = holder.to_str().and_then(|text| text.parse::<i32>().ok());
    holder.is_some() && holder == parent.map(|pid| pid.as_raw_nonzero().get())
}

fn wait() {
    let mut buffer = [0; 64];
    let mut input = io::stdin();
    while input.read(&mut buffer).is_ok_and(|read| read > 0) {}
    // Once signals are heeded the first stops at a safe place and the second at once; before, either ends it.
    stop();
    std::thread::sleep(GRACE);
    stop();
}

/// Asks this verb and what it started to stop: they are a group of their own. A process may always send a
/// signal to itself.
fn stop() {
    let _ = match getpgrp() == getpid() {
        true => kill_current_process_group(Signal::TERM),
        false => kill_process(getpid(), Signal::TERM),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_given_it_is_on_it() {
        let (one, parent) = (OsStr::new("17"), Pid::from_raw(17));
        assert!(is_parent(one, parent));
        assert!(!is_parent(one, Pid::from_raw(18)) && !is_parent(one, None));
        assert!(!is_parent(OsStr::new("yes"), parent) && !is_parent(OsStr::new("yes"), None));
    }
}
