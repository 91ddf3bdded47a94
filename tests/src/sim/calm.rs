//! The end of a run: nothing goes wrong any more, and everything has to come right.
//!
//! On purpose not here: what "right" is ([`super::look`]).

use super::actions::Action;
use super::look::Depth;
use super::schedule::{Ended, Run};
use holdfast_engine::maintain::{MaxUnused, PruneOptions};

/// Backups after which one must have come through.
const ATTEMPTS_MAX: usize = 3;
/// Prunes after which nothing superfluous is left.
const PRUNES: usize = 3;

impl Run {
    /// Runs a command to its end, alone.
    fn alone(&mut self, host: usize, action: Action) -> Result<bool, String> {
        let (ctx, process) = self.hosts[host].process(self.rng.next());
        self.start(host, process, ctx, action);
        let before = self.tally.failures;
        while !self.tasks.is_empty() {
            self.step += 1;
            self.advance(0)?;
        }
        Ok(self.tally.failures == before)
    }

    /// Nothing goes wrong any more: everybody backs up, what is not needed goes, what is comes
    /// back, whatever still arrives.
    pub(super) fn come_right(&mut self) -> Ended {
        self.calm = true;
        self.note("from here on nothing goes wrong");
        for _ in 0..self.core.late() / 2 {
            self.deliver_one();
        }
        self.inspect(Depth::All)?;
        for host in 0..self.hosts.len() {
            let mut done = false;
            for _ in 0..ATTEMPTS_MAX {
                let plan = self.plan(host);
                done = done || self.alone(host, Action::Backup(Box::new(plan)))?;
            }
            if !done {
                return Err(format!("host{host} cannot back up although nothing goes wrong"));
            }
        }
        self.clean_up()?;
        while self.core.late() > 0 {
            self.deliver_one();
        }
        self.inspect(Depth::All)
    }

    /// A few prunes leave nothing that no snapshot needs.
    fn clean_up(&mut self) -> Ended {
        while self.core.late() > 0 {
            self.deliver_one();
        }
        for id in self.oracle.all_holds(&self.core.fork())? {
            self.alone(0, Action::Release(id))?;
        }
        let options = PruneOptions {
            max_unused: MaxUnused::Percent(0.0),
            max_repack_bytes: None,
            min_age_seconds: Some(0),
            abort_after_seconds: 0,
            dry_run: false,
        };
        for _ in 0..PRUNES {
            let host = self.rng.below(self.hosts.len() as u64) as usize;
            if !self.alone(host, Action::Prune(options.clone()))? {
                return Err("a prune fails although nothing goes wrong".into());
            }
        }
        let thorough = self.rng.one_in(8);
        let waste = self.oracle.waste(&self.core.fork(), thorough)?;
        self.note(&waste);
        Ok(())
    }
}
