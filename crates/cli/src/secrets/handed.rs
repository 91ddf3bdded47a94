//! Secrets that whoever started this verb handed over: the first thing that comes by the pipe that is
//! its leash. So they are in no environment and in no command line.
//!
//! On purpose not here: the leash itself, and which secrets a verb gets.

use super::bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::OnceLock;
use zeroize::Zeroizing;

/// Secrets by the names that variables with them would have.
pub(crate) type Handed = BTreeMap<String, Bytes>;

/// No caller hands over more.
const FRAME_BYTES_MAX: usize = 16 << 20;

static HANDED: OnceLock<Handed> = OnceLock::new();

/// What was handed over under a name.
pub(crate) fn get(name: &str) -> Option<Bytes> {
    HANDED.get()?.get(name).filter(|value| !value.is_empty()).cloned()
}

/// All that was handed over.
pub(crate) fn all() -> Handed {
    HANDED.get().cloned().unwrap_or_default()
}

/// Takes what is handed over. A caller that is gone before it handed anything over ends this verb too.
pub(crate) fn take(from: impl Read) -> io::Result<()> {
    let handed = read(from)?;
    // Only the first that is taken counts, and there is only one.
    let _ = HANDED.set(handed);
    Ok(())
}

/// Lays them out as they are handed over: the length of all, then each name and value with its length.
pub(crate) fn frame(handed: &Handed) -> Bytes {
    let room = handed.iter().map(|(name, value)| 8 + name.len() + value.len()).sum::<usize>();
    let mut frame = Zeroizing::new(Vec::with_capacity(4 + room));
    put(&mut frame, room);
    for (name, value) in handed {
        for part in [name.as_bytes(), value] {
            put(&mut frame, part.len());
            frame.extend_from_slice(part);
        }
    }
    frame
}

fn put(frame: &mut Vec<u8>, length: usize) {
    // What is longer than any secret was refused when it was read.
    frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

/// Hands them over. Whoever is gone does not need them.
pub(crate) fn hand_over(frame: &[u8], mut to: impl Write) {
    let _ = to.write_all(frame).and_then(|()| to.flush());
}

fn read(mut from: impl Read) -> io::Result<Handed> {
    let length = length(&mut from)?;
    if length > FRAME_BYTES_MAX {
        return Err(broken());
    }
    let mut frame = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut frame)?;
    let mut rest = frame.as_slice();
    let mut handed = Handed::new();
    while !rest.is_empty() {
        let name = String::from_utf8(part(&mut rest)?.to_vec()).map_err(|_| broken())?;
        handed.insert(name, Zeroizing::new(part(&mut rest)?.to_vec()));
    }
    Ok(handed)
}

fn length(mut from: impl Read) -> io::Result<usize> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    usize::try_from(u32::from_le_bytes(length)).map_err(|_| broken())
}

fn part<'a>(rest: &mut &'a [u8]) -> io::Result<&'a [u8]> {
    let length = length(&mut *rest)?;
    let (part, behind) = rest.split_at_checked(length).ok_or_else(broken)?;
    *rest = behind;
    Ok(part)
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what was handed over is broken")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn what_is_handed_over_comes_as_it_was() {
        let all = [("HOLDFAST_PASSWORD", &b"a\nb\0\xff"[..]), ("PGPASSWORD", b""), ("X", b"y")];
        let all = all.map(|(name, value)| (name.to_owned(), Zeroizing::new(value.to_vec())));
        let handed: Handed = all.into_iter().collect();
        let frame = frame(&handed);
        assert_eq!(read(&frame[..]).unwrap(), handed);
        assert_eq!(read(&super::frame(&Handed::new())[..]).unwrap(), Handed::new());
        for cut in 0..frame.len() {
            assert!(read(&frame[..cut]).is_err(), "cut at {cut}");
        }
        let mut wrong = frame.to_vec();
        wrong[4] = 0xff;
        assert!(read(&wrong[..]).is_err());
        assert!(read(&[0xff; 64][..]).is_err());
    }
}
