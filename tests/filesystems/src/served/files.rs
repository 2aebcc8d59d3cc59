//! Operations on nodes and on what is open.

use std::ffi::OsStr;
use std::path::Path;

use fuser::{FileAttr, FileHandle, INodeNo};
use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;

use super::Served;
use crate::layer::{Call, Changes, Entry, Layer};
use crate::mirror;

/// Entries that are handed out at once: few, so that a layer can stop a listing in its middle.
const PIECE: usize = 64;
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

impl<L: Layer> Served<L> {
    pub(crate) fn change(
        &self,
        id: INodeNo,
        handle: Option<FileHandle>,
        changes: &Changes,
    ) -> Result<FileAttr, Errno> {
        use std::os::fd::AsFd as _;
        let open = handle.and_then(|handle| self.opened.get(handle.0).ok());
        let file = open.as_ref().map(|open| open.file.as_fd());
        let node = &*self.node(id)?;
        self.past_layer(&Call::Setattr { node, changes }, || {
            mirror::change(node, file, changes)?;
            self.attributes(node)
        })
    }

    pub(crate) fn open(&self, id: INodeNo, flags: OFlags) -> Result<FileHandle, Errno> {
        let node = self.node(id)?;
        let call = if flags.contains(OFlags::DIRECTORY) {
            Call::Opendir { node: &node }
        } else {
            Call::Open { node: &node, flags }
        };
        let file = self.past_layer(&call, || mirror::open(&node, flags))?;
        Ok(self.opened.add(node, file, flags))
    }

    pub(crate) fn read(&self, handle: FileHandle, offset: u64, length: u32) -> Result<Vec<u8>, Errno> {
        let open = &*self.opened.get(handle.0)?;
        let node = &open.node;
        let call = Call::Read { node, offset, length };
        self.past_layer(&call, || mirror::read(&open.file, offset, length))
    }

    pub(crate) fn write(&self, handle: FileHandle, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let open = &*self.opened.get(handle.0)?;
        let call = Call::Write {
            node: &open.node,
            offset,
            data,
            synced: open.synced,
        };
        self.past_layer(&call, || mirror::write(&open.file, offset, data))
    }

    pub(crate) fn sync(&self, handle: FileHandle, data_only: bool) -> Result<(), Errno> {
        let open = &*self.opened.get(handle.0)?;
        let node = &open.node;
        self.past_layer(&Call::Fsync { node, data_only }, || {
            if data_only {
                rustix::fs::fdatasync(&open.file)
            } else {
                rustix::fs::fsync(&open.file)
            }
        })
    }

    /// Hands entries out from `offset` on until one finds no room; what a layer makes of them stays for one listing.
    pub(crate) fn list(
        &self,
        handle: FileHandle,
        offset: u64,
        mut is_full: impl FnMut(u64, &Entry) -> bool,
    ) -> Result<(), Errno> {
        let open = &*self.opened.get(handle.0)?;
        let node = &open.node;
        self.past_layer(&Call::Readdir { node, offset }, || {
            let mut listing = open.listing.lock();
            if offset == 0 {
                *listing = mirror::listing(&open.file)?;
                self.layer.listing(node, &mut listing);
            }
            let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
            for place in (skipped..).take(PIECE) {
                let further = match listing.get(place) {
                    Some(_) => None,
                    None => self.layer.further(node, place as u64),
                };
                let Some(entry) = further.as_ref().or_else(|| listing.get(place)) else {
                    break;
                };
                if is_full(place as u64 + 1, entry) {
                    break;
                }
            }
            Ok(())
        })
    }

    pub(crate) fn set_attribute(
        &self,
        id: INodeNo,
        attribute: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Result<(), Errno> {
        let node = &*self.node(id)?;
        let call = Call::Setxattr {
            node,
            attribute,
            value,
        };
        self.past_layer(&call, || mirror::set_attribute(node, attribute, value, flags))
    }

    pub(crate) fn attribute(&self, id: INodeNo, attribute: &OsStr) -> Result<Vec<u8>, Errno> {
        let node = &*self.node(id)?;
        let read = |path: &Path, buffer: &mut [u8]| rustix::fs::getxattr(path, attribute, buffer);
        self.past_layer(&Call::Getxattr { node, attribute }, || {
            mirror::attribute(read, node)
        })
    }

    pub(crate) fn attribute_names(&self, id: INodeNo) -> Result<Vec<u8>, Errno> {
        let node = &*self.node(id)?;
        let read = |path: &Path, buffer: &mut [u8]| rustix::fs::listxattr(path, buffer);
        self.past_layer(&Call::Listxattr { node }, || mirror::attribute(read, node))
    }

    pub(crate) fn remove_attribute(&self, id: INodeNo, attribute: &OsStr) -> Result<(), Errno> {
        let node = &*self.node(id)?;
        self.past_layer(&Call::Removexattr { node, attribute }, || {
            rustix::fs::removexattr(node.proc_path(), attribute)
        })
    }

    pub(crate) fn allocate(
        &self,
        handle: FileHandle,
        mode: u32,
        (offset, length): (u64, u64),
    ) -> Result<(), Errno> {
        let open = &*self.opened.get(handle.0)?;
        let call = Call::Fallocate {
            node: &open.node,
            mode,
            offset,
            length,
        };
        self.past_layer(&call, || {
            rustix::fs::fallocate(&open.file, FallocateFlags::from_bits_retain(mode), offset, length)
        })
    }

    pub(crate) fn seek(&self, handle: FileHandle, offset: i64, whence: i32) -> Result<i64, Errno> {
        let open = &*self.opened.get(handle.0)?;
        let call = Call::Lseek {
            node: &open.node,
            offset,
            whence,
        };
        self.past_layer(&call, || {
            let from = u64::try_from(offset).map_err(|_| Errno::NXIO)?;
            let wanted = match whence {
                SEEK_DATA => SeekFrom::Data(from),
                SEEK_HOLE => SeekFrom::Hole(from),
                // The kernel knows the rest itself.
                _ => return Err(Errno::INVAL),
            };
            let place = rustix::fs::seek(&open.file, wanted)?;
            i64::try_from(place).map_err(|_| Errno::OVERFLOW)
        })
    }

    pub(crate) fn copy_range(
        &self,
        (from_handle, mut from_offset): (FileHandle, u64),
        (handle, mut offset): (FileHandle, u64),
        length: u64,
    ) -> Result<u32, Errno> {
        let (from, open) = (&*self.opened.get(from_handle.0)?, &*self.opened.get(handle.0)?);
        let call = Call::CopyFileRange {
            from: &from.node,
            node: &open.node,
            offset,
            length,
        };
        self.past_layer(&call, || {
            // The answer has 32 bits.
            let length = usize::try_from(length.min(1 << 30)).map_err(|_| Errno::INVAL)?;
            let (from_offset, offset) = (Some(&mut from_offset), Some(&mut offset));
            let copied = rustix::fs::copy_file_range(&from.file, from_offset, &open.file, offset, length)?;
            u32::try_from(copied).map_err(|_| Errno::OVERFLOW)
        })
    }
}
