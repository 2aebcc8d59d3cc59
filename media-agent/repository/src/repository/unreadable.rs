//! Files that the system cannot read (a bad sector): damage of that file if others of the repository can be read, otherwise the
//! storage is not there. Called by what reads packs and objects.

use crate::error::{Damage, RepositoryError, Result};
use crate::repository::Repository;
use crate::storage::FileKind;

/// So many packs are tried before the storage is held for what fails.
const OTHERS: usize = 8;
/// So much of each: enough for it to come from the disk and not out of the page cache.
const PORTION: u64 = 1 << 20;

impl Repository {
    /// Reads, and judges an error of the system. It is read twice: a file server that was away for a moment is no damage.
    pub(super) fn read_or_judge<T>(
        &self,
        kind: FileKind,
        name: &str,
        mut read: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let first = match read() {
            Err(error) if error.is_unreadable() => error,
            read => return read,
        };
        if !self.others_answer(name) {
            return Err(first);
        }
        read().map_err(|error| {
            let RepositoryError::Io { source, .. } = &error else {
                return error;
            };
            let reason = source.to_string();
            RepositoryError::damaged_file(self.location(), kind, name, Damage::Unreadable { reason })
        })
    }

    /// Whether anything else of the repository can be read.
    fn others_answer(&self, name: &str) -> bool {
        if self.prove().is_err() {
            return false;
        }
        let packs = self.index().expected_packs();
        let mut others = packs
            .iter()
            .map(|(pack, size)| (pack.to_string(), *size))
            .filter(|(pack, size)| pack != name && *size > 0)
            .take(OTHERS)
            .peekable();
        let mut buffer = outlast_direct_io::AlignedBuffer::new(outlast_direct_io::BLOCK);
        let reads = |(pack, size): (String, u64)| {
            let read = self
                .storage()
                .read_range(FileKind::Pack, &pack, 0..size.min(PORTION), &mut buffer);
            read.is_ok()
        };
        others.peek().is_none() || others.any(reads)
    }
}
