//! The applied rows in sled. The only file that names sled. Knows rows and their meta record, not what they mean.
//! [`core`](super::core) writes through it.
//!
//! A sled tree `rows-<generation>` holds one generation: the meta record under key `[0]`, rows under `[1] + key`. The
//! default tree says which generation counts. A batch of changes and the meta record go in one sled batch; a snapshot
//! is written into the next generation and becomes the current one by one record, so a crash leaves one or the other.
//!
//! sled has been seen to open a damaged file with fewer rows and no word. The meta record therefore carries the number
//! of rows and the sum of their checksums, kept with every change and compared at start. Nothing here is synced: rows
//! that do not check are rebuilt ([`open`](super::open)).

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::format::{self, FormatError, LogIdForm, MembershipForm};
use crate::peer::NodeId;
use crate::state::terms::Terms;

const META_VERSION: u8 = 1;
const CURRENT_VERSION: u8 = 1;
const CURRENT: &[u8] = b"current";
const META: &[u8] = &[0];
const ROW: u8 = 1;
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
const INSTALL_BATCH: usize = 1_000;
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// A row: key and value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// What stands beside the rows, always in the same batch as they.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) node_id: NodeId,
    pub(crate) applied: Option<LogIdForm>,
    pub(crate) membership: MembershipForm,
    pub(crate) tally: Tally,
    /// Empty in rows of before it was kept.
    #[serde(default, skip_serializing_if = "Terms::is_empty")]
    pub(crate) terms: Terms,
}

/// How many rows there are, and the sum of their checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    pub(crate) sum: u64,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows with the checksum {:016x}", self.rows, self.sum)
    }
}

impl Tally {
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(checksum(key, value));
    }

    fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(checksum(key, value));
    }
}

fn checksum(key: &[u8], value: &[u8]) -> u64 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&(key.len() as u64).to_be_bytes());
    crc.update(key);
    crc.update(value);
    u64::from(crc.finalize())
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Current {
    generation: u64,
}

#[derive(Debug, Error)]
pub(crate) enum RowsFault {
    #[error("nothing is stored")]
    Missing,
    #[error("sled panicked")]
    Panicked,
    #[error("{tally} were stored, {found} are there")]
    Tally { tally: Tally, found: Tally },
    #[error("a stored record is bad")]
    Format(#[from] FormatError),
    #[error("{}", in_words(.0))]
    Sled(#[from] sled::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// sled writes its own types into its texts.
fn in_words(error: &sled::Error) -> String {
    match error {
        sled::Error::Corruption { .. } => "sled found damage in its file".to_owned(),
        error => format!("sled: {error}"),
    }
}

impl RowsFault {
    /// Rights, room or another process: an empty store could be opened no better. Everything else, a disk that cannot
    /// read it included, is a matter of what lies there.
    pub(crate) fn is_system(&self) -> bool {
        let (RowsFault::Io(error) | RowsFault::Sled(sled::Error::Io(error))) = self else {
            return false;
        };
        matches!(
            error.kind(),
            io::ErrorKind::PermissionDenied
                | io::ErrorKind::WouldBlock
                | io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::ReadOnlyFilesystem
        )
    }
}

impl From<RowsFault> for io::Error {
    fn from(fault: RowsFault) -> Self {
        io::Error::other(fault)
    }
}

/// The current generation of rows.
pub(crate) struct Rows {
    db: sled::Db,
    tree: sled::Tree,
    generation: u64,
    meta: Meta,
}

impl Rows {
    /// Makes an empty store.
    pub(crate) fn create(dir: &Path, node_id: NodeId) -> Result<Self, RowsFault> {
        let db = open_db(dir)?;
        let meta = Meta {
            node_id,
            applied: None,
            membership: MembershipForm::default(),
            tally: Tally::default(),
            terms: Terms::default(),
        };
        let tree = db.open_tree(tree_name(0))?;
        tree.insert(META, format::encode(META_VERSION, &meta)?)?;
        db.insert(
            CURRENT,
            format::encode(CURRENT_VERSION, &Current { generation: 0 })?,
        )?;
        let rows = Self {
            db,
            tree,
            generation: 0,
            meta,
        };
        rows.flush()?;
        Ok(rows)
    }

    /// Opens what is there, checks it, and returns the rows with it.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Vec<Row>), RowsFault> {
        if !dir.join("db").exists() {
            return Err(RowsFault::Missing);
        }
        // On damage sled panics, with a message of its own on stderr.
        catch_unwind(AssertUnwindSafe(|| Self::open_and_check(dir))).unwrap_or(Err(RowsFault::Panicked))
    }

    fn open_and_check(dir: &Path) -> Result<(Self, Vec<Row>), RowsFault> {
        let db = open_db(dir)?;
        let current = db.get(CURRENT)?.ok_or(RowsFault::Missing)?;
        let Current { generation } = format::decode(CURRENT_VERSION, &current)?;
        for name in db.tree_names() {
            // Left by a crash while a snapshot was installed, before it counted or after its predecessor ceased to.
            if name.starts_with(b"rows-") && name != tree_name(generation).as_bytes() {
                db.drop_tree(name)?;
            }
        }
        let tree = db.open_tree(tree_name(generation))?;
        let meta: Meta = format::decode(META_VERSION, &tree.get(META)?.ok_or(RowsFault::Missing)?)?;
        let (mut rows, mut found) = (Vec::new(), Tally::default());
        for pair in tree.range([ROW].as_slice()..) {
            let (key, value) = pair?;
            found.add(&key[1..], &value);
            rows.push((key[1..].to_vec(), value.to_vec()));
        }
        if found != meta.tally {
            return Err(RowsFault::Tally {
                tally: meta.tally,
                found,
            });
        }
        Ok((
            Self {
                db,
                tree,
                generation,
                meta,
            },
            rows,
        ))
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsFault> {
        Ok(self.tree.get(row_key(key))?.map(|value| value.to_vec()))
    }

    /// Up to `limit` rows behind `after`, in order.
    pub(crate) fn page(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, RowsFault> {
        let from = match after {
            // The smallest key greater than `after`.
            Some(key) => [row_key(key).as_slice(), &[0]].concat(),
            None => vec![ROW],
        };
        let pairs = self.tree.range(from..).take(limit);
        pairs
            .map(|pair| {
                pair.map(|(key, value)| (key[1..].to_vec(), value.to_vec()))
                    .map_err(Into::into)
            })
            .collect()
    }

    /// Writes changes and meta in one batch. `changes` names each key once, with its old and its new value.
    pub(crate) fn write(&mut self, changes: &[Change], meta: MetaChange) -> Result<(), RowsFault> {
        let mut next = Meta {
            applied: Some(meta.applied),
            membership: meta.membership.unwrap_or_else(|| self.meta.membership.clone()),
            terms: meta.terms,
            ..self.meta.clone()
        };
        let mut batch = sled::Batch::default();
        for change in changes {
            if let Some(old) = &change.old {
                next.tally.remove(&change.key, old);
            }
            match &change.new {
                Some(new) => {
                    next.tally.add(&change.key, new);
                    batch.insert(row_key(&change.key), new.as_slice());
                }
                None => batch.remove(row_key(&change.key)),
            }
        }
        batch.insert(META, format::encode(META_VERSION, &next)?);
        self.tree.apply_batch(batch)?;
        self.meta = next;
        Ok(())
    }

    /// Replaces everything: after a kill either the old rows or the new ones are there.
    pub(crate) fn replace(
        &mut self,
        rows: impl Iterator<Item = io::Result<Row>>,
        applied: Option<LogIdForm>,
        membership: MembershipForm,
        terms: Terms,
    ) -> Result<Vec<Row>, RowsFault> {
        let generation = self.generation + 1;
        self.db.drop_tree(tree_name(generation))?;
        let tree = self.db.open_tree(tree_name(generation))?;
        let (mut all, mut tally, mut batch) = (Vec::new(), Tally::default(), sled::Batch::default());
        for row in rows {
            let (key, value) = row?;
            tally.add(&key, &value);
            batch.insert(row_key(&key), value.as_slice());
            all.push((key, value));
            if all.len().is_multiple_of(INSTALL_BATCH) {
                tree.apply_batch(std::mem::take(&mut batch))?;
            }
        }
        let meta = Meta {
            node_id: self.meta.node_id,
            applied,
            membership,
            tally,
            terms,
        };
        batch.insert(META, format::encode(META_VERSION, &meta)?);
        tree.apply_batch(batch)?;
        self.flush()?;
        self.db
            .insert(CURRENT, format::encode(CURRENT_VERSION, &Current { generation })?)?;
        self.flush()?;
        self.db.drop_tree(tree_name(self.generation))?;
        (self.tree, self.generation, self.meta) = (tree, generation, meta);
        Ok(all)
    }

    /// Hands what was written to the system: an orderly stop leaves rows that the next start can use. No more: rows
    /// that a power cut spoils are rebuilt.
    pub(crate) fn flush(&self) -> Result<(), RowsFault> {
        self.db.flush()?;
        Ok(())
    }
}

/// One key's change.
pub(crate) struct Change {
    pub(crate) key: Vec<u8>,
    pub(crate) old: Option<Vec<u8>>,
    pub(crate) new: Option<Vec<u8>>,
}

/// How the meta record changes with a batch.
pub(crate) struct MetaChange {
    pub(crate) applied: LogIdForm,
    pub(crate) membership: Option<MembershipForm>,
    pub(crate) terms: Terms,
}

/// sled gives its lock on the file back some time after it was dropped. Whoever calls this holds the lock on the whole
/// data directory, so nobody but an earlier node of this process can be meant.
fn open_db(dir: &Path) -> Result<sled::Db, RowsFault> {
    let start = Instant::now();
    loop {
        match sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).open() {
            Err(sled::Error::Io(error)) if is_lock(&error) => {
                if start.elapsed() > LOCK_PATIENCE {
                    return Err(RowsFault::Io(io::Error::new(io::ErrorKind::WouldBlock, error)));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return Ok(opened?),
        }
    }
}

/// Waits until whoever opened the rows in `dir` in vain has let go of them: it must not meet the store that is made in
/// their place. Sometimes nobody lets go, after a panic in the wrong place; then the next start looks at that store anew.
pub(crate) fn wait_until_closed(dir: &Path) {
    let Ok(file) = File::open(dir.join("db")) else {
        return;
    };
    let start = Instant::now();
    while flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        if start.elapsed() > LOCK_PATIENCE {
            tracing::warn!(dir = %dir.display(), "the rows that were set aside are still open");
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_lock(error: &io::Error) -> bool {
    // It comes as an error of kind `Other`.
    error.to_string().contains("could not acquire lock")
}

fn tree_name(generation: u64) -> String {
    format!("rows-{generation}")
}

fn row_key(key: &[u8]) -> Vec<u8> {
    [&[ROW], key].concat()
}
