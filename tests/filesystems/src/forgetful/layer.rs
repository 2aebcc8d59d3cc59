//! Watches every operation of a forgetful disk, so that what was not synced is known when the power goes.
//!
//! The kernel makes the operations of one file or folder one after the other, so nothing comes between before and after.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::{OFlags, StatVfs, fstat};
use rustix::io::Errno;

use super::Condition;
use super::unsynced::Unsynced;
use crate::layer::{Call, Layer};

#[derive(Default)]
pub(super) struct Forgetful {
    is_cut: AtomicBool,
    condition: Mutex<Condition>,
    unsynced: Mutex<Unsynced>,
}

impl Forgetful {
    pub(super) fn cut(&self) {
        // Not between an operation's two halves: what is under way is finished, and counted.
        let _whole = self.unsynced.lock();
        self.is_cut.store(true, Ordering::Release);
    }

    pub(super) fn be(&self, condition: Condition) {
        *self.condition.lock() = condition;
    }

    pub(super) fn take(&self) -> Unsynced {
        std::mem::take(&mut self.unsynced.lock())
    }
}

impl Layer for Forgetful {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        let mut unsynced = self.unsynced.lock();
        if self.is_cut.load(Ordering::Acquire) {
            return Err(Errno::IO);
        }
        refused(*self.condition.lock(), call)?;
        match *call {
            Call::Write {
                node, offset, data, ..
            } => unsynced.keep_content(node, offset, data.len() as u64),
            Call::CopyFileRange {
                node, offset, length, ..
            } => unsynced.keep_content(node, offset, length),
            // Some kinds of it move what comes behind.
            Call::Fallocate { node, offset, .. } => unsynced.keep_content(node, offset, u64::MAX),
            Call::Setattr { node, changes } => match changes.size {
                Some(size) => unsynced.keep_content(node, size, u64::MAX),
                None => Ok(()),
            },
            Call::Create { parent, name, .. }
            | Call::Mknod { parent, name, .. }
            | Call::Mkdir { parent, name }
            | Call::Symlink { parent, name, .. }
            | Call::Link { parent, name, .. }
            | Call::Unlink { parent, name }
            | Call::Rmdir { parent, name } => unsynced.keep_name(parent, name),
            Call::Rename {
                parent,
                name,
                new_parent,
                new_name,
                ..
            } => unsynced
                .keep_name(parent, name)
                .and_then(|()| unsynced.keep_name(new_parent, new_name)),
            _ => Ok(()),
        }
    }

    fn after(&self, call: &Call<'_>, result: Result<(), Errno>) {
        let mut unsynced = self.unsynced.lock();
        match *call {
            Call::Create { parent, name, .. }
            | Call::Mknod { parent, name, .. }
            | Call::Mkdir { parent, name }
            | Call::Symlink { parent, name, .. }
            | Call::Link { parent, name, .. }
            | Call::Unlink { parent, name }
            | Call::Rmdir { parent, name } => unsynced.changed(&[(parent, name)], result.is_ok()),
            Call::Rename {
                parent,
                name,
                new_parent,
                new_name,
                ..
            } => unsynced.changed(&[(parent, name), (new_parent, new_name)], result.is_ok()),
            _ if result.is_err() => {}
            Call::Fsync { node, .. } => unsynced.content_synced(node),
            Call::Write {
                node,
                offset,
                data,
                synced: true,
            } => unsynced.part_synced(node, offset, data.len() as u64),
            Call::Fsyncdir { node } => unsynced.names_synced(node),
            _ => {}
        }
    }

    fn space(&self, space: &mut StatVfs) {
        if *self.condition.lock() == Condition::Full {
            (space.f_bfree, space.f_bavail, space.f_ffree) = (0, 0, 0);
        }
    }
}

/// What a full disk, or one that the kernel has made read-only, does not do.
fn refused(condition: Condition, call: &Call<'_>) -> Result<(), Errno> {
    let adds = |end: u64, node| Ok(fstat(node)?.st_size < end.cast_signed());
    let is_refused = match (condition, *call) {
        (Condition::Sound, _) => return Ok(()),
        // What is in a file already may be written over.
        (
            Condition::Full,
            Call::Write {
                node, offset, data, ..
            },
        ) => adds(offset + data.len() as u64, node)?,
        (
            Condition::Full,
            Call::CopyFileRange {
                node, offset, length, ..
            },
        ) => adds(offset + length, node)?,
        (_, Call::Write { .. } | Call::CopyFileRange { .. } | Call::Fallocate { .. }) => true,
        (
            _,
            Call::Create { .. }
            | Call::Mknod { .. }
            | Call::Mkdir { .. }
            | Call::Symlink { .. }
            | Call::Link { .. },
        ) => true,
        (Condition::ReadOnly, Call::Open { flags, .. }) => flags.intersects(OFlags::WRONLY | OFlags::RDWR),
        (Condition::ReadOnly, call) => matches!(
            call,
            Call::Setattr { .. }
                | Call::Unlink { .. }
                | Call::Rmdir { .. }
                | Call::Rename { .. }
                | Call::Setxattr { .. }
                | Call::Removexattr { .. }
        ),
        (Condition::Full, _) => false,
    };
    match condition {
        _ if !is_refused => Ok(()),
        Condition::ReadOnly => Err(Errno::ROFS),
        _ => Err(Errno::NOSPC),
    }
}
