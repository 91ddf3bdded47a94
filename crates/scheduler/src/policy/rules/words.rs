//! What single words of a policy may be: names, addresses, times of day, parts.
//!
//! Each function says what is wrong and what to do. On purpose not here: where they stand.

/// What is wrong, and what to do.
pub(super) type Reason = (String, String);

fn reason<T>(what: impl Into<String>, next: impl Into<String>) -> Result<T, Reason> {
    Err((what.into(), next.into()))
}

/// The name of a policy, a source or a copy.
pub(super) fn name(text: &str) -> Result<(), Reason> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let fits = bytes.first().is_some_and(|first| plain(*first))
        && bytes.iter().all(|byte| plain(*byte) || b"._-".contains(byte))
        && bytes.len() <= 64;
    if fits {
        return Ok(());
    }
    reason(
        "this is no name",
        "up to 64 small letters, digits, `.`, `_` and `-`, with a letter or digit in front",
    )
}

/// A time of day.
pub(super) fn time_of_day(text: &str) -> Result<(), Reason> {
    let two = |text: &str, most: u8| {
        text.len() == 2
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse().is_ok_and(|n: u8| n <= most)
    };
    match text.split_once(':') {
        Some((hour, minute)) if two(hour, 23) && two(minute, 59) => Ok(()),
        _ => reason(format!("`{text}` is no time of day"), "write hours and minutes: \"06:00\""),
    }
}

/// A day.
pub(super) fn day(text: &str) -> Result<(), Reason> {
    match text.parse::<jiff::civil::Date>() {
        Ok(_) => Ok(()),
        Err(_) => reason(format!("`{text}` is no day"), "write year, month and day: 2027-06-30"),
    }
}

/// What `policy coverage` lists: a mount point, the folder of a cluster, a bucket.
pub(super) fn listed(text: &str) -> Result<(), Reason> {
    match text.starts_with('/') || text.starts_with("s3://") {
        true => Ok(()),
        false => reason(
            format!("`{text}` is nothing that is listed"),
            "write it as `holdfast policy coverage` shows it: /mnt/cache, s3://tmp",
        ),
    }
}

/// A reason that somebody gave.
pub(super) fn stated(text: &str) -> Result<(), Reason> {
    match text.trim().is_empty() {
        true => reason("no reason is given", "say why nobody wants it back"),
        false => Ok(()),
    }
}

/// `5%`, `10GiB` or `unlimited`, as `prune --max-unused` takes it.
pub(super) fn max_unused(text: &str) -> Result<(), Reason> {
    let percent = |text: &str| text.trim().parse().is_ok_and(|part: f64| (0.0..100.0).contains(&part));
    let fits = match text.strip_suffix('%') {
        Some(part) => percent(part),
        None => text == "unlimited" || is_size(text),
    };
    if fits { Ok(()) } else { reason(format!("`{text}` is no limit"), "write 5%, 10GiB or unlimited") }
}

/// `5%`, `1/7` or `500M`, as `check --read-data-subset` takes it.
pub(super) fn subset(text: &str) -> Result<(), Reason> {
    let fits = match (text.strip_suffix('%'), text.split_once('/')) {
        (Some(part), _) => part.trim().parse().is_ok_and(|part: f64| part > 0.0 && part <= 100.0),
        (_, Some((part, of))) => match (part.trim().parse::<u64>(), of.trim().parse::<u64>()) {
            (Ok(part), Ok(of)) => 1 <= part && part <= of,
            _ => false,
        },
        _ => is_size(text) && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)),
    };
    if fits { Ok(()) } else { reason(format!("`{text}` is no part"), "write 5%, 1/7 or 500M") }
}

fn is_size(text: &str) -> bool {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim());
    let units = ["", "B", "K", "KiB", "M", "MiB", "G", "GiB", "T", "TiB", "P", "PiB"];
    number.parse().is_ok_and(|number: f64| number.is_finite()) && units.contains(&unit)
}

/// Where a repository is: a path or a bucket.
pub(super) fn repository(text: &str) -> Result<(), Reason> {
    match text.split_once("://") {
        _ if text.trim().is_empty() => reason("this is no place", "write /path or s3://bucket/prefix"),
        None => Ok(()),
        Some(("file", path)) if path.starts_with('/') => Ok(()),
        Some(("s3", _)) => bucket(text),
        Some((scheme, _)) => {
            reason(format!("there are no repositories at `{scheme}://`"), "write /path or s3://bucket/prefix")
        }
    }
}

/// A bucket.
pub(super) fn bucket(text: &str) -> Result<(), Reason> {
    let example = "write s3://bucket/prefix?endpoint=https://host&region=eu-west-1";
    let Some(rest) = text.strip_prefix("s3://") else { return reason("this is no bucket", example) };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let bucket = path.split('/').next().unwrap_or_default();
    if bucket.is_empty() || bucket.chars().any(|c| c.is_whitespace() || c == '@') {
        return reason("it names no bucket", example);
    }
    match query.split('&').find(|part| !part.is_empty() && !part.contains('=')) {
        Some(part) => reason(format!("`{part}` in it has no value"), example),
        None => Ok(()),
    }
}

/// A cluster of PostgreSQL.
pub(super) fn cluster(text: &str) -> Result<(), Reason> {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    match rest {
        Some(_) => Ok(()),
        None => reason("this is no cluster", "write postgres://user@host:port/"),
    }
}

/// A server that takes mail.
pub(super) fn mail_server(text: &str) -> Result<(), Reason> {
    let rest = text.strip_prefix("smtps://").or_else(|| text.strip_prefix("smtp://"));
    match rest {
        Some(rest) if !rest.is_empty() => Ok(()),
        _ => reason("this is no server for mail", "write smtps://user@host:port"),
    }
}

/// The name of an environment variable.
pub(super) fn variable(text: &str) -> Result<(), Reason> {
    let fits = !text.is_empty()
        && !text.as_bytes()[0].is_ascii_digit()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if fits {
        return Ok(());
    }
    // It may be the secret itself: it is not repeated.
    reason("this is no name of a variable", "write the name of the variable, not what it holds")
}

/// A slot of a server.
pub(super) fn slot(text: &str) -> Result<(), Reason> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if (1..=63).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(());
    }
    reason(format!("`{text}` is no name of a slot"), "up to 63 small letters, digits and `_`")
}

/// A name of a file, without a folder.
pub(super) fn file_name(text: &str) -> Result<(), Reason> {
    if text.is_empty() || text == "." || text == ".." || text.contains(['/', '\0']) {
        return reason(format!("`{text}` is no name of a file"), "write a name without a folder: dump.sql");
    }
    Ok(())
}

/// `database.schema.table`.
pub(super) fn table(text: &str) -> Result<(), Reason> {
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() == 3 && parts.iter().all(|part| !part.is_empty()) {
        return Ok(());
    }
    reason(format!("`{text}` is no table"), "write database.schema.table")
}

/// Whether there is a password in something that is written like a URL.
pub(super) fn holds_password(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let user = rest[..end].rsplit_once('@').map(|(user, _)| user);
    let in_front =
        user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty());
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    in_front
        || query.split('&').any(|part| part.split_once('=').is_some_and(|(key, value)| is_secret(key, value)))
}

/// Whether a word with such a name is a secret.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    let secret = [
        "password",
        "passwd",
        "secret",
        "token",
        "passphrase",
        "sslpassword",
        "secret_access_key",
        "secret_key",
    ];
    !value.is_empty() && secret.iter().any(|word| name == *word || name.ends_with(&format!("_{word}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_small() {
        for good in ["shop", "db-1", "a.b_c", "0"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in ["", "Shop", "-a", ".a", "a/b", "a b", "né"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_in_addresses_are_seen() {
        for bad in [
            "postgres://user:pw@db/",
            "s3://key:secret@bucket/x",
            "https://a:b@c",
            "postgres://user@db/?password=x",
            "s3://bucket/x?secret_access_key=x",
            "https://host/?token=x",
        ] {
            assert!(holds_password(bad), "{bad}");
        }
        for good in [
            "postgres://user@db:5432/",
            "s3://bucket/a:b@c?endpoint=http://host:80",
            "postgres://u@h/?passfile=/x",
            "user:pw@db",
            "postgres://user:@db",
        ] {
            assert!(!holds_password(good), "{good}");
        }
    }

    #[test]
    fn parts_and_limits_are_those_of_the_verbs() {
        for good in ["5%", "1/7", "500M", "10GiB", "0.5%"] {
            assert!(subset(good).is_ok(), "{good}");
        }
        for bad in ["", "0%", "101%", "8/7", "0/7", "much", "0"] {
            assert!(subset(bad).is_err(), "{bad}");
        }
        assert!(["0%", "7.5%", "10G", "0", "unlimited"].iter().all(|text| max_unused(text).is_ok()));
        assert!(["", "%", "100%", "NaN%", "much"].iter().all(|text| max_unused(text).is_err()));
    }

    #[test]
    fn times_slots_and_tables() {
        assert!(time_of_day("06:00").is_ok() && time_of_day("23:59").is_ok());
        assert!(["6:00", "24:00", "06:60", "0600", "+6:00"].iter().all(|text| time_of_day(text).is_err()));
        assert!(table("shop.public.orders").is_ok() && table("orders").is_err() && table("a..b").is_err());
        assert!(slot("holdfast_1").is_ok() && slot("Hold").is_err() && slot("").is_err());
        assert!(variable("A_1").is_ok() && variable("1A").is_err() && variable("hunter2!").is_err());
    }
}
