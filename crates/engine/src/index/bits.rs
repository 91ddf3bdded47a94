//! One bit for each of many things.
//!
//! On purpose not here: what the things are.

/// A set of numbers below a bound, in one bit each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// An empty set of numbers below `bound`.
    pub(crate) fn new(bound: u64) -> Self {
        Self(vec![0; bound.div_ceil(64) as usize])
    }

    /// Takes a number in; tells whether it was not there.
    pub(crate) fn set(&mut self, number: u64) -> bool {
        let (word, bit) = (&mut self.0[(number / 64) as usize], 1 << (number % 64));
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    pub(crate) fn get(&self, number: u64) -> bool {
        self.0[(number / 64) as usize] & (1 << (number % 64)) != 0
    }

    /// How many numbers there are in it.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_once() {
        let mut bits = Bits::new(129);
        let fresh = [0, 63, 64, 128, 64].map(|number| bits.set(number));
        assert_eq!(fresh, [true, true, true, true, false]);
        assert_eq!(bits.count(), 4);
        let there: Vec<_> = (0..129).filter(|number| bits.get(*number)).collect();
        assert_eq!(there, [0, 63, 64, 128]);
    }
}
