//! Exceptions of an attempt: all counted, the first of them journalled by name, in bounded batches (S-02).
//!
//! Used by `backup`, and by the media agent's restores.

use std::collections::HashSet;

use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{ExceptionsFound, FileException};
use outlast_proto::words::MAX_EXCEPTIONS;
use outlast_proto::words::limits::{MOST_EXCEPTION_PATH, MOST_EXCEPTION_REASON};

use crate::fault::shorten;

/// When so many wait they are journalled before the item ends.
const BATCH: usize = 100;

/// The exceptions of an attempt so far.
#[derive(Clone, Debug, Default)]
pub struct ExceptionLog {
    count: u64,
    named: usize,
    waiting: Vec<FileException>,
    before_item: u64,
    /// Those named since the item began, for its checkpoints.
    of_item: Vec<FileException>,
    /// Journalled in an earlier walk through the item: path and reason.
    told: HashSet<(String, String)>,
}

impl ExceptionLog {
    /// Another one.
    pub fn add(&mut self, exception: FileException) {
        self.count += 1;
        let exception = FileException {
            path: shorten(exception.path, MOST_EXCEPTION_PATH),
            reason: shorten(exception.reason, MOST_EXCEPTION_REASON),
        };
        if !self.told.is_empty()
            && self
                .told
                .remove(&(exception.path.clone(), exception.reason.clone()))
        {
            self.of_item.push(exception);
        } else if self.named < MAX_EXCEPTIONS {
            self.named += 1;
            self.of_item.push(exception.clone());
            self.waiting.push(exception);
        }
    }

    /// Another item begins.
    pub fn begin_item(&mut self) {
        self.before_item = self.count;
        self.of_item = Vec::new();
        self.told = HashSet::new();
    }

    /// The item is walked again from its beginning: what is met again counts once, and is named once.
    pub fn begin_item_again(&mut self) {
        let waiting = std::mem::take(&mut self.waiting).len();
        self.named -= waiting;
        self.count = self.before_item;
        let mut named = std::mem::take(&mut self.of_item);
        named.truncate(named.len().saturating_sub(waiting));
        self.told.extend(named.into_iter().map(|it| (it.path, it.reason)));
    }

    /// How many the item has so far.
    #[must_use]
    pub fn count_of_item(&self) -> u64 {
        self.count - self.before_item
    }

    /// Those of the item that are named.
    #[must_use]
    pub fn of_item(&self) -> &[FileException] {
        &self.of_item
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// A full batch, if there is one.
    pub fn take_batch(&mut self, item: u32) -> Option<What> {
        (self.waiting.len() >= BATCH).then(|| self.take(item)).flatten()
    }

    /// What waits.
    pub fn take(&mut self, item: u32) -> Option<What> {
        if self.waiting.is_empty() {
            return None;
        }
        Some(What::Exceptions(ExceptionsFound {
            item,
            exceptions: std::mem::take(&mut self.waiting),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::ExceptionLog;
    use outlast_proto::v1::FileException;
    use outlast_proto::v1::journal_event::What;

    #[test]
    fn s02_all_are_counted_and_the_first_thousand_named() {
        let mut log = ExceptionLog::default();
        let mut named = 0;
        for n in 0..2500 {
            log.add(FileException {
                path: format!("/{n}"),
                reason: "ä".repeat(2000),
            });
            if let Some(What::Exceptions(found)) = log.take_batch(0) {
                assert!(found.exceptions.len() <= 100);
                assert!(found.exceptions.iter().all(|e| e.reason.len() < 1100));
                named += found.exceptions.len();
            }
        }
        assert!(log.take(0).is_none());
        assert_eq!((log.count(), named), (2500, 1000));
    }
}
