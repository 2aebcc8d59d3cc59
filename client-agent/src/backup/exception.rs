//! What cannot be backed up as it should, as the media agent is told of it: within its limits, however long a path is.

use outlast_proto::v1::FileException;
use outlast_proto::words::limits::{MOST_EXCEPTION_PATH, MOST_EXCEPTION_REASON};

use crate::host::paths::shown;

/// What a message takes beside its strings.
const AROUND: usize = 64;

pub(super) fn exception(path: &[u8], mut reason: String) -> FileException {
    let mut path = shown(path);
    cut_off(&mut path, MOST_EXCEPTION_PATH);
    cut_off(&mut reason, MOST_EXCEPTION_REASON);
    FileException { path, reason }
}

/// What it takes of memory and messages, about.
pub(super) fn cost(exception: &FileException) -> usize {
    AROUND + exception.path.len() + exception.reason.len()
}

fn cut_off(text: &mut String, most: usize) {
    const MARK: &str = "...";
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most - MARK.len()));
        text.push_str(MARK);
    }
}

#[cfg(test)]
mod tests {
    use super::exception;

    #[test]
    fn t90_s14d_a_path_of_any_length_is_told_within_the_limits() {
        let long = exception("\u{e4}".repeat(16_000).as_bytes(), "why".repeat(1000));
        assert!(long.path.len() <= 8192 && long.path.ends_with("\u{e4}..."));
        assert!(long.reason.len() <= 1024 && long.reason.starts_with("whywhy"));
        let short = exception(b"/a", "b".into());
        assert_eq!((short.path.as_str(), short.reason.as_str()), ("/a", "b"));
    }
}
