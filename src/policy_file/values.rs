//! Values with a unit, as policy files write them: `"15m"`, `"20MiB/s"`. The same text comes out as goes in.

use std::fmt;
use std::time::Duration;

use outlast_proto::words::Seconds;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration in whole seconds, such as `"15m"` or `"1h 30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period(pub(crate) Seconds);

/// Bytes per second, such as `"20MiB/s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate(pub(super) u64);

/// The name of a time zone, such as `"Europe/Berlin"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone(pub(super) String);

const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

fn parse_period(text: &str) -> Option<Period> {
    let duration = humantime::parse_duration(text).ok()?;
    (duration.subsec_nanos() == 0).then_some(Period(Seconds(duration.as_secs())))
}

/// A host without tables of time zones knows none and so cannot say that one is wrong.
fn parse_zone(text: &str) -> Option<Zone> {
    let tables = jiff::tz::db();
    let known = tables.is_definitively_empty() || tables.get(text).is_ok();
    (known && !text.is_empty()).then(|| Zone(text.to_owned()))
}

fn parse_rate(text: &str) -> Option<Rate> {
    let size = text.strip_suffix("/s")?.trim_end();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((size.strip_suffix(name)?, *unit)))?;
    number.trim().parse::<u64>().ok()?.checked_mul(unit).map(Rate)
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(Duration::from_secs(self.0.0)).fmt(f)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The largest unit that gives a whole number.
        let (name, unit) = UNITS
            .iter()
            .filter(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit))
            .max_by_key(|(_, unit)| *unit)
            .unwrap_or(&("B", 1));
        write!(f, "{}{name}/s", self.0 / unit)
    }
}

/// Reads a text by `parse` and says what was expected where it cannot.
struct Text<T> {
    parse: fn(&str) -> Option<T>,
    expecting: &'static str,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text {
            parse: parse_period,
            expecting: "a duration such as \"15m\"",
        })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text {
            parse: parse_rate,
            expecting: "a rate such as \"20MiB/s\"",
        })
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text {
            parse: parse_zone,
            expecting: "a time zone such as \"Europe/Berlin\"",
        })
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use outlast_proto::words::Seconds;

    use super::{Period, Rate, parse_period, parse_rate};

    #[test]
    fn periods() {
        for (text, expected) in [
            ("15m", Some(900)),
            ("1h 30m", Some(5400)),
            ("8h", Some(28800)),
            ("0s", Some(0)),
            ("500ms", None),
            ("15", None),
            ("15x", None),
            ("", None),
            ("-1s", None),
        ] {
            assert_eq!(
                parse_period(text),
                expected.map(|s| Period(Seconds(s))),
                "{text:?}"
            );
        }
    }

    #[test]
    fn rates() {
        for (text, expected, shown) in [
            ("20MiB/s", Some(20 << 20), "20MiB/s"),
            ("1024KiB/s", Some(1 << 20), "1MiB/s"),
            ("1000 kB/s", Some(1_000_000), "1MB/s"),
            ("7B/s", Some(7), "7B/s"),
            ("0B/s", Some(0), "0B/s"),
            ("20MiB", None, ""),
            ("20/s", None, ""),
            ("MiB/s", None, ""),
            ("-1MiB/s", None, ""),
            ("99999999TiB/s", None, ""),
        ] {
            let rate = parse_rate(text);
            assert_eq!(rate, expected.map(Rate), "{text:?}");
            if let Some(rate) = rate {
                assert_eq!(rate.to_string(), shown);
            }
        }
    }
}
