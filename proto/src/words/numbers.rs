//! The numbers of L-04.

use serde::{Deserialize, Serialize};

/// What was processed and stored, of an item or of a whole attempt. Sizes in bytes (L-04).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Files of every type but directories.
    #[serde(default)]
    pub files: u64,
    /// Directories.
    #[serde(default)]
    pub directories: u64,
    /// Source data of processed items.
    #[serde(default)]
    pub bytes: u64,
    /// Source data read from the host.
    #[serde(default)]
    pub bytes_read: u64,
    /// Stored after deduplication, before compression.
    #[serde(default)]
    pub bytes_new: u64,
    /// Written to the storage unit.
    #[serde(default)]
    pub bytes_stored: u64,
    /// Source data not read again thanks to checkpoints or adopted items.
    #[serde(default)]
    pub bytes_carried_over: u64,
    /// Source data read again that the previous attempt had read after its last checkpoint.
    #[serde(default)]
    pub bytes_resent: u64,
    /// Files skipped, unreadable, changed or corrupt (S-02).
    #[serde(default)]
    pub exceptions: u64,
    /// Of a restore: files that were not restored since something is there that stays (S-14e).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_alone: u64,
    /// Of a backup: left out by the policy's patterns; a directory counts as one, with all below it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub excluded: u64,
}

/// What is not said is zero: rows and entries without the number are as they were before there was one.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Counters {
    /// Adds the other's numbers to these.
    pub fn add(&mut self, other: &Counters) {
        self.files += other.files;
        self.directories += other.directories;
        self.bytes += other.bytes;
        self.bytes_read += other.bytes_read;
        self.bytes_new += other.bytes_new;
        self.bytes_stored += other.bytes_stored;
        self.bytes_carried_over += other.bytes_carried_over;
        self.bytes_resent += other.bytes_resent;
        self.exceptions += other.exceptions;
        self.left_alone += other.left_alone;
        self.excluded += other.excluded;
    }
}
