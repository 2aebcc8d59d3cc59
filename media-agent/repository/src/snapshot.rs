//! A snapshot: the root tree of a backup and what is known about it.
//! Finding, saving and removing them is in `repository::snapshots`. Built by the media agent.

use serde::{Deserialize, Deserializer, Serialize};

use crate::id::{BlobId, SnapshotId};
use crate::time::Timestamp;

/// One snapshot, as restic writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SnapshotId>,
    /// The root; it holds the parent directories of absolute paths.
    pub tree: BlobId,
    #[serde(default, deserialize_with = "list")]
    pub paths: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub excludes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub tags: Vec<String>,
    /// The snapshot this one replaced, if its tags or paths were rewritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<SnapshotId>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<SnapshotSummary>,
}

/// What a backup did, as restic since 0.17 records it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotSummary {
    pub backup_start: Timestamp,
    pub backup_end: Timestamp,
    pub files_new: u64,
    pub files_changed: u64,
    pub files_unmodified: u64,
    pub dirs_new: u64,
    pub dirs_changed: u64,
    pub dirs_unmodified: u64,
    pub data_blobs: u64,
    pub tree_blobs: u64,
    pub data_added: u64,
    pub data_added_packed: u64,
    pub total_files_processed: u64,
    pub total_bytes_processed: u64,
}

impl Snapshot {
    /// A snapshot with these essentials and nothing else.
    pub fn new(time: Timestamp, tree: BlobId, paths: Vec<String>, hostname: String) -> Snapshot {
        Snapshot {
            time,
            parent: None,
            tree,
            paths,
            hostname,
            username: String::new(),
            uid: 0,
            gid: 0,
            excludes: Vec::new(),
            tags: Vec::new(),
            original: None,
            program_version: String::new(),
            summary: None,
        }
    }
}

/// Go writes `null` for lists that were never filled.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::Snapshot;

    #[test]
    fn foreign_snapshots_are_understood() {
        let id = "0".repeat(64);
        let old = format!(
            r#"{{"time":"2015-01-02T18:10:50.895208559+01:00","tree":"{id}","paths":null,"uid":1000}}"#
        );
        let read: Snapshot = serde_json::from_str(&old).unwrap();
        assert_eq!((read.uid, read.paths.len()), (1000, 0));
        let new = format!(
            r#"{{"time":"2025-01-02T18:10:50Z","tree":"{id}","paths":["/a"],"tags":["t"],"future":{{}},
            "program_version":"restic 0.18.0","summary":{{"backup_start":"2025-01-02T18:10:49Z","files_new":3,"new":1}}}}"#
        );
        let read: Snapshot = serde_json::from_str(&new).unwrap();
        assert_eq!(read.summary.as_ref().map(|summary| summary.files_new), Some(3));
        assert_eq!(
            serde_json::from_str::<Snapshot>(&serde_json::to_string(&read).unwrap()).unwrap(),
            read
        );
    }
}
