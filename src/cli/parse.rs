//! Values on the command line that need more than a number: durations, moments, words of the specification, files to read.

use std::path::Path;
use std::time::Duration;

use crate::wire::Word;

/// What errors call a file, and its text; `-` is standard input.
pub(super) fn text_of(file: &Path) -> (String, std::io::Result<String>) {
    if file == Path::new("-") {
        return (
            "standard input".to_owned(),
            std::io::read_to_string(std::io::stdin()),
        );
    }
    (file.display().to_string(), std::fs::read_to_string(file))
}

/// `10s`, `1m 30s`, or plain seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|_| "expected a duration such as 10s".to_owned())
}

/// As [`duration`], in whole seconds; `default` is 0: as the level above has it.
pub(super) fn threshold(text: &str) -> Result<u64, String> {
    if text == "default" {
        return Ok(0);
    }
    match duration(text)?.as_secs() {
        0 => Err("expected at least 1s, or default for what the level above has".to_owned()),
        seconds => Ok(seconds),
    }
}

/// `on` or `off`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("expected on or off".to_owned()),
    }
}

/// A moment: RFC 3339, a date (its beginning in UTC), or how long ago (`24h`).
pub(super) fn moment(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && let Ok(midnight) = date.to_zoned(jiff::tz::TimeZone::UTC)
    {
        return Ok(midnight.timestamp());
    }
    let ago = humantime::parse_duration(text)
        .ok()
        .and_then(|ago| jiff::SignedDuration::try_from(ago).ok());
    ago.and_then(|ago| jiff::Timestamp::now().checked_sub(ago).ok())
        .ok_or_else(|| {
            "expected a time such as 2026-01-31T12:00:00Z, a date, or how long ago, such as 24h".to_owned()
        })
}

/// One of the words the specification has for a state, a status and so on.
pub(super) fn word<W: Word>(text: &str) -> Result<W, String> {
    let known = W::ALL.iter().copied().find(|known| known.word() == text);
    known.ok_or_else(|| {
        let words: Vec<_> = W::ALL.iter().map(|known| known.word()).collect();
        format!("there are {}", words.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outlast_proto::words::JobState;

    use super::{duration, moment, threshold, word};

    #[test]
    fn durations() {
        for (text, expected) in [
            ("10s", Some(10)),
            ("10", Some(10)),
            ("1m 30s", Some(90)),
            ("x", None),
        ] {
            assert_eq!(duration(text).ok(), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn thresholds() {
        for (text, expected) in [
            ("10s", Some(10)),
            ("default", Some(0)),
            ("0", None),
            ("0s", None),
            ("500ms", None),
            ("x", None),
        ] {
            assert_eq!(threshold(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn moments() {
        for (text, expected) in [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00Z"),
            ("2026-01-31", "2026-01-31T00:00:00Z"),
        ] {
            assert_eq!(moment(text).unwrap().to_string(), expected);
        }
        let hour_ago = jiff::Timestamp::now().as_second() - 3600;
        assert!((moment("1h").unwrap().as_second() - hour_ago).abs() <= 5);
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn words() {
        assert_eq!(
            word::<JobState>("waiting_for_retry"),
            Ok(JobState::WaitingForRetry)
        );
        let error = word::<JobState>("unspecified").unwrap_err();
        assert_eq!(
            error,
            "there are queued, active, stopping, incomplete, waiting_for_retry, suspended, held, done"
        );
    }
}
