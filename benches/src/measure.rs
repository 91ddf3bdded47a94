//! Runs a program and tells how long it took and how much memory it needed at most.
//!
//! The kernel keeps peak memory for all children of a process together, so each program is run
//! by a helper that has no other: this very binary, started again. That needs neither `time` nor
//! polling, which misses short peaks. On purpose not here: which programs.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::error::Error;
use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

const HELPER: &str = "--measure-within-helper";

/// What one run of a program took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Time on the wall clock.
    pub seconds: f64,
    /// Time of all processors, in the program and in the kernel for it.
    pub processor_seconds: f64,
    /// Peak resident memory of the largest process of it.
    pub memory_kib: u64,
}

/// Runs a command, which must succeed, with more variables in its environment.
///
/// # Errors
/// It cannot be started or ends with another code than 0; its own words are in the error.
pub fn measure(command: &[OsString], environment: &[(String, OsString)]) -> Result<Measured, Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?)
        .arg(HELPER)
        .args(command)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        parse(said.lines().last().unwrap_or_default()).ok_or_else(|| "the helper said nothing".into())
    } else {
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("{command:?} failed with {}\n{said}{errors}", output.status).into())
    }
}

/// Does the helper's work if this process was started as one.
#[must_use]
pub fn within_helper() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    (words.next()? == HELPER).then(|| match run(&words.collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("{error}"));
            ExitCode::FAILURE
        }
    })
}

fn run(command: &[OsString]) -> Result<ExitCode, Box<dyn Error>> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let start = Instant::now();
    let status = Command::new(program).args(arguments).status()?;
    let seconds = start.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let microseconds = (usage.user_time() + usage.system_time()).num_microseconds();
    say(&format!("{seconds} {} {}", microseconds as f64 / 1e6, usage.max_rss()));
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "the helper answers the process that started it")]
fn say(text: &str) {
    println!("\n{text}");
}

fn parse(line: &str) -> Option<Measured> {
    let mut words = line.split(' ');
    let seconds = words.next()?.parse().ok()?;
    let processor_seconds = words.next()?.parse().ok()?;
    Some(Measured { seconds, processor_seconds, memory_kib: words.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_helper_says_is_understood() {
        let measured = Measured { seconds: 1.5, processor_seconds: 2.25, memory_kib: 4096 };
        assert_eq!(parse("1.5 2.25 4096"), Some(measured));
        assert_eq!(parse("1.5 2.25"), None);
        assert_eq!(parse(""), None);
    }
}
