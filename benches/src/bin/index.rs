//! Measures the index at scale: opening, look-ups, the mark, a walk, and joining segments, on local
//! copies that are made up.
//!
//! `cargo run --release -p holdfast-benches --bin index` makes 100 million rows in three segments
//! (4 GB in the folder for temporary files). On purpose not here: the repository's side, which is
//! bound by its store and by encryption.

#![expect(clippy::print_stdout, reason = "the figures are what the program is for")]

use clap::Parser;
use holdfast_benches::Noise;
use holdfast_engine::SyntheticIndex;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Measures the index at scale.
#[derive(Debug, Parser)]
struct Options {
    /// Rows of chunks
    #[arg(long, default_value_t = 100_000_000, value_parser = clap::value_parser!(u64).range(1000..=130_000_000))]
    rows: u64,
    /// Look-ups of each kind
    #[arg(long, default_value_t = 1_000_000)]
    lookups: u64,
    /// Keys that are marked in one sweep
    #[arg(long, default_value_t = 4_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    /// Folder for the copies [default: the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// 100,000 rows: shows that the benchmark works
    #[arg(long, conflicts_with = "rows")]
    smoke: bool,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("index: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let (rows, lookups) = if options.smoke { (100_000, 10_000) } else { (options.rows, options.lookups) };
    let shares = [rows / 2, rows / 10 * 4, rows - rows / 2 - rows / 10 * 4];
    let parent = options.work_dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("holdfast-index-").tempdir_in(parent)?;
    let (written, took) = timed(|| SyntheticIndex::write(folder.path(), &shares))?;
    say("write copies", rows, took);
    drop(written);
    let before = resident_bytes()?;
    let (index, took) = timed(|| SyntheticIndex::open(folder.path(), &shares))?;
    let pinned = index.pinned_bytes() as f64 / 1e6;
    println!("open: {:.3} s, {pinned:.2} MB pinned", took.clock.as_secs_f64());
    for (what, there) in [("first look-ups", true), ("look-ups, hit", true), ("look-ups, miss", false)] {
        let mut noise = Noise::new(7);
        let ((), took) = timed(|| {
            for _ in 0..lookups {
                if index.look_up(noise.next_u64(), there)? != there {
                    return Err("a look-up gave a wrong answer".into());
                }
            }
            Ok::<_, Box<dyn Error>>(())
        })?;
        say(what, lookups, took);
    }
    let grown = resident_bytes()?.saturating_sub(before) as f64 / 1e6;
    println!("resident memory of the open index and its blocks: {grown:.1} MB");
    let (marked, took) = timed(|| index.mark(options.batch))?;
    check(marked == rows, "the mark missed a chunk")?;
    say(&format!("mark, {} keys a sweep", options.batch), rows, took);
    let (walked, took) = timed(|| index.walk())?;
    check(walked == rows, "the walk missed a chunk")?;
    say("walk", rows, took);
    let (joined, took) = timed(|| index.join_last_two())?;
    check(joined == shares[1] + shares[2], "joining missed a chunk")?;
    say("join two segments", joined, took);
    println!("resident memory at most: {:.1} MB", peak_bytes()? as f64 / 1e6);
    Ok(())
}

fn check(right: bool, what: &str) -> Result<()> {
    if right { Ok(()) } else { Err(what.into()) }
}

/// How long something took: by the clock, and of a processor, which says more on a machine that
/// has other work.
#[derive(Clone, Copy)]
struct Took {
    clock: Duration,
    processor: Duration,
}

fn timed<T, E: Into<Box<dyn Error>>>(work: impl FnOnce() -> std::result::Result<T, E>) -> Result<(T, Took)> {
    let (start, before) = (Instant::now(), processor_time()?);
    let value = work().map_err(Into::into)?;
    Ok((value, Took { clock: start.elapsed(), processor: processor_time()?.saturating_sub(before) }))
}

fn processor_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let of = |time: TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs());
    Ok(of(usage.user_time()) + of(usage.system_time()))
}

fn say(what: &str, items: u64, took: Took) {
    let (clock, processor) = (took.clock.as_secs_f64(), took.processor.as_secs_f64());
    let rate = items as f64 / processor.max(1e-9);
    println!("{what}: {items} in {clock:.2} s, {processor:.2} s of a processor: {rate:.0} a second");
}

fn resident_bytes() -> Result<u64> {
    status("VmRSS:")
}

fn peak_bytes() -> Result<u64> {
    status("VmHWM:")
}

/// A line of what the system says of this process, in bytes.
fn status(line: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let value = text.lines().find_map(|text| text.strip_prefix(line)).ok_or("no such line")?;
    Ok(value.split_whitespace().next().ok_or("no number")?.parse::<u64>()? * 1024)
}
