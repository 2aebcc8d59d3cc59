//! Measures how fast blobs get into a repository and out again: `throughput DIRECTORY [MEGABYTES] [THREADS]`.
//! Not a test: numbers depend on the machine. Run it in release mode on an idle one.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use outlast_repository::{
    BlobId, BlobKind, InitOptions, LocalStorage, Password, Repository, Writer, WriterOptions,
    verify_compressed,
};

const CHUNK: usize = 1 << 20;

/// What one thread does with one chunk of the set.
type Step<'a> = dyn Fn(u64, &Writer, &mut Vec<u8>) -> outlast_repository::Result<()> + Sync + 'a;

struct Measurement {
    repository: Repository,
    count: u64,
    threads: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = PathBuf::from(arguments.first().ok_or("give a directory")?);
    let megabytes: u64 = arguments.get(1).map_or(Ok(2000), |text| text.parse())?;
    let threads: u64 = arguments.get(2).map_or(Ok(2), |text| text.parse())?;
    for (name, mixed) in [("incompressible", false), ("mixed", true)] {
        let storage = Arc::new(LocalStorage::new(directory.join(name)));
        let password = Password::new("measure".to_owned());
        let repository = Repository::init_with(storage, &password, InitOptions { scrypt_log_n: 4 })?;
        let measurement = Measurement {
            repository,
            count: megabytes * 1_000_000 / CHUNK as u64,
            threads,
        };
        let chunks = chunks(mixed);
        let of = |number: u64| number as usize % chunks.len();
        measurement.run(&format!("{name}: hash, compress, add"), &|number, writer, own| {
            own.clear();
            own.extend_from_slice(&chunks[of(number)]);
            own[..8].copy_from_slice(&number.to_le_bytes());
            writer.add_blob(BlobKind::Data, BlobId::of(own), own).map(|_| ())
        })?;
        let compress = |chunk: &Vec<u8>| zstd::bulk::compress(chunk, 1);
        let frames: Vec<Vec<u8>> = chunks.iter().map(compress).collect::<Result<_, _>>()?;
        let ids: Vec<BlobId> = chunks.iter().map(|chunk| BlobId::of(chunk)).collect();
        measurement.run(
            &format!("{name}: verify, add compressed"),
            &|number, writer, scratch| {
                let frame = &frames[of(number)];
                verify_compressed(&ids[of(number)], frame, CHUNK as u32, scratch)?;
                // The same few frames under ever new names; such a repository is good for measuring only.
                let mut name = [0u8; 32];
                name[..8].copy_from_slice(&number.to_le_bytes());
                writer
                    .add_compressed(BlobKind::Data, BlobId::from_bytes(name), frame, CHUNK as u32)
                    .map(|_| ())
            },
        )?;
    }
    Ok(())
}

impl Measurement {
    fn run(&self, what: &str, step: &Step<'_>) -> Result<(), Box<dyn Error>> {
        let writer = self.repository.writer(WriterOptions::default())?;
        let start = Instant::now();
        let work = |first: u64| -> outlast_repository::Result<()> {
            let mut scratch = Vec::new();
            (first..self.count)
                .step_by(self.threads as usize)
                .try_for_each(|number| step(number, &writer, &mut scratch))
        };
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..self.threads)
                .map(|first| scope.spawn(move || work(first)))
                .collect();
            running
                .into_iter()
                .try_for_each(|thread| thread.join().expect("no panic"))
        })?;
        let flushed = writer.finish()?;
        let rate = (self.count * CHUNK as u64) as f64 / 1e6 / start.elapsed().as_secs_f64();
        println!(
            "{what}: {rate:.0} MB/s plain, {} MB stored",
            flushed.bytes / 1_000_000
        );
        Ok(())
    }
}

/// 64 chunks of noise; if `mixed`, two thirds of them compress to about half.
fn chunks(mixed: bool) -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    let mut chunk = |number: usize| {
        let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next)
            .flat_map(u64::to_le_bytes)
            .take(CHUNK)
            .collect();
        if mixed && !number.is_multiple_of(3) {
            bytes
                .iter_mut()
                .for_each(|byte| *byte = b"etaoinshrdlucm \n"[usize::from(*byte >> 4)]);
        }
        bytes
    };
    (0..64).map(&mut chunk).collect()
}
