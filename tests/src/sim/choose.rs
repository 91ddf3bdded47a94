//! What begins next, and where.
//!
//! On purpose not here: carrying it out, and when ([`super::schedule`]).

use super::actions::{Action, Held, Plan};
use super::oracle::There;
use super::schedule::{DAY, Ended, Run};
use holdfast_engine::maintain::{MaxUnused, PruneOptions};
use std::sync::Arc;

impl Run {
    /// Begins one more action, on one of the machines.
    pub(super) fn start_something(&mut self) -> Ended {
        let host = self.rng.below(self.hosts.len() as u64) as usize;
        let there = self.oracle.attempts(There::Yes);
        let gone = self.oracle.attempts(There::No);
        let roll = self.rng.below(100);
        let action = match roll {
            _ if there.is_empty() => return self.start_backup(host),
            0..=35 => return self.start_backup(host),
            36..=42 => Action::Restore(*self.rng.pick(&there)),
            43..=45 => Action::Check(self.rng.one_in(2)),
            46..=52 => Action::Tag(*self.rng.pick(&there), format!("w{}", self.rng.below(4))),
            53..=56 => Action::AddKey(self.oracle.next_key()),
            57..=59 => match self.oracle.keys_there().first() {
                Some((number, id)) => Action::RemoveKey(*number, *id),
                None => return self.start_backup(host),
            },
            60..=72 => Action::Forget(self.some(&there)),
            73..=76 if !gone.is_empty() => Action::Undo(self.some(&gone)),
            77 | 78 => Action::Hold(match self.rng.below(4) {
                0 => Held::All,
                1 => Held::Source(self.hosts[host].source),
                _ => Held::Snapshot(*self.rng.pick(&there)),
            }),
            79..=82 => match self.oracle.standing_holds().first() {
                Some(id) => Action::Release(*id),
                None => Action::Prune(self.prune_options()),
            },
            _ => Action::Prune(self.prune_options()),
        };
        let (ctx, process) = self.hosts[host].process(self.rng.next());
        self.start(host, process, ctx, action);
        Ok(())
    }

    fn some(&mut self, from: &[usize]) -> Vec<usize> {
        let mut some: Vec<_> = (0..1 + self.rng.below(3)).map(|_| *self.rng.pick(from)).collect();
        some.sort_unstable();
        some.dedup();
        some
    }

    fn prune_options(&mut self) -> PruneOptions {
        let day = Some(DAY);
        PruneOptions {
            max_unused: *self.rng.pick(&[
                MaxUnused::Percent(0.0),
                MaxUnused::Percent(5.0),
                MaxUnused::Bytes(100_000),
                MaxUnused::Unlimited,
            ]),
            max_repack_bytes: *self.rng.pick(&[None, None, Some(300_000)]),
            min_age_seconds: *self.rng.pick(&[Some(0), Some(0), Some(0), day, None]),
            abort_after_seconds: *self.rng.pick(&[0, 3 * DAY, 3 * DAY, 300 * DAY]),
            dry_run: self.rng.one_in(20),
        }
    }

    /// Something changes on a machine, and it is backed up.
    fn start_backup(&mut self, host: usize) -> Ended {
        let now = self.hosts[host].now();
        self.hosts[host].files.evolve(&mut self.rng, now);
        let plan = self.plan(host);
        let entropy = self.rng.next();
        let (ctx, process) = self.hosts[host].process(entropy);
        let cloned = self.hosts.len() < 5 && self.rng.one_in(30);
        if cloned {
            self.start_clone(host, &plan, process, entropy);
        }
        self.start(host, process, ctx, Action::Backup(Box::new(plan)));
        Ok(())
    }

    pub(super) fn plan(&mut self, host: usize) -> Plan {
        let tree = Arc::clone(&self.hosts[host].files.tree);
        let cached = !self.rng.one_in(3);
        let attempt = self.oracle.attempt(&tree, self.hosts[host].source);
        Plan {
            cache: cached.then(|| self.hosts[host].cache()),
            pack_bytes: *self.rng.pick(&[50_000, 200_000, 1 << 20]),
            batch_items: 1 + self.rng.below(40) as usize,
            arrival: self.rng.one_in(8).then(|| self.rng.next()),
            force: self.rng.one_in(15),
            ..Plan::plain(attempt, &tree, self.hosts[host].source)
        }
    }

    /// The machine is cloned while it backs up: both go on with the same randomness, and perhaps
    /// see other files.
    fn start_clone(&mut self, host: usize, plan: &Plan, process: u32, entropy: u64) {
        let at = self.hosts.len();
        let mut clone = self.hosts[host].cloned(at, self.folder.path());
        let mut plan = Plan { cache: plan.cache.as_ref().map(|_| clone.cache()), ..plan.clone() };
        if self.rng.one_in(2) {
            let now = clone.now();
            clone.files.evolve(&mut self.rng, now);
            plan.tree = Arc::clone(&clone.files.tree);
        }
        self.oracle.cloned(plan.attempt, &plan.tree);
        let ctx = clone.ctx(process, entropy);
        self.hosts.push(clone);
        self.tally.clones += 1;
        self.start(at, process, ctx, Action::Backup(Box::new(plan)));
    }
}
