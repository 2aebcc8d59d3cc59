//! What a restore has come to: its numbers, its exceptions, and what ends it. Decides nothing but whether it failed (S-14e).

use std::collections::BTreeMap;

use outlast_proto::v1::{FileException, JobError, RestoreEnd};
use outlast_proto::words::StatusCode;
use rustix::io::Errno;

use super::faults::words;
use super::metadata::Problem;
use crate::host::paths::{join, shown};

/// Kinds of problems that are only counted; of more, each is named.
const MOST_KINDS: usize = 64;

/// The numbers so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) bytes: u64,
    /// Not restored since something is there that stays.
    pub(super) left_alone: u64,
}

/// All of it.
pub(super) struct Account {
    /// `TO`, before every path.
    to: Vec<u8>,
    pub(super) settled: Settled,
    exceptions: Vec<FileException>,
    /// What the target cannot keep of very many files: said once, with a count.
    kinds: BTreeMap<(String, i32), Kind>,
    /// Nodes that are no directories, wanted at all.
    others: u64,
    /// Left alone as the rule says, and as they were to become, or not older.
    kept: u64,
    /// Directories that were to be restored, not only led to what was.
    chosen_directories: u64,
    /// The first node that could not be restored, and why.
    first_failure: Option<JobError>,
    fault: Option<JobError>,
}

struct Kind {
    path: Vec<u8>,
    text: String,
    count: u64,
}

impl Account {
    pub(super) fn new(to: &str) -> Self {
        Self {
            to: to.as_bytes().to_vec(),
            settled: Settled::default(),
            exceptions: Vec::new(),
            kinds: BTreeMap::new(),
            others: 0,
            kept: 0,
            chosen_directories: 0,
            first_failure: None,
            fault: None,
        }
    }

    /// Something that is no directory is wanted.
    pub(super) fn wants_other(&mut self) {
        self.others += 1;
    }

    /// Something that could not be restored as it should. After what ended the restore nothing is worth saying.
    pub(super) fn exception(&mut self, path: &[u8], reason: String) {
        if self.fault.is_none() {
            let path = self.shown(path);
            self.exceptions.push(FileException { path, reason });
        }
    }

    /// A node that could not be restored at all.
    pub(super) fn failed(&mut self, path: &[u8], code: StatusCode, reason: String) {
        self.is_missing(path, code, &reason);
        self.exception(path, reason);
    }

    /// As [`Account::failed`], of a file whose content the media agent could not read: who found that has said it.
    pub(super) fn unread(&mut self, path: &[u8]) {
        let reason = "the media agent could not read its content";
        self.is_missing(path, StatusCode::STORAGE_WRITE_ERROR, reason);
    }

    fn is_missing(&mut self, path: &[u8], code: StatusCode, reason: &str) {
        if self.first_failure.is_none() {
            let text = format!("{}: {reason}", self.shown(path));
            let code = code.0.into();
            self.first_failure = Some(JobError { code, text });
        }
    }

    /// What is there stays, as the rule has it, and nothing is missing.
    pub(super) fn kept(&mut self) {
        self.kept += 1;
        self.settled.left_alone += 1;
    }

    /// As [`Account::kept`], of what is not as it was to become: the rule chose it, so that it is no failure, but whoever restores is told.
    pub(super) fn kept_though_it_differs(&mut self, path: &[u8], reason: String) {
        self.kept();
        self.exception(path, reason);
    }

    /// A directory was left.
    pub(super) fn directory(&mut self, is_chosen: bool) {
        self.settled.directories += 1;
        self.chosen_directories += u64::from(is_chosen);
    }

    /// What is there stays, and it is not what was to be restored.
    pub(super) fn in_the_way(&mut self, path: &[u8], reason: String) {
        self.settled.left_alone += 1;
        self.failed(path, StatusCode::TARGET_NOT_WRITABLE, reason);
    }

    /// Nothing more can be restored.
    pub(super) fn ends(&mut self, path: &[u8], code: StatusCode, reason: &str) {
        let text = format!("{}: {reason}", self.shown(path));
        let code = code.0.into();
        self.fault.get_or_insert(JobError { code, text });
    }

    pub(super) fn has_ended(&self) -> bool {
        self.fault.is_some()
    }

    /// Notes what of a node's metadata could not be set.
    pub(super) fn problems(&mut self, path: &[u8], problems: Vec<Problem>) {
        let mut single = Vec::new();
        for Problem { what, kind, error } in problems {
            let text = error.map_or_else(|| what.clone(), |error| format!("{what}: {}", words(error)));
            let Some(error) = error.filter(|error| is_of_the_target(*error)) else {
                single.push(text);
                continue;
            };
            let key = (kind, error.raw_os_error());
            if let Some(kind) = self.kinds.get_mut(&key) {
                kind.count += 1;
            } else if self.kinds.len() < MOST_KINDS {
                let (path, count) = (path.to_vec(), 1);
                self.kinds.insert(key, Kind { path, text, count });
            } else {
                single.push(text);
            }
        }
        if !single.is_empty() {
            self.exception(path, single.join("; "));
        }
    }

    /// The exceptions since the last call.
    pub(super) fn take_exceptions(&mut self) -> Vec<FileException> {
        std::mem::take(&mut self.exceptions)
    }

    /// Says what was only counted so far.
    pub(super) fn close(&mut self) {
        for Kind {
            path,
            mut text,
            count,
        } in std::mem::take(&mut self.kinds).into_values()
        {
            if count > 1 {
                text += &format!("; the same of {} more", count - 1);
            }
            let path = self.shown(&path);
            self.exceptions.push(FileException { path, reason: text });
        }
    }

    /// The last word.
    pub(super) fn end(&self) -> RestoreEnd {
        let Settled {
            files,
            directories,
            bytes,
            left_alone,
        } = self.settled;
        RestoreEnd {
            files,
            directories,
            bytes,
            left_alone,
            error: self.error(),
        }
    }

    fn error(&self) -> Option<JobError> {
        let Settled {
            files, left_alone, ..
        } = self.settled;
        if let Some(fault) = &self.fault {
            let text = format!("{}; {files} files are finished and stay", fault.text);
            return Some(JobError {
                text,
                ..fault.clone()
            });
        }
        // Directories made on the way to files that failed are nothing.
        let is_nothing = files == 0 && self.kept == 0 && (self.others > 0 || self.chosen_directories == 0);
        let first = self.first_failure.as_ref().filter(|_| is_nothing)?;
        let text = match left_alone {
            0 => format!("nothing was restored; the first cause: {}", first.text),
            _ => format!(
                "nothing was restored, {left_alone} left alone; the first cause: {}",
                first.text
            ),
        };
        Some(JobError {
            text,
            ..first.clone()
        })
    }

    fn shown(&self, path: &[u8]) -> String {
        shown(&join(&self.to, path))
    }
}

/// Whether the target, or the rights of who restores, are why this cannot be set: then it is so of many files.
fn is_of_the_target(error: Errno) -> bool {
    matches!(
        error,
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::ACCESS
    )
}

#[cfg(test)]
mod tests {
    use outlast_proto::words::StatusCode;
    use rustix::io::Errno;

    use super::Account;
    use crate::restore::metadata::Problem;

    fn problem(kind: &str, error: Errno) -> Problem {
        Problem {
            what: format!("its {kind} could not be set"),
            kind: kind.to_owned(),
            error: Some(error),
        }
    }

    #[test]
    fn s14e_what_a_target_cannot_keep_is_said_once_with_a_count() {
        let mut account = Account::new("/to");
        for number in 0..100_000 {
            let path = format!("file-{number}");
            let mut problems = vec![problem("access list", Errno::OPNOTSUPP)];
            if number % 2 == 0 {
                problems.push(problem("owner", Errno::PERM));
            }
            if number == 7 {
                problems.push(problem("mode", Errno::IO));
            }
            account.problems(path.as_bytes(), problems);
        }
        account.close();
        let told = account.take_exceptions();
        let told: Vec<_> = told
            .iter()
            .map(|told| (told.path.as_str(), told.reason.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "/to/file-7",
                    "its mode could not be set: Input/output error (os error 5)"
                ),
                (
                    "/to/file-0",
                    "its access list could not be set: Operation not supported (os error 95); the same of 99999 more"
                ),
                (
                    "/to/file-0",
                    "its owner could not be set: Operation not permitted (os error 1); the same of 49999 more"
                ),
            ]
        );
        assert_eq!(account.end().error, None);
    }

    #[test]
    fn s14e_nothing_restored_is_a_failure_and_what_was_left_alone_is_not() {
        let fails = |account: &mut Account| {
            account.wants_other();
            account.failed(b"a", StatusCode::TARGET_NOT_WRITABLE, "too large".to_owned());
        };
        let mut account = Account::new("/to");
        fails(&mut account);
        (0..3).for_each(|_| account.directory(true));
        let error = account.end().error.unwrap();
        assert_eq!(error.code, 1201);
        assert!(error.text.contains("/to/a: too large"), "{}", error.text);
        // What is there and differs is not what was to be restored.
        account.wants_other();
        account.in_the_way(b"b", "left alone".to_owned());
        let error = account.end().error.unwrap();
        assert!(
            error.text.contains("nothing was restored, 1 left alone"),
            "{}",
            error.text
        );
        // What is there and is the same was.
        account.wants_other();
        account.kept();
        assert_eq!((account.end().error, account.end().left_alone), (None, 2));
        // Directories alone are something, but not those on the way.
        let mut account = Account::new("/to");
        account.failed(b"a", StatusCode::TARGET_NOT_WRITABLE, "in the way".to_owned());
        assert!(account.end().error.is_some());
        account.directory(false);
        assert!(account.end().error.is_some());
        account.directory(true);
        assert_eq!(account.end().error, None);
        // What ends it is said once, and nothing after it.
        account.ends(b"c", StatusCode::TARGET_FULL, "full");
        account.ends(b"d", StatusCode::TARGET_NOT_WRITABLE, "away");
        account.exception(b"e", "too".to_owned());
        let error = account.end().error.unwrap();
        assert_eq!(
            (error.code, error.text.as_str()),
            (1202, "/to/c: full; 0 files are finished and stay")
        );
        assert_eq!(account.take_exceptions().len(), 1);
    }
}
