//! A storage whose writes fail or stall where the test wants it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use outlast_repository::{
    AlignedBuffer, FileKind, Found, LocalStorage, LockOptions, Recognise, Repository,
    RepositoryError as Error, Result, Snapshot, Storage, Timestamp, Tree, WriterOptions,
};
use tempfile::TempDir;

use crate::support::restic::check;
use crate::support::{data_id, fast, noise, password};

type BeforeWrite = dyn Fn(FileKind, &[u8]) -> Result<()> + Send + Sync;

/// Passes everything on to a directory, but asks `before_write` first, and fails a write of the kind `unsynced` after it.
struct Faulty {
    real: LocalStorage,
    before_write: Box<BeforeWrite>,
    /// As if the directory could not be synced after the rename.
    unsynced: Option<FileKind>,
    bad_sectors: Arc<BadSectors>,
}

/// Where reads fail.
#[derive(Debug, Default)]
struct BadSectors {
    /// The file, and how many reads of it fail from now on.
    file: Mutex<Option<(String, u64)>>,
    everywhere: AtomicBool,
}

impl BadSectors {
    fn meet(&self, name: &str) -> Result<()> {
        let mut file = self.file.lock().unwrap();
        let is_bad = match &mut *file {
            Some((bad, left)) if bad == name && *left > 0 => {
                *left -= 1;
                true
            }
            _ => self.everywhere.load(Ordering::Relaxed),
        };
        if is_bad { Err(disk_error()) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.real.fmt(f)
    }
}

impl Storage for Faulty {
    fn location(&self) -> &str {
        self.real.location()
    }
    fn create_layout(&self) -> Result<()> {
        self.real.create_layout()
    }
    fn list(&self, kind: FileKind) -> Result<Vec<(String, u64)>> {
        self.real.list(kind)
    }
    fn read(&self, kind: FileKind, name: &str) -> Result<Vec<u8>> {
        self.bad_sectors.meet(name)?;
        self.real.read(kind, name)
    }
    fn size(&self, kind: FileKind, name: &str) -> Result<u64> {
        self.real.size(kind, name)
    }
    fn read_range(
        &self,
        kind: FileKind,
        name: &str,
        range: Range<u64>,
        buffer: &mut AlignedBuffer,
    ) -> Result<Range<usize>> {
        self.bad_sectors.meet(name)?;
        self.real.read_range(kind, name, range, buffer)
    }
    fn write(&self, kind: FileKind, name: &str, data: &[u8]) -> Result<()> {
        (self.before_write)(kind, data)?;
        self.real.write(kind, name, data)?;
        if self.unsynced == Some(kind) {
            return Err(disk_error());
        }
        Ok(())
    }
    fn remove(&self, kind: FileKind, name: &str) -> Result<()> {
        self.real.remove(kind, name)
    }
    fn exists(&self, kind: FileKind, name: &str) -> Result<bool> {
        self.real.exists(kind, name)
    }
    fn modified(&self, kind: FileKind, name: &str) -> Result<std::time::SystemTime> {
        self.real.modified(kind, name)
    }
    fn found(&self) -> Result<Found> {
        self.real.found()
    }
    fn bind(&self, identity: Option<Arc<dyn Recognise>>) {
        self.real.bind(identity);
    }
    fn hold(&self) -> Result<()> {
        self.real.hold()
    }
    fn release(&self) {
        self.real.release();
    }
    fn prove(&self) -> Result<()> {
        self.real.prove()
    }
    fn remove_stale_temporaries(&self, age: Duration) -> Result<usize> {
        self.real.remove_stale_temporaries(age)
    }
}

fn repository(
    directory: &TempDir,
    before_write: impl Fn(FileKind, &[u8]) -> Result<()> + Send + Sync + 'static,
) -> Repository {
    let storage = Faulty {
        real: LocalStorage::new(directory.path()),
        before_write: Box::new(before_write),
        unsynced: None,
        bad_sectors: Arc::default(),
    };
    Repository::init_with(Arc::new(storage), &password(), fast()).unwrap()
}

fn disk_error() -> Error {
    Error::from_io("some/file".as_ref(), std::io::Error::from_raw_os_error(5))
}

fn small_packs() -> WriterOptions {
    WriterOptions {
        pack_size: 10_000,
        open_packs: 2,
        ..WriterOptions::default()
    }
}

/// Adds blobs from several threads until all fail or there are enough.
fn add_many(writer: &outlast_repository::Writer, count: u64) -> Vec<Error> {
    let errors = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let errors = &errors;
            scope.spawn(move || {
                for number in 0..count {
                    let blob = noise(thread * count + number, 2000);
                    if let Err(error) = writer.add_blob(data_id(&blob).0, data_id(&blob).1, &blob) {
                        errors.lock().unwrap().push(error);
                        return;
                    }
                }
            });
        }
    });
    errors.into_inner().unwrap()
}

#[test]
fn after_a_failed_write_every_call_fails_and_no_index_appears() {
    for failing in [FileKind::Pack, FileKind::Index] {
        let directory = tempfile::tempdir().unwrap();
        let writes = AtomicU64::new(0);
        let repository = repository(&directory, move |kind, _| {
            let fails =
                kind == failing && (kind == FileKind::Index || writes.fetch_add(1, Ordering::Relaxed) == 5);
            if fails { Err(disk_error()) } else { Ok(()) }
        });
        let writer = repository.writer(small_packs()).unwrap();
        let errors = add_many(&writer, 200);
        assert!(
            errors.iter().all(|error| matches!(error, Error::Io { .. })),
            "{errors:?}"
        );
        for _ in 0..2 {
            assert!(matches!(writer.flush(), Err(Error::Io { .. })));
            let (kind, id) = data_id(b"more");
            assert!(matches!(
                writer.add_blob(kind, id, b"more"),
                Err(Error::Io { .. })
            ));
        }
        assert!(matches!(writer.finish(), Err(Error::Io { .. })));
        assert_eq!(repository.reload_index().unwrap().files, 0);
        check(directory.path());
        // A new writer on the same handle is not poisoned, and stores what the old one did not get into an index.
        let writer = repository.writer(small_packs()).unwrap();
        let blob = noise(0, 2000);
        assert!(
            writer
                .add_blob(data_id(&blob).0, data_id(&blob).1, &blob)
                .unwrap()
                .new
        );
    }
}

#[test]
fn a_writer_that_is_dropped_leaves_no_index_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let repository = repository(&directory, |_, _| Ok(()));
    let writer = repository.writer(small_packs()).unwrap();
    assert!(add_many(&writer, 100).is_empty());
    drop(writer);
    assert_eq!(repository.reload_index().unwrap().files, 0);
    check(directory.path());
}

#[test]
fn a_slow_storage_slows_down_the_threads_that_add() {
    let directory = tempfile::tempdir().unwrap();
    let (pack, blob) = (1_000_000u64, 100_000usize);
    let accepted = Arc::new(AtomicU64::new(0));
    let durable = Arc::new(AtomicU64::new(0));
    let most = Arc::new(AtomicU64::new(0));
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let repository = {
        let (accepted, durable, most, gate) = (accepted.clone(), durable.clone(), most.clone(), gate.clone());
        repository(&directory, move |kind, data| {
            if kind == FileKind::Pack {
                let opened = gate.0.lock().unwrap();
                drop(gate.1.wait_while(opened, |opened| !*opened).unwrap());
                let waiting = accepted.load(Ordering::SeqCst) - durable.load(Ordering::SeqCst);
                most.fetch_max(waiting, Ordering::SeqCst);
                durable.fetch_add(data.len() as u64, Ordering::SeqCst);
            }
            Ok(())
        })
    };
    let options = WriterOptions {
        pack_size: pack as usize,
        open_packs: 2,
        ..WriterOptions::default()
    };
    let writer = repository.writer(options).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (writer, accepted, gate) = (&writer, &accepted, &gate);
            scope.spawn(move || {
                for number in 0..150 {
                    let bytes = noise(thread * 1000 + number, blob);
                    writer
                        .add_blob(data_id(&bytes).0, data_id(&bytes).1, &bytes)
                        .unwrap();
                    let now = accepted.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                    // The disk does nothing until three packs are waiting, which the buffers must allow.
                    if now > 3 * pack {
                        *gate.0.lock().unwrap() = true;
                        gate.1.notify_all();
                    }
                }
            });
        }
    });
    writer.finish().unwrap();
    let most = most.load(Ordering::SeqCst);
    let bound = (2 + 1 + 2) * (pack + pack / 4 + (1 << 20));
    assert!(
        most > 2 * pack && most <= bound,
        "{most} bytes were in memory, allowed are {bound}"
    );
}

#[test]
fn without_its_lock_a_writer_writes_no_index() {
    let directory = tempfile::tempdir().unwrap();
    let repository = repository(&directory, |_, _| Ok(()));
    let options = LockOptions {
        exclusive: false,
        hostname: "a".to_owned(),
        username: "u".to_owned(),
    };
    let lock = Arc::new(repository.lock(options).unwrap());
    let writer = repository
        .writer(WriterOptions {
            lock: Some(lock.clone()),
            ..small_packs()
        })
        .unwrap();
    assert!(add_many(&writer, 10).is_empty());
    writer.flush().unwrap();
    assert_eq!(repository.remove_locks_of("a").unwrap(), 1);
    let blob = noise(9999, 100);
    writer
        .add_blob(data_id(&blob).0, data_id(&blob).1, &blob)
        .unwrap();
    assert!(matches!(writer.flush(), Err(Error::LockLost { .. })));
    assert!(!lock.is_valid());
    assert!(!repository.contains(data_id(&blob).0, &data_id(&blob).1));
}

#[test]
fn t90_a_snapshot_or_lock_whose_directory_cannot_be_synced_is_taken_back() {
    for unsynced in [FileKind::Snapshot, FileKind::Lock] {
        let directory = tempfile::tempdir().unwrap();
        drop(repository(&directory, |_, _| Ok(())));
        let storage = Faulty {
            real: LocalStorage::new(directory.path()),
            before_write: Box::new(|_, _| Ok(())),
            unsynced: Some(unsynced),
            bad_sectors: Arc::default(),
        };
        let repository = Repository::open(Arc::new(storage), &password()).unwrap();
        let writer = repository.writer(small_packs()).unwrap();
        let (tree, _) = writer.add_tree(&Tree::default()).unwrap();
        writer.flush().unwrap();
        let saved = repository
            .save_snapshot(&Snapshot::new(Timestamp::now(), tree, Vec::new(), String::new()))
            .map(drop);
        let locked = repository.lock(LockOptions {
            exclusive: true,
            hostname: "a".to_owned(),
            username: "u".to_owned(),
        });
        let (failed, worked) = match unsynced {
            FileKind::Snapshot => (saved, locked.map(drop)),
            _ => (locked.map(drop), saved),
        };
        assert!(matches!(failed, Err(Error::Io { .. })), "{unsynced}: {failed:?}");
        worked.unwrap();
        let left = |kind: FileKind| LocalStorage::new(directory.path()).list(kind).unwrap().len();
        assert_eq!(left(unsynced), 0, "{unsynced}");
        assert_eq!(left(FileKind::Snapshot), usize::from(unsynced == FileKind::Lock));
        check(directory.path());
    }
}

#[test]
fn t90_s14b_a_bad_sector_is_damage_of_its_file_and_a_bad_disk_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let bad = Arc::new(BadSectors::default());
    let storage = Faulty {
        real: LocalStorage::new(directory.path()),
        before_write: Box::new(|_, _| Ok(())),
        unsynced: None,
        bad_sectors: bad.clone(),
    };
    let repository = Repository::init_with(Arc::new(storage), &password(), fast()).unwrap();
    let blobs = [noise(1, 1000), noise(2, 1000)];
    for blob in &blobs {
        let writer = repository.writer(small_packs()).unwrap();
        writer.add_blob(data_id(blob).0, data_id(blob).1, blob).unwrap();
        writer.flush().unwrap();
    }
    let writer = repository.writer(small_packs()).unwrap();
    let (tree, _) = writer.add_tree(&Tree::default()).unwrap();
    writer.flush().unwrap();
    let snapshot = Snapshot::new(Timestamp::now(), tree, Vec::new(), String::new());
    let snapshot = repository.save_snapshot(&snapshot).unwrap().to_string();
    let (kind, id) = data_id(&blobs[0]);
    let folders = std::fs::read_dir(directory.path().join("data")).unwrap();
    let names = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let names: Vec<String> = names
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let fail = |file: Option<(&str, u64)>, everywhere| {
        *bad.file.lock().unwrap() = file.map(|(name, times)| (name.to_owned(), times));
        bad.everywhere.store(everywhere, Ordering::Relaxed);
    };

    // Everywhere, or once: no damage.
    fail(None, true);
    assert!(matches!(repository.read_blob(kind, &id), Err(Error::Io { .. })));
    assert!(matches!(repository.list_snapshots(), Err(Error::Io { .. })));
    for name in &names {
        fail(Some((name, 1)), false);
        repository.read_blob(kind, &id).unwrap();
    }
    assert_eq!(repository.damage_found(), 0);

    // A snapshot's file.
    fail(Some((&snapshot, u64::MAX)), false);
    let list = repository.list_snapshots().unwrap();
    assert_eq!((list.readable.len(), list.damaged.len()), (0, 1), "{list:?}");

    // The pack of one of the two: it counts as absent, for others too, and is stored anew.
    let read = names.iter().find_map(|name| {
        fail(Some((name, u64::MAX)), false);
        repository.read_blob(kind, &id).err()
    });
    assert!(matches!(read, Some(Error::Damaged { .. })), "{read:?}");
    assert_eq!(repository.damage_found(), 1);
    assert!(!repository.contains(kind, &id));
    repository.remember_damage().unwrap();
    let other = Repository::open(Arc::new(LocalStorage::new(directory.path())), &password()).unwrap();
    other.reload_index().unwrap();
    assert!(!other.contains(kind, &id));
    let writer = repository.writer(small_packs()).unwrap();
    assert!(writer.add_blob(kind, id, &blobs[0]).unwrap().new);
    writer.finish().unwrap();
    repository.read_blob(kind, &id).unwrap();
}
