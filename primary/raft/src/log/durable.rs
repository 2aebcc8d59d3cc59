//! What is read at start must be on disk before it counts. A log that a killed process wrote but did not sync reads well
//! from the page cache; the node would take its last entries and its vote for promised, acknowledge them without another
//! write, and forget them with the next power cut. And behind a write that never was synced a power cut leaves whichever
//! pages the disk came to, so the end can have holes. Called by [`open`](super::open), before anything else writes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use outlast_kit::files::{close, sync_folder};
use raft_log::chunked_wal::Config;

use crate::log::mark::Mark;

/// What a disk writes as one.
const SECTOR: u64 = 512;
/// Every record begins with fewer zeros.
const NO_RECORD: usize = 4;

/// The log's files with the offset at which each begins, in order.
fn chunks(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut chunks = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Ok(start) = Config::parse_chunk_file_name(&entry.file_name().to_string_lossy()) {
            chunks.push((start, entry.path()));
        }
    }
    chunks.sort();
    Ok(chunks)
}

/// Makes all of the log durable, and then the mark that says so.
pub(super) fn make_durable(dir: &Path, mark: &Mark, end: u64) -> io::Result<()> {
    for (start, path) in chunks(dir)? {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        rewrite(&file, mark.offset().saturating_sub(start))?;
        file.sync_all()?;
        close(file)?;
    }
    sync_folder(dir)?;
    mark.raise(end)?;
    mark.sync()
}

/// Writes what lies behind `from` once more. After a sync that failed the system may hold pages for written that the disk
/// never got, and a second sync would say that all is well; what was synced with success lies before the mark.
fn rewrite(file: &File, mut from: u64) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read_at(&mut buffer, from)?;
        if read == 0 {
            return Ok(());
        }
        file.write_all_at(&buffer[..read], from)?;
        from += read as u64;
    }
}

/// Cuts the log's last file off at `good`, if what follows there was never written: zeros up to where a sector ends,
/// although something may come behind them. Anything else is damage and stays.
pub(super) fn cut_unwritten(dir: &Path, good: u64) -> io::Result<()> {
    let chunks = chunks(dir)?;
    let Some((start, path)) = chunks.last().filter(|(start, _)| *start <= good) else {
        return Ok(());
    };
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if is_unwritten(&file, good - start)? {
        file.set_len(good - start)?;
        file.sync_all()?;
        close(file)?;
    }
    Ok(())
}

/// Whether a sector of zeros, or zeros up to the end of the first sector, lie in what a single record can take.
fn is_unwritten(file: &File, from: u64) -> io::Result<bool> {
    let reach = from + crate::options::MAX_COMMAND as u64 + 128 * 1024;
    let (mut at, mut sector) = (from, [0; SECTOR as usize]);
    while at < reach {
        let want = (SECTOR - at % SECTOR) as usize;
        let read = file.read_at(&mut sector[..want], at)?;
        if read == 0 {
            return Ok(false);
        }
        if read >= NO_RECORD && sector[..read].iter().all(|byte| *byte == 0) {
            return Ok(true);
        }
        at += read as u64;
    }
    Ok(false)
}
