//! A snapshot that arrives: slices into a file, checked as a whole before openraft hears of it. Called by
//! [`service`](super::service).

use std::io::Write;
use std::path::PathBuf;

use futures::{Stream, StreamExt};
use outlast_proto::v1::RaftFrame;
use tonic::Status;

use crate::net::admission::Admission;
use crate::net::wire::{self, SnapshotStart, WireError};
use crate::state::{SnapshotFile, StateStore, blocking};
use crate::types::Vote;

/// A complete snapshot. Its file goes with it, unless it was installed and so renamed.
pub(crate) struct Received {
    pub(crate) vote: Vote,
    pub(crate) snapshot: SnapshotFile,
    _part: Part,
}

struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.0.display(), %error, "unfinished snapshot stays until the next start");
            }
            _ => {}
        }
    }
}

/// Takes a snapshot from a stream of frames.
pub(crate) async fn receive(
    admission: &Admission,
    state: &StateStore,
    mut frames: impl Stream<Item = Result<RaftFrame, Status>> + Unpin,
) -> Result<Received, Status> {
    let first = frames.next().await.ok_or(WireError::Impossible {
        what: "a snapshot without a start",
    })??;
    let SnapshotStart { vote, len } = admission.admit(&first)?;
    let path = state.part("received");
    let part = Part(path.clone());
    let mut file = std::fs::File::create(&path).map_err(internal)?;
    let mut left = len;
    while let Some(frame) = frames.next().await {
        let frame = frame?;
        let bytes = wire::raw(&frame)?.clone();
        left = left
            .checked_sub(bytes.len() as u64)
            .ok_or(WireError::Impossible {
                what: "more bytes than announced",
            })?;
        file = blocking(move || file.write_all(&bytes).map(|()| file))
            .await
            .map_err(internal)?;
    }
    if left > 0 {
        return Err(WireError::Impossible {
            what: "fewer bytes than announced",
        }
        .into());
    }
    let whole = move || {
        file.sync_all()?;
        outlast_kit::files::close(file)?;
        SnapshotFile::open(&path)
    };
    let snapshot = blocking(whole).await;
    let snapshot = snapshot.map_err(|e| Status::invalid_argument(e.to_string()))?;
    Ok(Received {
        vote,
        snapshot,
        _part: part,
    })
}

fn internal(error: std::io::Error) -> Status {
    Status::internal(error.to_string())
}
