//! What the fuzzer drives of the cache files. Called by `crate::fuzz`.

use outlast_repository::{BlobId, SnapshotId};

use super::cache;
use super::own::OwnChunks;
use crate::storage::SnapshotOwner;

fn owner() -> SnapshotOwner {
    SnapshotOwner {
        cluster: "c".to_owned(),
        client: "client-1".to_owned(),
    }
}

/// An even first byte: the rest is a file. An odd one: its checksum is made right.
pub(crate) fn chunk_cache(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else {
        return;
    };
    let mut file = rest.to_vec();
    if mode % 2 == 1 {
        let sum = crc32fast::hash(&file);
        file.extend_from_slice(&sum.to_le_bytes());
    }
    if let Ok(mut own) = cache::decode(&file, "r", &owner()) {
        let again = cache::encode("r", &owner(), &mut own);
        let again = cache::decode(&again, "r", &owner()).expect("just written");
        assert_eq!((again.set.len(), &again.covered), (own.set.len(), &own.covered));
    }
}

pub(crate) fn chunk_caches() -> Vec<Vec<u8>> {
    let mut own = OwnChunks::default();
    (0..5u8).for_each(|n| own.prove(&BlobId::of(&[n])));
    own.committed(SnapshotId::of(b"s"), None);
    let file = cache::encode("r", &owner(), &mut own);
    let unsigned = file[..file.len() - 4].to_vec();
    vec![[vec![0], file].concat(), [vec![1], unsigned].concat()]
}
