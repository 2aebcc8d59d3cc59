//! A view of the rows that stands still while apply goes on: what a snapshot is built from. sled has no such view, so
//! apply leaves the old value of every row it changes here first, and the reader prefers that to what it finds in
//! sled. Neither waits for the other longer than one page takes. Called by [`core`](super::core).

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::state::rows::{Change, Row};

/// One view. Rows not mentioned in it are as they were.
#[derive(Default)]
pub(crate) struct Frozen {
    before: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Frozen {
    /// Keeps what `changes` are about to overwrite, unless an earlier change did already.
    pub(crate) fn keep(&mut self, changes: &[Change]) {
        for change in changes {
            self.before
                .entry(change.key.clone())
                .or_insert_with(|| change.old.clone());
        }
    }

    /// Turns `rows`, read just now behind `after`, into what stood there when the view was taken. `full` says that
    /// more rows may follow, so the page reaches only to its last row.
    pub(crate) fn correct(&self, after: Option<&[u8]>, rows: Vec<Row>, full: bool) -> Page {
        let reach = if full {
            rows.last().map(|(key, _)| key.clone())
        } else {
            None
        };
        let low = after.map_or(Bound::Unbounded, Bound::Excluded);
        let high = reach.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let mut corrected: BTreeMap<Vec<u8>, Vec<u8>> = rows.into_iter().collect();
        for (key, old) in self.before.range::<[u8], _>((low, high)) {
            match old {
                Some(value) => corrected.insert(key.clone(), value.clone()),
                None => corrected.remove(key),
            };
        }
        Page {
            rows: corrected.into_iter().collect(),
            reach,
        }
    }
}

/// A part of a view.
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    /// Where the next page starts; `None` after the last one.
    pub(crate) reach: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, value: &str) -> Row {
        (key.into(), value.into())
    }

    fn change(key: &str, old: Option<&str>, new: Option<&str>) -> Change {
        Change {
            key: key.into(),
            old: old.map(Into::into),
            new: new.map(Into::into),
        }
    }

    #[test]
    fn a_view_shows_what_was_there_when_it_was_taken() {
        let mut view = Frozen::default();
        // a was changed twice, b deleted, c is new, e deleted behind the page.
        view.keep(&[
            change("a", Some("1"), Some("2")),
            change("b", Some("1"), None),
            change("c", None, Some("1")),
        ]);
        view.keep(&[change("a", Some("2"), Some("3")), change("e", Some("1"), None)]);
        let page = view.correct(None, vec![row("a", "3"), row("c", "1"), row("d", "1")], true);
        assert_eq!(page.rows, [row("a", "1"), row("b", "1"), row("d", "1")]);
        assert_eq!(page.reach.as_deref(), Some(b"d".as_slice()));
        let page = view.correct(page.reach.as_deref(), vec![], false);
        assert_eq!(page.rows, [row("e", "1")]);
        assert_eq!(page.reach, None);
    }
}
