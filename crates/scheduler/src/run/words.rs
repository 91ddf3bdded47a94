//! What a policy says, in the words of verbs.
//!
//! On purpose not here: when and where they are said.

use crate::hands::{Call, Place};
use crate::policy::units::Span;
use crate::policy::{CheckRule, Files, Policy, Postgres, PruneRule, Retention, Source};
use std::ffi::OsString;

/// The tag that all snapshots of a policy have.
#[must_use]
pub fn tag(policy: &str) -> String {
    format!("policy={policy}")
}

/// An option and its value in one word, so that no value is taken for an option.
fn option(name: &str, value: impl Into<OsString>) -> OsString {
    let mut word = OsString::from(format!("--{name}="));
    word.push(value.into());
    word
}

/// A verb on a repository: its words as they come.
fn call(place: &Place, words: Vec<OsString>) -> Call {
    Call { repository: Some(place.clone()), words, ..Call::default() }
}

/// Backs a source up; none for what another program backs up.
#[must_use]
pub fn backup(policy: &Policy, name: &str, source: &Source, place: &Place) -> Option<Call> {
    let mut words: Vec<OsString> = vec!["backup".into()];
    words.push(option("label", policy.label(name)));
    words.push(option("tag", tag(&policy.name)));
    let mut call = call(place, Vec::new());
    if let Some(files) = &source.files {
        words.extend(of_files(files));
    } else if let Some(postgres) = &source.postgres {
        words.extend(of_postgres(postgres));
        call.env.extend(passfile(postgres));
    } else if let Some(bucket) = &source.s3 {
        words.extend(bucket.exclude.iter().map(|pattern| option("exclude", pattern)));
        words.extend(bucket.metadata.iter().map(|list| option("metadata", list)));
        words.extend(["--".into(), OsString::from(&bucket.url)]);
        call.source.clone_from(&bucket.credentials);
    } else if let Some(command) = &source.command {
        words.push(option("stdin-filename", &command.file_name));
        words.extend(["--stdin-from-command", "--"].map(OsString::from));
        words.extend(command.run.iter().map(OsString::from));
    } else {
        return None;
    }
    call.words = words;
    Some(call)
}

fn of_files(files: &Files) -> Vec<OsString> {
    let Files { paths, exclude, exclude_caches, exclude_if_present, exclude_larger_than, one_file_system } =
        files;
    let mut words: Vec<OsString> = exclude.iter().map(|pattern| option("exclude", pattern)).collect();
    words.extend(exclude_if_present.iter().map(|name| option("exclude-if-present", name)));
    words
        .extend(exclude_larger_than.iter().map(|size| option("exclude-larger-than", format!("{}B", size.0))));
    let flags = [(*exclude_caches, "--exclude-caches"), (*one_file_system, "--one-file-system")];
    words.extend(flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag.into()));
    words.push("--".into());
    words.extend(paths.iter().map(OsString::from));
    words
}

fn of_postgres(postgres: &Postgres) -> Vec<OsString> {
    let mut words: Vec<OsString> =
        postgres.count_rows.iter().map(|table| option("count-rows", table)).collect();
    if let Some(logical) = &postgres.logical {
        words.push("--logical".into());
        words.extend(logical.databases.iter().map(|name| option("database", name)));
    }
    words.extend(["--".into(), OsString::from(&postgres.url)]);
    words
}

/// Where the passwords of a server are.
pub(crate) fn passfile(postgres: &Postgres) -> Option<(String, OsString)> {
    postgres.passfile.as_ref().map(|path| ("PGPASSFILE".to_owned(), path.into()))
}

/// Copies snapshots: all of the policy, or those that are named.
#[must_use]
pub fn copy(policy: &Policy, from: &Place, to: &Place, snapshots: Option<&[String]>) -> Call {
    let mut words: Vec<OsString> = vec!["copy".into()];
    match snapshots {
        Some(ids) => words.extend(ids.iter().map(OsString::from)),
        None => words.push(option("tag", tag(&policy.name))),
    }
    Call { from: Some(from.clone()), ..call(to, words) }
}

/// Forgets what no rule keeps of a source; none where there are no rules.
#[must_use]
pub fn forget(policy: &Policy, name: &str, retention: &Retention, place: &Place) -> Option<Call> {
    let rules = rules(retention);
    if rules.is_empty() {
        return None;
    }
    let mut words: Vec<OsString> = vec!["forget".into()];
    words.push(option("source", policy.label(name)));
    words.push("--group-by=source".into());
    words.extend(rules);
    Some(call(place, words))
}

/// What is kept, as options.
fn rules(retention: &Retention) -> Vec<OsString> {
    let counts = [
        ("keep-last", retention.keep_last),
        ("keep-hourly", retention.keep_hourly),
        ("keep-daily", retention.keep_daily),
        ("keep-weekly", retention.keep_weekly),
        ("keep-monthly", retention.keep_monthly),
        ("keep-yearly", retention.keep_yearly),
    ];
    let counts = counts.into_iter().filter_map(|(name, count)| Some(option(name, count?.to_string())));
    let spans = [("keep-within", retention.keep_within), ("delete-after", retention.delete_after)];
    let stated = |(name, span): (&str, Option<Span>)| Some(option(name, format!("{}h", hours(span?))));
    counts.chain(spans.into_iter().filter_map(stated)).collect()
}

/// The verb knows hours and days; a part of an hour is kept as a whole one.
pub(crate) const fn hours(span: Span) -> u64 {
    span.0.as_secs().div_ceil(3600)
}

/// Frees what no snapshot needs, and the log of these sources' databases that is over its time.
#[must_use]
pub fn prune(
    rule: Option<&PruneRule>,
    retention: Option<&Retention>,
    logs: &[String],
    place: &Place,
) -> Call {
    let mut words: Vec<OsString> = vec!["prune".into()];
    words.extend(rule.and_then(|rule| rule.max_unused.as_ref()).map(|limit| option("max-unused", limit)));
    let log = retention.and_then(|retention| retention.wal);
    words.extend(log.map(|span| option("wal-keep", format!("{}s", span.0.as_secs()))));
    let after = retention.and_then(|retention| retention.delete_after);
    words.extend(after.map(|span| option("wal-delete-after", format!("{}h", hours(span)))));
    words.extend(logs.iter().filter(|_| after.is_some()).map(|source| option("wal-source", source)));
    call(place, words)
}

/// Checks the repository.
#[must_use]
pub fn check(rule: &CheckRule, place: &Place) -> Call {
    let mut words: Vec<OsString> = vec!["check".into()];
    words.extend(rule.read_data_subset.iter().map(|part| option("read-data-subset", part)));
    call(place, words)
}

/// Makes a repository; one that shall take copies names contents as that one does.
#[must_use]
pub fn init(place: &Place, from: Option<&Place>, kit: Option<&str>) -> Call {
    let mut words: Vec<OsString> = vec!["init".into()];
    words.extend(kit.map(|kit| option("kit", kit)));
    // What is copied from is named by the environment; this word says that it is meant.
    words.extend(from.map(|from| option("from", from.address())));
    Call { from: from.cloned(), ..call(place, words) }
}

/// A call as a person would type it, without what opens the repository.
#[must_use]
pub fn shown(call: &Call) -> String {
    let word = |word: &OsString| {
        let text = word.to_string_lossy();
        let plain = |c: char| c.is_alphanumeric() || "-_=./:@,%+~".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            return text.into_owned();
        }
        format!("'{}'", text.replace('\'', "'\\''"))
    };
    let url = call.repository.iter().map(|place| format!("-r {}", word(&OsString::from(&place.url))));
    let verb = call.words.iter().take(1).map(word);
    let from = call.from.iter().map(|place| format!("--from {}", word(&OsString::from(&place.url))));
    let from = from.filter(|_| !call.words.iter().any(|word| word.to_string_lossy().starts_with("--from=")));
    let rest = call.words.iter().skip(1).map(word);
    let words: Vec<_> =
        std::iter::once("holdfast".to_owned()).chain(url).chain(verb).chain(from).chain(rest).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::policy::{Activity, REPOSITORY};

    const TEXT: &str = "
name: shop
repository: { url: /r, password: { env: X } }
sources:
  tree: { files: { paths: [ /srv, /e ], exclude: [ '*.tmp', '-x' ], exclude_caches: true, exclude_larger_than: 2GiB } }
  db: { postgres: { url: 'postgres://b@db', passfile: /pgpass, count_rows: [ shop.public.orders ] } }
  dumps: { postgres: { url: 'postgres://b@db', logical: { databases: [ shop ] } } }
  media: { s3: { url: 's3://media', exclude: [ '*.x' ], metadata: all, credentials: { profile: m } } }
  list: { command: { run: [ list, --all ], file_name: list.txt } }
  old: { restored_by: { command: [ x ] } }
retention: { keep_last: 3, keep_daily: 14, keep_within: 90m, wal: 14d }
";

    fn words(call: &Call) -> Vec<&str> {
        call.words.iter().map(|word| word.to_str().unwrap()).collect()
    }

    #[test]
    fn each_kind_of_source_has_its_words() {
        let policy: Policy = serde_saphyr::from_str(TEXT).unwrap();
        let place = policy.place(REPOSITORY, Activity::Backup).unwrap();
        let of = |name: &str| backup(&policy, name, policy.sources.get(name).unwrap(), &place);
        let head =
            |name: &str| ["backup".to_owned(), format!("--label=shop/{name}"), "--tag=policy=shop".into()];
        for (name, rest) in [
            (
                "tree",
                &[
                    "--exclude=*.tmp",
                    "--exclude=-x",
                    "--exclude-larger-than=2147483648B",
                    "--exclude-caches",
                    "--",
                    "/srv",
                    "/e",
                ][..],
            ),
            ("db", &["--count-rows=shop.public.orders", "--", "postgres://b@db"]),
            ("dumps", &["--logical", "--database=shop", "--", "postgres://b@db"]),
            ("media", &["--exclude=*.x", "--metadata=all", "--", "s3://media"]),
            ("list", &["--stdin-filename=list.txt", "--stdin-from-command", "--", "list", "--all"]),
        ] {
            let call = of(name).unwrap();
            assert_eq!(words(&call)[..3], head(name), "{name}");
            assert_eq!(&words(&call)[3..], rest, "{name}");
        }
        assert_eq!(of("db").unwrap().env, [("PGPASSFILE".to_owned(), OsString::from("/pgpass"))]);
        assert!(of("media").unwrap().source.is_some() && of("old").is_none());
    }

    #[test]
    fn rules_are_options() {
        let policy: Policy = serde_saphyr::from_str(TEXT).unwrap();
        let place = policy.place(REPOSITORY, Activity::Maintain).unwrap();
        let retention = policy.retention.as_ref().unwrap();
        let call = forget(&policy, "tree", retention, &place).unwrap();
        let wanted = [
            "forget",
            "--source=shop/tree",
            "--group-by=source",
            "--keep-last=3",
            "--keep-daily=14",
            "--keep-within=2h",
        ];
        assert_eq!(words(&call), wanted);
        assert_eq!(
            words(&prune(None, Some(retention), &["shop/db".into()], &place)),
            ["prune", "--wal-keep=1209600s"]
        );
        let only_log = Retention { wal: retention.wal, ..Retention::default() };
        assert!(forget(&policy, "tree", &only_log, &place).is_none());
        let deadline = Retention { delete_after: "400d".parse().ok(), ..Retention::default() };
        let call = forget(&policy, "tree", &deadline, &place).unwrap();
        assert_eq!(words(&call)[3..], ["--delete-after=9600h"]);
        let logs = ["shop/db".to_owned(), "shop/dumps".to_owned()];
        let wanted = ["prune", "--wal-delete-after=9600h", "--wal-source=shop/db", "--wal-source=shop/dumps"];
        assert_eq!(words(&prune(None, Some(&deadline), &logs, &place)), wanted);
    }

    #[test]
    fn a_call_is_shown_as_it_is_typed() {
        let policy: Policy = serde_saphyr::from_str(TEXT).unwrap();
        let place = policy.place(REPOSITORY, Activity::Backup).unwrap();
        let call = backup(&policy, "tree", policy.sources.get("tree").unwrap(), &place).unwrap();
        let wanted = "holdfast -r /r backup --label=shop/tree --tag=policy=shop '--exclude=*.tmp' --exclude=-x \
                      --exclude-larger-than=2147483648B --exclude-caches -- /srv /e";
        assert_eq!(shown(&call), wanted);
        assert_eq!(
            shown(&copy(&policy, &place, &place, None)),
            "holdfast -r /r copy --from /r --tag=policy=shop"
        );
    }
}
