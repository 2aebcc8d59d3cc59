//! What the fuzzer drives: every reader of a repository's files, with a key that is known, so that inputs get past the
//! signature. Only in builds for fuzzing and in this crate's own tests; called by `fuzz/` and by the test below.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;

use outlast_direct_io::AlignedBuffer;

use crate::compress::verify_compressed;
use crate::crypto::{Config, KeyFile, MasterKey};
use crate::id::{BlobId, BlobKind, IndexId, PackId};
use crate::index::{Index, IndexFile};
use crate::lock::LockInfo;
use crate::object;
use crate::pack::{PackBuilder, PackedBlob, Payload};
use crate::password::Password;
use crate::repository::{InitOptions, Repository};
use crate::snapshot::{Snapshot, SnapshotSummary};
use crate::storage::{FileKind, Storage};
use crate::time::Timestamp;
use crate::tree::{ExtendedAttribute, Node, NodeKind, Tree, TreeEncoder, TreeReader};
use crate::{RepositoryError, Result};

#[cfg(test)]
#[path = "../../../fuzz/mutations.rs"]
mod mutations;

/// Name, real inputs, what is done with an input.
pub type Target = (&'static str, fn() -> Vec<Vec<u8>>, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("pack_header", pack_headers, pack_header),
    ("index_file", index_files, index_file),
    ("snapshot", snapshots, snapshot),
    ("tree", trees, tree),
    ("blob", blobs, blob),
    ("config", configs, config),
    ("key_file", key_files, key_file),
];

static STORAGE: LazyLock<Arc<Memory>> = LazyLock::new(Arc::default);

static REPOSITORY: LazyLock<Repository> = LazyLock::new(|| {
    let options = InitOptions { scrypt_log_n: 1 };
    Repository::init_with(STORAGE.clone(), &password(), options).expect("memory takes everything")
});

fn password() -> Password {
    Password::new("p".to_owned())
}

fn sealed(plain: &[u8]) -> Vec<u8> {
    REPOSITORY.key().seal(plain).expect("there are random numbers")
}

/// A whole pack file whose sealed header is the input: it must be refused or name blobs that lie in the file.
fn pack_header(input: &[u8]) {
    let mut file = vec![0; 4096];
    let header = sealed(input);
    file.extend_from_slice(&header);
    file.extend_from_slice(&u32::try_from(header.len()).unwrap_or(u32::MAX).to_le_bytes());
    read_pack(&file);
    // The same bytes as a file nobody sealed.
    read_pack(input);
}

fn read_pack(file: &[u8]) {
    let id = PackId::from_bytes([7; 32]);
    let storage = REPOSITORY.storage();
    storage
        .write(FileKind::Pack, &id.to_string(), file)
        .expect("memory takes everything");
    if let Ok(blobs) = REPOSITORY.pack_blobs(&id, file.len() as u64) {
        for blob in blobs {
            assert!(u64::from(blob.offset) + u64::from(blob.length) <= file.len() as u64);
        }
    }
}

fn pack_headers() -> Vec<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(1).expect("there is memory");
    let mut pack = PackBuilder::new(BlobKind::Data, AlignedBuffer::new(1 << 16));
    for text in ["a", "bb", &"c".repeat(1000)] {
        pack.add(
            BlobId::of(text.as_bytes()),
            &Payload::Plain(text.as_bytes()),
            &mut compressor,
            REPOSITORY.key(),
        )
        .expect("there is room");
    }
    let pack = pack.seal(REPOSITORY.key()).expect("there are random numbers");
    let file = pack.bytes();
    let (rest, length) = file.split_last_chunk::<4>().expect("it ends with a length");
    let mut header = rest[rest.len() - u32::from_le_bytes(*length) as usize..].to_vec();
    let plain = REPOSITORY.key().open_in_place(&mut header).expect("sealed above");
    vec![header[plain].to_vec(), file.to_vec()]
}

/// Opens the sealed text as an object of type `T` and says whether it could be understood.
fn decoded<T: serde::de::DeserializeOwned>(text: &[u8]) -> Option<T> {
    let file = sealed(text);
    object::decode(&BlobId::of(&file).to_string(), file, REPOSITORY.key()).ok()
}

/// What of an index file can be understood goes into the index; its memory must stay in proportion.
fn index_file(input: &[u8]) {
    let Some(file) = decoded::<IndexFile>(input).and_then(|file| file.checked().ok()) else {
        return;
    };
    let packs = file.into_packs();
    let again = serde_json::to_vec(&IndexFile::of(&packs)).expect("our own types always become JSON");
    let read: IndexFile = serde_json::from_slice(&again).expect("just written");
    assert_eq!(read.into_packs(), packs);
    let (sealed, storage) = (sealed(input), REPOSITORY.storage());
    let name = BlobId::of(&sealed).to_string();
    storage
        .write(FileKind::Index, &name, &sealed)
        .expect("memory takes everything");
    let index = Index::new();
    let load = index
        .reload(storage, REPOSITORY.key())
        .expect("it was understood above");
    for blob in packs.iter().flat_map(|(_, blobs)| blobs) {
        assert!(!index.locations(blob.kind, &blob.id).is_empty());
    }
    // Each blob takes about 100 bytes of JSON, and the tables never begin smaller than a few.
    assert!(
        load.bytes_in_memory <= 4096 + 8 * again.len(),
        "{load:?} of {} bytes",
        again.len()
    );
    storage.remove(FileKind::Index, &name).expect("it is there");
    let load = index
        .reload(storage, REPOSITORY.key())
        .expect("nothing is left to read");
    assert_eq!((load.files, load.blobs), (0, 0));
}

fn index_files() -> Vec<Vec<u8>> {
    let blob = |n: u8, compressed_from| PackedBlob {
        kind: if n < 3 { BlobKind::Data } else { BlobKind::Tree },
        id: BlobId::of(&[n]),
        offset: 100 * u32::from(n),
        length: 100,
        compressed_from,
    };
    let packs = [
        (PackId::of(b"1"), vec![blob(0, None), blob(1, Some(500))]),
        (PackId::of(b"2"), vec![blob(3, Some(1 << 20)), blob(4, None)]),
    ];
    let json = serde_json::to_vec(&IndexFile::of(&packs)).expect("our own types always become JSON");
    with_compressed(json)
}

fn with_compressed(json: Vec<u8>) -> Vec<Vec<u8>> {
    let mut compressed = vec![2];
    compressed.extend(zstd::bulk::compress(&json, 3).expect("there is memory"));
    vec![json, compressed]
}

/// Snapshots and locks: what is understood is the same after it was written and read again.
fn snapshot(input: &[u8]) {
    if let Some(read) = decoded::<Snapshot>(input) {
        let again = serde_json::to_vec(&read).expect("our own types always become JSON");
        let again: Snapshot = serde_json::from_slice(&again).expect("just written");
        assert_eq!(
            (again.tree, &again.paths, &again.tags),
            (read.tree, &read.paths, &read.tags)
        );
    }
    if let Some(lock) = decoded::<LockInfo>(input) {
        let (id, since) = (crate::id::LockId::from_bytes([0; 32]), lock.time);
        let info = Ok(lock);
        let _ = crate::lock::LockHolder { id, since, info }.to_string();
    }
}

fn snapshots() -> Vec<Vec<u8>> {
    let mut full = Snapshot::new(
        Timestamp::new(1_700_000_000, 5),
        BlobId::of(b"t"),
        vec!["/home".into()],
        "host".into(),
    );
    full.tags = vec!["outlast-job-1".into()];
    full.summary = Some(SnapshotSummary::default());
    let json = serde_json::to_vec(&full).expect("our own types always become JSON");
    let lock =
        br#"{"time":"2026-01-01T00:00:00+01:00","exclusive":false,"hostname":"h","username":"u","pid":7}"#;
    let mut all = with_compressed(json);
    all.push(lock.to_vec());
    all
}

/// A tree blob: what is understood is written again without a change, and finds its own entries.
fn tree(input: &[u8]) {
    let Ok(read) = Tree::decode(input) else {
        TreeReader::in_pieces(input).for_each(drop);
        return;
    };
    let written = read.encode();
    let again = Tree::decode(&written).expect("just written");
    assert_eq!(again.nodes.len(), read.nodes.len());
    assert_eq!(again.encode(), written);
    for node in &again.nodes {
        assert!(again.find(&node.name).is_some());
    }
    // Entry by entry it is the same.
    let entries: Vec<Node> = TreeReader::in_pieces(input)
        .map(|entry| entry.expect("understood above"))
        .collect();
    assert_eq!(entries, read.nodes);
    let mut encoder = TreeEncoder::new(1);
    again
        .nodes
        .iter()
        .for_each(|node| encoder.push(node).expect("there is memory"));
    assert_eq!(encoder.into_bytes().expect("there is memory"), written);
}

fn trees() -> Vec<Vec<u8>> {
    let file = Node {
        name: b"z \xff \n \" \\".to_vec(),
        mode: 0o644,
        mtime: Timestamp::new(-5, 7),
        user: "root".to_owned(),
        inode: 12,
        size: 3,
        extended_attributes: vec![ExtendedAttribute {
            name: "user.a".to_owned(),
            value: vec![0, 255],
        }],
        content: Some(vec![BlobId::of(b"abc"), BlobId::of(b"d")]),
        ..Node::default()
    };
    let link = Node {
        name: b"a".to_vec(),
        kind: NodeKind::Symlink,
        linktarget: Some(b"to/\xff".to_vec()),
        ..Node::default()
    };
    let directory = Node {
        name: b"b".to_vec(),
        kind: NodeKind::Dir,
        subtree: Some(BlobId::of(b"")),
        ..Node::default()
    };
    let whole = Tree {
        nodes: vec![file, link, directory],
    };
    vec![whole.encode(), Tree::default().encode()]
}

/// A blob as an index describes it: the first four bytes are the plain length it is said to have.
fn blob(input: &[u8]) {
    let Some((said, content)) = input.split_first_chunk::<4>() else {
        return;
    };
    let said = u32::from_le_bytes(*said);
    let id = BlobId::of(content);
    let mut scratch = Vec::new();
    if verify_compressed(&id, content, said, &mut scratch).is_ok() {
        assert_eq!(scratch.len(), said as usize);
    }
    justified(scratch.capacity(), content.len());
    let file = sealed(content);
    let pack = PackId::from_bytes([8; 32]);
    let storage = REPOSITORY.storage();
    storage
        .write(FileKind::Pack, &pack.to_string(), &file)
        .expect("memory takes everything");
    let place = PackedBlob {
        kind: BlobKind::Tree,
        id,
        offset: 0,
        length: u32::try_from(file.len()).unwrap_or(u32::MAX),
        compressed_from: (said != 0).then_some(said),
    };
    let index = IndexId::from_bytes([3; 32]);
    let repository = Repository::open(STORAGE.clone(), &password()).expect("it was initialised");
    repository.index().add_file(index, &[(pack, vec![place])]);
    let _ = repository.load_tree(&id);
}

/// zstd needs three bytes for a block, and a block has at most 128 KiB.
fn justified(taken: usize, input: usize) {
    assert!(
        taken <= (input / 3 + 1) * (128 << 10),
        "{taken} bytes were taken for {input}"
    );
}

fn blobs() -> Vec<Vec<u8>> {
    let plain = Tree::default().encode().repeat(50);
    let length = u32::try_from(plain.len()).expect("it is short");
    let compressed = zstd::bulk::compress(&plain, 1).expect("there is memory");
    vec![
        [&length.to_le_bytes(), compressed.as_slice()].concat(),
        [&0u32.to_le_bytes(), plain.as_slice()].concat(),
    ]
}

fn config(input: &[u8]) {
    let _ = Config::open(sealed(input), REPOSITORY.key());
    let _ = Config::open(input.to_vec(), REPOSITORY.key());
}

fn configs() -> Vec<Vec<u8>> {
    let mut file = Config::generate()
        .and_then(|config| config.seal(REPOSITORY.key()))
        .expect("there are random numbers");
    let plain = REPOSITORY.key().open_in_place(&mut file).expect("sealed above");
    vec![file[plain].to_vec()]
}

/// A key file, and what is sealed in it. Key derivations that take long are left out, they are allowed to.
fn key_file(input: &[u8]) {
    if let Ok(file) = KeyFile::parse(&BlobId::of(input).to_string(), input)
        && file.is_cheap()
    {
        let _ = file.open(&password());
    }
    let _ = MasterKey::from_json(input);
}

fn key_files() -> Vec<Vec<u8>> {
    let key = REPOSITORY.key();
    let (_, file) = KeyFile::create(key, &password(), 1).expect("there are random numbers");
    vec![file, key.to_json()]
}

/// Files in memory.
#[derive(Debug, Default)]
struct Memory {
    files: Mutex<HashMap<(FileKind, String), Vec<u8>>>,
}

impl Memory {
    fn with<T>(&self, kind: FileKind, name: &str, take: impl Fn(&[u8]) -> Option<T>) -> Result<T> {
        let files = self.files.lock();
        let found = files.get(&(kind, name.to_owned())).and_then(|file| take(file));
        found.ok_or_else(|| RepositoryError::NotFound {
            kind,
            name: name.to_owned(),
            location: self.location().to_owned(),
        })
    }
}

impl Storage for Memory {
    fn location(&self) -> &str {
        "memory"
    }

    fn create_layout(&self) -> Result<()> {
        Ok(())
    }

    fn list(&self, kind: FileKind) -> Result<Vec<(String, u64)>> {
        let files = self.files.lock();
        let of_kind = files.iter().filter(|((other, _), _)| *other == kind);
        Ok(of_kind
            .map(|((_, name), file)| (name.clone(), file.len() as u64))
            .collect())
    }

    fn read(&self, kind: FileKind, name: &str) -> Result<Vec<u8>> {
        self.with(kind, name, |file| Some(file.to_vec()))
    }

    fn size(&self, kind: FileKind, name: &str) -> Result<u64> {
        self.with(kind, name, |file| Some(file.len() as u64))
    }

    fn read_range(
        &self,
        kind: FileKind,
        name: &str,
        range: Range<u64>,
        buffer: &mut AlignedBuffer,
    ) -> Result<Range<usize>> {
        let at = |end| usize::try_from(end).unwrap_or(usize::MAX);
        let bytes = self.with(kind, name, |file| {
            Some(file.get(at(range.start)..at(range.end))?.to_vec())
        })?;
        *buffer = AlignedBuffer::new(bytes.len());
        buffer.bytes_mut().copy_from_slice(&bytes);
        Ok(0..bytes.len())
    }

    fn write(&self, kind: FileKind, name: &str, data: &[u8]) -> Result<()> {
        self.files.lock().insert((kind, name.to_owned()), data.to_vec());
        Ok(())
    }

    fn remove(&self, kind: FileKind, name: &str) -> Result<()> {
        self.files.lock().remove(&(kind, name.to_owned()));
        Ok(())
    }

    fn exists(&self, kind: FileKind, name: &str) -> Result<bool> {
        Ok(self.files.lock().contains_key(&(kind, name.to_owned())))
    }

    fn modified(&self, _kind: FileKind, _name: &str) -> Result<std::time::SystemTime> {
        Ok(std::time::SystemTime::UNIX_EPOCH)
    }

    fn found(&self) -> Result<crate::storage::Found> {
        Ok(crate::storage::Found::Empty)
    }

    fn bind(&self, _identity: Option<Arc<dyn crate::storage::Recognise>>) {}

    fn hold(&self) -> Result<()> {
        Ok(())
    }

    fn release(&self) {}

    fn prove(&self) -> Result<()> {
        Ok(())
    }

    fn remove_stale_temporaries(&self, _age: Duration) -> Result<usize> {
        Ok(0)
    }
}

#[test]
fn readers_stand_changed_files() {
    mutations::exercise(TARGETS, 4000);
}
