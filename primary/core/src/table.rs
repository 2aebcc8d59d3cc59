//! A replicated table: rows in memory, and a note of which changed, so that the store writes only those.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version byte before every stored row. A new layout of a row gets a new number and a reader for the old one.
pub(crate) const ROW_FORMAT: u8 = 1;

/// A row that cannot be read back: the store is damaged or newer than this program.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a stored row of table {table} cannot be read: {reason}")]
pub struct DamagedRow {
    /// The table's letter.
    pub table: char,
    /// What the decoder said.
    pub reason: String,
}

/// A change to the store: the key, and the row or its removal.
pub type RowChange = (Vec<u8>, Option<Vec<u8>>);

/// Rows of one kind, ordered by key.
#[derive(Clone, Debug)]
pub struct Table<K, V> {
    letter: u8,
    format: u8,
    rows: BTreeMap<K, V>,
    changed: BTreeSet<K>,
}

impl<K, V> Table<K, V>
where
    K: Ord + Clone + Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    /// An empty table whose rows are stored under `letter`.
    #[must_use]
    pub const fn new(letter: u8) -> Self {
        Self {
            letter,
            format: ROW_FORMAT,
            rows: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Whose rows have this layout.
    #[must_use]
    pub const fn in_format(mut self, format: u8) -> Self {
        self.format = format;
        self
    }

    /// The row of `key`.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        looked::at_one();
        self.rows.get(key)
    }

    /// The row of `key`, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        self.changed.insert(key.clone());
        Some(row)
    }

    /// Puts a row, replacing any.
    pub fn insert(&mut self, key: K, row: V) {
        self.changed.insert(key.clone());
        self.rows.insert(key, row);
    }

    /// Takes a row out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let row = self.rows.remove(key)?;
        self.changed.insert(key.clone());
        Some(row)
    }

    /// All rows by rising key.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.iter().inspect(|_| looked::at_one())
    }

    /// Rows of a range of keys.
    pub fn range(&self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.range(range).inspect(|_| looked::at_one())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Every row counts as changed.
    pub(crate) fn touch_all(&mut self) {
        self.changed = self.rows.keys().cloned().collect();
    }

    /// The keys of what changed since the last call, which are not told again.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<K> {
        std::mem::take(&mut self.changed)
    }

    /// Moves the changes since the last call into `out`.
    pub(crate) fn take_changes(&mut self, out: &mut Vec<RowChange>) {
        for key in std::mem::take(&mut self.changed) {
            let row = self.rows.get(&key).map(|row| encode_row(self.format, row));
            out.push((self.store_key(&key), row));
        }
    }

    /// Puts a row that is stored already.
    pub(crate) fn load_row(&mut self, key: K, row: V) {
        self.rows.insert(key, row);
    }

    /// Takes up a stored row if it is of this table.
    pub(crate) fn load(&mut self, key: &[u8], row: &[u8]) -> Result<bool, DamagedRow> {
        let Some((&letter, key)) = key.split_first() else {
            return Err(self.damaged("empty key"));
        };
        if letter != self.letter {
            return Ok(false);
        }
        let row = match row.split_first() {
            Some((&format, row)) if format == self.format => row,
            Some((format, _)) => {
                return Err(self.damaged(format!("row format {format} is not known to this version")));
            }
            None => return Err(self.damaged("empty row")),
        };
        let key = self.read_key(key)?;
        let row = rmp_serde::from_slice(row).map_err(|e| self.damaged(e))?;
        self.rows.insert(key, row);
        Ok(true)
    }

    /// The key, without its letter.
    pub(crate) fn read_key(&self, key: &[u8]) -> Result<K, DamagedRow> {
        rmp_serde::from_slice(key).map_err(|e| self.damaged(e))
    }

    pub(crate) fn store_key(&self, key: &K) -> Vec<u8> {
        let mut bytes = vec![self.letter];
        rmp_serde::encode::write(&mut bytes, key)
            .expect("keys are plain data and writing to memory cannot fail");
        bytes
    }

    pub(crate) fn damaged(&self, reason: impl ToString) -> DamagedRow {
        DamagedRow {
            table: self.letter.into(),
            reason: reason.to_string(),
        }
    }
}

/// A row as it is stored in this layout.
pub(crate) fn encode_row<V: Serialize>(format: u8, row: &V) -> Vec<u8> {
    let mut bytes = vec![format];
    rmp_serde::encode::write_named(&mut bytes, row)
        .expect("rows are plain data and writing to memory cannot fail");
    bytes
}

/// How many rows this thread has looked at: what a decision costs, without a clock. Only in builds with debug assertions.
pub mod looked {
    #[cfg(debug_assertions)]
    std::thread_local! {
        static ROWS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    pub(super) fn at_one() {
        #[cfg(debug_assertions)]
        ROWS.with(|rows| rows.set(rows.get() + 1));
    }

    /// So far.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn at() -> u64 {
        ROWS.with(std::cell::Cell::get)
    }
}
