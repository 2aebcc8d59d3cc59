//! Opening the log and judging its end.
//!
//! The `raft-log` crate refuses a record whose checksum does not fit, and cuts off a last record that ends after the
//! file or is all zeros. Cutting is right after a power cut, for bytes that were never synced; done to synced bytes it
//! would make the node forget a vote or an entry it acknowledged. So it is opened with cutting forbidden first, and
//! allowed to cut only what lies behind the [`Mark`]. What is left is then made durable ([`durable`](super::durable)).
//! Called by [`node`](crate::node) at start.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raft_log::{Config, Dump, DumpApi, RaftLog};
use thiserror::Error;

use crate::log::durable;
use crate::log::mark::Mark;
use crate::log::record::Records;

#[derive(Debug, Error)]
pub(crate) enum LogFault {
    #[error("it ends at byte {end}, but was promised up to byte {promised}")]
    Short { end: u64, promised: u64 },
    #[error("it is good up to byte {good} and was promised up to byte {promised}; then: {reason}")]
    Damaged {
        good: u64,
        promised: u64,
        reason: String,
    },
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub(crate) fn open(dir: &Path, mark: &Mark) -> Result<RaftLog<Records>, LogFault> {
    let promised = mark.offset();
    let log = match try_open(dir, false) {
        Ok(log) => log,
        Err(error) if !speaks_of_content(&error) => return Err(error.into()),
        Err(error) => {
            let damaged = |good: u64, error: &io::Error| LogFault::Damaged {
                good,
                promised,
                reason: error.to_string(),
            };
            let good = good_end(dir)?;
            if good < promised {
                return Err(damaged(good, &error));
            }
            tracing::warn!(good, promised, "log ends in an interrupted write; cutting it off");
            durable::cut_unwritten(dir, good)?;
            try_open(dir, true).map_err(|error| match speaks_of_content(&error) {
                true => damaged(good, &error),
                false => error.into(),
            })?
        }
    };
    let end = end_of(&log);
    if end < promised {
        return Err(LogFault::Short { end, promised });
    }
    durable::make_durable(dir, mark, end)?;
    Ok(log)
}

/// The offset behind the last record.
fn end_of(log: &RaftLog<Records>) -> u64 {
    log.stat().open_chunk.global_end
}

fn try_open(dir: &Path, cut: bool) -> io::Result<RaftLog<Records>> {
    let config = Arc::new(config(dir, cut));
    catch_unwind(AssertUnwindSafe(|| RaftLog::open(config)))
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::InvalidData, "opening it panicked")))
}

fn config(dir: &Path, cut: bool) -> Config {
    let mut config = Config::new(dir.display());
    // A file is kept in memory until the next one is begun, and on disk until all of it is purged.
    config.wal.chunk_max_size = Some(16 * 1024 * 1024);
    config.wal.chunk_max_records = Some(50_000);
    config.wal.read_buffer_size = Some(1024 * 1024);
    config.wal.truncate_incomplete_record = Some(cut);
    // Added to every write; what arrives meanwhile shares its sync. The default of 1 ms would double a commit.
    config.wal.flush_batch_wait = Some(Duration::from_micros(100));
    config.log_cache_max_items = Some(100_000);
    config.log_cache_capacity = Some(64 * 1024 * 1024);
    config
}

/// Whether an error tells of bytes that are not as they were written, and not of a disk that is full, read-only or broken: what a node
/// cannot read now it has not forgotten.
fn speaks_of_content(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

/// The end of the last record before the first bad one.
fn good_end(dir: &Path) -> io::Result<u64> {
    let (mut good, mut bad) = (0, false);
    Dump::<Records>::new(Arc::new(config(dir, false)))?.write_with(|chunk, _, record| {
        match record {
            Ok((segment, _)) if !bad => good = chunk.0 + segment.offset + segment.size,
            Ok(_) => {}
            Err(_) => bad = true,
        }
        Ok(())
    })?;
    Ok(good)
}
