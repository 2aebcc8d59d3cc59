//! Answers the kernel: hands each operation to `served` and what came of it back. Decides nothing.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};
use rustix::fs::{OFlags, RenameFlags};
use rustix::io::Errno;

use crate::answer::{self, NOT_KEPT};
use crate::layer::{Call, Changes, Layer};
use crate::nodes::Node;
use crate::opened::Open;
use crate::served::{Maker, Served};

/// Each read and write is an operation here, and none is answered out of the kernel's memory.
const UNCACHED: FopenFlags = FopenFlags::FOPEN_DIRECT_IO;
/// A forgotten inode has no number here, so a number stands for one inode at a time.
const ONLY: Generation = Generation(0);

fn flags_of(flags: i32) -> OFlags {
    OFlags::from_bits_retain(flags.cast_unsigned())
}

fn entry(reply: ReplyEntry, made: Result<FileAttr, Errno>) {
    match made {
        Ok(attributes) => reply.entry(&NOT_KEPT, &attributes, ONLY),
        Err(error) => reply.error(answer::error(error)),
    }
}

fn attributes(reply: ReplyAttr, found: Result<FileAttr, Errno>) {
    match found {
        Ok(attributes) => reply.attr(&NOT_KEPT, &attributes),
        Err(error) => reply.error(answer::error(error)),
    }
}

fn empty(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(answer::error(error)),
    }
}

fn data(reply: ReplyData, found: Result<Vec<u8>, Errno>) {
    match found {
        Ok(data) => reply.data(&data),
        Err(error) => reply.error(answer::error(error)),
    }
}

fn written(reply: ReplyWrite, size: Result<u32, Errno>) {
    match size {
        Ok(size) => reply.written(size),
        Err(error) => reply.error(answer::error(error)),
    }
}

fn opened(reply: ReplyOpen, handle: Result<FileHandle, Errno>, flags: FopenFlags) {
    match handle {
        Ok(handle) => reply.opened(handle, flags),
        Err(error) => reply.error(answer::error(error)),
    }
}

fn value(reply: ReplyXattr, room: u32, found: Result<Vec<u8>, Errno>) {
    match found {
        Ok(value) if room == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > room as usize => reply.error(fuser::Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(error) => reply.error(answer::error(error)),
    }
}

impl<L: Layer> Filesystem for Served<L> {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for wanted in [
            // The backing folder knows what default access lists make of a mode.
            InitFlags::FUSE_DONT_MASK,
            InitFlags::FUSE_POSIX_ACL,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
        ] {
            // A kernel without it does without.
            let _ = config.add_capabilities(wanted);
        }
        let _ = config.set_max_write(1 << 20);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.look_up(parent, name));
    }

    fn forget(&self, _request: &Request, id: INodeNo, times: u64) {
        self.nodes.forget(id.0, times);
    }

    fn getattr(&self, _request: &Request, id: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.on_node(id, |node| Call::Getattr { node }, |node| self.attributes(node));
        attributes(reply, found);
    }

    fn setattr(
        &self,
        _request: &Request,
        id: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        handle: Option<FileHandle>,
        _created: Option<SystemTime>,
        _changed_too: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changes = Changes {
            mode,
            uid,
            gid,
            size,
            accessed: accessed.map(answer::asked_time),
            modified: modified.map(answer::asked_time),
        };
        attributes(reply, self.change(id, handle, &changes));
    }

    fn readlink(&self, _request: &Request, id: INodeNo, reply: ReplyData) {
        let read = |node: &Node| Ok(rustix::fs::readlinkat(node, "", Vec::new())?.into_bytes());
        data(reply, self.on_node(id, |node| Call::Readlink { node }, read));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        let made = self.make_node(Maker { request, umask }, (parent, name), (mode, device));
        entry(reply, made);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.make_folder(Maker { request, umask }, (parent, name), mode);
        entry(reply, made);
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.remove_file(parent, name));
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.remove_folder(parent, name));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let maker = Maker { request, umask: 0 };
        entry(reply, self.make_link(maker, (parent, name), target));
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: fuser::RenameFlags,
        reply: ReplyEmpty,
    ) {
        let flags = RenameFlags::from_bits_retain(flags.bits());
        let done = self.rename((parent, name), (new_parent, new_name), flags);
        empty(reply, done);
    }

    fn link(
        &self,
        _request: &Request,
        id: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        entry(reply, self.link(id, new_parent, new_name));
    }

    fn open(&self, _request: &Request, id: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        opened(reply, self.open(id, flags_of(flags.0)), UNCACHED);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let maker = Maker { request, umask };
        match self.create_file(maker, (parent, name), flags_of(flags), mode) {
            Ok((attributes, handle)) => reply.created(&NOT_KEPT, &attributes, ONLY, handle, UNCACHED),
            Err(error) => reply.error(answer::error(error)),
        }
    }

    fn read(
        &self,
        _request: &Request,
        _id: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        data(reply, self.read(handle, offset, length));
    }

    fn write(
        &self,
        _request: &Request,
        _id: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        written(reply, self.write(handle, offset, data));
    }

    fn flush(
        &self,
        _request: &Request,
        _id: INodeNo,
        handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        empty(reply, self.on_open(handle, Open::flush, |_| Ok(())));
    }

    fn release(
        &self,
        _request: &Request,
        _id: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let done = self.on_open(handle, |open| Call::Release { node: &open.node }, |_| Ok(()));
        self.opened.remove(handle.0);
        empty(reply, done);
    }

    fn fsync(
        &self,
        _request: &Request,
        _id: INodeNo,
        handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        empty(reply, self.sync(handle, data_only));
    }

    fn opendir(&self, _request: &Request, id: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let handle = self.open(id, OFlags::RDONLY | OFlags::DIRECTORY);
        opened(reply, handle, FopenFlags::empty());
    }

    fn readdir(
        &self,
        _request: &Request,
        _id: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.list(handle, offset, |place, entry| {
            let kind = answer::kind(entry.kind);
            reply.add(INodeNo(entry.inode), place, kind, &entry.name)
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(answer::error(error)),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _id: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let done = self.on_open(handle, |open| Call::Releasedir { node: &open.node }, |_| Ok(()));
        self.opened.remove(handle.0);
        empty(reply, done);
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _id: INodeNo,
        handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        let sync = |open: &Open| rustix::fs::fsync(&open.file);
        let done = self.on_open(handle, |open| Call::Fsyncdir { node: &open.node }, sync);
        empty(reply, done);
    }

    fn statfs(&self, _request: &Request, id: INodeNo, reply: ReplyStatfs) {
        let read = |node: &Node| rustix::fs::fstatvfs(node);
        match self.on_node(id, |node| Call::Statfs { node }, read) {
            Ok(mut space) => {
                self.layer.space(&mut space);
                let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
                reply.statfs(
                    space.f_blocks,
                    space.f_bfree,
                    space.f_bavail,
                    space.f_files,
                    space.f_ffree,
                    small(space.f_bsize),
                    small(space.f_namemax),
                    small(space.f_frsize),
                );
            }
            Err(error) => reply.error(answer::error(error)),
        }
    }

    fn setxattr(
        &self,
        _request: &Request,
        id: INodeNo,
        attribute: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        empty(reply, self.set_attribute(id, attribute, value, flags));
    }

    fn getxattr(&self, _request: &Request, id: INodeNo, attribute: &OsStr, room: u32, reply: ReplyXattr) {
        value(reply, room, self.attribute(id, attribute));
    }

    fn listxattr(&self, _request: &Request, id: INodeNo, room: u32, reply: ReplyXattr) {
        value(reply, room, self.attribute_names(id));
    }

    fn removexattr(&self, _request: &Request, id: INodeNo, attribute: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.remove_attribute(id, attribute));
    }

    fn fallocate(
        &self,
        _request: &Request,
        _id: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        empty(
            reply,
            self.allocate(handle, mode.cast_unsigned(), (offset, length)),
        );
    }

    fn lseek(
        &self,
        _request: &Request,
        _id: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        match self.seek(handle, offset, whence) {
            Ok(place) => reply.offset(place),
            Err(error) => reply.error(answer::error(error)),
        }
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _from: INodeNo,
        from_handle: FileHandle,
        from_offset: u64,
        _id: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let copied = self.copy_range((from_handle, from_offset), (handle, offset), length);
        written(reply, copied);
    }
}
