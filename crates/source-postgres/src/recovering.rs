//! What a restored server is told of its recovery: up to where, along which timeline, by which
//! command it fetches its log, and what comes then.
//!
//! Every setting of a target is written, also those that are empty: one that stands in another file
//! would be a second target, with which the server refuses to start. On purpose not here: whether it can
//! be reached.

use crate::point::Goal;
use holdfast_core::entry::Time;

/// What a server does once it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It opens, on a timeline of its own.
    Promote,
    /// It can be read, and waits to be told.
    Pause,
    /// It ends.
    Shutdown,
}

/// Where a recovery goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Up to where.
    pub goal: Goal,
    /// It stops before that.
    pub exclusive: bool,
    /// Number of the timeline that it goes along; none for the newest, as a standby does.
    pub timeline: Option<u32>,
    /// What comes then.
    pub then: Then,
    /// It stays a standby.
    pub standby: bool,
    /// How the server fetches its log: a line for a shell, in which %f and %p stand for the file.
    pub restore_command: String,
}

/// What is written for a restored server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovering {
    /// Where it goes; none if the log that came along is all.
    pub recovery: Option<Recovery>,
    /// It may write into the archive, as the old server did.
    pub archives: bool,
}

impl Recovering {
    /// The file that tells a server to recover; none if it does so by itself.
    #[must_use]
    pub fn signal(&self) -> Option<&'static str> {
        self.recovery
            .as_ref()
            .map(|recovery| if recovery.standby { "standby.signal" } else { "recovery.signal" })
    }

    /// Whether it stops at a record, however far the log goes on.
    #[must_use]
    pub fn stops_at_record(&self) -> bool {
        self.recovery.as_ref().is_some_and(|recovery| matches!(recovery.goal, Goal::Lsn(_)))
    }

    /// The settings.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let Some(recovery) = &self.recovery else { return Vec::new() };
        let mut text = String::from("# Recovery, as this restore was asked for it.\n");
        for (name, value) in recovery.settings() {
            text += &format!("{name} = {}\n", quoted(&value));
        }
        text.into_bytes()
    }
}

impl Recovery {
    /// All settings, by name.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let of = |goal: Option<String>| goal.unwrap_or_default();
        let goal = &self.goal;
        let mut targets = [
            ("recovery_target", matches!(goal, Goal::Immediate).then(|| "immediate".to_owned())),
            (
                "recovery_target_time",
                if let Goal::Time(time) = goal { Some(moment(time.time())) } else { None },
            ),
            ("recovery_target_lsn", if let Goal::Lsn(lsn) = goal { Some(lsn.to_string()) } else { None }),
            ("recovery_target_xid", if let Goal::Xid(xid) = goal { Some(xid.to_string()) } else { None }),
            ("recovery_target_name", if let Goal::Name(name) = goal { Some(name.clone()) } else { None }),
        ];
        // The server takes them in this order, and refuses an empty one that comes after the target.
        targets.sort_by_key(|(_, goal)| goal.is_some());
        let mut settings = vec![("restore_command", self.restore_command.clone())];
        settings.extend(targets.map(|(name, goal)| (name, of(goal))));
        let timeline = self.timeline.map_or_else(|| "latest".to_owned(), |timeline| timeline.to_string());
        settings.push(("recovery_target_timeline", timeline));
        settings.push(("recovery_target_inclusive", if self.exclusive { "off" } else { "on" }.to_owned()));
        let then = match self.then {
            Then::Promote => "promote",
            Then::Pause => "pause",
            Then::Shutdown => "shutdown",
        };
        settings.push(("recovery_target_action", then.to_owned()));
        settings
    }
}

/// A moment as the server reads it whatever its time zone: it takes no `Z`.
fn moment(time: Time) -> String {
    let second = time.seconds.rem_euclid(DAY);
    let (year, month, day) = date_of(time.seconds.div_euclid(DAY));
    let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
    let micros = time.nanos / 1000;
    format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}.{micros:06}+00")
}

const DAY: i64 = 86_400;

/// Day of the calendar of a day since 1970. (Hinnant, "chrono-Compatible Low-Level Date Algorithms".)
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// A value as it stands in a file of settings.
fn quoted(value: &str) -> String {
    let mut quoted = String::from("'");
    for letter in value.chars() {
        match letter {
            '\'' => quoted += "''",
            '\\' => quoted += "\\\\",
            '\n' => quoted += "\\n",
            '\r' => quoted += "\\r",
            other => quoted.push(other),
        }
    }
    quoted + "'"
}

/// The words of a command as a shell takes them, in a setting in which `%` is special.
#[must_use]
pub fn shell_line(words: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-:=@+,".contains(&b))
    };
    let quoted = words.iter().map(|word| {
        let word = word.replace('%', "%%");
        if plain(&word) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;
    use crate::records::PgTime;

    fn recovery(goal: Goal) -> Recovery {
        Recovery {
            goal,
            exclusive: false,
            timeline: Some(3),
            then: Then::Pause,
            standby: false,
            restore_command: "/bin/holdfast wal fetch \"%f\" \"%p\"".to_owned(),
        }
    }

    fn written(recovery: Recovery) -> String {
        let recovering = Recovering { recovery: Some(recovery), archives: false };
        String::from_utf8_lossy(&recovering.text()).into_owned()
    }

    #[test]
    fn one_target_is_stated_and_the_others_are_empty() {
        let time = Time { seconds: 1_772_245_805, nanos: 123_456_789 };
        for (goal, line) in [
            (Goal::Immediate, "recovery_target = 'immediate'"),
            (Goal::Time(PgTime::from(time)), "recovery_target_time = '2026-02-28 02:30:05.123456+00'"),
            (Goal::Lsn(Lsn(0x1_0200_0028)), "recovery_target_lsn = '1/2000028'"),
            (Goal::Xid(7), "recovery_target_xid = '7'"),
            (Goal::Name("it's \\ a".into()), "recovery_target_name = 'it''s \\\\ a'"),
            (Goal::Latest, "recovery_target_timeline = '3'"),
        ] {
            let text = written(recovery(goal.clone()));
            let set = text.lines().filter(|line| line.starts_with("recovery_target")).collect::<Vec<_>>();
            assert!(set.contains(&line), "{text}");
            // A server refuses an empty one behind that which counts.
            assert!(goal == Goal::Latest || text.rfind("= ''\n") < text.find(line), "{text}");
            let empty = if goal == Goal::Latest { 5 } else { 4 };
            assert_eq!(set.iter().filter(|line| line.ends_with("= ''")).count(), empty, "{text}");
            assert!(text.contains("restore_command = '/bin/holdfast wal fetch \"%f\" \"%p\"'"), "{text}");
        }
    }

    #[test]
    fn a_standby_follows_the_newest_timeline() {
        let standby = Recovery { standby: true, timeline: None, exclusive: true, ..recovery(Goal::Latest) };
        let text = written(standby.clone());
        assert!(
            text.contains("recovery_target_timeline = 'latest'") && text.contains("inclusive = 'off'"),
            "{text}"
        );
        let recovering = Recovering { recovery: Some(standby), archives: false };
        assert_eq!(recovering.signal(), Some("standby.signal"));
        assert_eq!((Recovering::default().signal(), Recovering::default().text()), (None, Vec::new()));
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let at = |seconds| moment(Time { seconds, nanos: 0 });
        assert_eq!(at(0), "1970-01-01 00:00:00.000000+00");
        assert_eq!(at(951_782_399), "2000-02-28 23:59:59.000000+00");
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00.000000+00");
        assert_eq!(at(1_735_689_599), "2024-12-31 23:59:59.000000+00");
        assert_eq!(at(-1), "1969-12-31 23:59:59.000000+00");
    }

    #[test]
    fn words_reach_the_program_as_they_are() {
        let words = ["/usr/bin/holdfast", "-r", "s3://b/x?endpoint=http://h:1&a=b", "it's 100%", ""];
        let line = shell_line(&words.map(str::to_owned));
        assert_eq!(line, r"/usr/bin/holdfast -r 's3://b/x?endpoint=http://h:1&a=b' 'it'\''s 100%%' ''");
    }
}
