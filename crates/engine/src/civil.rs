//! Days as numbers and as dates of the calendar that is in use everywhere.
//!
//! On purpose not here: time zones. Who has local time shifts the seconds first.

/// Seconds of a day.
pub(crate) const DAY: i64 = 86_400;

/// The date of a day that is counted from 1970-01-01: year, month, day of the month.
pub(crate) fn date_of(day: i64) -> (i64, i64, i64) {
    let days = day + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day of a date, counted from 1970-01-01. Months and days beyond their ends go on into the
/// next, and before their beginnings back into the last: February 30 is March 1 or 2.
pub(crate) fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = (year + (month - 1).div_euclid(12), (month - 1).rem_euclid(12) + 1);
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * shifted + 2) / 5;
    era * 146_097 + day_of_era - 719_468 + day - 1
}

/// The number of a day's week. Weeks begin with Monday, as in ISO 8601, so two days have the same
/// number exactly if they have the same ISO year and week.
pub(crate) fn week_of(day: i64) -> i64 {
    // The first day of 1970 was a Thursday.
    (day + 3).div_euclid(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_known() {
        for (day, date) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (11_016, (2000, 2, 29)),
            (47_482, (2100, 1, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date_of(day), date);
            assert_eq!(day_of(date.0, date.1, date.2), day);
        }
    }

    #[test]
    fn every_day_has_a_date_of_its_own() {
        let mut last = date_of(-800_001);
        for day in -800_000..800_000 {
            let date = date_of(day);
            assert!(date > last && (1..=12).contains(&date.1) && (1..=31).contains(&date.2), "{date:?}");
            assert_eq!(day_of(date.0, date.1, date.2), day);
            last = date;
        }
    }

    #[test]
    fn what_is_too_much_goes_on() {
        assert_eq!(day_of(2026, 2, 31), day_of(2026, 3, 3));
        assert_eq!(day_of(2026, 0, 1), day_of(2025, 12, 1));
        assert_eq!(day_of(2026, -11, 1), day_of(2025, 1, 1));
        assert_eq!(day_of(2026, 13, 1), day_of(2027, 1, 1));
        assert_eq!(day_of(2026, 1, 0), day_of(2025, 12, 31));
    }

    #[test]
    fn weeks_are_those_of_iso() {
        let week = |year, month, day| week_of(day_of(year, month, day));
        // 2020-W53 runs over the turn of the year, and 2019-12-30 is of 2020-W01 already.
        assert_eq!(week(2020, 12, 28), week(2021, 1, 3));
        assert_eq!(week(2021, 1, 3) + 1, week(2021, 1, 4));
        assert_eq!(week(2019, 12, 30), week(2020, 1, 5));
        assert_eq!(week(2019, 12, 29) + 1, week(2019, 12, 30));
        assert_eq!(week(2020, 12, 28) - week(2019, 12, 30), 52);
    }
}
