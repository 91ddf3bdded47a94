//! Looks through the memory of this very process for secrets that should be gone.
//!
//! On purpose not looked at: the stack of the thread that asks, over which later calls write, and registers.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;

/// Of a secret so many bytes are looked for.
const PART: usize = 24;
/// What a secret is kept under here, so that looking for it does not find what is looked for with.
const VEIL: u8 = 0x5a;

/// A secret that shall be gone.
#[derive(Debug, Clone)]
pub struct Wanted {
    name: String,
    veiled: [u8; PART],
}

impl Wanted {
    /// Keeps the front of a secret, in a way in which it is not found.
    ///
    /// # Panics
    /// It is too short to be told from what lies in memory by chance.
    #[must_use]
    pub fn new(name: impl Into<String>, secret: &[u8]) -> Self {
        assert!(secret.len() >= PART, "a secret of {} bytes", secret.len());
        let mut veiled = [0; PART];
        veiled.iter_mut().zip(secret).for_each(|(veiled, byte)| *veiled = byte ^ VEIL);
        Self { name: name.into(), veiled }
    }

    /// The part of the secret that is looked for: whoever holds it is found.
    #[must_use]
    pub fn unveiled(&self) -> Vec<u8> {
        self.veiled.iter().map(|byte| byte ^ VEIL).collect()
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        let first = self.veiled[0] ^ VEIL;
        let is_it = |part: &[u8]| {
            part[0] == first && part.iter().zip(&self.veiled).all(|(byte, veiled)| byte ^ VEIL == *veiled)
        };
        bytes.windows(PART).any(is_it)
    }
}

/// The names of the secrets that lie in memory.
///
/// # Panics
/// The system does not show a process its own memory.
#[must_use]
pub fn left(wanted: &[Wanted]) -> Vec<&str> {
    let memory = File::open("/proc/self/mem").expect("our own memory");
    let mut found = Vec::new();
    for (from, to) in writable() {
        let mut bytes = vec![0; (to - from) as usize];
        // What is mapped and cannot be read holds nothing of ours.
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            let here = wanted.iter().filter(|wanted| wanted.is_in(&bytes));
            found.extend(here.map(|wanted| wanted.name.as_str()));
        }
        // What was read into is no find of the next look.
        bytes.fill(0);
        black_box(&bytes);
    }
    found
}

/// Ranges of memory that this process may write, but for the stack of this thread.
fn writable() -> Vec<(u64, u64)> {
    let here = 0_u8;
    let here = std::ptr::from_ref(&here).addr() as u64;
    let maps = std::fs::read_to_string("/proc/self/maps").expect("our own map");
    let range = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (from, to) = (number(from)?, number(to)?);
        let is_stack = line.ends_with("[stack]") || (from..to).contains(&here);
        (rest.starts_with("rw") && !is_stack).then_some((from, to))
    };
    maps.lines().filter_map(range).collect()
}
