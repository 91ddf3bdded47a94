//! Zones by their IANA names.
//!
//! On purpose not here: the zone of this host. A policy means the same wherever it is read.

use jiff::tz::{TimeZone, db};

/// The zone with a name; UTC without one. Where the host has no database of zones, the one that the
/// program brings along is used.
///
/// # Errors
/// There is none of that name; with the nearest that there is.
pub fn zone(name: Option<&str>) -> Result<TimeZone, String> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    TimeZone::get(name).map_err(|_| {
        let meant = nearest(name).map(|name| format!(": did you mean {name}?")).unwrap_or_default();
        format!("there is no time zone `{name}`{meant} Write an IANA name, as Asia/Seoul or UTC")
    })
}

/// The name that is most like a misspelt one, if any is like it at all.
fn nearest(name: &str) -> Option<String> {
    let wanted = name.to_lowercase();
    let city = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let likeness = |known: &str| {
        let known = known.to_lowercase();
        // Who writes only the city, or the wrong continent, means the city.
        let whole = strsim::jaro_winkler(&known, &wanted);
        whole.max(strsim::jaro_winkler(&city(&known), &city(&wanted)) - 0.01)
    };
    let all = db().available().map(|known| known.as_str().to_owned());
    let scored = all.map(|known| (likeness(&known), known)).filter(|(score, _)| *score > 0.85);
    scored.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(&a.1))).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn zones_have_names() {
        assert_eq!(zone(None).unwrap(), TimeZone::UTC);
        assert_eq!(zone(Some("Asia/Seoul")).unwrap().iana_name(), Some("Asia/Seoul"));
    }

    #[test]
    fn a_misspelt_zone_is_told_with_the_nearest() {
        for (wrong, right) in [
            ("Asia/Soul", "Asia/Seoul"),
            ("Europe/Berln", "Europe/Berlin"),
            ("Berlin", "Europe/Berlin"),
            ("America/New York", "America/New_York"),
        ] {
            let told = zone(Some(wrong)).unwrap_err();
            assert!(told.contains(&format!("did you mean {right}?")), "{told}");
        }
        assert!(!zone(Some("%%%")).unwrap_err().contains("mean"));
    }
}
