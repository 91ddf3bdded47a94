//! Measures whole programs as a user sees them: backup, nothing changed, 1 % changed, restore, check.
//!
//! `cargo run --release -p holdfast-benches --bin whole -- --peers` takes holdfast, restic, borg
//! and `cp -a` in turn over the same tree in the same run, compares every restored tree with the
//! original, and prints the medians as a Markdown table. Every program gets a repository and a
//! cache of its own, new in each run, encryption, and zstd at its default or level 3.
//!
//! On purpose not here: parts of programs, which `cargo bench` measures.

#![expect(clippy::print_stdout, reason = "the table is what the program is for")]

use clap::Parser;
use holdfast_benches::measure::{Measured, measure, within_helper};
use holdfast_benches::report::{Row, print_table};
use holdfast_benches::tool::{Place, Tool};
use holdfast_benches::tree;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Times holdfast, and its peers where asked, on whole backups and restores.
#[derive(Debug, Parser)]
struct Options {
    /// Tree to back up, copied first and never changed [default: Rust sources and libraries of this machine]
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
    /// Size of the tree where none is given, in MiB
    #[arg(long, default_value_t = 1_500)]
    size: u64,
    /// Also measure restic and borg where they are installed
    #[arg(long)]
    peers: bool,
    /// How often everything is measured; the table shows medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Folder for repositories [default: /dev/shm if it has room, else the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    repo_dir: Option<PathBuf>,
    /// Folder for the tree, caches and restored trees [default: the same]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// The program to measure [default: the one built beside this]
    #[arg(long, value_name = "FILE")]
    holdfast: Option<PathBuf>,
    /// A tiny tree, one run, no peers, no waiting: shows that the benchmark works
    #[arg(long, conflicts_with_all = ["tree", "peers"])]
    smoke: bool,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    if let Some(code) = within_helper() {
        return code;
    }
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("whole: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let bench = Bench::prepare(options)?;
    let mut rows: Vec<Row> = bench.tools.iter().map(|tool| Row::new(&tool.name_and_version)).collect();
    let mut copy = Row::new("`cp -a`");
    let runs = if options.smoke { 1 } else { options.runs };
    for number in 0..runs {
        println!("run {} of {runs}", number + 1);
        bench.run(number, &mut rows, &mut copy)?;
    }
    if !options.smoke {
        rows.push(copy);
    }
    println!();
    print_table(&rows);
    Ok(())
}

/// The tree, the programs and the places they write to.
struct Bench {
    tree: PathBuf,
    tools: Vec<Tool>,
    pause: Duration,
    /// What changed within the last minute is rightly read again.
    settling: Duration,
    repositories: tempfile::TempDir,
    work: tempfile::TempDir,
}

impl Bench {
    fn prepare(options: &Options) -> Result<Self> {
        let mib = if options.smoke { 8 } else { options.size };
        let bytes = match &options.tree {
            Some(tree) => tree::totals(tree)?.1,
            None => mib << 20,
        };
        let root = options.repo_dir.clone().unwrap_or_else(|| tree::roomy_folder(bytes * 4));
        let work = tempfile::Builder::new()
            .prefix("holdfast-whole-")
            .tempdir_in(options.work_dir.as_ref().unwrap_or(&root))?;
        let repositories = tempfile::Builder::new().prefix("holdfast-whole-").tempdir_in(&root)?;
        let tree = work.path().join("tree");
        match &options.tree {
            Some(original) => tree::copy(original, &tree)?,
            None if options.smoke => tree::generate(&tree, bytes)?,
            None => tree::gather(&tree, bytes)?,
        }
        let (files, bytes) = tree::totals(&tree)?;
        println!(
            "tree: {files} files, {:.1} MB, from {}",
            bytes as f64 / 1e6,
            tree::origin(options.tree.as_deref())
        );
        println!("repositories below {}, everything else below {}", root.display(), work.path().display());
        let tools = Tool::find(options.holdfast.as_deref(), options.peers)?;
        let [pause, settling] =
            [3, 61].map(|seconds| Duration::from_secs(if options.smoke { 0 } else { seconds }));
        Ok(Self { tree, tools, pause, settling, repositories, work })
    }

    /// Measures everything once. The order of the programs turns with each run, so that none is
    /// always the first.
    fn run(&self, number: u32, rows: &mut [Row], copy: &mut Row) -> Result<()> {
        let run = tempfile::tempdir_in(self.work.path())?;
        let stores = tempfile::tempdir_in(self.repositories.path())?;
        let place = |at: usize| Place::new(&self.tree, stores.path(), run.path(), &self.tools[at]);
        let first = number as usize % self.tools.len();
        let order = || (0..self.tools.len()).map(move |n| (n + first) % self.tools.len());

        std::thread::sleep(self.settling);
        copy.first.push(self.copied(run.path())?);
        for at in order() {
            let (tool, row) = (&self.tools[at], &mut rows[at]);
            self.step(tool, "init", &tool.init(&place(at)))?;
            row.first.push(self.step(tool, "first backup", &tool.backup(&place(at), "first"))?);
            row.unchanged.push(self.step(tool, "nothing changed", &tool.backup(&place(at), "unchanged"))?);
        }
        println!("  rewriting {} files", tree::change_one_percent(&self.tree, u64::from(number))?);
        for at in order() {
            let (tool, row) = (&self.tools[at], &mut rows[at]);
            row.changed.push(self.step(tool, "1 % changed", &tool.backup(&place(at), "changed"))?);
        }
        copy.restore.push(self.copied(run.path())?);
        for at in order() {
            let (tool, row) = (&self.tools[at], &mut rows[at]);
            std::fs::create_dir(&place(at).target)?;
            row.restore.push(self.step(tool, "restore", &tool.restore(&place(at), "changed"))?);
            tree::compare(&self.tree, &tool.restored(&place(at))?)?;
            std::fs::remove_dir_all(&place(at).target)?;
            row.check.push(self.step(tool, "check all data", &tool.check(&place(at)))?);
            row.repository.push(tree::totals(&place(at).repository)?.1);
        }
        copy.repository.push(tree::totals(&self.tree)?.1);
        Ok(())
    }

    /// Runs one command of one program after a pause, in which the times of files settle: a
    /// backup must read again what changed within the last seconds.
    fn step(&self, tool: &Tool, what: &str, command: &[std::ffi::OsString]) -> Result<Measured> {
        std::thread::sleep(self.pause);
        let measured = measure(command, &tool.environment)?;
        println!(
            "  {} {what}: {:.2} s, {:.2} s of processors, {} MiB",
            tool.name,
            measured.seconds,
            measured.processor_seconds,
            measured.memory_kib >> 10
        );
        Ok(measured)
    }

    fn copied(&self, run: &Path) -> Result<Measured> {
        let target = run.join("copy");
        let measured = measure(&["cp".into(), "-a".into(), (&self.tree).into(), (&target).into()], &[])?;
        std::fs::remove_dir_all(&target)?;
        Ok(measured)
    }
}
