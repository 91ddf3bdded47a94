//! The point up to which a cluster is recovered, as people write it.
//!
//! A time without an offset is refused: nobody knows at night in which zone a log was read. On purpose
//! not here: whether the point can be reached.

use crate::args::{AndThen, Recover};
use crate::fault::Fault;
use crate::ink::{escape, local_offset, parse_time};
use crate::wire_up::{Choice, Lsn, PgTime, Then, Wish, WishedTarget};

const HOW: &str =
    "write --to latest, immediate, time=2026-01-31T02:15:00+09:00, lsn=16/B374D848, xid=4711 or name=TEXT";
/// Longest name of a restore point, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// Reads what is wished; without `--to` that is the end of the log.
pub(super) fn wish(recover: &Recover) -> Result<Wish, Fault> {
    let target = recover.to.as_deref().map_or(Ok(WishedTarget::Latest), target)?;
    let choice = recover.timeline.as_deref().map(|text| {
        Choice::parse(text).ok_or_else(|| {
            let what = format!("--timeline {} is no timeline", escape(text.as_bytes()));
            Fault::usage(what, "write its number, or number and history as `holdfast wal status` shows them")
        })
    });
    let wish = Wish { target, exclusive: recover.exclusive, choice: choice.transpose()? };
    refuse(recover, &wish)?;
    Ok(wish)
}

/// Nothing that was asked for is passed over in silence.
fn refuse(recover: &Recover, wish: &Wish) -> Result<(), Fault> {
    let refused = |what: &str, hint: &str| Err(Fault::usage(what, hint));
    let named = !matches!(wish.target, WishedTarget::Latest | WishedTarget::Immediate);
    if recover.exclusive && !named {
        return refused("--exclusive needs a target to stop before", "add --to time=, lsn= or xid=");
    }
    if recover.exclusive && matches!(wish.target, WishedTarget::Name(_)) {
        return refused(
            "--exclusive: a server stops at a restore point, never before it",
            "leave --exclusive out",
        );
    }
    if recover.timeline.is_some() && wish.target == WishedTarget::Immediate {
        return refused(
            "--timeline: up to where the files are consistent there is one timeline only",
            "leave it out",
        );
    }
    if recover.standby && (wish.target != WishedTarget::Latest || recover.then.is_some()) {
        let hint = "leave --to and --then out; for a copy at one moment leave --standby out";
        return refused("--standby: a standby replays the log for ever", hint);
    }
    Ok(())
}

/// What the server does once it is there.
pub(super) fn then(recover: &Recover, wish: &Wish) -> Then {
    let named = !matches!(wish.target, WishedTarget::Latest | WishedTarget::Immediate);
    match recover.then {
        Some(AndThen::Promote) => Then::Promote,
        Some(AndThen::Pause) => Then::Pause,
        Some(AndThen::Shutdown) => Then::Shutdown,
        None if named => Then::Pause,
        None => Then::Promote,
    }
}

fn target(text: &str) -> Result<WishedTarget, Fault> {
    let odd = |why: &str| {
        let what = format!("--to {} {why}", escape(text.as_bytes()));
        Fault::usage(what, HOW)
    };
    match text.split_once('=') {
        None if text == "latest" => Ok(WishedTarget::Latest),
        None if text == "immediate" => Ok(WishedTarget::Immediate),
        Some(("time", time)) => moment(time).map(WishedTarget::Time),
        Some(("lsn", lsn)) => {
            Lsn::parse(lsn).map(WishedTarget::Lsn).ok_or_else(|| odd("is no place in a log"))
        }
        Some(("xid", xid)) => {
            xid.parse().map(WishedTarget::Xid).map_err(|_| odd("is no number of a transaction"))
        }
        Some(("name", "")) => Err(odd("has no name")),
        Some(("name", name)) if name.len() > NAME_BYTES_MAX => {
            Err(odd("is longer than the name of a restore point"))
        }
        Some(("name", name)) => Ok(WishedTarget::Name(name.to_owned())),
        _ => Err(odd("says nothing that a cluster can be recovered to")),
    }
}

/// Reads a moment, which has to say in which zone it is.
pub(crate) fn moment(text: &str) -> Result<PgTime, Fault> {
    let time = parse_time(text)
        .map_err(|what| Fault::usage(format!("time={}: {what}", escape(text.as_bytes())), HOW))?;
    if text.starts_with('@') || has_offset(text) {
        return Ok(PgTime::from(time));
    }
    let offset = local_offset(time);
    let (sign, ahead) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs());
    let here = format!("{text}{sign}{:02}:{:02}", ahead / 3600, ahead / 60 % 60);
    let what = format!("time={} does not say in which zone it is", escape(text.as_bytes()));
    Err(Fault::usage(what, format!("did you mean {here} (the zone of this machine) or {text}Z?")))
}

/// Whether a time ends in an offset; dates have hyphens too.
fn has_offset(text: &str) -> bool {
    let Some(at) = text.find(['T', 't', ' ']) else { return false };
    text[at + 1..].contains(['Z', 'z', '+', '-'])
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::fault::Code;

    fn recover(to: &str) -> Recover {
        Recover { to: Some(to.to_owned()), ..Recover::default() }
    }

    fn read(to: &str) -> Result<WishedTarget, Fault> {
        wish(&recover(to)).map(|wish| wish.target)
    }

    #[test]
    fn targets_are_read() {
        assert_eq!(wish(&Recover::default()).unwrap().target, WishedTarget::Latest);
        assert_eq!(read("immediate"), Ok(WishedTarget::Immediate));
        assert_eq!(read("lsn=1/2000028"), Ok(WishedTarget::Lsn(Lsn(0x1_0200_0028))));
        assert_eq!(read("xid=7"), Ok(WishedTarget::Xid(7)));
        assert_eq!(read("name=a=b"), Ok(WishedTarget::Name("a=b".into())));
        let time = |text: &str| read(&format!("time={text}")).unwrap();
        assert_eq!(time("2026-01-31T02:15:00+09:00"), time("2026-01-30T17:15:00Z"));
        assert_eq!(time("2026-01-31 02:15:00.5-01"), time("2026-01-31T03:15:00.500Z"));
        assert_eq!(time("@1764000000"), time("2025-11-24T16:00:00Z"));
        for odd in
            ["", "newest", "time=", "time=yesterday", "lsn=7", "xid=-1", "name=", "when=now", "latest="]
        {
            assert_eq!(read(odd).unwrap_err().code, Code::Usage, "{odd}");
        }
    }

    #[test]
    fn a_time_says_in_which_zone_it_is() {
        for text in ["2026-01-31T02:15:00", "2026-01-31 02:15", "2026-01-31"] {
            let fault = read(&format!("time={text}")).unwrap_err();
            assert_eq!(fault.code, Code::Usage);
            assert!(
                fault.hint.starts_with("did you mean") && fault.hint.contains(&format!("{text}Z")),
                "{fault:?}"
            );
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let base = Recover::default();
        for odd in [
            Recover { exclusive: true, ..base.clone() },
            Recover { exclusive: true, ..recover("immediate") },
            Recover { exclusive: true, ..recover("name=x") },
            Recover { timeline: Some("1".into()), ..recover("immediate") },
            Recover { timeline: Some("x".into()), ..base.clone() },
            Recover { standby: true, ..recover("xid=1") },
            Recover { standby: true, then: Some(AndThen::Pause), ..base.clone() },
        ] {
            assert_eq!(wish(&odd).unwrap_err().code, Code::Usage, "{odd:?}");
        }
        let of = |recover: &Recover| then(recover, &wish(recover).unwrap());
        assert_eq!((of(&base), of(&recover("xid=1"))), (Then::Promote, Then::Pause));
        assert_eq!(of(&Recover { then: Some(AndThen::Shutdown), ..base }), Then::Shutdown);
    }
}
