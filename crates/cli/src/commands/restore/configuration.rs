//! The configuration of a bucket that is restored to: what of it is not as it was kept is shown, and
//! set where that is asked for.
//!
//! On purpose not here: comparing and setting; whoever knows servers does that.

use super::bucket::Bucket;
use super::{Place, Ready, Run};
use crate::args::RestoreArgs;
use crate::engine::{
    Ctx, DumpOptions, ErrorKind, Problem, ProblemKind, Problems, Repository, RestoreOptions, Silent,
    Snapshot, dump,
};
use crate::fault::Fault;
use crate::ink::{ConfigurationLine, escape};
use crate::wire_up::{Configuration, Difference, configure};
use holdfast_core::configuration::CONFIGURATION_SHOWN;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// What was kept of a bucket, and what of it the target has otherwise.
pub(super) struct Kept {
    configuration: Configuration,
    differences: Vec<(String, Difference)>,
}

/// Refuses to take it for an object.
pub(super) fn refuse_alone(place: &Place, path: &[u8]) -> Result<(), Fault> {
    match place {
        Place::Bucket(_) if path == CONFIGURATION_SHOWN.as_bytes() => Err(Fault::usage(
            "the configuration of a bucket is no object that a bucket could hold",
            "write it out with holdfast dump, or set it with --bucket-config",
        )),
        _ => Ok(()),
    }
}

/// Looks what the target has otherwise, if all of a bucket comes back, or if it is to be set; and shows
/// that. None if nothing was kept.
pub(super) async fn compare(
    run: &Run,
    args: &RestoreArgs,
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    place: &Ready,
) -> Result<Option<Kept>, Fault> {
    let Ready::Bucket(bucket) = place else { return Ok(None) };
    let is_whole = options.path.is_empty() && options.select.is_none();
    if !is_whole && !args.bucket_config {
        return Ok(None);
    }
    let Some(configuration) = read(run, args, repository, snapshot).await? else { return Ok(None) };
    let there = bucket.place.configuration().await;
    let differences = configuration.differences(&there);
    show(run, args, bucket, &differences);
    Ok(Some(Kept { configuration, differences }))
}

/// Reads what was kept.
async fn read(
    run: &Run,
    args: &RestoreArgs,
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Option<Configuration>, Fault> {
    let buffer = Buffer::default();
    let options = DumpOptions { path: CONFIGURATION_SHOWN.into(), ..DumpOptions::default() };
    let silent = Ctx { monitor: Arc::new(Silent), ..run.ctx.clone() };
    let written = dump(&silent, repository, snapshot, &options, Box::new(buffer.clone())).await;
    let what = match written {
        Ok(_) => match Configuration::decode(&buffer.take()) {
            Some(configuration) => return Ok(Some(configuration)),
            None => "it is of a form that this version of the program does not know".to_owned(),
        },
        Err(error) if error.kind == ErrorKind::NotFound => {
            if args.bucket_config {
                let what = "--bucket-config: this snapshot has no configuration of a bucket";
                return Err(Fault::usage(what, "a backup of a bucket keeps it with --metadata bucket"));
            }
            return Ok(None);
        }
        Err(error) if error.kind == ErrorKind::Interrupted => return Err(error.into()),
        Err(error) => Fault::from(error).to_string(),
    };
    let what = format!("the configuration of the bucket in this snapshot cannot be used: {what}");
    if args.bucket_config {
        return Err(Fault::failed(what, "restore without --bucket-config, or take another snapshot"));
    }
    run.ink.warn(&what);
    Ok(None)
}

impl Kept {
    /// Sets what the target has otherwise. What cannot be set is a problem.
    pub(super) async fn set(&self, run: &Run, bucket: &Bucket) -> Problems {
        let failed = configure(&bucket.place, &self.configuration, &self.differences).await;
        let mut problems = Problems::default();
        for (part, why) in &failed {
            let (path, what) = (CONFIGURATION_SHOWN.into(), format!("{part} is not set: {why}"));
            problems.problem(Problem { path, kind: ProblemKind::Attribute, what });
        }
        let is_set = |(name, how): &&(String, Difference)| {
            is_settable(how) && failed.iter().all(|(failed, _)| failed != name)
        };
        let set: Vec<_> = self.differences.iter().filter(is_set).map(|(name, _)| name.as_str()).collect();
        if !set.is_empty() {
            run.ink.talk(&format!("set of the bucket's configuration: {}", set.join(", ")));
        }
        run.tell(&problems);
        problems
    }
}

const fn is_settable(difference: &Difference) -> bool {
    matches!(difference, Difference::Other { .. } | Difference::Missing(_))
}

fn show(run: &Run, args: &RestoreArgs, bucket: &Bucket, differences: &[(String, Difference)]) {
    if run.ink.tone.json {
        let lines = differences.iter().map(|(part, difference)| ConfigurationLine::new(part, difference));
        return lines.for_each(|line| run.ink.json_now(&line));
    }
    let lines = told(&bucket.place.address().to_string(), differences, args.bucket_config);
    // Of a rehearsal this is what was asked for.
    let say = |line: &String| if args.dry_run { run.ink.data(line) } else { run.ink.talk(line) };
    lines.iter().for_each(say);
}

/// What differs, in lines.
fn told(target: &str, differences: &[(String, Difference)], will_set: bool) -> Vec<String> {
    if differences.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![format!("the bucket's configuration, in {target} (-) and as it was kept (+):")];
    for (part, difference) in differences {
        let (head, there, wanted): (_, &[String], &[String]) = match difference {
            Difference::Other { wanted, there } => ("differs".to_owned(), &there[..], &wanted[..]),
            Difference::Missing(wanted) => ("is not there".to_owned(), &[], &wanted[..]),
            Difference::Extra(there) => ("was not kept, and stays as it is".to_owned(), &there[..], &[]),
            Difference::NotKept => {
                ("is there; what it was could not be read for the snapshot".to_owned(), &[], &[])
            }
            Difference::Unknown(why) => (format!("cannot be compared: {why}"), &[], &[]),
        };
        lines.push(format!("  {} {}", escape(part.as_bytes()), escape(head.as_bytes())));
        lines.extend(changes(there, wanted));
    }
    if differences.iter().any(|(_, difference)| is_settable(difference)) {
        let then = if will_set {
            "what differs or is not there is set after the objects"
        } else {
            "nothing of it is set; --bucket-config sets what differs or is not there"
        };
        lines.push(format!("  {then}"));
    }
    lines
}

/// What has to change in one to make the other, without what both begin and end with.
fn changes(there: &[String], wanted: &[String]) -> Vec<String> {
    let same = |(one, other): &(&String, &String)| one == other;
    let front = there.iter().zip(wanted).take_while(same).count();
    let (there, wanted) = (&there[front..], &wanted[front..]);
    let back = there.iter().rev().zip(wanted.iter().rev()).take_while(same).count();
    let line = |sign: &'static str| move |line: &String| format!("    {sign} {}", escape(line.as_bytes()));
    let gone = there[..there.len() - back].iter().map(line("-"));
    gone.chain(wanted[..wanted.len() - back].iter().map(line("+"))).collect()
}

/// Takes what is written.
#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        let lines = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (there, wanted) = (lines(&["<a>", "x", "</a>"]), lines(&["<a>", "y", "z", "</a>"]));
        assert_eq!(changes(&there, &wanted), ["    - x", "    + y", "    + z"]);
        assert_eq!(changes(&there, &there), [""; 0]);
        assert_eq!(changes(&lines(&["x"]), &lines(&["x", "x"])), ["    + x"]);
        let differences = [
            ("cors".to_owned(), Difference::Other { wanted, there }),
            ("policy".to_owned(), Difference::Unknown("no".to_owned())),
        ];
        let told = told("s3://b/x", &differences, false);
        assert_eq!(told[1..3], ["  cors differs", "    - x"]);
        assert!(
            told[5].contains("cannot be compared: no") && told[6].contains("--bucket-config"),
            "{told:?}"
        );
        assert_eq!(super::told("s3://b/x", &[], true), [""; 0]);
    }
}
