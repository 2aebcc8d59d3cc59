//! Instants as the repository stores them: RFC 3339 with nanoseconds, also before 1970.
//! No clock except `Timestamp::now`. Used by nodes, snapshots, locks and key files.

use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant: `secs` since 1970-01-01T00:00:00Z (negative before it) plus `nanos` (0 to 999,999,999) after that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    pub secs: i64,
    pub nanos: u32,
}

/// The text is not an RFC 3339 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time")]
pub struct InvalidTime;

const SECS_PER_DAY: i64 = 86_400;
/// RFC 3339 has four digits for the year: the first and the last second it can write.
const FIRST_SECOND: i64 = -62_167_219_200;
const LAST_SECOND: i64 = 253_402_300_799;

impl Timestamp {
    pub fn new(secs: i64, nanos: u32) -> Timestamp {
        Timestamp { secs, nanos }
    }

    /// The wall clock.
    pub fn now() -> Timestamp {
        SystemTime::now().into()
    }

    /// Whole seconds from `earlier` to `self`, negative if `self` is the earlier one.
    pub fn seconds_since(self, earlier: Timestamp) -> i64 {
        self.secs.saturating_sub(earlier.secs)
    }

    /// Writes the time as restic does: UTC, no trailing zeros in the fraction. Years outside 0 to 9999 become
    /// the nearest that can be written, because a wrong file time must not make a backup fail.
    pub(crate) fn write_to(self, out: &mut impl Write) -> fmt::Result {
        let (secs, nanos) = match self.secs {
            ..FIRST_SECOND => (FIRST_SECOND, 0),
            FIRST_SECOND..=LAST_SECOND => (self.secs, self.nanos.min(999_999_999)),
            _ => (LAST_SECOND, 999_999_999),
        };
        let (year, month, day) = date_of(secs.div_euclid(SECS_PER_DAY));
        let second = secs.rem_euclid(SECS_PER_DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            out,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        if nanos != 0 {
            let mut digits = nanos;
            let mut width = 9;
            while digits.is_multiple_of(10) {
                digits /= 10;
                width -= 1;
            }
            write!(out, ".{digits:0width$}")?;
        }
        out.write_char('Z')
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Timestamp::new(
                i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                after.subsec_nanos(),
            ),
            Err(error) => {
                let before = error.duration();
                let secs = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => Timestamp::new(-secs, 0),
                    nanos => Timestamp::new((-secs).saturating_sub(1), 1_000_000_000 - nanos),
                }
            }
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Timestamp, InvalidTime> {
        parse(text.as_bytes()).ok_or(InvalidTime)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

fn parse(text: &[u8]) -> Option<Timestamp> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    };
    let byte_is = |at: usize, wanted: u8| text.get(at).is_some_and(|b| b.eq_ignore_ascii_case(&wanted));
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !separators.iter().all(|&(at, wanted)| byte_is(at, wanted)) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if byte_is(at, b'.') {
        let digits = text[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let kept = digits.min(9);
        nanos = number(at + 1..at + 1 + kept)? * 10_i64.pow(u32::try_from(9 - kept).ok()?);
        at += 1 + digits;
    }
    let offset = match (text.get(at)?, text.len() - at) {
        (b'Z' | b'z', 1) => 0,
        (sign @ (b'+' | b'-'), 6) if byte_is(at + 3, b':') => {
            let seconds = number(at + 1..at + 3)? * 3600 + number(at + 4..at + 6)? * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    let secs = day_number(year, month, day) * SECS_PER_DAY + hour * 3600 + minute * 60 + second - offset;
    Some(Timestamp {
        secs,
        nanos: u32::try_from(nanos).ok()?,
    })
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar. Years are counted from March, so that the
/// leap day is the last one.
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let days_before_month = (153 * ((month + 9) % 12) + 2) / 5;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + days_before_month + day
        - 719_469
}

/// The inverse of `day_number`.
fn date_of(day_number: i64) -> (i64, i64, i64) {
    let days = day_number + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn texts_and_instants_agree() {
        let rows = [
            (0, 0, "1970-01-01T00:00:00Z"),
            (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
            (951_782_399, 120_000_000, "2000-02-28T23:59:59.12Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (1_709_251_199, 0, "2024-02-29T23:59:59Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00Z"),
            (-2_208_988_800, 0, "1900-01-01T00:00:00Z"),
            (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
            (-62_167_219_200, 0, "0000-01-01T00:00:00Z"),
            (253_402_300_799, 999_999_999, "9999-12-31T23:59:59.999999999Z"),
        ];
        for (secs, nanos, text) in rows {
            assert_eq!(Timestamp::new(secs, nanos).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp::new(secs, nanos)), "{text}");
        }
        assert_eq!(Timestamp::new(i64::MIN, 5).to_string(), "0000-01-01T00:00:00Z");
        assert_eq!(
            Timestamp::new(i64::MAX, 5).to_string(),
            "9999-12-31T23:59:59.999999999Z"
        );
    }

    #[test]
    fn offsets_are_understood() {
        let rows = [
            ("2022-06-01T12:00:00.5+02:00", 1_654_077_600, 500_000_000),
            ("2022-06-01T12:00:00.1234567899-00:30", 1_654_086_600, 123_456_789),
        ];
        for (text, secs, nanos) in rows {
            assert_eq!(text.parse(), Ok(Timestamp::new(secs, nanos)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let rows = [
            "",
            "2022",
            "2022-06-01T12:00:00",
            "2022-13-01T12:00:00Z",
            "2022-06-01T12:00:00.Z",
            "2022-06-01T12:00:00+2:00",
            "2022-06-01 12:00:00Z",
            "2022-06-01T12:00:00Zjunk",
            "2022-06-01T12:00:00é",
            "+022-06-01T12:00:00Z",
        ];
        for text in rows {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_day_of_two_eras_round_trips() {
        for day in -146_097..146_097 {
            let (year, month, dom) = super::date_of(day);
            assert_eq!(super::day_number(year, month, dom), day);
        }
    }
}
