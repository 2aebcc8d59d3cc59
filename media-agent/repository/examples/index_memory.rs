//! How much memory the index takes for each chunk, and how long it takes to load from real index files:
//! `cargo run --release -p outlast-repository --example index_memory -- FOLDER MILLIONS`. FOLDER must be empty; index files are
//! written there as a backup of MILLIONS of chunks would, 16 to a pack. The packs themselves are thrown away.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outlast_repository::{
    AlignedBuffer, BlobId, BlobKind, FileKind, Found, LocalStorage, Password, Recognise, Repository, Result,
    Storage, WriterOptions,
};

/// A folder that forgets packs.
#[derive(Debug)]
struct WithoutPacks(LocalStorage);

impl Storage for WithoutPacks {
    fn location(&self) -> &str {
        self.0.location()
    }
    fn create_layout(&self) -> Result<()> {
        self.0.create_layout()
    }
    fn list(&self, kind: FileKind) -> Result<Vec<(String, u64)>> {
        self.0.list(kind)
    }
    fn read(&self, kind: FileKind, name: &str) -> Result<Vec<u8>> {
        self.0.read(kind, name)
    }
    fn size(&self, kind: FileKind, name: &str) -> Result<u64> {
        self.0.size(kind, name)
    }
    fn read_range(
        &self,
        kind: FileKind,
        name: &str,
        range: std::ops::Range<u64>,
        buffer: &mut AlignedBuffer,
    ) -> Result<std::ops::Range<usize>> {
        self.0.read_range(kind, name, range, buffer)
    }
    fn write(&self, kind: FileKind, name: &str, data: &[u8]) -> Result<()> {
        if kind == FileKind::Pack {
            Ok(())
        } else {
            self.0.write(kind, name, data)
        }
    }
    fn remove(&self, kind: FileKind, name: &str) -> Result<()> {
        self.0.remove(kind, name)
    }
    fn exists(&self, kind: FileKind, name: &str) -> Result<bool> {
        self.0.exists(kind, name)
    }
    fn modified(&self, kind: FileKind, name: &str) -> Result<std::time::SystemTime> {
        self.0.modified(kind, name)
    }
    fn found(&self) -> Result<Found> {
        self.0.found()
    }
    fn bind(&self, identity: Option<Arc<dyn Recognise>>) {
        self.0.bind(identity);
    }
    fn hold(&self) -> Result<()> {
        self.0.hold()
    }
    fn release(&self) {
        self.0.release();
    }
    fn prove(&self) -> Result<()> {
        self.0.prove()
    }
    fn remove_stale_temporaries(&self, age: Duration) -> Result<usize> {
        self.0.remove_stale_temporaries(age)
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, millions] = arguments.as_slice() else {
        eprintln!("usage: index_memory FOLDER MILLIONS");
        std::process::exit(2);
    };
    let count = millions.parse::<u64>().expect("MILLIONS is a number") * 1_000_000;
    let password = Password::new("index".to_owned());
    let storage: Arc<dyn Storage> = Arc::new(WithoutPacks(LocalStorage::new(Path::new(folder))));
    write(&Repository::init(storage.clone(), &password)?, count)?;

    // In this process the index is in memory already, so it is loaded in one of its own.
    let repository = Repository::open(storage, &password)?;
    let before = resident();
    let start = Instant::now();
    let load = repository.reload_index()?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} chunks from {} index files: {:.2} s for each million, {:.1} bytes a chunk by count, {:.1} by what the process grew",
        load.blobs,
        load.files,
        seconds * 1e6 / load.blobs as f64,
        load.bytes_in_memory as f64 / load.blobs as f64,
        resident().saturating_sub(before) as f64 / load.blobs as f64,
    );
    Ok(())
}

/// Chunks that do not compress, 16 to a pack.
fn write(repository: &Repository, count: u64) -> Result<()> {
    let options = WriterOptions {
        pack_size: 4 << 10,
        open_packs: 1,
        ..WriterOptions::default()
    };
    let writer = repository.writer(options)?;
    let mut chunk = [0u8; 230];
    let mut state = 1u64;
    for _ in 0..count {
        for word in chunk.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
        }
        writer.add_blob(BlobKind::Data, BlobId::of(&chunk), &chunk)?;
    }
    writer.finish()?;
    Ok(())
}

/// Bytes of memory of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
