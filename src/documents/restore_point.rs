//! Restore points and the files in them as `restore-point list` and `ls` print them.

use jiff::Timestamp;
use outlast_proto::v1;
use serde::Serialize;

use crate::wire::{text, time};

/// The fields of CLI.md, "restore-point list".
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RestorePointDocument {
    pub(crate) id: String,
    pub(crate) job: Option<String>,
    pub(crate) attempt: u32,
    pub(crate) policy: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) item: Option<String>,
    pub(crate) time: Option<Timestamp>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) snapshot: Option<String>,
    pub(crate) storage_unit: Option<String>,
    /// Since when its snapshot is known to be gone; null: it is not.
    pub(crate) lost: Option<Timestamp>,
}

/// One entry of a folder.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FileDocument {
    pub(crate) path: String,
    pub(crate) r#type: Option<String>,
    /// Permission bits, in octal as for chmod.
    pub(crate) mode: String,
    pub(crate) user: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) size: u64,
    pub(crate) modified_at: Option<Timestamp>,
    pub(crate) link_target: Option<String>,
}

impl From<&v1::RestorePoint> for RestorePointDocument {
    fn from(point: &v1::RestorePoint) -> Self {
        Self {
            id: point.id.clone(),
            job: text(&point.job),
            attempt: point.attempt,
            policy: text(&point.policy),
            client: text(&point.client),
            item: text(&point.item),
            time: time(point.time.as_ref()),
            files: point.files,
            bytes: point.bytes,
            snapshot: text(&point.snapshot),
            storage_unit: text(&point.storage_unit),
            lost: time(point.lost.as_ref()),
        }
    }
}

impl From<&v1::FileInfo> for FileDocument {
    fn from(file: &v1::FileInfo) -> Self {
        Self {
            path: file.path.clone(),
            r#type: text(&file.r#type),
            mode: format!("{:04o}", file.mode & 0o7777),
            user: text(&file.user),
            group: text(&file.group),
            size: file.size,
            modified_at: time(file.modified_at.as_ref()),
            link_target: text(&file.link_target),
        }
    }
}
