//! A year of two workers on one catalog, in seconds: the scheduler's own steps with a clock that jumps from one
//! event to the next.
//!
//! Workers are killed in each third job, stopped and started again, and sometimes nobody is there for days. What has
//! to come of it is found out in another way (`naive`, `story`). On purpose not here: processes, and real time.

pub mod naive;
pub mod story;

use holdfast_scheduler::catalog::{ATTEMPTS_MAX, Catalog, Claim};
use holdfast_scheduler::serve::policies::{File, Policies};
use holdfast_scheduler::serve::shift::{Me, Shift, Taken};
use holdfast_scheduler::serve::told::{JobState, Told};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;
use story::{Fates, Rule, Story, Worked};

/// How long a claim holds.
pub const TERM: SignedDuration = SignedDuration::from_mins(30);
/// A worker does so many jobs at once.
const JOBS: usize = 2;

/// A name, and the text of its policy.
const POLICIES: [(&str, &str); 4] = [
    (
        "berlin",
        "
schedule: { cron: '30 2 * * *', timezone: Europe/Berlin }
check: { cron: '0 5 * * 0' }
prune: { cron: '0 6 1 * *' }
",
    ),
    (
        "york",
        "
schedule: { cron: '15 */6 * * *', timezone: America/New_York, group: disk, max_age: 3h }
drill: { cron: '0 4 * * 6' }
",
    ),
    (
        "seoul",
        "schedule: { cron: '15 2 * * *', timezone: Asia/Seoul, jitter: 20m, not_after: '06:00', group: disk }\n",
    ),
    ("howe", "schedule: { cron: '45 1,2 * * *', timezone: Australia/Lord_Howe, catch_up: none }\n"),
];

/// The rules of these policies, in words of the test.
fn rules(policies: &Policies) -> Vec<Rule> {
    let zone = |name: &str| TimeZone::get(name).expect("a zone");
    let jitter = policies.get("seoul").expect("a policy").timers[0].clockwork.jitter();
    let rule = |policy: &str, activity: &str, cron, zone| Rule {
        key: (policy.to_owned(), activity.to_owned(), None),
        cron,
        zone,
        jitter: SignedDuration::ZERO,
        catches_up: true,
        max_age: None,
        not_after: None,
    };
    let (berlin, york) = (zone("Europe/Berlin"), zone("America/New_York"));
    vec![
        rule("berlin", "run", "30 2 * * *", berlin.clone()),
        rule("berlin", "check", "0 5 * * 0", berlin.clone()),
        rule("berlin", "prune", "0 6 1 * *", berlin),
        Rule {
            max_age: Some(SignedDuration::from_hours(3)),
            ..rule("york", "run", "15 */6 * * *", york.clone())
        },
        rule("york", "drill", "0 4 * * 6", york),
        Rule { jitter, not_after: Some((6, 0)), ..rule("seoul", "run", "15 2 * * *", zone("Asia/Seoul")) },
        Rule { catches_up: false, ..rule("howe", "run", "45 1,2 * * *", zone("Australia/Lord_Howe")) },
    ]
}

fn policies() -> Policies {
    let mut policies = Policies::new(None);
    let common =
        "repository: { url: /r, password: { env: X } }\nsources: { tree: { files: { paths: [ /t ] } } }\n";
    let files = POLICIES.map(|(name, text)| File {
        path: format!("/etc/{name}.yaml").into(),
        text: Ok(format!("name: {name}\n{common}{text}")),
    });
    policies.take(files.to_vec());
    assert_eq!(policies.all().count(), POLICIES.len(), "{:?}", policies.unreadable());
    policies
}

/// Numbers that are the same each time.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Numbers for a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Seconds from … to …, never whole minutes: nothing else happens at the same moment.
    fn span(&mut self, from: i64, to: i64) -> SignedDuration {
        let width = u64::try_from(to - from).expect("a span");
        let seconds = from + i64::try_from(self.next() % width).expect("small");
        SignedDuration::from_millis(seconds * 1000 + 137)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }
}

/// A job that somebody works on.
struct Work {
    claim: Claim,
    from: Timestamp,
    ends: Timestamp,
    /// When the worker is killed with it.
    dies: Option<Timestamp>,
}

/// One of the two.
#[derive(Default)]
struct Hand {
    shift: Option<Shift>,
    since: Timestamp,
    works: Vec<Work>,
    next: Timestamp,
    /// When it comes back, or leaves.
    turns: Timestamp,
}

/// A year that goes on.
struct Year<'a> {
    catalog: &'a Catalog,
    policies: Policies,
    dice: Dice,
    now: Timestamp,
    begin: Timestamp,
    hands: [Hand; 2],
    story: Story,
    claims: u64,
    names: u64,
    /// When nobody is there, next, and until when.
    dark: (Timestamp, Timestamp),
    /// Until then somebody who was killed may have a claim.
    watch: Timestamp,
}

/// Lives through a stretch of time with a seed, and judges it.
///
/// # Panics
/// Something that was due was not done once, or a step failed.
pub async fn live(catalog: &Catalog, seed: u64, begin: Timestamp, end: Timestamp) -> (Story, Fates) {
    let mut dice = Dice::new(seed);
    let dark = begin + dice.span(86_400 * 10, 86_400 * 20);
    let mut year = Year {
        catalog,
        policies: policies(),
        dark: (dark, dark + dice.span(3600, 180_000)),
        dice,
        now: begin,
        begin,
        hands: Default::default(),
        story: Story::default(),
        claims: 0,
        names: 0,
        watch: begin,
    };
    year.hands.iter_mut().for_each(|hand| hand.turns = begin);
    while year.now < end {
        year.turn().await;
    }
    // Whoever is there does what is left; nobody is killed any more.
    year.close().await;
    let fates = year.judge(end).await;
    (year.story, fates)
}

impl Year<'_> {
    /// Goes to the next event, and lets it happen.
    async fn turn(&mut self) {
        let one = |hand: &Hand| {
            let works = hand.works.iter().flat_map(|work| [Some(work.ends), work.dies]).flatten();
            let own = hand.shift.is_some().then_some(hand.next);
            works.chain(own).chain([hand.turns]).min().expect("something")
        };
        let next = self.hands.iter().map(one).min().expect("something").min(self.dark.0.max(self.now));
        let forced = next <= self.now;
        self.now = if forced { self.now + SignedDuration::from_millis(1) } else { next };
        if self.now >= self.dark.0 {
            let until = self.dark.1;
            let away = self.hands.iter_mut().filter(|hand| hand.shift.is_none());
            away.for_each(|hand| hand.turns = hand.turns.max(until));
        }
        let first = usize::from(self.dice.one_in(2));
        for number in [first, 1 - first] {
            self.one(number).await;
        }
        if self.now >= self.dark.0 {
            let again = self.dark.1 + self.dice.span(86_400 * 10, 86_400 * 30);
            self.dark = (again, again + self.dice.span(3600, 180_000));
        }
    }

    async fn one(&mut self, number: usize) {
        let hand = &mut self.hands[number];
        if hand.shift.is_none() && hand.turns <= self.now {
            self.comes(number).await;
        }
        let ended = self.ends(number).await;
        if self.is_killed(number) {
            return self.dies(number);
        }
        if self.hands[number].shift.is_some()
            && (self.hands[number].turns <= self.now || self.now >= self.dark.0)
        {
            return self.leaves(number).await;
        }
        if ended || self.hands[number].next <= self.now {
            self.looks(number).await;
        }
    }

    /// Whether it is time to kill it. Nobody is killed so often with one job that it would be given up.
    fn is_killed(&mut self, number: usize) -> bool {
        let (now, works) = (self.now, &mut self.hands[number].works);
        let tired = works.iter().any(|work| work.claim.attempt + 2 > ATTEMPTS_MAX);
        let mut killed = false;
        for work in works.iter_mut().filter(|work| work.dies.is_some_and(|dies| dies <= now)) {
            work.dies = None;
            killed |= !tired;
        }
        killed
    }

    async fn comes(&mut self, number: usize) {
        self.names += 1;
        let me = Me { name: format!("w{}", self.names), host: "host".to_owned(), labels: Vec::new() };
        let mut shift = Shift::new(me, term());
        shift.begin(self.catalog, &self.policies, self.now).await.expect("the catalog");
        let stays = self.dice.span(3600, 86_400 * 2);
        let hand = &mut self.hands[number];
        (hand.shift, hand.since, hand.next, hand.turns) = (Some(shift), self.now, self.now, self.now + stays);
    }

    /// Ends what is done; whether there was something.
    async fn ends(&mut self, number: usize) -> bool {
        let now = self.now;
        let done: Vec<Work> = self.hands[number].works.extract_if(.., |work| work.ends <= now).collect();
        let some = !done.is_empty();
        for work in done {
            let end = holdfast_scheduler::catalog::JobEnd::Done { code: 0, message: String::new() };
            let counted = self.catalog.finish(&work.claim, &end, now).await.expect("the catalog");
            assert!(counted, "{:?} was somebody else's at its end", work.claim);
            self.worked(work, now, true);
        }
        some
    }

    fn worked(&mut self, work: Work, to: Timestamp, counted: bool) {
        let due = work.claim.due;
        self.story.worked.push(Worked {
            key: (due.policy, due.activity, due.source),
            scheduled_for: due.scheduled_for,
            groups: due.groups,
            from: work.from,
            to,
            counted,
        });
    }

    /// Is gone, and says nothing.
    fn dies(&mut self, number: usize) {
        let away = self.dice.span(30, 3600);
        let hand = &mut self.hands[number];
        (hand.shift, hand.turns) = (None, self.now + away);
        self.story.there.push((hand.since, self.now));
        self.story.killed += 1;
        self.watch = self.now + TERM + SignedDuration::from_mins(1);
        let works = std::mem::take(&mut hand.works);
        works.into_iter().for_each(|work| self.worked(work, self.now, false));
    }

    /// Stops as it is asked to.
    async fn leaves(&mut self, number: usize) {
        let away = if self.now >= self.dark.0 { self.dark.1 } else { self.now + self.dice.span(30, 1200) };
        let hand = &mut self.hands[number];
        (hand.shift, hand.turns) = (None, away);
        self.story.there.push((hand.since, self.now));
        for work in std::mem::take(&mut hand.works) {
            assert!(self.catalog.give_back(&work.claim).await.expect("the catalog"));
            self.story.given_back += 1;
            self.worked(work, self.now, false);
        }
    }

    async fn looks(&mut self, number: usize) {
        let hand = &mut self.hands[number];
        let Some(mut shift) = hand.shift.take() else { return };
        for work in &hand.works {
            assert!(self.catalog.renew(&work.claim, self.now, term()).await.expect("the catalog"));
        }
        let counted = Duration::try_from(self.now.duration_since(self.begin)).expect("later");
        let looked =
            shift.look(self.catalog, &self.policies, (self.now, counted)).await.expect("the catalog");
        let back = |told: &&Told| matches!(told, Told::Job(told) if told.state == JobState::TakenBack);
        self.story.taken_back += u32::try_from(looked.told.iter().filter(back).count()).expect("few");
        while self.hands[number].works.len() < JOBS {
            match shift.claim(self.catalog, &self.policies, self.now, false).await.expect("the catalog") {
                None => break,
                Some(Taken::Not(_)) => {}
                Some(Taken::Task(task)) => self.begins(number, task.claim),
            }
        }
        let busy = self.now < self.watch || self.hands.iter().any(|hand| !hand.works.is_empty());
        let soon = self.now + if busy { TERM / 3 } else { TERM * 8 };
        let hand = &mut self.hands[number];
        hand.next = looked.next.map_or(soon, |next| next.min(soon));
        hand.shift = Some(shift);
    }

    fn begins(&mut self, number: usize, claim: Claim) {
        self.claims += 1;
        let long = match &*claim.due.activity {
            "drill" => self.dice.span(3600, 18_000),
            // Sometimes it takes longer than until the next one.
            _ if self.dice.one_in(60) => self.dice.span(20_000, 30_000),
            _ => self.dice.span(120, 2400),
        };
        let dies = self.claims.is_multiple_of(3).then(|| self.now + self.dice.span(1, long.as_secs()));
        self.hands[number].works.push(Work { claim, from: self.now, ends: self.now + long, dies });
    }

    /// Lets everything come to its end.
    async fn close(&mut self) {
        let quiet = self.now + SignedDuration::from_hours(72);
        self.dark.0 = quiet;
        while self.now < quiet {
            self.hands.iter_mut().flat_map(|hand| &mut hand.works).for_each(|work| work.dies = None);
            self.turn().await;
        }
        for hand in self.hands.iter().filter(|hand| hand.shift.is_some()) {
            self.story.there.push((hand.since, self.now));
        }
    }

    async fn judge(&self, end: Timestamp) -> Fates {
        self.story.judge_work();
        let mut fates = Fates::default();
        for rule in rules(&self.policies) {
            let times = self.times(&rule, end);
            let jobs = self.catalog.jobs(&rule.key.0, 1_000_000).await.expect("the catalog");
            let jobs: Vec<_> = jobs.into_iter().filter(|job| job.due.scheduled_for < end).collect();
            self.story.judge(&rule, &times, &jobs, &mut fates);
        }
        fates
    }

    /// When a rule had something to do: its last time before the beginning too, if it is a run that may be caught up.
    fn times(&self, rule: &Rule, end: Timestamp) -> BTreeSet<Timestamp> {
        let date = |moment: Timestamp| rule.zone.to_datetime(moment).date();
        let before = date(self.begin - SignedDuration::from_hours(48));
        let behind = date(end + SignedDuration::from_hours(48));
        let all = naive::times(rule.cron, &rule.zone, before, behind);
        let all = all.into_iter().map(|moment| moment + rule.jitter).filter(|moment| *moment < end);
        let (earlier, mut times): (Vec<_>, BTreeSet<_>) = {
            let (earlier, later): (Vec<_>, Vec<_>) = all.partition(|moment| *moment <= self.begin);
            (earlier, later.into_iter().collect())
        };
        let last =
            earlier.last().filter(|last| rule.key.1 == "run" && !rule.would_refuse(**last, self.begin));
        times.extend(last);
        times
    }
}

fn term() -> Duration {
    Duration::try_from(TERM).expect("some time")
}
