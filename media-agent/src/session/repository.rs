//! Which repository a backup would be written to, so that a dry run leaves out what a backup does.
//!
//! Blocks; called by `orders` on a thread of its own.

use outlast_proto::v1::answer::Body;
use outlast_proto::v1::{AgentMessage, RepositoryAnswer};
use tokio::sync::mpsc;

use super::list_files::send;
use crate::storage::StorageUnit;

pub(super) fn answer(unit: &StorageUnit, id: u64, up: &mpsc::Sender<AgentMessage>) {
    let config = unit
        .repository()
        .and_then(|repository| repository.config_sha256());
    let body = match config {
        Ok(config) => Body::Repository(RepositoryAnswer {
            config_sha256: bytes::Bytes::copy_from_slice(config.as_bytes()),
        }),
        Err(error) => Body::Error(crate::fault::reading(&unit.name, &error).told()),
    };
    // Whoever asked may have gone with the session.
    send(id, body, true, up);
}
