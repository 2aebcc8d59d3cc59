//! What a backup would do, as `policy test` prints it.

use outlast_proto::v1::{self, EntryFate};
use serde::Serialize;

use super::ErrorOfHistory;
use crate::wire::text;

/// A path that a backup would meet.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EntryDocument {
    pub(crate) path: String,
    pub(crate) r#type: Option<String>,
    pub(crate) size: Option<u64>,
    /// taken, left_out, exception.
    pub(crate) fate: Option<String>,
    /// The line of `exclude` that leaves it out.
    pub(crate) pattern: Option<String>,
    pub(crate) reason: Option<String>,
}

/// What an item comes to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TestedItemDocument {
    pub(crate) files: u64,
    pub(crate) directories: u64,
    pub(crate) bytes: u64,
    pub(crate) left_out: u64,
    pub(crate) exceptions: u64,
    pub(crate) error: Option<ErrorOfHistory>,
}

impl From<&v1::DryRunEntry> for EntryDocument {
    fn from(entry: &v1::DryRunEntry) -> Self {
        let fate = match EntryFate::try_from(entry.fate) {
            Ok(EntryFate::Unspecified) => None,
            Ok(EntryFate::Taken) => Some("taken".to_owned()),
            Ok(EntryFate::LeftOut) => Some("left_out".to_owned()),
            Ok(EntryFate::Exception) => Some("exception".to_owned()),
            Err(_) => Some(format!("unknown_{}", entry.fate)),
        };
        Self {
            path: entry.path.clone(),
            r#type: text(&entry.r#type),
            size: entry.size,
            fate,
            pattern: text(&entry.pattern),
            reason: text(&entry.reason),
        }
    }
}

impl From<&v1::DryRunItem> for TestedItemDocument {
    fn from(item: &v1::DryRunItem) -> Self {
        Self {
            files: item.files,
            directories: item.directories,
            bytes: item.bytes,
            left_out: item.left_out,
            exceptions: item.exceptions,
            error: item.error.as_ref().map(ErrorOfHistory::from),
        }
    }
}
