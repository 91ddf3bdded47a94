//! Who is told when something is wrong, and whether that works. What nobody could be told is wrong itself.
//!
//! On purpose not here: telling.

use super::problem::Problem;
use super::words::{moment, plain, quoted, span_between};
use super::{Known, State, Status, serving};
use crate::alert::rules::{WAITS_TOO_LONG, is_beyond};
use crate::alert::{Channel, channels};
use crate::catalog::{Catalog, ChannelRecord};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// One way by which a policy tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelState {
    /// The policy.
    pub policy: String,
    /// What people call it: `slack`.
    pub channel: String,
    /// Nothing less severe is told by it.
    pub from: State,
    /// How bad it is.
    pub state: State,
    /// When it last took a message.
    pub sent: Option<Timestamp>,
    /// When it last took one that was to test it.
    pub tested: Option<Timestamp>,
    /// How many messages wait.
    pub waiting: u64,
    /// Since when the first of them waits.
    pub oldest: Option<Timestamp>,
}

/// Adds who is told, as far as this host remembers.
pub(super) async fn add(status: &mut Status, known: &[Known], memory: Option<&Catalog>, zone: &TimeZone) {
    let Some(catalog) = memory else { return };
    let named = |policy: &str| known.iter().any(|known| known.policy.name == policy);
    let silences = catalog.silences(status.now).await.unwrap_or_default();
    status.silences = silences.into_iter().filter(|silence| named(&silence.policy)).collect();
    for known in known {
        let records = match catalog.records(&known.policy.name, status.now).await {
            Ok(records) => records,
            Err(error) => {
                lacks(status, known, &error.to_string());
                continue;
            }
        };
        let all = channels(&known.policy.notify);
        let judged: Vec<Judged<'_>> =
            all.iter().map(|channel| judge(known, channel, &records, status.now)).collect();
        let is_last = judged.iter().all(|judged| judged.trouble.is_some());
        status.problems.extend(problems(known, &judged, is_last, (status.now, zone)));
        status.channels.extend(judged.into_iter().map(|judged| judged.state));
    }
}

/// What is not known of channels is no good news.
fn lacks(status: &mut Status, known: &Known, why: &str) {
    let of = |problem: &Problem| {
        problem.policy == known.policy.name && problem.condition == "catalog-out-of-reach"
    };
    if !status.problems.iter().any(of) {
        status.problems.extend(serving::lost(std::slice::from_ref(known), why));
    }
}

struct Judged<'a> {
    channel: &'a Channel,
    state: ChannelState,
    /// Since when nobody could be told, and why.
    trouble: Option<(Timestamp, String)>,
}

fn judge<'a>(known: &Known, channel: &'a Channel, records: &[ChannelRecord], now: Timestamp) -> Judged<'a> {
    let record = records.iter().find(|record| record.channel == channel.id).cloned().unwrap_or_default();
    let is_late = |at: &Timestamp| now.duration_since(*at) > WAITS_TOO_LONG || is_beyond(*at, now);
    let late = record.oldest.filter(is_late);
    let refused = record.refused.map(|at| (at, record.refused_why.clone()));
    let trouble = late.map(|at| (at, record.why.clone())).or(refused);
    let trouble = trouble.map(|(at, why)| (at, why.unwrap_or_else(|| "nobody tried yet".to_owned())));
    let state = ChannelState {
        policy: known.policy.name.clone(),
        channel: channel.name.clone(),
        from: channel.from,
        state: if trouble.is_some() { State::Warning } else { State::Ok },
        sent: record.sent,
        tested: record.tested,
        waiting: record.waiting,
        oldest: record.oldest,
    };
    Judged { channel, state, trouble }
}

/// What is wrong with them, of each.
fn problems(
    known: &Known,
    judged: &[Judged<'_>],
    is_last: bool,
    (now, zone): (Timestamp, &TimeZone),
) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for judged in judged {
        let Some((since, why)) = &judged.trouble else { continue };
        let condition = condition(judged.channel.kind);
        let (policy, name) = (&known.policy.name, &judged.channel.name);
        let when = moment(*since, now, zone);
        let what = match judged.state.sent.is_some_and(|sent| sent > *since) {
            true => format!(
                "{policy}: {name} has not taken a message since {when}, and takes others. Whoever relies on it does not hear all."
            ),
            false => format!(
                "{policy}: nobody could be told through {name} since {when}. Whoever relies on it hears nothing."
            ),
        };
        let state = if is_last { State::High } else { State::Warning };
        let waits = match judged.state.waiting {
            0 => String::new(),
            many => format!("; {many} waiting for {}", span_between(*since, now)),
        };
        let problem = Problem::new(state, condition, policy, what).why(plain(&format!("{why}{waits}")));
        let test = format!("holdfast notify test {}", quoted(&known.file));
        let problem = problem.then(test, "take silence for good news").back("not affected by this");
        problems.push(Problem { channel: Some(judged.channel.id.clone()), ..problem });
    }
    problems
}

fn condition(kind: &str) -> &'static str {
    match kind {
        "slack" => "channel-slack",
        "webhook" => "channel-webhook",
        "mail" => "channel-mail",
        _ => "channel-command",
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::alert::{Outcome, test};
    use crate::catalog::Place;
    use crate::policy::read::parse;

    /// Refuses what goes by some programs.
    struct Refusing(&'static [&'static str], Timestamp);

    #[async_trait::async_trait]
    impl crate::alert::Post for Refusing {
        fn now(&self) -> Timestamp {
            self.1
        }

        async fn deliver(
            &self,
            way: &crate::policy::Notify,
            _: &crate::alert::Message,
            _: Timestamp,
        ) -> Outcome {
            match self.0.contains(&way.command[0].as_str()) {
                true => Outcome::Refused { why: "no such address (404)".to_owned() },
                false => Outcome::Delivered,
            }
        }

        async fn beat(&self, _: &crate::policy::Heartbeat) -> Outcome {
            Outcome::Delivered
        }

        async fn facts(&self, _: &Known) -> crate::alert::Facts {
            crate::alert::Facts::default()
        }
    }

    #[tokio::test]
    async fn each_channel_that_does_not_work_is_told_for_itself() {
        let text = "name: shop\nrepository: { url: /b, password: { env: X } }\nsources:\n  \
                    db: { files: { paths: [/srv] } }\nnotify: [ { command: [a] }, { command: [b] } ]\n";
        let known =
            [Known { policy: parse(text, "shop.yaml").unwrap(), file: "shop.yaml".to_owned(), since: None }];
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&Place::File(folder.path().join("catalog.sqlite"))).await.unwrap();
        let told = async |refused: &'static [&'static str], now: &str| {
            let now: Timestamp = now.parse().unwrap();
            test(&Refusing(refused, now), Some(&catalog), &known[0].policy, now).await.unwrap();
            problems_of(&catalog, &known, now).await
        };
        let ids: Vec<Option<String>> =
            channels(&known[0].policy.notify).into_iter().map(|channel| Some(channel.id)).collect();
        let one = told(&["b"], "2026-11-26T00:00:00Z").await;
        assert_eq!(one.iter().map(|problem| &problem.channel).collect::<Vec<_>>(), [&ids[1]]);
        assert_eq!((one[0].state, one[0].condition), (State::Warning, "channel-command"));
        assert!(one[0].what.contains("through command 2 since"), "{}", one[0].what);
        let both = told(&["a", "b"], "2026-11-26T01:00:00Z").await;
        assert_eq!(both.iter().map(|problem| &problem.channel).collect::<Vec<_>>(), [&ids[0], &ids[1]]);
        assert!(both.iter().all(|problem| problem.state == State::High));
        catalog.clone().close().await;
        let lost = problems_of(&catalog, &known, Timestamp::UNIX_EPOCH).await;
        assert_eq!(
            lost.iter().map(|problem| problem.condition).collect::<Vec<_>>(),
            ["catalog-out-of-reach"]
        );
    }

    async fn problems_of(catalog: &Catalog, known: &[Known], now: Timestamp) -> Vec<Problem> {
        let mut status = Status {
            now,
            sources: vec![],
            copies: vec![],
            slots: vec![],
            holds: vec![],
            next: vec![],
            channels: vec![],
            silences: vec![],
            problems: vec![],
        };
        add(&mut status, known, Some(catalog), &TimeZone::UTC).await;
        status.problems
    }
}
