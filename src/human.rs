//! Sizes, durations and times as people read them; for tables and reports only, never for JSON.

use std::fmt::Write as _;

pub(crate) use outlast_kit::human::size;

/// `80.0 MiB/s`.
pub(crate) fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", size(bytes_per_second))
}

/// `1h 02m 03s`, the two or three largest units; below a minute with a tenth of a second.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 59.95 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    let (days, hours, minutes, rest) = (whole / 86400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}m {rest:02}s"),
        (0, _) => format!("{hours}h {minutes:02}m {rest:02}s"),
        _ => format!("{days}d {hours}h {minutes:02}m"),
    }
}

/// `2026-01-02 03:04:05Z`.
pub(crate) fn time(time: Option<jiff::Timestamp>) -> String {
    time.map_or_else(nothing, |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// From one moment to another, as far as both are known.
pub(crate) fn elapsed(from: Option<jiff::Timestamp>, to: Option<jiff::Timestamp>) -> String {
    seconds_between(from, to).map_or_else(nothing, duration)
}

/// The seconds from one moment to another, not below 0.
pub(crate) fn seconds_between(from: Option<jiff::Timestamp>, to: Option<jiff::Timestamp>) -> Option<f64> {
    Some(to?.duration_since(from?).as_secs_f64().max(0.0))
}

/// A text, or `-` where it is not known.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(nothing, |value| value.to_string())
}

/// What stands where nothing is known.
pub(crate) fn nothing() -> String {
    "-".to_owned()
}

/// The text without anything a terminal would obey, or that shows it in another order than it has, or not at all: file names may
/// hold escape sequences, line ends, and marks that turn the direction of writing.
pub(crate) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            let _ = write!(clean, "\\x{:02X}", u32::from(c));
        } else if misleads(c) {
            let _ = write!(clean, "\\u{{{:04X}}}", u32::from(c));
        } else {
            clean.push(c);
        }
    }
    clean
}

/// How a name that is not UTF-8 is written, on the command line too; none if it is.
pub(crate) fn as_written(name: &std::ffi::OsStr) -> Option<String> {
    if name.to_str().is_some() {
        return None;
    }
    let mut written = String::new();
    for part in name.as_encoded_bytes().utf8_chunks() {
        written.push_str(part.valid());
        for byte in part.invalid() {
            let _ = write!(written, "\\x{byte:02x}");
        }
    }
    Some(written)
}

/// What is not seen itself, but changes what is seen: directions, line ends, tags, and what takes no place. Joiners stay: scripts and
/// emoji need them.
const fn misleads(c: char) -> bool {
    matches!(
        c,
        '\u{061C}'
            | '\u{180E}'
            | '\u{200B}'
            | '\u{200E}'
            | '\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}'
    )
}

#[cfg(test)]
mod tests {
    use super::{clean, duration};

    #[test]
    fn durations() {
        for (seconds, expected) in [
            (-1.0, "0.0s"),
            (0.04, "0.0s"),
            (59.9, "59.9s"),
            (59.96, "1m 00s"),
            (61.0, "1m 01s"),
            (3600.0, "1h 00m 00s"),
            (90061.0, "1d 1h 01m"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn a_file_name_cannot_drive_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc"), "a\\x1B[2Jb\\x0Ac");
        assert_eq!(clean("a\u{9B}2J\u{7F}"), "a\\x9B2J\\x7F");
        assert_eq!(clean("/home/ä"), "/home/ä");
    }

    #[test]
    fn t90_a13_a_file_name_cannot_look_like_another() {
        assert_eq!(clean("inv\u{202E}fdp.exe"), "inv\\u{202E}fdp.exe");
        let marks = [
            '\u{61C}',
            '\u{200B}',
            '\u{200E}',
            '\u{200F}',
            '\u{2028}',
            '\u{2029}',
            '\u{202A}',
            '\u{202D}',
            '\u{2066}',
            '\u{2069}',
            '\u{FEFF}',
            '\u{E0041}',
        ];
        for mark in marks {
            let shown = clean(&format!("a{mark}b"));
            assert_eq!(shown, format!("a\\u{{{:04X}}}b", u32::from(mark)));
        }
        // Letters that are written from right to left are no marks, nor is what joins letters or emoji.
        for name in [
            "שלום.txt",
            "سلام",
            "می\u{200C}خواهم",
            "👩\u{200D}💻",
            "é",
            "e\u{301}",
        ] {
            assert_eq!(clean(name), name);
        }
    }
}
