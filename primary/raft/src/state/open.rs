//! Opening the applied rows at start, whatever became of them. They are a cache (docs/adr/0007): whatever sled holds, does
//! not hold or says of it, this node's snapshots and its log lead to the same rows. So rows that do not check are set
//! aside and an empty store is made; openraft installs the newest snapshot in it and applies the log from there. What
//! keeps a node away is a log or a vote that does not check, never this. Called by [`node`](crate::node).

use std::fs::{self, File};
use std::io;
use std::path::Path;

use outlast_kit::files::create_folder;
use thiserror::Error;

use crate::format::{LogIdForm, end_in_words};
use crate::log::LogStore;
use crate::peer::NodeId;
use crate::state::kept::Kept;
use crate::state::rows::{self, Row, Rows, RowsFault};

/// Why rows are not used.
#[derive(Debug, Error)]
enum Unusable {
    #[error("the last start ended while it was opening them")]
    Ended,
    #[error(transparent)]
    Fault(#[from] RowsFault),
    #[error("they are the rows of node {0}")]
    Foreign(NodeId),
    #[error("they end with {applied}, the log with {}", end_in_words(*.end))]
    Ahead {
        applied: LogIdForm,
        end: Option<LogIdForm>,
    },
    #[error("they end with {applied}, where the log has {found}")]
    OtherEntry { applied: LogIdForm, found: LogIdForm },
    #[error("the log cannot be read")]
    Log(#[source] io::Error),
}

/// Why there are no rows to start with.
#[derive(Debug, Error)]
pub(crate) enum OpenFault {
    /// Neither the rows nor a snapshot reach to where the log begins.
    #[error("{0}")]
    Unreachable(String),
    /// Rights, room, another process.
    #[error(transparent)]
    System(RowsFault),
}

/// Opens the rows in `dir` and returns what is in them; empty ones if those cannot be used.
pub(crate) fn open(
    dir: &Path,
    node_id: NodeId,
    log: &LogStore,
    kept: &Kept,
) -> Result<(Rows, Vec<Row>), OpenFault> {
    let reason = match try_open(dir, node_id, log, kept) {
        Ok((rows, content)) => {
            let applied = rows.meta().applied;
            must_follow(log, kept, applied, || {
                format!("the rows end with {}", end_in_words(applied))
            })?;
            return Ok((rows, content));
        }
        Err(Unusable::Fault(fault)) if fault.is_system() => return Err(OpenFault::System(fault)),
        Err(reason) => reason,
    };
    must_follow(log, kept, None, || format!("the rows cannot be used: {reason}"))?;
    let aside = set_aside(dir).map_err(|error| OpenFault::System(error.into()))?;
    tracing::warn!(
        reason = %reason,
        aside = %aside.display(),
        "the applied rows cannot be used; they are rebuilt from this node's own snapshot and log, nothing is lost; \
         what was found is kept until the next time and may be removed"
    );
    let rows = Rows::create(dir, node_id).map_err(OpenFault::System)?;
    Ok((rows, Vec::new()))
}

fn try_open(dir: &Path, node_id: NodeId, log: &LogStore, kept: &Kept) -> Result<(Rows, Vec<Row>), Unusable> {
    // sled may do worse than panic: then this file is still there at the next start.
    let opening = dir.with_extension("opening");
    if opening.exists() {
        forget(&opening);
        return Err(Unusable::Ended);
    }
    if let Err(error) = File::create(&opening) {
        tracing::debug!(path = %opening.display(), %error, "opening of the rows is not noted");
    }
    let opened = Rows::open(dir);
    forget(&opening);
    let (rows, content) = opened?;
    check(&rows, node_id, log, kept)?;
    Ok((rows, content))
}

fn forget(opening: &Path) {
    match fs::remove_file(opening) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %opening.display(), %error, "cannot be removed; the rows are rebuilt at every start");
        }
        _ => {}
    }
}

/// Whether rows that are whole are those of this node and its log.
fn check(rows: &Rows, node_id: NodeId, log: &LogStore, kept: &Kept) -> Result<(), Unusable> {
    let meta = rows.meta();
    if meta.node_id != node_id {
        return Err(Unusable::Foreign(meta.node_id));
    }
    let Some(applied) = meta.applied else {
        return Ok(());
    };
    // A snapshot that came from the leader may reach behind the log, and the rows with it.
    if kept.newest().and_then(|file| file.head().applied) >= Some(applied) {
        return Ok(());
    }
    let (_, end) = log.ends().map_err(Unusable::Log)?;
    if end.is_none_or(|end| end.index < applied.index) {
        return Err(Unusable::Ahead { applied, end });
    }
    match log.id_at(applied.index).map_err(Unusable::Log)? {
        Some(found) if found != applied => Err(Unusable::OtherEntry { applied, found }),
        _ => Ok(()),
    }
}

/// The log begins where the rows or the newest snapshot end, or earlier.
fn must_follow(
    log: &LogStore,
    kept: &Kept,
    applied: Option<LogIdForm>,
    rows: impl Fn() -> String,
) -> Result<(), OpenFault> {
    let (purged, _) = log
        .ends()
        .map_err(|error| OpenFault::System(RowsFault::Io(error)))?;
    let newest = kept.newest().and_then(|file| file.head().applied);
    if applied.max(newest) >= purged {
        return Ok(());
    }
    let snapshots = match (newest, kept.bad()) {
        (Some(newest), _) => format!("the newest snapshot ends with {newest}"),
        (None, []) => "there is no snapshot".to_string(),
        (None, bad) => format!("no snapshot can be used: {}", bad.join("; ")),
    };
    Err(OpenFault::Unreachable(format!(
        "{}; {snapshots}; the log begins behind {}, so it alone does not lead there",
        rows(),
        end_in_words(purged)
    )))
}

/// Keeps what was found for a human to look at, in place of what was kept the last time.
fn set_aside(dir: &Path) -> io::Result<std::path::PathBuf> {
    let aside = dir.with_extension("damaged");
    let removed = if aside.is_dir() {
        fs::remove_dir_all(&aside)
    } else {
        fs::remove_file(&aside)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::rename(dir, &aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    rows::wait_until_closed(&aside);
    create_folder(dir, 0o700)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::rows::Tally;

    #[test]
    fn t90_why_rows_are_not_used_is_said_in_words() {
        let id = |term, index| LogIdForm { term, index };
        let tally = |rows| Tally { rows, sum: 7 };
        let damage = || sled::Error::Corruption { at: None, bt: () };
        let table = [
            (
                Unusable::Ahead {
                    applied: id(2, 9),
                    end: Some(id(1, 4)),
                },
                "they end with entry 9 of term 2, the log with entry 4 of term 1",
            ),
            (
                Unusable::Ahead {
                    applied: id(2, 9),
                    end: None,
                },
                "they end with entry 9 of term 2, the log with no entry at all",
            ),
            (
                Unusable::OtherEntry {
                    applied: id(2, 9),
                    found: id(3, 9),
                },
                "they end with entry 9 of term 2, where the log has entry 9 of term 3",
            ),
            (
                Unusable::Fault(RowsFault::Tally {
                    tally: tally(3),
                    found: tally(2),
                }),
                "3 rows with the checksum 0000000000000007 were stored, 2 rows with the checksum 0000000000000007 are there",
            ),
            (
                Unusable::Fault(RowsFault::Sled(damage())),
                "sled found damage in its file",
            ),
        ];
        for (reason, words) in table {
            assert_eq!(reason.to_string(), words);
        }
    }
}
