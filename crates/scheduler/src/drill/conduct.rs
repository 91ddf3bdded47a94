//! Conducts a drill: chooses the repository and what is restored, makes scratch and removes it again,
//! has each source proved, judges, and leaves a record.
//!
//! Whatever goes wrong is a finding in the record: a drill that could not be done must not look like one
//! that nobody wanted. On purpose not here: proving a kind of source, and showing the record.

mod begin;
mod keep;

use super::objectives::{self, Measured};
use super::past::{Past, past, record_missed};
use super::pick::{self, How, Log, Picked};
use super::scratch::{Needs, Owner, Scratch, leaks};
use super::verdict::Verdict;
use super::{Point, Proof, Recorded, Subject, dumps, prove};
use crate::catalog::Catalog;
use crate::evidence::{Objective, RECORD_VERSION, Record, SourceRecord};
use crate::hands::{Answer, Begun, Call, Hands, Place, Said};
use crate::policy::{Activity, Drill, LogMode, Policy, Source};
use crate::run::known;
use holdfast_engine::proof::{Cause, Finding, Level, Probe};
use jiff::{SignedDuration, Timestamp};
use std::path::PathBuf;

/// What a drill has to know of this host and this run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// BLAKE3 of the policy's file, hexadecimal.
    pub policy_hash: String,
    /// The user that it runs as.
    pub user: String,
    /// The version of this program.
    pub program: String,
    /// Where scratch is made if the policy does not say.
    pub scratch_below: PathBuf,
    /// Where records go that the repository does not take.
    pub evidence: Option<PathBuf>,
    /// Data directories of servers that run here.
    pub data_directories: Vec<PathBuf>,
}

/// What is asked for beside what the policy says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// Only these sources; those of the policy if there are none.
    pub sources: Vec<String>,
    /// From this repository or copy; those of the policy take turns otherwise.
    pub from: Option<String>,
    /// Up to this level.
    pub level: Option<Level>,
    /// This snapshot.
    pub snapshot: Option<String>,
    /// To this moment along the log: the words of `restore --to`.
    pub to: Option<String>,
}

/// A drill that was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Conducted {
    /// What it found.
    pub record: Record,
    /// The name of the record in the repository.
    pub stored: Option<String>,
    /// The file that it went to instead.
    pub file: Option<PathBuf>,
    /// Why the repository did not take it.
    pub not_stored: Option<String>,
}

/// A drill that cannot be as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub next: String,
    /// It is for other hosts.
    pub elsewhere: bool,
}

impl From<(String, String)> for Refused {
    fn from((what, next): (String, String)) -> Self {
        Self { what, next, elsewhere: false }
    }
}

/// Conducts a drill.
///
/// # Errors
/// It cannot be as it was asked for; nothing was done.
pub async fn conduct(
    hands: &dyn Hands,
    policy: &Policy,
    catalog: Option<&Catalog>,
    order: &Order,
    here: &Surroundings,
) -> Result<Conducted, Refused> {
    let (drill, sources) = wanted(hands, policy, order)?;
    let began = hands.now();
    let past = past(hands, policy, catalog).await;
    if let Some(missed) = record_missed(hands, policy, &past, true).await {
        hands.say(Said::Lacking(&format!(
            "{} drills were due and did not run; that is recorded",
            missed.count
        )));
    }
    let from = place(policy, drill, order, &past)?;
    let id = format!("{:016x}{:016x}", hands.random(), hands.random());
    let case = Case { hands, policy, drill, order, here, from, sources, began, id };
    let record = case.record().await;
    Ok(case.keep(catalog, record).await)
}

/// Sources with their names.
type Named<'a> = Vec<(&'a str, &'a Source)>;

/// The policy's drill and the sources that are meant, if they can be drilled here.
fn wanted<'a>(
    hands: &dyn Hands,
    policy: &'a Policy,
    order: &Order,
) -> Result<(&'a Drill, Named<'a>), Refused> {
    let Some(drill) = &policy.drill else {
        let what = format!("{} has no drill", policy.name);
        return Err(
            (what, "add one to the policy: `drill: {}` restores and checks all of it".to_owned()).into()
        );
    };
    let host = hands.host();
    if !drill.hosts.is_empty() && !drill.hosts.contains(&host) {
        let what = format!("{} is not drilled on {host}", policy.name);
        let next = format!("run it on one of: {}", drill.hosts.join(", "));
        return Err(Refused { what, next, elsewhere: true });
    }
    known(policy, &order.sources)?;
    let names = if order.sources.is_empty() { &drill.sources } else { &order.sources };
    known(policy, names)?;
    let all = policy.sources.0.iter().map(|(name, source)| (name.as_str(), source));
    let mut sources: Vec<_> =
        all.filter(|(name, _)| names.is_empty() || names.iter().any(|one| one == name)).collect();
    // What an assertion looks for keys in has to be there before it is asked.
    let is_pointed_into = |name: &str| {
        let keys = drill.assertions.iter().filter_map(|assertion| assertion.keys_exist.as_ref());
        keys.into_iter().any(|keys| keys.source == name)
    };
    sources.sort_by_key(|(name, _)| !is_pointed_into(name));
    if (order.snapshot.is_some() || order.to.is_some()) && sources.len() != 1 {
        let what = "a snapshot or a moment is of one source, and several are drilled".to_owned();
        return Err((what, "say which with --source".to_owned()).into());
    }
    if order.to.is_some() && sources.iter().any(|(_, source)| !has_log(source)) {
        let what = "only a cluster whose log is kept is restored to a moment".to_owned();
        return Err((what, "leave out --to, or name the source that is one".to_owned()).into());
    }
    Ok((drill, sources))
}

/// Whether a source is a cluster whose log is kept.
fn has_log(source: &Source) -> bool {
    source
        .postgres
        .as_ref()
        .is_some_and(|postgres| postgres.wal != LogMode::Off && postgres.logical.is_none())
}

/// Where it is restored from: those that are stated take turns.
fn place(policy: &Policy, drill: &Drill, order: &Order, past: &Past) -> Result<Place, Refused> {
    let names: Vec<&str> = match &order.from {
        Some(name) => vec![name],
        None if drill.from.is_empty() => policy.places().collect(),
        None => drill.from.iter().map(String::as_str).collect(),
    };
    if let Some(unknown) = names.iter().find(|name| !policy.places().any(|place| place == **name)) {
        let all: Vec<_> = policy.places().collect();
        let what = format!("{} has no copy `{unknown}`", policy.name);
        return Err((what, format!("it has {}", all.join(", "))).into());
    }
    let places: Vec<_> = names.iter().filter_map(|name| policy.place(name, Activity::Read)).collect();
    let turn = past.drills.len() % places.len().max(1);
    places.into_iter().nth(turn).ok_or_else(|| {
        let what = format!("there is no key on this host that reads {}", names.join(" or "));
        let next = "add `keys: { read: ... }` to it, or run the drill on the host that has one".to_owned();
        Refused { what, next, elsewhere: true }
    })
}

/// One drill.
struct Case<'a> {
    hands: &'a dyn Hands,
    policy: &'a Policy,
    drill: &'a Drill,
    order: &'a Order,
    here: &'a Surroundings,
    from: Place,
    sources: Named<'a>,
    began: Timestamp,
    id: String,
}

/// What is known of one source before it is restored.
struct Chosen<'a> {
    name: &'a str,
    source: &'a Source,
    picked: Result<Option<Picked>, Finding>,
    /// Whether it is known what there is of it.
    listed: bool,
    newest: Option<Timestamp>,
}

impl<'a> Case<'a> {
    fn level(&self) -> Level {
        self.order.level.unwrap_or(self.drill.level)
    }

    /// Does it, and writes down what was found.
    async fn record(&self) -> Record {
        let title = format!("drill of {} from {}", self.policy.name, self.from.name);
        self.hands.say(Said::Begins(&title));
        let mut lines = self.swept().await;
        let (key, chosen) = self.chosen().await;
        let mut sources = Vec::new();
        let mut objectives = Vec::new();
        match self.scratch(&chosen).await {
            Err(finding) => {
                for one in &chosen {
                    let finding = one.picked.as_ref().err().unwrap_or(&finding).clone();
                    self.take(one, self.not_done(finding), &mut sources, &mut objectives);
                }
            }
            Ok(mut scratch) => {
                let begun = self.begin(&scratch, &chosen).await;
                for one in &chosen {
                    let proof = self.proved(one, &mut scratch, begun.as_ref()).await;
                    self.take(one, proof, &mut sources, &mut objectives);
                }
                let (told, left) = self.gone(scratch, verdict(&sources), &chosen).await;
                lines.extend(told);
                left.into_iter().for_each(|finding| add(&mut sources, finding));
            }
        }
        let verdict = verdict(&sources);
        Record {
            version: RECORD_VERSION,
            id: self.id.clone(),
            policy: self.policy.name.clone(),
            policy_hash: self.here.policy_hash.clone(),
            host: self.hands.host(),
            user: self.here.user.clone(),
            program: self.here.program.clone(),
            started: self.began,
            ended: self.hands.now(),
            from: self.from.name.clone(),
            url: self.from.url.clone(),
            key,
            level: self.level(),
            code: objectives::code(verdict, &objectives),
            sources,
            objectives,
            scratch: lines,
            verdict,
        }
    }

    /// What earlier drills left behind goes first.
    async fn swept(&self) -> Vec<String> {
        let below = self.drill.scratch.path.as_deref().unwrap_or(&self.here.scratch_below);
        let mut lines = Vec::new();
        for leak in leaks(below, &self.hands.host(), self.began) {
            let kept = leak.kept;
            let (told, left) = leak.remove().await;
            if !kept {
                told.iter().for_each(|line| self.hands.say(Said::Lacking(line)));
            }
            lines.extend(told);
            lines.extend(left.map(|finding| finding.what));
        }
        lines
    }

    /// The label of the key that reads, and what is drilled of each source.
    async fn chosen(&self) -> (String, Vec<Chosen<'a>>) {
        let of = |picked: &dyn Fn() -> Result<Option<Picked>, Finding>| -> Vec<Chosen<'a>> {
            let all = self.sources.iter();
            all.map(|(name, source)| Chosen { name, source, picked: picked(), listed: false, newest: None })
                .collect()
        };
        if self.sources.iter().all(|(_, source)| source.restored_by.is_some()) {
            return (String::new(), of(&|| Ok(None)));
        }
        let (key, listed) = match self.listed().await {
            Ok(listed) => listed,
            Err(finding) => {
                let all = self.sources.iter().map(|(name, source)| Chosen {
                    name,
                    source,
                    // What another program restores needs no repository.
                    picked: if source.restored_by.is_some() { Ok(None) } else { Err(finding.clone()) },
                    listed: false,
                    newest: None,
                });
                return (String::new(), all.collect());
            }
        };
        let mut chosen = Vec::new();
        for (name, source) in &self.sources {
            chosen.push(self.choose(name, source, &listed).await);
        }
        (key, chosen)
    }

    /// Opens the repository with nothing but its key, and lists what is there.
    async fn listed(&self) -> Result<(String, Answer), Finding> {
        let keys = self.bare(["key", "list"]).await?;
        let in_use = keys.all("key").find(|key| key["in_use"] == true);
        let label = in_use.and_then(|key| key["label"].as_str()).unwrap_or("unknown").to_owned();
        Ok((label, self.bare(["snapshots"]).await?))
    }

    /// Runs a verb with nothing but the repository and its key. A key that does not open it, and a repository
    /// that is not there or is damaged, are what a drill is for; what it cannot get hold of here is not.
    async fn bare(&self, words: impl IntoIterator<Item = &str>) -> Result<Answer, Finding> {
        let call = Call { bare: true, ..Call::on(&self.from, words) };
        let url = &self.from.url;
        match self.hands.verb(call).await {
            Ok(answer) if [0, 3].contains(&answer.code) => Ok(answer),
            Ok(answer) => {
                let (why, next) = answer.failure();
                let cause = match answer.code {
                    // A secret that is not on this host says nothing of the repository.
                    2 | 130 => Cause::Environment,
                    _ => Cause::Backup,
                };
                Err(Finding {
                    cause,
                    what: format!("{} ({url}) cannot be restored from: {why}", self.from.name),
                    next,
                })
            }
            Err(why) => {
                let what = format!("{} ({url}) cannot be opened here: {why}", self.from.name);
                Err(Finding {
                    cause: Cause::Environment,
                    what,
                    next: "see `keys` or `password` in the policy".into(),
                })
            }
        }
    }

    async fn choose(&self, name: &'a str, source: &'a Source, listed: &Answer) -> Chosen<'a> {
        if source.restored_by.is_some() {
            return Chosen { name, source, picked: Ok(None), listed: false, newest: None };
        }
        let mut snapshots = pick::recorded(listed, &self.policy.label(name));
        let accepts = source.accept.is_some();
        if self.order.snapshot.is_none() {
            snapshots = pick::till_now(snapshots, accepts, self.began);
        }
        let log = if has_log(source) { self.log(&snapshots).await } else { None };
        let how = How {
            pick: self.drill.pick,
            within: self.drill.within.map(|span| span.0),
            now: self.began,
            random: self.hands.random(),
            accepts,
            snapshot: self.order.snapshot.as_deref(),
            to: self.order.to.as_deref(),
        };
        let picked = match pick::choose(&snapshots, log.as_ref(), how) {
            Ok(picked) => self.with_facts(source, picked).await.map(Some),
            Err(why) => {
                let what = format!("{} in {}: {why}", self.policy.label(name), self.from.name);
                let next = format!("back it up: holdfast run {} --source {name}", self.policy.name);
                Err(Finding { cause: Cause::Backup, what, next })
            }
        };
        Chosen { name, source, picked, listed: true, newest: pick::newest(&snapshots, log.as_ref(), accepts) }
    }

    /// The log behind the snapshots of a cluster; with gaps there is still what lies behind the last.
    async fn log(&self, snapshots: &[Recorded]) -> Option<Log> {
        let answer = self.bare(["wal", "status"]).await.ok()?;
        Some(pick::log(&answer, snapshots))
    }

    /// What was recorded beside a snapshot of databases: it is compared with what comes back.
    async fn with_facts(&self, source: &Source, mut picked: Picked) -> Result<Picked, Finding> {
        if source.postgres.is_some() && picked.snapshot.facts.is_empty() {
            let answer = self.bare(["snapshots", "--facts", picked.snapshot.id.as_str()]).await?;
            let line = answer.line("snapshot");
            picked.snapshot.facts = line.map(pick::facts).unwrap_or_default();
        }
        Ok(picked)
    }

    /// Makes scratch for what was chosen.
    async fn scratch(&self, chosen: &[Chosen<'a>]) -> Result<Scratch, Finding> {
        let picked: Vec<_> = chosen.iter().filter_map(|one| one.picked.as_ref().ok()).flatten().collect();
        if let Some(finding) = chosen.iter().filter_map(|one| one.picked.as_ref().err()).next()
            && chosen.iter().all(|one| one.picked.is_err())
        {
            return Err(finding.clone());
        }
        let is_cluster = |one: &Chosen<'_>| {
            one.source.postgres.as_ref().is_some_and(|postgres| postgres.logical.is_none())
        };
        let loaded = if self.level() < Level::Boot { 0 } else { sum(&picked, dumps::room) };
        let most = self.drill.max_download.map_or(u64::MAX, |most| most.0);
        let needs = Needs {
            bytes: most.min(sum(&picked, |one| one.bytes)).saturating_add(loaded),
            files: sum(&picked, |one| one.files),
            cluster: chosen.iter().any(is_cluster),
            repository: (!self.from.url.contains("://")).then(|| PathBuf::from(&self.from.url)),
            data_directories: self.here.data_directories.clone(),
        };
        let host = self.hands.host();
        let owner = Owner { policy: &self.policy.name, id: &self.id, host: &host, now: self.began };
        Scratch::make(&self.drill.scratch, &self.here.scratch_below, owner, needs).await
    }

    /// Has one source proved.
    async fn proved(&self, one: &Chosen<'a>, scratch: &mut Scratch, within: Option<&Begun>) -> Proof {
        let picked = match &one.picked {
            Ok(picked) => picked,
            Err(finding) => return self.not_done(finding.clone()),
        };
        if self.hands.stopped() {
            return self.not_done(environment("the drill was stopped before this", "run it again"));
        }
        let folder = match scratch.folder(one.name) {
            Ok(folder) => folder,
            Err(finding) => return self.not_done(finding),
        };
        let what = picked
            .as_ref()
            .map_or("what another program backs up".into(), |picked| words(&picked.point, picked));
        self.hands.say(Said::Begins(&format!("proving {}: {what}", one.name)));
        let subject = Subject {
            policy: self.policy,
            name: one.name,
            source: one.source,
            from: &self.from,
            snapshot: picked.as_ref().map(|picked| &picked.snapshot),
            point: picked.as_ref().map_or(&Point::Snapshot, |picked| &picked.point),
            level: self.level(),
            scratch: &folder,
            within,
        };
        let mut proof = prove::prove(self.hands, subject).await;
        if self.hands.stopped() {
            // What was cut off proves nothing, whatever it looked like.
            proof.probes.retain(|probe| probe.findings.is_empty());
            let mut cut = Probe::new("whole drill", Level::Read);
            cut.finds(Cause::Environment, "the drill was stopped", "run it again");
            proof.probes.push(cut);
        }
        proof
    }

    /// What there is to say where nothing could be restored.
    fn not_done(&self, finding: Finding) -> Proof {
        let mut probe = Probe::new("restore", Level::Read);
        probe.findings.push(finding);
        Proof { probes: vec![probe], ..Proof::default() }
    }

    /// Takes what was found of a source into the record.
    fn take(
        &self,
        one: &Chosen<'a>,
        proof: Proof,
        sources: &mut Vec<SourceRecord>,
        objectives: &mut Vec<Objective>,
    ) {
        let host = self.hands.host();
        let Chosen { name, source, listed, newest, .. } = one;
        let measured = Measured {
            name,
            source,
            began: self.began,
            listed: *listed,
            newest: *newest,
            proof: &proof,
            host: &host,
        };
        objectives.extend(objectives::of(self.policy, measured));
        let picked = one.picked.as_ref().ok().and_then(Option::as_ref);
        let verdict = Verdict::of(&proof.probes);
        self.tell(name, verdict, &proof);
        sources.push(SourceRecord {
            source: (*name).to_owned(),
            kind: source.kind().map_or("unknown", |kind| kind.word()).to_owned(),
            snapshot: picked.map(|picked| picked.snapshot.id.clone()),
            snapshot_time: picked.map(|picked| picked.snapshot.time),
            point: picked.map_or_else(String::new, |picked| words(&picked.point, picked)),
            reached: proof.reached,
            share: proof.share,
            bytes: proof.bytes,
            phases: proof.phases,
            probes: proof.probes,
            verdict,
        });
    }

    fn tell(&self, name: &str, verdict: Verdict, proof: &Proof) {
        let findings = proof.probes.iter().flat_map(|probe| &probe.findings);
        for finding in findings {
            let text = format!("{name}: {}", finding.what);
            let text = if finding.next.is_empty() { text } else { format!("{text}\n{}", finding.next) };
            let is_fault = finding.cause != Cause::Environment;
            self.hands.say(if is_fault { Said::Failed(&text) } else { Said::Lacking(&text) });
        }
        if verdict == Verdict::Pass {
            let counted: f64 =
                proof.phases.iter().filter(|phase| phase.counts).map(|phase| phase.seconds).sum();
            self.hands.say(Said::Well(&format!("{name} came back in {counted:.1} s")));
        }
    }

    /// Removes scratch, or keeps it for a while where it failed and that is stated.
    async fn gone(
        &self,
        scratch: Scratch,
        verdict: Verdict,
        chosen: &[Chosen<'_>],
    ) -> (Vec<String>, Option<Finding>) {
        let keep = self.drill.scratch.keep_on_failure.filter(|_| verdict == Verdict::Fail);
        let until = keep.and_then(|span| {
            let span = SignedDuration::try_from(span.0).ok()?;
            self.hands.now().checked_add(span).ok()
        });
        match until {
            None => scratch.remove().await,
            Some(until) => match self.kept(scratch, until, chosen).await {
                Ok(lines) => {
                    lines.iter().for_each(|line| self.hands.say(Said::Note(line)));
                    (lines, None)
                }
                Err(finding) => (Vec::new(), Some(finding)),
            },
        }
    }
}

fn environment(what: &str, next: &str) -> Finding {
    Finding { cause: Cause::Environment, what: what.to_owned(), next: next.to_owned() }
}

fn sum(picked: &[&Picked], number: impl Fn(&Recorded) -> u64) -> u64 {
    picked.iter().fold(0, |sum, one| sum.saturating_add(number(&one.snapshot)))
}

fn verdict(sources: &[SourceRecord]) -> Verdict {
    let all = sources.iter().map(|source| source.verdict);
    all.reduce(Verdict::and).unwrap_or(Verdict::Inconclusive)
}

/// Adds a finding that is about no source alone to the last one.
fn add(sources: &mut [SourceRecord], finding: Finding) {
    if let Some(last) = sources.last_mut() {
        let mut probe = Probe::new("scratch", Level::Restore);
        probe.findings.push(finding);
        last.verdict = last.verdict.and(Verdict::of([&probe]));
        last.probes.push(probe);
    }
}

/// A point in words, with the snapshot that it begins with.
fn words(point: &Point, picked: &Picked) -> String {
    let short = picked.snapshot.id.get(..8).unwrap_or(&picked.snapshot.id);
    let at = |moment: Option<Timestamp>| moment.map_or_else(String::new, |moment| format!(" ({moment})"));
    match point {
        Point::Snapshot => format!("snapshot {short} of {}", picked.snapshot.time),
        Point::Along(words, moment) if words == "latest" => {
            format!("to the end of the log{}, from snapshot {short}", at(*moment))
        }
        Point::Along(words, _) => format!("to {words}, from snapshot {short}"),
    }
}

#[cfg(test)]
#[path = "conduct_tests.rs"]
mod tests;
