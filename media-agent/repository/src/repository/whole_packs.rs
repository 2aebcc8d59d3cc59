//! Whether packs are what their names say, bit by bit: a name is the checksum of the file. For checks; reads only.

use outlast_direct_io::{AlignedBuffer, BLOCK};
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::id::PackId;
use crate::repository::Repository;
use crate::storage::FileKind;

/// Read at a time.
const PIECE: u64 = 4 << 20;

impl Repository {
    /// All packs that lie there, with their lengths.
    pub fn packs(&self) -> Result<Vec<(PackId, u64)>> {
        let files = self.storage().list(FileKind::Pack)?;
        let packs = files.into_iter();
        Ok(packs
            .filter_map(|(name, size)| Some((name.parse().ok()?, size)))
            .collect())
    }

    /// Reads a pack from its beginning to its end. One that is not what its name says, or that the system cannot read while it reads others, counts as
    /// absent from then on, as long as this handle is open. One that is gone meanwhile is none.
    pub fn is_pack_whole(&self, pack: &PackId) -> Result<bool> {
        let name = pack.to_string();
        let is_whole = match self.read_or_judge(FileKind::Pack, &name, || self.digest_of(&name)) {
            Ok(digest) => digest == *pack.as_bytes(),
            Err(error) if error.is_not_found() => true,
            Err(error) if error.is_loss() => false,
            Err(error) => return Err(error),
        };
        if !is_whole && self.index().distrust_pack(*pack) {
            self.count_damage();
        }
        Ok(is_whole)
    }

    fn digest_of(&self, name: &str) -> Result<[u8; 32]> {
        let size = self.storage().size(FileKind::Pack, name)?;
        let (mut digest, mut buffer, mut at) = (Sha256::new(), AlignedBuffer::new(BLOCK), 0);
        while at < size {
            let end = size.min(at + PIECE);
            let read = self
                .storage()
                .read_range(FileKind::Pack, name, at..end, &mut buffer)?;
            digest.update(&buffer.bytes()[read]);
            at = end;
        }
        Ok(digest.finalize().into())
    }
}
