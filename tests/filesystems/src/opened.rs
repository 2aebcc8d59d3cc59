//! Files and folders that are open, by the number that the kernel has for them.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fuser::FileHandle;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::layer::{Call, Entry};
use crate::nodes::Node;

pub(crate) struct Open {
    pub(crate) node: Arc<Node>,
    pub(crate) file: OwnedFd,
    /// Writes reach the disk before they are answered.
    pub(crate) synced: bool,
    /// It was opened for writing.
    pub(crate) writes: bool,
    /// Of a folder: what is handed out, from the time when its first piece was asked for.
    pub(crate) listing: Mutex<Vec<Entry>>,
}

impl Open {
    pub(crate) fn flush(&self) -> Call<'_> {
        Call::Flush {
            node: &self.node,
            writes: self.writes,
        }
    }
}

#[derive(Default)]
pub(crate) struct Opened(Mutex<Table>);

#[derive(Default)]
struct Table {
    last: u64,
    open: HashMap<u64, Arc<Open>>,
}

impl Opened {
    pub(crate) fn add(&self, node: Arc<Node>, file: OwnedFd, flags: OFlags) -> FileHandle {
        let synced = flags.intersects(OFlags::SYNC | OFlags::DSYNC);
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        let mut table = self.0.lock();
        table.last += 1;
        let number = table.last;
        let listing = Mutex::default();
        table.open.insert(
            number,
            Arc::new(Open {
                node,
                file,
                synced,
                writes,
                listing,
            }),
        );
        FileHandle(number)
    }

    pub(crate) fn get(&self, number: u64) -> Result<Arc<Open>, Errno> {
        self.0.lock().open.get(&number).cloned().ok_or(Errno::BADF)
    }

    pub(crate) fn remove(&self, number: u64) {
        self.0.lock().open.remove(&number);
    }
}
