//! What a server of a drill is told: nothing of production's, and on its command line what wins over
//! all that a restored cluster says.
//!
//! On purpose not here: up to where it recovers, which its restore decided.

use super::control::Control;
use super::user::MARK;
use std::path::{Path, PathBuf};

/// Settings of the recovery that a restore wrote and that stay.
const STAYS: [&str; 7] = [
    "recovery_target",
    "recovery_target_time",
    "recovery_target_lsn",
    "recovery_target_xid",
    "recovery_target_name",
    "recovery_target_timeline",
    "recovery_target_inclusive",
];
/// So many transactions may be prepared at least: the log may say more than the cluster did at its beginning.
const PREPARED_MIN: u64 = 100;

/// Settings that a file of a server has, as they stand there: names, and values with their quotes.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (String, &str)> {
    text.lines().filter_map(|line| {
        let line = line.trim_start();
        let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))?;
        let (name, rest) = line.split_at(end);
        let value = rest.trim_start();
        let value = value.strip_prefix('=').unwrap_or(value).trim();
        (!name.is_empty() && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value))
    })
}

/// A value without its quotes, and without what is behind it.
pub(super) fn plain(value: &str) -> String {
    let Some(inside) = value.strip_prefix('\'') else {
        return value.split(['#', ' ', '\t']).next().unwrap_or_default().to_owned();
    };
    let (mut plain, mut letters) = (String::new(), inside.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '\'' if letters.peek() == Some(&'\'') => plain.push(letters.next().unwrap_or('\'')),
            '\'' => break,
            '\\' => plain.push(letters.next().unwrap_or('\\')),
            other => plain.push(other),
        }
    }
    plain
}

/// The last value that a file gives a setting.
pub(super) fn value(text: &str, name: &str) -> Option<String> {
    lines(text).filter(|(found, _)| found == name).last().map(|(_, value)| plain(value))
}

/// Where a recovery goes, out of the settings that a restore wrote, and how its log is fetched here.
pub(super) fn recovery(auto: &str, restore_command: &str) -> String {
    let mut text = String::from("# As the restore was asked for it.\n");
    let mut kept: Vec<(String, &str)> = Vec::new();
    for (name, value) in lines(auto).filter(|(name, _)| STAYS.contains(&name.as_str())) {
        kept.retain(|(earlier, _)| *earlier != name);
        kept.push((name, value));
    }
    kept.iter().for_each(|(name, value)| text += &format!("{name} = {value}\n"));
    let quoted = restore_command.replace('\\', "\\\\").replace('\'', "''");
    text + &format!("restore_command = '{quoted}'\nrecovery_target_action = 'promote'\n")
}

/// Libraries that a server loaded at its start, as it or its files said.
pub(super) fn preloaded(files: &[String], listing: &str) -> Vec<String> {
    const NAME: &str = "shared_preload_libraries";
    let listed = listing.lines().find_map(|line| line.strip_prefix(NAME)?.strip_prefix('\t'));
    let listed = listed.map(|line| line.split('\t').next().unwrap_or_default().to_owned());
    let stated = listed.or_else(|| files.iter().rev().find_map(|text| value(text, NAME)));
    let stated = stated.unwrap_or_default();
    let names = stated.split(',').map(|name| name.trim().trim_matches('"').to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

/// The file of a library.
pub(super) fn library(name: &str, folder: &Path) -> PathBuf {
    let path = match name.strip_prefix("$libdir/") {
        Some(name) => folder.join(name),
        None => folder.join(name),
    };
    if path.extension().is_some() { path } else { path.with_extension("so") }
}

/// What stands on the command line.
pub(super) fn safe(
    major: u32,
    control: &Control,
    sockets: &str,
    preload: &[String],
) -> Vec<(String, String)> {
    const ALWAYS: [(&str, &str); 38] = [
        ("listen_addresses", ""),
        ("port", "5432"),
        ("unix_socket_permissions", "0700"),
        ("ssl", "off"),
        ("archive_mode", "off"),
        ("archive_command", ""),
        ("recovery_end_command", ""),
        ("archive_cleanup_command", ""),
        ("primary_conninfo", ""),
        ("primary_slot_name", ""),
        ("synchronous_standby_names", ""),
        ("hot_standby", "off"),
        ("max_worker_processes", "0"),
        ("max_logical_replication_workers", "0"),
        ("max_wal_senders", "0"),
        ("max_parallel_workers_per_gather", "0"),
        ("max_parallel_maintenance_workers", "0"),
        ("autovacuum", "off"),
        ("jit", "off"),
        ("huge_pages", "off"),
        ("shared_buffers", "128MB"),
        // Nothing but scratch can be written, and that is where it puts this.
        ("dynamic_shared_memory_type", "mmap"),
        ("session_preload_libraries", ""),
        ("local_preload_libraries", ""),
        ("default_tablespace", ""),
        ("temp_tablespaces", ""),
        ("external_pid_file", ""),
        ("restart_after_crash", "off"),
        ("logging_collector", "off"),
        ("log_destination", "stderr"),
        ("log_line_prefix", "%e "),
        ("log_error_verbosity", "terse"),
        ("log_min_messages", "warning"),
        ("log_min_error_statement", "panic"),
        ("log_statement", "none"),
        ("lc_messages", "C"),
        ("log_timezone", "UTC"),
        ("cluster_name", MARK),
    ];
    const LATER: [(u32, &str, &str); 5] = [
        (14, "recovery_init_sync_method", "syncfs"),
        (15, "archive_library", ""),
        (17, "event_triggers", "off"),
        (17, "summarize_wal", "off"),
        (17, "sync_replication_slots", "off"),
    ];
    let later = LATER.iter().filter(|(since, ..)| major >= *since).map(|(_, name, value)| (*name, *value));
    let mut all: Vec<(String, String)> =
        ALWAYS.into_iter().chain(later).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut add = |name: &str, value: String| all.push((name.to_owned(), value));
    add("unix_socket_directories", sockets.to_owned());
    add("shared_preload_libraries", preload.join(","));
    add("max_connections", control.max_connections.max(20).to_string());
    add("max_prepared_transactions", control.max_prepared.max(PREPARED_MIN).to_string());
    add("max_locks_per_transaction", control.max_locks.max(64).to_string());
    all
}

/// What sessions say for themselves: it wins over settings of roles and databases.
pub(crate) const SESSION: &str = "-c session_preload_libraries= -c local_preload_libraries= -c \
    default_transaction_read_only=off -c default_transaction_isolation=read\\ committed -c row_security=off -c \
    role=none -c temp_tablespaces= -c default_tablespace= -c session_replication_role=origin";

#[cfg(test)]
mod tests {
    use super::*;

    const AUTO: &str = "# x\nwork_mem = '8MB'\nrecovery_target_time = ''\nrecovery_target_lsn = '0/1'\n\
        recovery_target_lsn = '1/2000028'\nrestore_command = '/bin/x ''a'' \"%f\" \"%p\"'\narchive_mode = 'on'\n\
        recovery_target_action = 'pause'\nrecovery_target_timeline = '3'\nprimary_conninfo='host=x'\n";

    #[test]
    fn only_where_it_goes_stays_of_what_was_restored() {
        let text = recovery(AUTO, "cp -- '/s/a b'/\"%f\" \"%p\"");
        assert_eq!(
            text,
            "# As the restore was asked for it.\nrecovery_target_time = ''\nrecovery_target_lsn = '1/2000028'\n\
             recovery_target_timeline = '3'\nrestore_command = 'cp -- ''/s/a b''/\"%f\" \"%p\"'\n\
             recovery_target_action = 'promote'\n"
        );
        assert_eq!(value(AUTO, "restore_command").as_deref(), Some("/bin/x 'a' \"%f\" \"%p\""));
        assert_eq!(value("port 5433 # x", "port").as_deref(), Some("5433"));
        assert_eq!(value("", "port"), None);
    }

    #[test]
    fn libraries_are_those_that_the_server_had() {
        let files =
            ["shared_preload_libraries = 'a'".into(), "shared_preload_libraries='pg_cron, \"x\"'".into()];
        assert_eq!(preloaded(&files, ""), ["pg_cron", "x"]);
        let listing = "name\tsetting\nshared_preload_libraries\tauto_explain\t\\N\tconfiguration file\n";
        assert_eq!(preloaded(&files, listing), ["auto_explain"]);
        assert!(preloaded(&[], "").is_empty());
        assert_eq!(library("$libdir/x", Path::new("/l")), Path::new("/l/x.so"));
        assert_eq!(library("/own/y.so", Path::new("/l")), Path::new("/own/y.so"));
    }

    #[test]
    fn a_version_is_told_only_what_it_knows() {
        let control =
            Control { max_connections: 500, max_prepared: 900, max_locks: 10, ..Control::default() };
        let all = |major| safe(major, &control, "/s/w", &["a".into()]);
        let has = |major: u32, name: &str| all(major).into_iter().any(|(found, _)| found == name);
        assert!(!has(13, "recovery_init_sync_method") && has(14, "recovery_init_sync_method"));
        assert!(!has(16, "event_triggers") && has(17, "event_triggers"));
        let of = |name: &str| all(18).into_iter().find(|(found, _)| found == name).map(|(_, value)| value);
        assert_eq!(of("max_connections").as_deref(), Some("500"));
        assert_eq!(of("max_prepared_transactions").as_deref(), Some("900"));
        assert_eq!(of("max_locks_per_transaction").as_deref(), Some("64"));
        assert_eq!(of("shared_preload_libraries").as_deref(), Some("a"));
    }
}
