//! The files of a machine, and how they change: tiny, but with chunks of every kind, contents
//! that machines share, and contents that come back after they were gone.
//!
//! On purpose not here: backing them up.

use super::model::{Node, Rng, START_SECONDS, Tree, compressible, noise};
use holdfast_core::entry::Time;
use std::sync::{Arc, OnceLock};

/// Contents that all machines draw from.
struct Pool {
    /// More than a bundle takes: cut into chunks of their own, some into two.
    large: Vec<Vec<u8>>,
    /// They share bundles.
    small: Vec<Vec<u8>>,
    /// They lie in pages.
    tiny: Vec<Vec<u8>>,
    /// Extended attributes that are chunks of their own, small ones.
    labels: Vec<Vec<u8>>,
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let kib = |seed: u64, length: usize| noise(seed, length << 10);
        let mut large: Vec<_> = (0..6).map(|n| kib(10 + n, 130 + 12 * n as usize)).collect();
        large.push(kib(20, 300));
        large.push(compressible(21, 600 << 10));
        Pool {
            large,
            small: (0..24).map(|n| noise(100 + n, 600 + 700 * n as usize)).collect(),
            tiny: (0..10).map(|n| noise(200 + n, 1 + 50 * n as usize)).collect(),
            labels: (0..16).map(|n| noise(300 + n, 1100 + 130 * n as usize)).collect(),
        }
    })
}

/// The files of one machine.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// As they are now.
    pub tree: Arc<Tree>,
    /// As they were.
    past: Vec<Arc<Tree>>,
    /// Counts changes, so that no two have the same time.
    changes: u32,
    /// A folder with so many entries that the tree has several pages.
    wide: u64,
}

impl Files {
    /// A machine that begins with a few files.
    pub(super) fn new(rng: &mut Rng) -> Self {
        let wide = if rng.one_in(5) { 150 } else { 0 };
        let mut files = Self { tree: Arc::default(), past: Vec::new(), changes: 0, wide };
        let mut tree = Tree::default();
        for number in 0..wide {
            let node = Node::file(noise(7000 + number, 20 + number as usize % 9));
            tree.put(&format!("wide/a name that is long enough to fill a page soon {number:03}"), node);
        }
        files.tree = Arc::new(tree);
        for _ in 0..2 + rng.below(5) {
            files.change(rng, START_SECONDS);
        }
        files.past.clear();
        files
    }

    /// Something happens; `now` is what the machine's clock says.
    pub(super) fn evolve(&mut self, rng: &mut Rng, now: i64) {
        self.past.push(Arc::clone(&self.tree));
        match rng.below(10) {
            // What was there once comes back, names, times and all.
            0 | 1 => self.tree = Arc::clone(rng.pick(&self.past)),
            2 => {}
            _ => {
                for _ in 0..1 + rng.below(4) {
                    self.change(rng, now);
                }
            }
        }
    }

    fn change(&mut self, rng: &mut Rng, now: i64) {
        self.changes += 1;
        let tree = Arc::make_mut(&mut self.tree);
        let path = format!("d{}/f{}", rng.below(3), rng.below(6));
        let key = holdfast_core::entry::path_to_key(path.as_bytes());
        match rng.below(8) {
            0 | 1 => drop(tree.0.remove(&key)),
            2 => {
                // Renamed, with its times.
                if let Some(node) = tree.0.remove(&key) {
                    tree.put(&format!("moved/g{}", rng.below(4)), node);
                }
            }
            3 if self.wide > 0 => {
                let number = rng.below(self.wide);
                let path = format!("wide/a name that is long enough to fill a page soon {number:03}");
                tree.put(&path, timed(Node::file(noise(rng.next(), 30)), rng, now, self.changes));
            }
            _ => tree.put(&path, timed(file(rng), rng, now, self.changes)),
        }
    }
}

/// A time just before now, or a while ago; no two changes have the same.
fn timed(mut node: Node, rng: &mut Rng, now: i64, change: u32) -> Node {
    let time = Time { seconds: now - *rng.pick(&[0, 1, 5, 90]), nanos: change };
    (node.mtime, node.ctime) = (time, time);
    node
}

fn file(rng: &mut Rng) -> Node {
    let pool = pool();
    let content = match rng.below(10) {
        0 => rng.pick(&pool.large),
        1..=6 => rng.pick(&pool.small),
        7 => rng.pick(&pool.tiny),
        8 => return Node::symlink(b"f0"),
        _ => &Vec::new(),
    };
    let mut node = Node::file(content.clone());
    if rng.one_in(2) {
        node.xattrs = vec![(b"user.label".to_vec(), rng.pick(&pool.labels).clone())];
    }
    node
}
