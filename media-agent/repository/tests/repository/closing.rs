//! Storage units on file systems that take everything and store it later, or elsewhere: what they say only when a file is closed,
//! what they do not say at all, and what they refuse only when it is written.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use outlast_repository::{AlignedBuffer, FileKind, LocalStorage, RepositoryError, Storage};
use outlast_test_filesystems::fs::OFlags;
use outlast_test_filesystems::{At, Call, Errno, Layer, Mounted, Odd, can_mount, mount};

const KINDS: [(FileKind, &str); 5] = [
    (FileKind::Config, ""),
    (FileKind::Key, "keys"),
    (FileKind::Index, "index"),
    (FileKind::Snapshot, "snapshots"),
    (FileKind::Lock, "locks"),
];

/// A storage on what `layer` makes of an ordinary folder, which is given too.
fn storage(layer: impl Layer) -> (LocalStorage, PathBuf, Mounted, tempfile::TempDir) {
    let temp = tempfile::tempdir().unwrap();
    let [backing, at] = ["backing", "at"].map(|name| temp.path().join(name));
    for folder in [&backing, &at] {
        std::fs::create_dir(folder).unwrap();
    }
    LocalStorage::new(&backing).create_layout().unwrap();
    let mounted = mount(&backing, &at, layer).unwrap();
    (LocalStorage::new(&at), backing, mounted, temp)
}

fn name(kind: FileKind) -> String {
    match kind {
        FileKind::Config => "config".to_owned(),
        _ => "ab".repeat(32),
    }
}

fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .filter(|entry| entry.file_type().unwrap().is_file())
        .count()
}

/// Memory as the writer has it, so that it may go past the page cache.
fn aligned(length: usize) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::new(length);
    buffer.bytes_mut().fill(7);
    buffer
}

#[test]
fn t90_what_a_close_cannot_store_has_no_name() {
    if !can_mount() {
        return;
    }
    let odd = Odd::new();
    odd.fails(At::anywhere().calls(&["fsync", "fsyncdir"]), Errno::NOSYS);
    let (storage, backing, _mounted, _temp) = storage(odd.clone());
    let large = aligned(1 << 20);
    odd.fails(At::anywhere().calls(&["flush"]), Errno::IO);
    for (kind, folder) in KINDS {
        for data in [b"small", &large.bytes()[..100_000], large.bytes()] {
            let error = storage.write(kind, &name(kind), data).unwrap_err();
            assert!(matches!(error, RepositoryError::Io { .. }), "{kind}: {error}");
            assert_eq!(files(&backing.join(folder)), 0, "{kind}");
        }
    }
    let error = storage
        .write(FileKind::Pack, &name(FileKind::Pack), large.bytes())
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Io { .. }), "{error}");
    assert_eq!(files(&backing.join("data/ab")), 0);
}

/// Cuts what has got its name, and says nothing.
#[derive(Default)]
struct Forgets {
    content: Option<&'static [u8]>,
}

impl Layer for Forgets {
    fn after(&self, call: &Call<'_>, result: Result<(), Errno>) {
        let (parent, name) = match (call, result) {
            (
                Call::Rename {
                    new_parent, new_name, ..
                },
                Ok(()),
            ) => (*new_parent, *new_name),
            (Call::Link { parent, name, .. }, Ok(())) => (*parent, *name),
            _ => return,
        };
        let path = parent.path().unwrap().join(name);
        std::fs::write(path, self.content.unwrap_or_default()).unwrap();
    }
}

#[test]
fn t90_what_is_not_there_once_it_has_its_name_is_not_written() {
    if !can_mount() {
        return;
    }
    for content in [None, Some(&b"other"[..])] {
        let (storage, backing, _mounted, _temp) = storage(Forgets { content });
        for (kind, folder) in KINDS {
            let error = storage
                .write(kind, &name(kind), b"small")
                .unwrap_err()
                .to_string();
            let said = match content {
                None => "did not store them: the file has 0 bytes;",
                Some(_) => "did not store them: the file has 5 bytes and other content;",
            };
            assert!(error.contains(said), "{kind}: {error}");
            assert_eq!(files(&backing.join(folder)), 0, "{kind}");
        }
        let large = aligned(1 << 20);
        for kind in [FileKind::Index, FileKind::Pack] {
            let error = storage.write(kind, &name(kind), large.bytes()).unwrap_err();
            assert!(
                error.to_string().contains("did not store them"),
                "{kind}: {error}"
            );
        }
    }
}

/// Opens files as it is asked to, past the page cache too, and hands on what is read and written as it comes, which is refused then:
/// what the file was opened with counts, whatever is taken back later.
#[derive(Default)]
struct HandsOn {
    direct: Mutex<HashSet<PathBuf>>,
    refused: Mutex<usize>,
}

impl Layer for HandsOn {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        let mut direct = self.direct.lock().unwrap();
        let path = call.path()?;
        match call {
            Call::Create { flags, .. } | Call::Open { flags, .. } => {
                if flags.contains(OFlags::DIRECT) {
                    direct.insert(path);
                } else {
                    direct.remove(&path);
                }
                Ok(())
            }
            Call::Read { .. } | Call::Write { .. } if direct.contains(&path) => {
                *self.refused.lock().unwrap() += 1;
                Err(Errno::INVAL)
            }
            _ => Ok(()),
        }
    }
}

#[test]
fn t90_a_unit_that_refuses_direct_access_only_when_it_is_used_works() {
    if !can_mount() {
        return;
    }
    let layer = std::sync::Arc::new(HandsOn::default());
    let (storage, backing, _mounted, _temp) = storage(std::sync::Arc::clone(&layer));
    let refused = || *layer.refused.lock().unwrap();
    let large = aligned(1 << 20);
    for (n, length) in [1 << 20, 900_001].into_iter().enumerate() {
        let (name, data) = (format!("{n:02}").repeat(32), &large.bytes()[..length]);
        storage.write(FileKind::Pack, &name, data).unwrap();
        let path = backing.join("data").join(&name[..2]).join(&name);
        assert!(std::fs::read(&path).unwrap() == data);
        assert_eq!(files(path.parent().unwrap()), 1, "no half of it stays");
        // One that has not learnt it yet.
        let before = refused();
        let fresh = LocalStorage::new(storage.location());
        let mut buffer = AlignedBuffer::new(4096);
        let range = fresh
            .read_range(FileKind::Pack, &name, 5..800_000, &mut buffer)
            .unwrap();
        assert!(buffer.bytes()[range] == data[5..800_000]);
        assert!(refused() > before, "it was not asked for past the page cache");
    }
}
