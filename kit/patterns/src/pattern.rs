//! One line of gitignore: what is around the glob (`!`, the slash at the end, blanks).

use crate::glob::{GlobFault, Respelled, respelled};

/// The parts of a line.
pub(crate) struct Line<'a> {
    pub(crate) is_exception: bool,
    only_folders: bool,
    /// Without "!", blanks at the end, and the slash at the end.
    pub(crate) body: &'a str,
}

impl<'a> Line<'a> {
    /// None for a comment.
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        if text.starts_with('#') {
            return None;
        }
        let text = trimmed(text.strip_suffix('\r').unwrap_or(text));
        let (is_exception, text) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (only_folders, body) = match text.strip_suffix('/') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        Some(Self {
            is_exception,
            only_folders,
            body,
        })
    }

    /// The same line about another path.
    pub(crate) fn like(&self, body: &str) -> String {
        let (before, after) = (
            if self.is_exception { "!" } else { "" },
            if self.only_folders { "/" } else { "" },
        );
        format!("{before}{body}{after}")
    }
}

/// `text` as the library that matches reads it; none if it names nothing (a comment, nothing but blanks).
pub(crate) fn respelled_line(text: &str) -> Result<Option<Respelled>, GlobFault> {
    match Line::of(text) {
        Some(line) if !line.body.is_empty() => {
            let Respelled { glob, backwards } = respelled(line.body)?;
            let glob = line.like(&glob);
            Ok(Some(Respelled { glob, backwards }))
        }
        _ => Ok(None),
    }
}

/// Without the blanks at its end, unless a backslash stands before them.
fn trimmed(text: &str) -> &str {
    let (mut end, mut escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        if escaped || byte != b' ' {
            end = at + 1;
        }
        escaped = !escaped && byte == b'\\';
    }
    &text[..end]
}
