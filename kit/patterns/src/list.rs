//! The patterns of one policy in their order: the last one that is about a path decides.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::glob::{GlobFault, Respelled};
use crate::pattern::respelled_line;

/// Exclude patterns, compiled.
pub struct Patterns {
    compiled: Gitignore,
    /// As the library and as the policy has them; those that match nothing are not here.
    spellings: Vec<(String, String)>,
}

/// A pattern that can match nothing, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// As the policy has it.
    pub pattern: String,
    /// For people.
    pub reason: String,
}

impl Patterns {
    /// Compiles them. One that cannot be used leaves nothing out and is named: a backup that holds too much is better than none.
    #[must_use]
    pub fn new(patterns: &[String]) -> (Self, Vec<Unusable>) {
        let (mut builder, mut spellings, mut unusable) = (GitignoreBuilder::new(""), Vec::new(), Vec::new());
        let mut refuse = |pattern: String, fault: GlobFault| {
            let reason = fault.to_string();
            unusable.push(Unusable { pattern, reason });
        };
        for pattern in patterns {
            match added(&mut builder, pattern) {
                Ok(Some(spelled)) => spellings.push((spelled.glob, pattern.clone())),
                Ok(None) => {}
                Err(fault) => refuse(pattern.clone(), fault),
            }
        }
        let compiled = builder.build().unwrap_or_else(|error| {
            refuse(patterns.join(", "), GlobFault::Other(error.to_string()));
            spellings.clear();
            Gitignore::empty()
        });
        (Self { compiled, spellings }, unusable)
    }

    /// Whether `relative`, a path below the item, is left out; with all below it if it is a directory. A path in a directory that is
    /// left out is not to be asked for: nothing takes it back in.
    #[must_use]
    pub fn leaves_out(&self, relative: &[u8], is_folder: bool) -> bool {
        !self.spellings.is_empty() && self.matched(relative, is_folder).is_ignore()
    }

    /// The pattern that leaves it out, as the policy has it.
    #[must_use]
    pub fn culprit(&self, relative: &[u8], is_folder: bool) -> Option<&str> {
        let found = self.matched(relative, is_folder);
        let glob = found.inner().filter(|_| found.is_ignore())?;
        let is_it = |(spelled, _): &&(String, String)| spelled == glob.original();
        self.spellings
            .iter()
            .rev()
            .find(is_it)
            .map(|(_, pattern)| pattern.as_str())
    }

    fn matched(&self, relative: &[u8], is_folder: bool) -> ignore::Match<&ignore::gitignore::Glob> {
        self.compiled
            .matched(Path::new(OsStr::from_bytes(relative)), is_folder)
    }
}

/// Adds one line; returns it as the library has it, none if it names nothing.
pub(crate) fn added(builder: &mut GitignoreBuilder, pattern: &str) -> Result<Option<Respelled>, GlobFault> {
    let Some(spelled) = respelled_line(pattern)? else {
        return Ok(None);
    };
    builder
        .add_line(None, &spelled.glob)
        .map_err(|error| GlobFault::Other(error.to_string()))?;
    Ok(Some(spelled))
}

#[cfg(test)]
mod tests {
    use super::Patterns;

    /// Judged by git in `tests/git.rs`; this is what its table stands for where there is no git.
    #[test]
    fn patterns_are_those_of_gitignore_relative_to_the_item() {
        let list = [
            "**/.cache",
            "*.tmp",
            "/only-top",
            "build/",
            "logs/*",
            "!logs/keep",
            "*.py{}",
        ];
        let (patterns, unusable) = Patterns::new(&list.map(str::to_owned));
        assert_eq!(unusable, []);
        for (path, is_folder, out) in [
            (&b".cache"[..], true, Some(0)),
            (b"a/b/.cache", true, Some(0)),
            (b"a/x.tmp", false, Some(1)),
            (b"a/x.tmpl", false, None),
            (b"only-top", false, Some(2)),
            (b"a/only-top", false, None),
            (b"a/build", true, Some(3)),
            (b"a/build", false, None),
            (b"logs/today", false, Some(4)),
            (b"logs/keep", false, None),
            (b"caf\xe9.tmp", false, Some(1)),
            (b"a.py", false, None),
            (b"a.py{}", false, Some(6)),
        ] {
            assert_eq!(patterns.leaves_out(path, is_folder), out.is_some(), "{path:?}");
            assert_eq!(
                patterns.culprit(path, is_folder),
                out.map(|place| list[place]),
                "{path:?}"
            );
        }
    }

    #[test]
    fn s02_a_pattern_that_is_none_is_named_and_the_others_work() {
        let (patterns, unusable) = Patterns::new(&["a[b".to_owned(), "*.o".to_owned()]);
        assert_eq!(unusable.len(), 1);
        assert_eq!(unusable[0].pattern, "a[b");
        assert!(patterns.leaves_out(b"x.o", false));
    }

    /// Backtracking would take years.
    #[test]
    fn t90_no_pattern_takes_longer_than_its_length_times_that_of_the_path() {
        let many = "**/a*".repeat(200) + "b";
        let (patterns, _) = Patterns::new(&[many, format!("{}b", "*a".repeat(1000))]);
        let path = "a/a".repeat(1000);
        assert!(!patterns.leaves_out(path.as_bytes(), false));
        assert!(!patterns.leaves_out("a".repeat(4000).as_bytes(), false));
    }
}
