//! Which cluster a folder is of: the front of `global/pg_control`.
//!
//! On purpose not here: the rest of that file, whose layout changes with every version.

/// Versions of the file that are known, as the server counts them: from 13 to 18.
const VERSIONS: std::ops::RangeInclusive<u32> = 1300..=1899;

/// The number that a cluster gave itself when it was made, from the content of its `global/pg_control`.
/// `None` if it is no such file, or of a version that is not known.
#[must_use]
pub fn system_of(control: &[u8]) -> Option<u64> {
    let system = u64::from_le_bytes(control.get(..8)?.try_into().ok()?);
    let version = u32::from_le_bytes(control.get(8..12)?.try_into().ok()?);
    (VERSIONS.contains(&version) && system != 0).then_some(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_told_by_the_front_of_its_control_file() {
        let file = |system: u64, version: u32| {
            [&system.to_le_bytes()[..], &version.to_le_bytes(), &[0; 8180]].concat()
        };
        assert_eq!(system_of(&file(7, 1300)), Some(7));
        assert_eq!(system_of(&file(u64::MAX, 1800)), Some(u64::MAX));
        for wrong in [file(7, 1201), file(7, 1900), file(0, 1300), file(7, 1300u32.swap_bytes()), vec![0; 11]]
        {
            assert_eq!(system_of(&wrong), None);
        }
    }
}
