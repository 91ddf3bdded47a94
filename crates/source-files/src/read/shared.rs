//! What all readers of one source learn together.
//!
//! On purpose not here: anything about a single file.

use crate::owners::Owners;
use rustix::process::geteuid;
use std::sync::atomic::{AtomicU64, Ordering};

/// Known to the walk and all its readers.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Names of users and groups.
    pub(crate) owners: Owners,
    /// File systems without extended attributes.
    pub(super) without_xattrs: DeviceSet,
    /// File systems without inode flags.
    pub(super) without_flags: DeviceSet,
    uid: u32,
}

impl Shared {
    pub(crate) fn of_host() -> Self {
        Self {
            owners: Owners::of_host(),
            without_xattrs: DeviceSet::default(),
            without_flags: DeviceSet::default(),
            uid: geteuid().as_raw(),
        }
    }

    /// Whether the system lets this process leave the access times of a user's files alone.
    pub(crate) fn may_keep_atime(&self, uid: u32) -> bool {
        self.uid == 0 || self.uid == uid
    }
}

/// A few devices; when there are more, they are asked each time, which is slow and right.
#[derive(Debug, Default)]
pub(super) struct DeviceSet([AtomicU64; 8]);

impl DeviceSet {
    pub(super) fn contains(&self, device: u64) -> bool {
        let wanted = device.wrapping_add(1);
        for slot in &self.0 {
            match slot.load(Ordering::Relaxed) {
                0 => return false,
                known if known == wanted => return true,
                _ => {}
            }
        }
        false
    }

    pub(super) fn insert(&self, device: u64) {
        let wanted = device.wrapping_add(1);
        for slot in &self.0 {
            match slot.compare_exchange(0, wanted, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(known) if known == wanted => return,
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_fill_up() {
        let set = DeviceSet::default();
        for device in 0..10 {
            assert!(!set.contains(device));
            set.insert(device);
            set.insert(device);
        }
        assert!((0..8).all(|device| set.contains(device)));
        assert!(!set.contains(8));
    }
}
