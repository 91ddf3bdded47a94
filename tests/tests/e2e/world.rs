//! A repository, a cache and a place for trees, for one test; and the program, run in it.

use holdfast_tests::weed;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A word of a command line.
pub(crate) type Word<'a> = &'a dyn AsRef<OsStr>;

/// The user that owns nothing.
pub(crate) const NOBODY: u32 = 65534;

/// Everything of one test, gone when it ends.
pub(crate) struct World {
    dir: TempDir,
    pub(crate) repo: PathBuf,
    pub(crate) cache: PathBuf,
}

/// How a run ended and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) words: Vec<OsString>,
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Whether the test itself may do everything.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A number from the environment, for longer runs.
pub(crate) fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().map_or(usual, |text| text.parse().expect(variable))
}

/// The program under test, built if it is not as new as the sources.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| std::env::var_os("HOLDFAST_BIN").map_or_else(built, PathBuf::from))
}

/// Builds beside this test: the test lies in `TARGET/PROFILE/deps`.
fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let name = profile.file_name().unwrap().to_str().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "holdfast-cli", "--bin", "holdfast", "--profile"]);
    cargo.arg(if name == "debug" { "dev" } else { name });
    cargo.arg("--target-dir").arg(profile.parent().unwrap());
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(cargo.status().unwrap().success(), "the program cannot be built");
    profile.join("holdfast")
}

impl World {
    /// A place with an empty repository.
    pub(crate) fn new() -> Self {
        let world = Self::bare();
        world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
        world
    }

    /// A place without a repository.
    pub(crate) fn bare() -> Self {
        let dir = tempfile::Builder::new().prefix("holdfast-e2e-").tempdir().unwrap();
        let (repo, cache) = (dir.path().join("repo"), dir.path().join("cache"));
        Self { dir, repo, cache }
    }

    /// A path in this place.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program, ready to be run here.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(program());
        self.furnish(&mut command);
        command
    }

    /// Sets the environment that a run finds.
    pub(crate) fn furnish(&self, command: &mut Command) {
        let kept = ["PATH", "LANG", "LD_LIBRARY_PATH"];
        command
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| kept.iter().any(|kept| name == kept)));
        command.env("HOLDFAST_REPOSITORY", &self.repo).env("HOLDFAST_CACHE_DIR", &self.cache);
        command.env("HOLDFAST_PASSWORD", "correct horse").env("HOME", self.dir.path().join("home"));
        command.env("AWS_ACCESS_KEY_ID", weed::ACCESS).env("AWS_SECRET_ACCESS_KEY", weed::SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("TZ", "UTC").stdin(Stdio::null()).current_dir(self.dir.path());
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, words: &[Word<'_>]) -> Ran {
        self.run_as(&mut self.command(), words)
    }

    /// Runs a command that was prepared, with the words after it.
    pub(crate) fn run_as(&self, command: &mut Command, words: &[Word<'_>]) -> Ran {
        command.args(words.iter().map(|word| word.as_ref()));
        Ran::of(words, &command.output().unwrap())
    }

    /// Starts the program; whoever started it has to end it.
    pub(crate) fn start(&self, words: &[Word<'_>]) -> Child {
        let mut command = self.command();
        command.args(words.iter().map(|word| word.as_ref())).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).spawn().unwrap()
    }

    /// The program, to be run by somebody without rights. What lies here becomes reachable.
    pub(crate) fn as_nobody(&self) -> Command {
        if !is_root() {
            return self.command();
        }
        let own = self.path("holdfast");
        if !own.exists() {
            fs::copy(program(), &own).unwrap();
            fs::set_permissions(&own, Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(self.dir.path(), Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(own);
        self.furnish(&mut command);
        command
    }

    /// Gives paths and all below them to somebody without rights.
    pub(crate) fn give_to_nobody(&self, paths: &[&PathBuf]) {
        if is_root() {
            run_tool(
                Command::new("chown")
                    .args(["-R", "65534:65534"])
                    .args(paths.iter().filter(|path| path.exists())),
            );
        }
    }

    /// Backs a tree up and expects all to be well; returns the summary.
    pub(crate) fn backup(&self, source: &Path) -> Value {
        self.run(&[&"backup", &"--json", &source]).ends(0).summary()
    }

    /// Restores the newest snapshot of a tree into a new folder and expects all to be well.
    pub(crate) fn restore(&self, source: &Path, name: &str) -> PathBuf {
        let target = self.path(name);
        self.run(&[&"restore", &within("latest", source), &"--target", &target]).ends(0);
        target
    }

    /// Reads everything in the repository and expects it whole.
    pub(crate) fn check(&self) {
        self.run(&[&"check", &"--read-data"]).ends(0);
    }

    /// The names of all objects, ascending.
    pub(crate) fn objects(&self) -> Vec<String> {
        objects(&self.repo)
    }

    /// The names and contents of all objects.
    pub(crate) fn state(&self) -> Vec<(String, Vec<u8>)> {
        let read = |name: String| (name.clone(), fs::read(self.repo.join(name)).unwrap());
        self.objects().into_iter().map(read).collect()
    }

    /// What the repository takes on the disk, in bytes.
    pub(crate) fn repository_bytes(&self) -> u64 {
        self.objects()
            .iter()
            .map(|name| fs::metadata(self.repo.join(name)).map_or(0, |meta| meta.len()))
            .sum()
    }
}

/// A run of the program that does not outlive whoever holds it. What it says goes to files: nobody
/// has to read it for the run to go on.
pub(crate) struct Leashed {
    child: Child,
    out: File,
    err: File,
}

impl World {
    /// Starts the program.
    pub(crate) fn leash(&self, words: &[Word<'_>]) -> Leashed {
        self.leash_as(self.command(), words)
    }

    /// Starts a command that was prepared, with the words after it.
    pub(crate) fn leash_as(&self, mut command: Command, words: &[Word<'_>]) -> Leashed {
        let [out, err] = [(); 2].map(|()| tempfile::tempfile().unwrap());
        command.args(words.iter().map(|word| word.as_ref())).process_group(0);
        command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
        Leashed { child: command.spawn().unwrap(), out, err }
    }
}

impl Leashed {
    /// So long a run may take on a machine that has much else to do.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Sends a signal, unless it has ended: then its number may be another's.
    pub(crate) fn send(&mut self, signal: Signal) {
        if self.status().is_none() {
            kill_process(Pid::from_child(&self.child), signal).unwrap();
        }
    }

    /// Whether the process stands still since somebody stopped it.
    pub(crate) fn is_stopped(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        stat.is_ok_and(|stat| stat.rsplit_once(") ").unwrap().1.starts_with('T'))
    }

    /// Stops it, unless it ends before.
    pub(crate) fn stop(&mut self) {
        self.send(Signal::STOP);
        let patience = Instant::now() + Self::PATIENCE;
        while !self.is_stopped() && self.status().is_none() {
            assert!(Instant::now() < patience, "it does not stop");
            std::thread::yield_now();
        }
    }

    /// Waits for a moment of a run; `false` if the run ended before it.
    pub(crate) fn wait_for(&mut self, moment: impl Fn() -> bool) -> bool {
        let patience = Instant::now() + Self::PATIENCE;
        while !moment() {
            if self.status().is_some() {
                return false;
            }
            assert!(Instant::now() < patience, "the moment never came");
            std::thread::sleep(Duration::from_micros(200));
        }
        true
    }

    /// How it ended, if it did.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end, which has to come by itself.
    pub(crate) fn ends_alone(mut self, words: &[Word<'_>]) -> Ran {
        assert!(!self.wait_for(|| false), "it never ends");
        Ran::of(words, &self.output())
    }

    /// How it ended and what it said. It has to have ended.
    pub(crate) fn output(&mut self) -> Output {
        let read = |mut file: &File| {
            let mut bytes = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        };
        let status = self.status().expect("it has ended");
        Output { status, stdout: read(&self.out), stderr: read(&self.err) }
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        // One that has ended is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What is marked immutable cannot be removed; elsewhere there is nothing to unmark.
        if self.path("flagged").exists() {
            let _ = Command::new("chattr").args(["-R", "-f", "-i", "-a"]).arg(self.dir.path()).status();
        }
    }
}

impl Ran {
    pub(crate) fn of(words: &[Word<'_>], output: &Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let status = output.status;
        let code = status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap();
        let words = words.iter().map(|word| word.as_ref().to_owned()).collect();
        let ran = Self { words, code, out: text(&output.stdout), err: text(&output.stderr) };
        for sign in ["panicked", "RUST_BACKTRACE", "correct horse"] {
            assert!(!ran.err.contains(sign) && !ran.out.contains(sign), "{sign}: {ran:?}");
        }
        [&ran.out, &ran.err].into_iter().for_each(|text| super::schema::assert_all_conform(text));
        ran
    }

    /// Expects an exit code.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "{:?}\n--- out\n{}--- err\n{}",
            self.words,
            short(&self.out),
            short(&self.err)
        );
        self
    }

    /// Expects words on standard error.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not said: {:?}\n{}", self.words, short(&self.err));
        }
        self
    }

    /// Expects words on standard output.
    #[track_caller]
    pub(crate) fn tells(self, words: &str) -> Self {
        assert!(self.out.contains(words), "{words:?} is not told: {:?}\n{}", self.words, short(&self.out));
        self
    }

    /// The lines of standard output; each has to be JSON with a type.
    pub(crate) fn lines(&self) -> Vec<Value> {
        parsed(&self.out)
    }

    /// The lines of standard error, likewise.
    pub(crate) fn told(&self) -> Vec<Value> {
        parsed(&self.err)
    }

    /// The last line of standard output, which sums up.
    pub(crate) fn summary(&self) -> Value {
        let last = self.lines().pop().expect("a summary");
        assert_eq!(last["message_type"], "summary", "{self:?}");
        last
    }

    /// The messages of a type that standard error has.
    pub(crate) fn of_type(&self, kind: &str) -> Vec<Value> {
        self.told().into_iter().filter(|line| line["message_type"] == kind).collect()
    }
}

fn parsed(text: &str) -> Vec<Value> {
    let parse =
        |line: &str| -> Value { serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")) };
    let lines: Vec<_> = text.lines().map(parse).collect();
    assert!(lines.iter().all(|line| line["message_type"].is_string()), "{text}");
    lines
}

fn short(text: &str) -> String {
    text.chars().take(4000).collect()
}

/// `SNAPSHOT:PATH`.
pub(crate) fn within(snapshot: &str, path: &Path) -> OsString {
    let mut text = OsString::from(snapshot);
    text.push(":");
    text.push(path);
    text
}

/// The names of all files below a folder, ascending; none if it is not there.
pub(crate) fn objects(root: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => found.push(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

/// Runs a tool of the system that has to be there and has to succeed; returns what it prints.
#[track_caller]
pub(crate) fn run_tool(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A number of a summary.
#[track_caller]
pub(crate) fn count(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_else(|| panic!("{name} is missing in {summary}"))
}
