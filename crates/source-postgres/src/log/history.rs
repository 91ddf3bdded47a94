//! What a history file says: from which timelines one comes, and where each was left.
//!
//! On purpose not here: which histories there are.

use crate::lsn::Lsn;

/// A timeline that was left for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// Number of the timeline that was left.
    pub timeline: u32,
    /// Its log counts up to here.
    pub at: Lsn,
}

/// From which timelines one comes, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// All that were left on the way to it; none for the first timeline.
    pub switches: Vec<Switch>,
}

impl History {
    /// Reads a history file. `None` if it is none: timelines and places have to go up, as in the
    /// server's own reading.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let switches = lines.map(|line| {
            let mut words = line.split_ascii_whitespace();
            Some(Switch { timeline: words.next()?.parse().ok()?, at: Lsn::parse(words.next()?)? })
        });
        let switches: Vec<_> = switches.collect::<Option<_>>()?;
        let ascends = switches.is_sorted_by(|a, b| a.timeline < b.timeline && a.at <= b.at);
        (ascends && !switches.is_empty()).then_some(Self { switches })
    }

    /// Where the timeline begins: where the one before was left.
    #[must_use]
    pub fn begin(&self) -> Lsn {
        self.switches.last().map_or(Lsn(0), |last| last.at)
    }

    /// Where a timeline was left on the way to this one; `None` if it does not lie on that way.
    #[must_use]
    pub fn left(&self, timeline: u32) -> Option<Lsn> {
        self.switches.iter().find(|switch| switch.timeline == timeline).map(|switch| switch.at)
    }

    /// Whether the timeline with this number and another history lies on the way to this one.
    #[must_use]
    pub fn comes_from(&self, number: u32, other: &Self) -> bool {
        let before: Vec<_> = self.switches.iter().take_while(|switch| switch.timeline < number).collect();
        self.left(number).is_some() && before.into_iter().eq(&other.switches)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn a_history_says_where_timelines_were_left() {
        let text = b"1\t0/3000060\tno recovery target specified\n\n2\t0/5000000\tbefore 2026-11-22\n# x\n";
        let third = History::parse(text).unwrap();
        assert_eq!(third.begin(), Lsn(0x500_0000));
        assert_eq!((third.left(1), third.left(3)), (Some(Lsn(0x300_0060)), None));
        let second = History::parse(b"1\t0/3000060\tx\n").unwrap();
        let other = History::parse(b"1\t0/4000000\tx\n").unwrap();
        assert!(third.comes_from(2, &second) && third.comes_from(1, &History::default()));
        assert!(!third.comes_from(2, &other) && !second.comes_from(2, &second));
        assert_eq!(History::default().begin(), Lsn(0));
    }

    #[test]
    fn what_is_no_history_is_refused() {
        for text in [
            &b""[..],
            b"# nothing\n",
            b"1\n",
            b"x\t0/1\n",
            b"2\t0/1\tx\n1\t0/2\tx\n",
            b"1\t0/2\n2\t0/1\n",
            b"\xff",
        ] {
            assert_eq!(History::parse(text), None, "{text:?}");
        }
    }
}
