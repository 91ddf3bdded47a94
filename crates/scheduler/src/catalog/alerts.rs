//! What is remembered of alerts: the alerts themselves, messages that wait for somebody to take them, and
//! what is to be quiet.
//!
//! An alert is changed by whoever saw it as it was, together with the messages that the change wants told;
//! who comes second changes nothing. A message is taken in hand for a while by one, with a number that
//! grows each time: whoever is slower than that while can no longer say what became of it. The while is
//! measured by the clocks of the hosts, and is long beside what they may differ by. On purpose not here:
//! what is decided.

use super::base::{Ask, Change, Row, ask};
use super::{Catalog, CatalogError};
use crate::alert::rules::{AHEAD_MAX, CLOCK_IS_SEEN, CLOSED_ARE_KEPT_FOR, HELD_FOR, SENT_ARE_KEPT_FOR};
use crate::alert::{Event, Message, Silence, Stored};
use jiff::Timestamp;

/// The tables, as a step of the schema. `entry` counts up, and is the order in which messages are told.
pub(super) const TABLES: &str = "
    CREATE TABLE @alert (
        fingerprint TEXT PRIMARY KEY,
        policy TEXT NOT NULL,
        version NUMBER NOT NULL,
        closed NUMBER,
        body TEXT NOT NULL
    ) CHANGING;
    CREATE INDEX alert_by_policy ON @alert (policy);
    CREATE TABLE @delivery (
        entry COUNTED,
        id TEXT NOT NULL UNIQUE,
        policy TEXT NOT NULL,
        channel TEXT NOT NULL,
        event TEXT NOT NULL,
        fingerprint TEXT,
        body TEXT NOT NULL,
        created NUMBER NOT NULL,
        state TEXT NOT NULL,
        tries NUMBER NOT NULL,
        next_try NUMBER NOT NULL,
        held_until NUMBER,
        fence NUMBER NOT NULL,
        ended NUMBER,
        why TEXT
    ) CHANGING;
    CREATE INDEX delivery_waiting ON @delivery (policy, channel, entry) WHERE state = 'waiting';
    CREATE INDEX delivery_by_channel ON @delivery (policy, channel, ended);
    CREATE TABLE @silence (
        id COUNTED,
        policy TEXT NOT NULL,
        part TEXT,
        since NUMBER NOT NULL,
        until NUMBER NOT NULL,
        reason TEXT NOT NULL,
        by_whom TEXT NOT NULL
    ) STRICT;
    CREATE TABLE @ways (
        policy TEXT PRIMARY KEY,
        ways TEXT NOT NULL,
        zone TEXT NOT NULL
    ) STRICT;
";

/// When a message ended, in a query of which $2 is up to when moments are believed; where a clock had leapt,
/// when it was put.
const ENDED: &str = "CASE WHEN ended <= $2 THEN ended WHEN created <= $2 THEN created END";
/// Whether a message was refused: for good, or as things are.
const REFUSED: &str = "state = 'refused' OR (state = 'waiting' AND ended IS NOT NULL)";

/// A message to be told by a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The channel.
    pub channel: String,
    /// What it says.
    pub message: Message,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its number.
    pub id: String,
    /// What it says; none where this version cannot read it.
    pub message: Option<Message>,
    /// When it was put here.
    pub created: Timestamp,
    /// Not before then.
    pub next_try: Timestamp,
    /// How often it was tried.
    pub tries: i64,
    /// How often it was taken in hand.
    pub fence: i64,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sending {
    /// Whoever was asked has it.
    Sent,
    /// It is tried again.
    Again {
        /// When.
        at: Timestamp,
        /// Why it did not work.
        why: String,
    },
    /// It was refused, and is tried again all the same: somebody may mend why.
    RefusedNow {
        /// When.
        at: Timestamp,
        /// Why it did not work.
        why: String,
    },
    /// It is not tried again.
    Refused {
        /// Why it did not work.
        why: String,
    },
}

/// What is known of one channel of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The channel.
    pub channel: String,
    /// When it last took a message.
    pub sent: Option<Timestamp>,
    /// When it last took one that was to test it.
    pub tested: Option<Timestamp>,
    /// How many messages wait.
    pub waiting: u64,
    /// Since when the first of them waits.
    pub oldest: Option<Timestamp>,
    /// Why it waits.
    pub why: Option<String>,
    /// When a message was last refused or given up, if none was taken since.
    pub refused: Option<Timestamp>,
    /// Why it was.
    pub refused_why: Option<String>,
}

/// How a policy tells, as it was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ways {
    /// Its entries, as JSON. They name secrets, and hold none.
    pub ways: String,
    /// Its zone.
    pub zone: String,
}

impl Catalog {
    /// The alerts of a policy, each with the number of its last change.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn alerts(&self, policy: &str) -> Result<Vec<(Stored, i64)>, CatalogError> {
        let rows =
            ask("SELECT version, body FROM @alert WHERE policy = $1 ORDER BY fingerprint").with(policy);
        let rows = self.base.rows(&rows).await?;
        let mut all = Vec::new();
        for row in &rows {
            let (version, body) = (self.base.read(row.number("version"))?, self.base.read(row.text("body"))?);
            // What a later version wrote is left to it.
            all.extend(serde_json::from_str(&body).ok().map(|alert| (alert, version)));
        }
        Ok(all)
    }

    /// Changes an alert that was seen as a change left it (none: that was not there), and puts what is to
    /// be told of it beside. Tells whether it did: not if somebody else changed it meanwhile.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn keep_alert(
        &self,
        alert: &Stored,
        seen: Option<i64>,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        let body = serde_json::to_string(alert).unwrap_or_default();
        let write = match seen {
            None => ask(
                "INSERT INTO @alert (fingerprint, policy, version, closed, body) VALUES ($1, $2, 1, $3, $4)
                 ON CONFLICT (fingerprint) DO NOTHING",
            )
            .with(&alert.fingerprint)
            .with(&alert.policy)
            .with(alert.closed)
            .with(&body),
            Some(version) => ask("UPDATE @alert SET version = version + 1, closed = $1, body = $2
                 WHERE fingerprint = $3 AND version = $4")
            .with(alert.closed)
            .with(&body)
            .with(&alert.fingerprint)
            .with(version),
        };
        self.base
            .within(async {
                let mut change = self.base.change().await?;
                if change.execute(&write).await? != 1 {
                    change.undo().await?;
                    return Ok(false);
                }
                for entry in entries {
                    put(&mut change, entry, now).await?;
                }
                change.commit().await?;
                Ok(true)
            })
            .await
    }

    /// Puts messages to be told; how many were not there yet.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn enqueue(&self, entries: &[Entry], now: Timestamp) -> Result<u64, CatalogError> {
        self.base
            .within(async {
                let mut change = self.base.change().await?;
                let mut new = 0;
                for entry in entries {
                    new += put(&mut change, entry, now).await?;
                }
                change.commit().await?;
                Ok(new)
            })
            .await
    }

    /// Notes a message that was told past the others, and what came of it.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn note_message(
        &self,
        entry: &Entry,
        end: &Sending,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let (state, why) = match end {
            Sending::Sent => ("sent", None),
            Sending::Again { why, .. } | Sending::RefusedNow { why, .. } | Sending::Refused { why } => {
                ("refused", Some(why))
            }
        };
        let write = ask(
            "INSERT INTO @delivery
             (id, policy, channel, event, fingerprint, body, created, state, tries, next_try, fence, ended, why)
             VALUES ($1, $2, $3, $4, NULL, $5, $6, $7, 1, $6, 0, $6, $8) ON CONFLICT (id) DO NOTHING",
        );
        let message = &entry.message;
        let body = serde_json::to_string(message).unwrap_or_default();
        let write = write.with(&message.id).with(&message.policy).with(&entry.channel);
        let write = write.with(message.event.word()).with(&body).with(now).with(state).with(why);
        self.base.execute(&write).await.map(drop)
    }

    /// Whether there is a message with this number, told or not.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn has_message(&self, id: &str) -> Result<bool, CatalogError> {
        let rows = self.base.rows(&ask("SELECT id FROM @delivery WHERE id = $1").with(id)).await?;
        Ok(!rows.is_empty())
    }

    /// The message of a channel that comes next, if one is due that nobody has in hand. Those about one thing
    /// are told in the order in which they were put; beside that what was not tried yet comes first, so that
    /// one that nobody takes keeps no other.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn next_message(
        &self,
        policy: &str,
        channel: &str,
        now: Timestamp,
    ) -> Result<Option<Waiting>, CatalogError> {
        let next = ask("SELECT id, body, created, next_try, tries, fence FROM @delivery
             WHERE policy = $1 AND channel = $2 AND state = 'waiting'
             AND (next_try <= $3 OR next_try > $4)
             AND (held_until IS NULL OR held_until <= $3 OR held_until > $4)
             AND entry IN (SELECT min(entry) FROM @delivery WHERE policy = $1 AND channel = $2
                 AND state = 'waiting' GROUP BY coalesce(fingerprint, id))
             ORDER BY CASE WHEN tries = 0 THEN 0 ELSE 1 END, entry LIMIT 1");
        let next = next.with(policy).with(channel).with(now).with(believed_until(now));
        let rows = self.base.rows(&next).await?;
        rows.first().map(|row| self.base.read(waiting(row))).transpose()
    }

    /// Takes a message in hand; its new fence, or none if somebody else has it.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn take_message(&self, waiting: &Waiting, now: Timestamp) -> Result<Option<i64>, CatalogError> {
        let until = now.checked_add(HELD_FOR).unwrap_or(Timestamp::MAX);
        let take = ask("UPDATE @delivery SET held_until = $1, fence = fence + 1, tries = tries + 1
             WHERE id = $2 AND fence = $3 AND state = 'waiting'
             AND (held_until IS NULL OR held_until <= $4 OR held_until > $5)
             RETURNING fence");
        let take = take.with(until).with(&waiting.id).with(waiting.fence).with(now).with(believed_until(now));
        let row = self.base.change_row(&take).await?;
        row.map(|row| self.base.read(row.number("fence"))).transpose()
    }

    /// Says what became of a message that was taken in hand; false if it is in other hands by now. One that
    /// waits has an end as well while it is refused.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn end_message(
        &self,
        id: &str,
        fence: i64,
        end: &Sending,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        let (state, ended, next, why) = match end {
            Sending::Sent => ("sent", Some(now), None, None),
            Sending::Again { at, why } => ("waiting", None, Some(*at), Some(why)),
            Sending::RefusedNow { at, why } => ("waiting", Some(now), Some(*at), Some(why)),
            Sending::Refused { why } => ("refused", Some(now), None, Some(why)),
        };
        let write =
            ask("UPDATE @delivery SET state = $1, ended = $2, next_try = coalesce($3, next_try), why = $4,
             held_until = NULL WHERE id = $5 AND fence = $6 AND state = 'waiting'");
        let write = write.with(state).with(ended).with(next).with(why).with(id).with(fence);
        Ok(self.base.execute(&write).await? == 1)
    }

    /// Gives up what waits for channels that a policy does not have any more.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn withdraw(&self, policy: &str, kept: &[&str], now: Timestamp) -> Result<(), CatalogError> {
        let all = ask("SELECT DISTINCT channel FROM @delivery WHERE policy = $1 AND state = 'waiting'");
        for row in self.base.rows(&all.with(policy)).await? {
            let channel = self.base.read(row.text("channel"))?;
            if kept.contains(&channel.as_str()) {
                continue;
            }
            let write = ask("UPDATE @delivery SET state = 'withdrawn', ended = $1
                 WHERE policy = $2 AND channel = $3 AND state = 'waiting'");
            self.base.execute(&write.with(now).with(policy).with(&channel)).await?;
        }
        Ok(())
    }

    /// What is known of the channels of a policy, at a moment.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn records(&self, policy: &str, now: Timestamp) -> Result<Vec<Record>, CatalogError> {
        let all = ask(format!(
            "SELECT channel,
                max(CASE WHEN state = 'sent' THEN {ENDED} END) AS sent,
                max(CASE WHEN state = 'sent' AND event = 'test' THEN {ENDED} END) AS tested,
                max(CASE WHEN {REFUSED} THEN {ENDED} END) AS refused,
                count(CASE WHEN state = 'waiting' THEN 1 END) AS waiting
             FROM @delivery WHERE policy = $1 GROUP BY channel ORDER BY channel"
        ));
        let mut records = Vec::new();
        for row in self.base.rows(&all.with(policy).with(believed_until(now))).await? {
            let mut record = self.base.read(record(&row))?;
            let first = ask("SELECT created, why FROM @delivery WHERE policy = $1 AND channel = $2
                 AND state = 'waiting' ORDER BY entry LIMIT 1");
            if let Some(first) = self.why(first.with(policy).with(&record.channel)).await? {
                (record.oldest, record.why) = first;
            }
            record.refused = record.refused.filter(|refused| record.sent.is_none_or(|sent| sent < *refused));
            if record.refused.is_some() {
                let last = ask(format!(
                    "SELECT created, why FROM @delivery WHERE policy = $1 AND channel = $3 AND ({REFUSED})
                     ORDER BY coalesce({ENDED}, 0) DESC LIMIT 1"
                ));
                let last = last.with(policy).with(believed_until(now)).with(&record.channel);
                record.refused_why = self.why(last).await?.and_then(|(_, why)| why);
            }
            records.push(record);
        }
        Ok(records)
    }

    /// When a message was put, and why it is there.
    async fn why(&self, first: Ask) -> Result<Option<(Option<Timestamp>, Option<String>)>, CatalogError> {
        let rows = self.base.rows(&first).await?;
        let read = |row: &Row| Ok((row.maybe_moment("created")?, row.maybe_text("why")?));
        rows.first().map(|row| self.base.read(read(row))).transpose()
    }

    /// Remembers how a policy tells, for the day on which it cannot be read.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn remember_ways(&self, policy: &str, ways: &Ways) -> Result<(), CatalogError> {
        let write = ask("INSERT INTO @ways (policy, ways, zone) VALUES ($1, $2, $3)
             ON CONFLICT (policy) DO UPDATE SET ways = excluded.ways, zone = excluded.zone");
        self.base.execute(&write.with(policy).with(&ways.ways).with(&ways.zone)).await.map(drop)
    }

    /// How a policy told when it could last be read.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn ways(&self, policy: &str) -> Result<Option<Ways>, CatalogError> {
        let rows =
            self.base.rows(&ask("SELECT ways, zone FROM @ways WHERE policy = $1").with(policy)).await?;
        let read = |row: &Row| Ok(Ways { ways: row.text("ways")?, zone: row.text("zone")? });
        rows.first().map(|row| self.base.read(read(row))).transpose()
    }

    /// Forgets alerts, ways and waiting messages of a policy that is no more.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn forget_alerts(&self, policy: &str, now: Timestamp) -> Result<(), CatalogError> {
        self.withdraw(policy, &[], now).await?;
        self.base.execute(&ask("DELETE FROM @alert WHERE policy = $1").with(policy)).await?;
        self.base.execute(&ask("DELETE FROM @ways WHERE policy = $1").with(policy)).await.map(drop)
    }

    /// Keeps something quiet; its number.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn silence(&self, silence: &Silence) -> Result<i64, CatalogError> {
        let write = ask(
            "INSERT INTO @silence (policy, part, since, until, reason, by_whom) VALUES ($1, $2, $3, $4, $5, $6)
             RETURNING id",
        );
        let write = write.with(&silence.policy).with(silence.part.as_ref()).with(silence.since);
        let write = write.with(silence.until).with(&silence.reason).with(&silence.by);
        let row = self.base.change_row(&write).await?;
        row.map_or(Ok(0), |row| self.base.read(row.number("id")))
    }

    /// Ends a silence before its time; false if there is none with that number that still stands.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn end_silence(&self, id: i64, now: Timestamp) -> Result<bool, CatalogError> {
        let write = ask("UPDATE @silence SET until = $1 WHERE id = $2 AND until > $1").with(now).with(id);
        Ok(self.base.execute(&write).await? == 1)
    }

    /// The silences that stand at a moment, the first that ends first.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn silences(&self, now: Timestamp) -> Result<Vec<Silence>, CatalogError> {
        let all = ask("SELECT id, policy, part, since, until, reason, by_whom FROM @silence
             WHERE since <= $1 AND until > $1 ORDER BY until, id");
        let rows = self.base.rows(&all.with(now)).await?;
        rows.iter().map(|row| self.base.read(silence(row))).collect()
    }

    /// Forgets what is long over: closed alerts, messages that somebody has, silences. Not where nothing says
    /// that the clock is right: one that leapt years ahead makes everything old.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn sweep_alerts(&self, now: Timestamp) -> Result<(), CatalogError> {
        let before = |span| now.checked_sub(span).unwrap_or(Timestamp::MIN);
        // A message that was put not long ago, and not just now by the same clock.
        let like = ask("SELECT id FROM @delivery WHERE created BETWEEN $1 AND $2 LIMIT 1");
        let like = like.with(before(CLOCK_IS_SEEN.1)).with(before(CLOCK_IS_SEEN.0));
        if self.base.rows(&like).await?.is_empty() {
            return Ok(());
        }
        let texts = [
            ("DELETE FROM @alert WHERE closed < $1", before(CLOSED_ARE_KEPT_FOR)),
            ("DELETE FROM @delivery WHERE ended < $1 AND state <> 'waiting'", before(SENT_ARE_KEPT_FOR)),
            ("DELETE FROM @silence WHERE until < $1", before(SENT_ARE_KEPT_FOR)),
        ];
        for (text, moment) in texts {
            self.base.execute(&ask(text).with(moment)).await?;
        }
        Ok(())
    }
}

/// Up to when moments are believed: what lies behind that was written by a clock that had leapt.
fn believed_until(now: Timestamp) -> Timestamp {
    now.checked_add(AHEAD_MAX).unwrap_or(Timestamp::MAX)
}

/// Puts a message; one that is there already is left as it is, and nobody is told again of what they are
/// still to be told.
async fn put(change: &mut Change, entry: &Entry, now: Timestamp) -> Result<u64, sqlx::Error> {
    let message = &entry.message;
    if message.event == Event::Reminder {
        let waits = ask("SELECT id FROM @delivery WHERE policy = $1 AND channel = $2 AND fingerprint = $3
             AND state = 'waiting' LIMIT 1");
        let waits = waits.with(&message.policy).with(&entry.channel).with(message.fingerprint.as_ref());
        if change.row(&waits).await?.is_some() {
            return Ok(0);
        }
    }
    let write = ask(
        "INSERT INTO @delivery (id, policy, channel, event, fingerprint, body, created, state, tries, next_try, fence)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'waiting', 0, $7, 0) ON CONFLICT (id) DO NOTHING",
    );
    let body = serde_json::to_string(message).unwrap_or_default();
    let write = write.with(&message.id).with(&message.policy).with(&entry.channel).with(message.event.word());
    change.execute(&write.with(message.fingerprint.as_ref()).with(&body).with(now)).await
}

fn waiting(row: &Row) -> Result<Waiting, sqlx::Error> {
    Ok(Waiting {
        id: row.text("id")?,
        message: serde_json::from_str(&row.text("body")?).ok(),
        created: row.moment("created")?,
        next_try: row.moment("next_try")?,
        tries: row.number("tries")?,
        fence: row.number("fence")?,
    })
}

fn record(row: &Row) -> Result<Record, sqlx::Error> {
    Ok(Record {
        channel: row.text("channel")?,
        sent: row.maybe_moment("sent")?,
        tested: row.maybe_moment("tested")?,
        waiting: u64::try_from(row.number("waiting")?).unwrap_or_default(),
        refused: row.maybe_moment("refused")?,
        ..Record::default()
    })
}

fn silence(row: &Row) -> Result<Silence, sqlx::Error> {
    Ok(Silence {
        id: row.number("id")?,
        policy: row.text("policy")?,
        part: row.maybe_text("part")?,
        since: row.moment("since")?,
        until: row.moment("until")?,
        reason: row.text("reason")?,
        by: row.text("by_whom")?,
    })
}
