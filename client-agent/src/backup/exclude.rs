//! What a policy leaves out: gitignore patterns, matched against paths relative to the item's root.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use outlast_proto::v1::FileException;

/// The patterns of one policy.
pub(super) struct Exclude(Gitignore);

impl Exclude {
    /// Compiles the patterns. One that cannot be understood leaves nothing out, and an exception says so: a backup
    /// that holds too much is better than none.
    pub(super) fn new(patterns: &[String]) -> (Self, Vec<FileException>) {
        let mut builder = GitignoreBuilder::new("");
        let mut exceptions = Vec::new();
        for pattern in patterns {
            if let Err(error) = builder.add_line(None, pattern) {
                exceptions.push(unusable(pattern, &error));
            }
        }
        let compiled = builder.build().unwrap_or_else(|error| {
            exceptions.push(unusable(&patterns.join(", "), &error));
            Gitignore::empty()
        });
        (Self(compiled), exceptions)
    }

    /// Whether the entry is left out, with all below it if it is a directory.
    pub(super) fn leaves_out(&self, relative: &[u8], is_folder: bool) -> bool {
        !self.0.is_empty()
            && self
                .0
                .matched(Path::new(OsStr::from_bytes(relative)), is_folder)
                .is_ignore()
    }
}

fn unusable(pattern: &str, error: &ignore::Error) -> FileException {
    FileException {
        path: pattern.to_owned(),
        reason: format!("this exclude pattern cannot be used and leaves nothing out: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::Exclude;

    #[test]
    fn patterns_are_those_of_gitignore_relative_to_the_item() {
        let patterns = [
            "**/.cache",
            "*.tmp",
            "/only-top",
            "build/",
            "logs/*",
            "!logs/keep",
        ];
        let (exclude, exceptions) = Exclude::new(&patterns.map(str::to_owned));
        assert!(exceptions.is_empty());
        for (path, is_folder, out) in [
            (&b".cache"[..], true, true),
            (b"a/b/.cache", true, true),
            (b"a/x.tmp", false, true),
            (b"a/x.tmpl", false, false),
            (b"only-top", false, true),
            (b"a/only-top", false, false),
            (b"a/build", true, true),
            (b"a/build", false, false),
            (b"logs/today", false, true),
            (b"logs/keep", false, false),
            (b"caf\xe9.tmp", false, true),
        ] {
            assert_eq!(exclude.leaves_out(path, is_folder), out, "{path:?}");
        }
    }

    #[test]
    fn s02_a_pattern_that_is_none_is_an_exception() {
        let (exclude, exceptions) = Exclude::new(&["a{b".to_owned(), "*.o".to_owned()]);
        assert_eq!(exceptions.len(), 1);
        assert_eq!(exceptions[0].path, "a{b");
        assert!(exclude.leaves_out(b"x.o", false));
    }
}
