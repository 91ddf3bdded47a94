//! The verbs: each file takes its options to the engine and shows what comes back.
//!
//! On purpose not here: anything that two verbs do in different words.

mod access;
mod backup;
mod bucket;
mod check;
mod cluster;
mod copy;
mod diff;
mod domain;
mod drill;
mod dump;
mod evidence;
mod find;
mod forget;
mod groups;
mod held;
mod hold;
mod init;
mod key;
mod kit;
mod lists;
mod logical;
mod ls;
mod notify;
mod pick;
pub(crate) mod policy;
mod preflight;
mod prune;
mod repair;
mod restore;
mod run;
mod serve;
mod shell;
mod silence;
mod snapshots;
mod spelling;
mod stats;
mod status;
mod tag;
mod version;
mod versions;
mod wal;

pub(crate) use logical::tool_places;
pub(crate) use policy::read_one as read_policy;

use crate::args::{Cli, FromArgs, Global, Verb};
use crate::engine::{Ctx, Error, ErrorKind, Outcome, Problems, Repository, Right, RollBack, Secret};
use crate::fault::{Code, Fault};
use crate::ink::{ExitError, Ink, Progress, Tone, TrafficLine, size, tell_notices, tell_problems};
use crate::settings::RepositoryPlace;
use crate::stuck::Watchdog;
use crate::wire_up::{Network, Reach};
use crate::{opening, secrets, settings, wire_up};
use clap::Parser;
use holdfast_store::ObjectStore;
use std::ffi::OsString;
use std::future::Future;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

/// Carries out a command line.
pub(crate) fn main(words: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) => return misspelt(&error, &words),
    };
    let Global { json, quiet, verbose, .. } = cli.global;
    let ink = Arc::new(Ink::new(Tone { json, quiet, verbose }));
    let recovery = wal::recovery(&cli.verb);
    let monitors = matches!(cli.verb, Verb::Status(_));
    let result = match &recovery {
        Some(_) => wal::unbroken(|| carry_out(&ink, cli, words)),
        None => carry_out(&ink, cli, words),
    };
    // The data first: what is said of it stands below it.
    let closed = ink.close();
    match result.and(closed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let fault =
                recovery.into_iter().fold(fault, |fault, recovery| fault.for_recovery(recovery.standby));
            let fault = if monitors { fault.for_monitoring() } else { fault };
            ink.fault(&fault);
            fault.code.into()
        }
    }
}

/// Says what is wrong with a command line, or shows the help that was asked for.
fn misspelt(error: &clap::Error, words: &[OsString]) -> ExitCode {
    let code = match () {
        () if wal::may_be_recovery(words) => Code::Unanswered,
        () if status::may_be_status(words) => Code::CannotTell,
        () => Code::Usage,
    };
    if error.use_stderr() && words.iter().any(|word| word == "--json") {
        let ink = Ink::new(Tone { json: true, ..Tone::default() });
        let text = error.to_string();
        let text = text.trim().strip_prefix("error: ").unwrap_or(&text);
        ink.json_problem(&ExitError::of(&Fault::new(code, text, "")));
    } else {
        // Nothing is left to tell if even this cannot be written.
        let _ = error.print();
    }
    if error.use_stderr() { code.into() } else { ExitCode::SUCCESS }
}

fn carry_out(ink: &Arc<Ink>, cli: Cli, words: Vec<OsString>) -> Result<(), Fault> {
    match cli.verb {
        Verb::Version => {
            version::run(ink);
            Ok(())
        }
        Verb::Unlock => {
            version::unlock(ink);
            Ok(())
        }
        Verb::Completions(args) => {
            shell::completions(ink, &args);
            Ok(())
        }
        Verb::Man(args) => shell::man(ink, &args),
        Verb::Mount { .. } => Err(shell::mount()),
        verb => {
            let runtime = wire_up::runtime()?;
            let mut is_given_up = false;
            let result = runtime.block_on(with_engine(ink, cli.global, verb, words, &mut is_given_up));
            if is_given_up {
                // What did not answer may do so at this very moment: its threads need what they wait by until the end.
                std::mem::forget(runtime);
            } else {
                // A thread that waits for a dead disk must not keep the program alive.
                runtime.shutdown_background();
            }
            result
        }
    }
}

/// `is_given_up` says at the end whether something did not answer, and is not waited for any longer.
async fn with_engine(
    ink: &Arc<Ink>,
    global: Global,
    verb: Verb,
    words: Vec<OsString>,
    is_given_up: &mut bool,
) -> Result<(), Fault> {
    wire_up::raise_file_limit();
    let progress = Arc::new(Progress::new(Arc::clone(ink)));
    let cache = settings::cache_dir(&global)?;
    let mut ctx = wire_up::ctx(Arc::clone(&progress), global.read_concurrency, cache);
    ctx.clock_accepted = matches!(&verb, Verb::Prune(args) if args.accept_clock);
    let watchdog = Watchdog::new(Some(global.stuck_timeout).filter(|limit| !limit.is_zero()));
    let stores = Mutex::default();
    let reach = settings::reach(&global);
    if let (Some(_), Err(fault)) = (&global.cacert, &reach) {
        return Err(fault.clone());
    }
    let run = Run { ink: Arc::clone(ink), progress, ctx, global, words, watchdog, reach, stores };
    let repository = settings::repository_place(&run.global).map(|place| place.bytes()).unwrap_or_default();
    let ended = tokio::select! {
        ended = carry_out_verb(&run, verb) => ended,
        // What does not answer cannot be waited for; the program ends without it.
        fault = run.watchdog.bark(&repository) => {
            *is_given_up = true;
            Err(fault)
        }
    };
    run.tell_traffic();
    ended
}

/// An older state is accepted by a verb that opens the repository itself: what others start is not
/// to accept it each time.
fn refuse_to_accept(verb: &Verb) -> Result<(), Fault> {
    match verb {
        Verb::Run(_)
        | Verb::Drill(_)
        | Verb::Serve(_)
        | Verb::Status(_)
        | Verb::Notify(_)
        | Verb::Silence(_)
        | Verb::Policy(_)
        | Verb::Init(_)
        | Verb::Preflight(_) => {
            let hint = "holdfast -r REPOSITORY --accept-rollback snapshots, then the same command without it";
            Err(Fault::usage("--accept-rollback is not for this verb", hint))
        }
        _ => Ok(()),
    }
}

async fn carry_out_verb(run: &Run, verb: Verb) -> Result<(), Fault> {
    if run.global.accept_rollback {
        refuse_to_accept(&verb)?;
    }
    match verb {
        Verb::Init(args) => init::run(run, &args).await,
        Verb::Backup(args) => backup::run(run, &args).await,
        Verb::Restore(args) => restore::run(run, &args).await,
        Verb::Snapshots(args) => snapshots::run(run, &args).await,
        Verb::Ls(args) => ls::run(run, &args).await,
        Verb::Find(args) => find::run(run, &args).await,
        Verb::Diff(args) => diff::run(run, &args).await,
        Verb::Dump(args) => dump::run(run, &args).await,
        Verb::Stats(args) => stats::run(run, &args).await,
        Verb::Check(args) => check::run(run, &args).await,
        Verb::Tag(args) => tag::run(run, &args).await,
        Verb::Copy(args) => copy::run(run, &args).await,
        Verb::Forget(args) => forget::run(run, &args).await,
        Verb::Hold(args) => hold::run(run, &args).await,
        Verb::Prune(args) => prune::run(run, &args).await,
        Verb::Repair(args) => repair::run(run, &args.verb).await,
        Verb::Recover(args) => repair::recover(run, &args).await,
        Verb::Preflight(args) => preflight::run(run, &args).await,
        Verb::Policy(args) => policy::run(run, &args.verb).await,
        Verb::Key(args) => key::run(run, &args.verb).await,
        Verb::Domain(args) => domain::run(run, &args.verb).await,
        Verb::Shred(args) => domain::destroy(run, &args).await,
        Verb::Wal(args) => wal::run(run, &args.verb).await,
        Verb::Run(args) => run::run(run, &args).await,
        Verb::Drill(args) => drill::run(run, &args).await,
        Verb::Serve(args) => serve::run(run, &args).await,
        Verb::Evidence(args) => evidence::run(run, &args.verb).await,
        Verb::Status(args) => status::run(run, &args).await,
        Verb::Notify(args) => notify::run(run, &args.verb).await,
        Verb::Silence(args) => silence::run(run, &args).await,
        Verb::Version | Verb::Unlock | Verb::Completions(_) | Verb::Man(_) | Verb::Mount { .. } => Ok(()),
    }
}

/// What every verb has at hand.
pub(crate) struct Run {
    pub(crate) ink: Arc<Ink>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) ctx: Ctx,
    pub(crate) global: Global,
    /// The command line, as it was written.
    pub(crate) words: Vec<OsString>,
    /// Sees when something does not answer any more.
    pub(crate) watchdog: Arc<Watchdog>,
    /// How servers are reached.
    pub(crate) reach: Reach,
    /// Stores that were opened: what was asked of their servers is told at the end.
    stores: Mutex<Vec<Arc<dyn ObjectStore>>>,
}

impl Run {
    /// Where the repository lies.
    pub(crate) fn repository_place(&self) -> Result<RepositoryPlace, Fault> {
        settings::repository_place(&self.global)
    }

    /// How servers are reached, for who has to reach one.
    pub(crate) fn network(&self) -> Result<&Network, Fault> {
        self.reach.as_ref().map_err(Fault::clone)
    }

    /// Opens the repository with whatever opens it.
    pub(crate) async fn open(&self) -> Result<Repository, Fault> {
        self.open_for(Right::See).await
    }

    /// Opens the repository for something that not every key may do: refused before anything is done.
    pub(crate) async fn open_for(&self, right: Right) -> Result<Repository, Fault> {
        let repository = self.open_for_any().await?;
        repository.require(right)?;
        Ok(repository)
    }

    /// Opens the repository for what takes no right at all.
    pub(crate) async fn open_for_any(&self) -> Result<Repository, Fault> {
        Ok(self.open_with_secret().await?.0)
    }

    /// Opens the repository for any right, and hands out what opened it.
    pub(crate) async fn open_with_secret(&self) -> Result<(Repository, Secret), Fault> {
        self.open_at(self.repository_place()?).await
    }

    /// Opens the repository, whatever domain of it is meant.
    pub(crate) async fn open_above(&self) -> Result<Repository, Fault> {
        Ok(self.open_at(settings::place_above(&self.global)?).await?.0)
    }

    /// Refuses `--domain` where it means nothing.
    pub(crate) fn refuse_domain(&self, why: &str) -> Result<(), Fault> {
        match self.global.domain {
            Some(_) => Err(Fault::usage(format!("--domain is of no use here: {why}"), "leave it out")),
            None => Ok(()),
        }
    }

    async fn open_at(&self, place: RepositoryPlace) -> Result<(Repository, Secret), Fault> {
        // Asked before a person is asked for the password.
        let opening = self.watchdog.repository();
        let Some(store) = wire_up::open_store(&place, &self.reach).await? else {
            let what = format!("there is no repository at {place}");
            return Err(Fault::from(Error::new(ErrorKind::NoRepository, what)));
        };
        drop(opening);
        let secret = match secrets::in_slot(&self.global, &self.reach)? {
            Some(key) => {
                let _looking = self.watchdog.repository();
                opening::sealed(&place, &store, None, &key, (&self.reach, settings::variable)).await?
            }
            None => secrets::get(&self.global, &self.reach, false)?,
        };
        self.tell_open_secrets();
        self.listen()?;
        let store = self.guard(store);
        let roll_back = if self.global.accept_rollback { RollBack::Accept } else { RollBack::Refuse };
        let guard = |store| self.guard(store);
        let opener = (&secret, None, roll_back);
        let opened = opening::open(&self.ctx, &place, store, opener, &self.reach, guard).await?;
        Ok((opened, secret))
    }

    /// Tells a person which files with secrets everybody can read.
    pub(crate) fn tell_open_secrets(&self) {
        for path in secrets::open_to_all() {
            if io::stderr().is_terminal() {
                self.ink.warn(&format!("{} can be read by everybody here: chmod 600", path.display()));
            }
        }
    }

    /// Puts the watch and the stated rates before a store.
    pub(crate) fn guard(&self, store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&store));
        wire_up::guard(store, &self.global, &self.watchdog)
    }

    /// Tells what was asked of servers.
    fn tell_traffic(&self) {
        for store in &*self.stores.lock().unwrap_or_else(PoisonError::into_inner) {
            let Some(traffic) = store.traffic() else { continue };
            if self.ink.tone.json {
                self.ink.json_problem(&TrafficLine::new(&store.location(), &traffic));
            } else if self.ink.tone.verbose {
                let requests = traffic.requests.iter().map(|(kind, count)| format!("{count} {kind}"));
                let (sent, received) = (size(traffic.sent_bytes), size(traffic.received_bytes));
                let requests = requests.collect::<Vec<_>>().join(", ");
                self.ink.talk(&format!("requests: {requests}; {sent} sent, {received} received"));
            }
        }
    }

    /// Opens another repository, which is only read, with its own credentials.
    pub(crate) async fn open_from(&self, from: &FromArgs) -> Result<Repository, Fault> {
        let place = settings::from_place(from)?;
        let name = Arc::new(place.bytes());
        let opening = self.watchdog.other_repository(&name);
        let keys = secrets::bucket_keys("FROM_")?;
        let opened = wire_up::open_store_with(&place, keys.clone(), &self.reach).await.map_err(of_from)?;
        let Some(store) = opened else {
            let what = format!("there is no repository at {place}");
            return Err(of_from(Fault::from(Error::new(ErrorKind::NoRepository, what))));
        };
        drop(opening);
        let secret = match secrets::in_slot_from(from, &self.reach).map_err(of_from)? {
            Some(key) => {
                let _looking = self.watchdog.other_repository(&name);
                let around = (&self.reach, settings::variable);
                opening::sealed(&place, &store, keys.clone(), &key, around).await.map_err(of_from)?
            }
            None => secrets::get_from(from, &self.reach)?,
        };
        self.tell_open_secrets();
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&store));
        let guard = |store| wire_up::guard_other(store, &self.global, &self.watchdog, &place);
        let opener = (&secret, keys, RollBack::Refuse);
        opening::open(&self.ctx, &place, guard(store), opener, &self.reach, guard).await.map_err(of_from)
    }

    /// Signals are ours from here on. Not earlier: whoever is asked for a password can leave.
    pub(crate) fn listen(&self) -> Result<(), Fault> {
        wire_up::listen(self.ctx.cancel.clone(), Arc::clone(&self.progress))
    }

    /// Shows how far some work is while it goes on, and what it could not do when it ends.
    pub(crate) async fn follow<T>(
        &self,
        phase: &str,
        work: impl Future<Output = Result<Outcome<T>, Error>>,
    ) -> Result<Outcome<T>, Fault> {
        let result = self.watch(phase, work).await;
        match &result {
            Ok(outcome) => self.tell(&outcome.problems),
            // What fails after a stop fails of it.
            Err(fault) if fault.code == Code::Interrupted => {}
            Err(fault) => tell_problems(&self.ink, &without(self.progress.heard(), fault)),
        }
        result
    }

    /// Shows what could not be done and what is worth knowing.
    pub(crate) fn tell(&self, problems: &Problems) {
        self.progress.settle(problems);
        tell_problems(&self.ink, problems);
        tell_notices(&self.ink, problems);
    }

    /// Shows how far some work is while it goes on.
    pub(crate) async fn watch<T>(
        &self,
        phase: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Fault> {
        let watch = self.progress.watch(phase);
        let result = work.await;
        drop(watch);
        result.map_err(|error| Fault::from(error).or_interrupted(self.ctx.cancel.is_raised()))
    }
}

/// What a person can do about the repository that is copied from: other options are its own.
fn of_from(fault: Fault) -> Fault {
    let hint = match fault.code {
        Code::NoRepository => "check --from or HOLDFAST_FROM_REPOSITORY, and that its disk is mounted",
        Code::WrongKey => {
            "check which password or key file is used for the repository to copy from \
             (HOLDFAST_FROM_PASSWORD_FILE, HOLDFAST_FROM_KEY_FILE, ...)"
        }
        Code::Failed if fault.hint.contains("AWS_") => {
            "check the credentials of the repository to copy from (HOLDFAST_FROM_AWS_ACCESS_KEY_ID and \
             HOLDFAST_FROM_AWS_SECRET_ACCESS_KEY, or profile= in its URL)"
        }
        _ => return fault,
    };
    Fault { hint: hint.to_owned(), ..fault }
}

/// The problem that a run failed of is told as its failure.
fn without(mut problems: Problems, fault: &Fault) -> Problems {
    let text = fault.to_string();
    let before = problems.problems.len();
    problems.problems.retain(|problem| !text.contains(&problem.what));
    problems.problem_count -= (before - problems.problems.len()) as u64;
    problems
}
