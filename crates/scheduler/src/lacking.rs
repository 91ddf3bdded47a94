//! What a copy lacks: what it has not, and would keep by its rules. What it forgot by them is not missing.
//!
//! That something newer is there says nothing: the run before may have left one out that it could not read. On
//! purpose not here: the rules themselves; copying.

use crate::policy::units::Span;
use crate::policy::{Policy, Retention};
use holdfast_engine::maintain::{
    KeepCount, KeepLimit, KeepPolicy, KeepRule, KeepSpan, Listed, Period, kept_of_listed,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

/// A snapshot, as far as a listing tells of it and it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    pub(crate) source: String,
    /// When its capture began: a copy has the same.
    pub(crate) time: Timestamp,
    pub(crate) ended: Timestamp,
    pub(crate) incomplete: bool,
    pub(crate) errors: u64,
    /// How many files it has; none where that is not told.
    pub(crate) files: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) tags: Vec<String>,
    /// The host that made it, as it says; empty where it does not.
    pub(crate) host: String,
}

impl Snapshot {
    /// Reads a line of `snapshots --json`.
    pub(crate) fn read(line: &Value) -> Option<Self> {
        let moment = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
        let (time, summary) = (moment(&line["time"])?, &line["summary"]);
        let tags = line["tags"].as_array().into_iter().flatten();
        Some(Self {
            id: line["id"].as_str()?.to_owned(),
            source: line["source"].as_str()?.to_owned(),
            time,
            ended: moment(&summary["backup_end"]).unwrap_or(time),
            incomplete: line["incomplete"].as_bool()?,
            errors: line["error_count"].as_u64().unwrap_or(0),
            files: summary["total_files_processed"].as_u64(),
            bytes: summary["total_bytes_processed"].as_u64().unwrap_or(0),
            tags: tags.filter_map(Value::as_str).map(str::to_owned).collect(),
            host: line["hostname"].as_str().unwrap_or_default().to_owned(),
        })
    }

    fn listed(&self) -> Listed<'_> {
        Listed {
            source: &self.source,
            host: &self.host,
            end: self.ended.as_nanosecond(),
            files: self.files.unwrap_or(0),
            bytes: self.bytes,
            incomplete: self.incomplete,
            tags: &self.tags,
        }
    }
}

/// What a copy of a policy lacks of its sources. Whether its rules would keep something is found as if all that it
/// lacks were there.
pub(crate) fn lacking<'a>(
    policy: &Policy,
    (ours, theirs): (&'a [Snapshot], &[Snapshot]),
    rules: Option<&Retention>,
    now: Timestamp,
) -> Vec<&'a Snapshot> {
    let prefix = format!("{}/", policy.name);
    let has =
        |one: &Snapshot| theirs.iter().any(|other| other.source == one.source && other.time == one.time);
    let is_ours = |one: &&Snapshot| one.source.starts_with(&prefix);
    let absent: Vec<&Snapshot> = ours.iter().filter(is_ours).filter(|one| !has(one)).collect();
    let Some(rules) = rules.map(keep).filter(|(keep, end)| !keep.is_empty() || end.is_some()) else {
        return absent;
    };
    let all: Vec<Listed<'_>> =
        absent.iter().copied().chain(theirs.iter().filter(is_ours)).map(Snapshot::listed).collect();
    match kept_of_listed(&all, rules, local_offset, now.as_nanosecond()) {
        Ok(kept) => absent.into_iter().zip(kept).filter_map(|(one, keep)| keep.then_some(one)).collect(),
        // They keep nothing, so that nothing is forgotten by them.
        Err(_) => absent,
    }
}

fn local_offset(second: i64) -> i32 {
    let at = Timestamp::from_second(second).unwrap_or_default();
    TimeZone::system().to_offset(at).seconds()
}

/// The rules in the words of the engine, as `forget` is told them.
fn keep(retention: &Retention) -> (KeepPolicy, Option<KeepSpan>) {
    let counts = [
        (Period::Each, retention.keep_last),
        (Period::Hour, retention.keep_hourly),
        (Period::Day, retention.keep_daily),
        (Period::Week, retention.keep_weekly),
        (Period::Month, retention.keep_monthly),
        (Period::Year, retention.keep_yearly),
    ];
    let hours = |span: Span| {
        let hours = u32::try_from(span.0.as_secs().div_ceil(3600)).unwrap_or(u32::MAX);
        KeepSpan { hours, ..KeepSpan::default() }
    };
    let counts = counts.into_iter().filter_map(|(of, count)| {
        let limit = KeepLimit::Newest(KeepCount::Number(count?.into()));
        Some(KeepRule { of, limit })
    });
    let within = retention.keep_within.map(hours).map(KeepLimit::Within);
    let within = within.map(|limit| KeepRule { of: Period::Each, limit });
    (
        KeepPolicy { rules: counts.chain(within).collect(), tags: Vec::new() },
        retention.delete_after.map(hours),
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use serde_json::json;

    const TEXT: &str = "
name: shop
repository: { url: /r, password: { env: X } }
sources: { tree: { files: { paths: [ /srv ] } } }
";

    /// The snapshot of a day in January, at noon so that it is that day everywhere.
    fn of(day: u8) -> Snapshot {
        let (time, id) = (format!("2026-01-{day:02}T12:00:00Z"), format!("{day:02}"));
        let line = json!({ "id": id, "source": "shop/tree", "time": time, "incomplete": false,
                           "summary": { "total_files_processed": 3, "total_bytes_processed": 9 } });
        Snapshot::read(&line).unwrap()
    }

    fn lacks(ours: &[u8], theirs: &[u8], rules: &str) -> Vec<String> {
        let policy: Policy = serde_saphyr::from_str(TEXT).unwrap();
        let (ours, theirs): (Vec<_>, Vec<_>) =
            (ours.iter().map(|day| of(*day)).collect(), theirs.iter().map(|day| of(*day)).collect());
        let rules: Option<Retention> = (!rules.is_empty()).then(|| serde_saphyr::from_str(rules).unwrap());
        let now = "2026-01-31T13:00:00Z".parse().unwrap();
        let found = lacking(&policy, (&ours, &theirs), rules.as_ref(), now);
        found.into_iter().map(|one| one.id.clone()).collect()
    }

    #[test]
    fn what_was_left_out_is_lacking_though_something_newer_is_there() {
        let days: Vec<u8> = (21..=31).collect();
        assert_eq!(lacks(&days, &[21, 22, 23, 24, 25, 26, 27, 28, 29, 31], "keep_daily: 30"), ["30"]);
        assert_eq!(lacks(&[29, 30, 31], &[29, 31], ""), ["30"]);
        assert_eq!(lacks(&[29, 30, 31], &[29, 31], "wal: 14d"), ["30"]);
    }

    #[test]
    fn what_rules_have_forgotten_is_not_lacking() {
        let days: Vec<u8> = (1..=31).collect();
        assert_eq!(lacks(&days, &[29, 30, 31], "keep_last: 3"), [""; 0]);
        assert_eq!(lacks(&days, &[31], "{ keep_last: 1, delete_after: 100d }"), [""; 0]);
        assert_eq!(lacks(&days, &[29, 31], "keep_last: 3"), ["30"]);
        // Of a week the newest: Sundays, and the last of all.
        assert_eq!(lacks(&days, &[18, 25, 31], "keep_weekly: 3"), [""; 0]);
        assert_eq!(lacks(&days, &[18, 31], "keep_weekly: 3"), ["25"]);
        // What would have to go at once is not brought.
        assert_eq!(lacks(&[1, 30], &[31], "{ keep_last: 9, delete_after: 10d }"), ["30"]);
    }
}
