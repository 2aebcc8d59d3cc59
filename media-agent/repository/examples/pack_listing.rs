//! How long a media agent looks for the packs before a backup, and how long it loads the index:
//! `cargo run --release -p outlast-repository --example pack_listing -- FOLDER PACKS`. FOLDER must be empty; so many small packs are
//! written there.

use std::sync::Arc;
use std::time::Instant;

use outlast_repository::{BlobId, BlobKind, LocalStorage, Password, Repository, WriterOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, packs] = arguments.as_slice() else {
        return Err("usage: pack_listing FOLDER PACKS".into());
    };
    let storage = Arc::new(LocalStorage::new(folder));
    let password = Password::new("of a measurement".to_owned());
    let repository = Repository::open_or_init(storage.clone(), &password)?;
    let writer = repository.writer(WriterOptions {
        pack_size: 4 << 10,
        ..WriterOptions::default()
    })?;
    let mut blob = vec![0; 5000];
    for number in 0..packs.parse::<u64>()? {
        for (word, bytes) in blob.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(
                &(number * 1000 + word as u64)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    .to_le_bytes(),
            );
        }
        writer.add_blob(BlobKind::Data, BlobId::of(&blob), &blob)?;
    }
    writer.finish()?;
    for round in 0..3 {
        let repository = Repository::open(storage.clone(), &password)?;
        let begun = Instant::now();
        let load = repository.reload_index()?;
        let loaded = begun.elapsed();
        repository.look_again()?;
        println!(
            "round {round}: {} blobs loaded in {loaded:?}, packs looked for in {:?}",
            load.blobs,
            begun.elapsed() - loaded
        );
    }
    Ok(())
}
