//! What the tests share: temporary repositories, restic, sample trees, and a small backup and restore through the API.

pub(crate) mod backup;
pub(crate) mod compare;
pub(crate) mod mounted;
pub(crate) mod restic;
pub(crate) mod sample;

use std::sync::Arc;

use outlast_repository::{BlobId, BlobKind, InitOptions, LocalStorage, Password, Repository, Storage};
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct horse";

/// A new repository in a directory that goes away with it.
pub(crate) struct TestRepository {
    pub(crate) directory: TempDir,
    pub(crate) repository: Repository,
}

impl TestRepository {
    pub(crate) fn new() -> TestRepository {
        let directory = tempfile::tempdir().unwrap();
        let repository = Repository::init_with(storage(&directory), &password(), fast()).unwrap();
        TestRepository {
            directory,
            repository,
        }
    }

    /// Another handle on it, as another process would have, with the index loaded.
    pub(crate) fn reopen(&self) -> Repository {
        let repository = Repository::open(storage(&self.directory), &password()).unwrap();
        repository.reload_index().unwrap();
        repository
    }
}

pub(crate) fn storage(directory: &TempDir) -> Arc<dyn Storage> {
    Arc::new(LocalStorage::new(directory.path()))
}

pub(crate) fn password() -> Password {
    Password::new(PASSWORD.to_owned())
}

/// Key derivation that costs nothing.
pub(crate) fn fast() -> InitOptions {
    InitOptions { scrypt_log_n: 4 }
}

/// Bytes that look random and cannot be compressed, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

/// The only file of a kind, or any one of several.
pub(crate) fn some_file(directory: &std::path::Path) -> std::path::PathBuf {
    files(directory).into_iter().next().expect("there is a file")
}

/// All files below a directory, in order.
pub(crate) fn files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path)
            } else {
                found.push(path)
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn data_id(bytes: &[u8]) -> (BlobKind, BlobId) {
    (BlobKind::Data, BlobId::of(bytes))
}
