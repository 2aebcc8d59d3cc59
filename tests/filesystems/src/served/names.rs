//! Operations on the names in a folder.

use std::ffi::OsStr;
use std::path::Path;

use fuser::{FileAttr, FileHandle, INodeNo, Request};
use rustix::fs::{AtFlags, OFlags, RenameFlags};
use rustix::io::Errno;

use super::Served;
use crate::caller::as_caller;
use crate::layer::{Call, Layer};
use crate::mirror;
use crate::nodes::Node;

/// Who makes an entry, and with what umask.
#[derive(Clone, Copy)]
pub(crate) struct Maker<'a> {
    pub(crate) request: &'a Request,
    pub(crate) umask: u32,
}

impl<L: Layer> Served<L> {
    pub(crate) fn look_up(&self, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let parent = &*self.node(parent)?;
        let asked = Call::Lookup { parent, name };
        let name = self.layer.name(parent, name);
        self.past_layer(&asked, || Ok(self.entry(parent, &name)?.1))
    }

    /// What makes a new entry as its caller.
    fn make(
        &self,
        maker: Maker<'_>,
        call: &Call<'_>,
        make: impl FnOnce(&Node, &OsStr) -> Result<(), Errno>,
    ) -> Result<FileAttr, Errno> {
        let (parent, name) = call.place();
        let name = self.layer.name(parent, name.expect("what is made has a name"));
        self.past_layer(call, || {
            as_caller(maker.request, maker.umask, || make(parent, &name))?;
            Ok(self.entry(parent, &name)?.1)
        })
    }

    pub(crate) fn make_node(
        &self,
        maker: Maker<'_>,
        (parent, name): (INodeNo, &OsStr),
        (mode, device): (u32, u32),
    ) -> Result<FileAttr, Errno> {
        let parent = &*self.node(parent)?;
        let call = Call::Mknod { parent, name, mode };
        self.make(maker, &call, |parent, name| {
            mirror::mknod(parent, name, mode, device)
        })
    }

    pub(crate) fn make_folder(
        &self,
        maker: Maker<'_>,
        (parent, name): (INodeNo, &OsStr),
        mode: u32,
    ) -> Result<FileAttr, Errno> {
        let parent = &*self.node(parent)?;
        let call = Call::Mkdir { parent, name };
        let make = |parent: &Node, name: &OsStr| rustix::fs::mkdirat(parent, name, mode.into());
        self.make(maker, &call, make)
    }

    pub(crate) fn make_link(
        &self,
        maker: Maker<'_>,
        (parent, name): (INodeNo, &OsStr),
        target: &Path,
    ) -> Result<FileAttr, Errno> {
        let parent = &*self.node(parent)?;
        let call = Call::Symlink { parent, name, target };
        let make = |parent: &Node, name: &OsStr| rustix::fs::symlinkat(target, parent, name);
        self.make(maker, &call, make)
    }

    pub(crate) fn create_file(
        &self,
        maker: Maker<'_>,
        (parent, name): (INodeNo, &OsStr),
        flags: OFlags,
        mode: u32,
    ) -> Result<(FileAttr, FileHandle), Errno> {
        let parent = &*self.node(parent)?;
        let call = Call::Create { parent, name, flags };
        let name = self.layer.name(parent, name);
        self.past_layer(&call, || {
            let make = || mirror::create(parent, &name, flags, mode);
            let file = as_caller(maker.request, maker.umask, make)?;
            let (node, attributes) = self.entry(parent, &name)?;
            Ok((attributes, self.opened.add(node, file, flags)))
        })
    }

    pub(crate) fn link(&self, id: INodeNo, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let (node, parent) = (&*self.node(id)?, &*self.node(parent)?);
        let call = Call::Link { node, parent, name };
        let name = self.layer.name(parent, name);
        self.past_layer(&call, || {
            mirror::link(node, parent, &name)?;
            Ok(self.entry(parent, &name)?.1)
        })
    }

    pub(crate) fn rename(
        &self,
        (parent, name): (INodeNo, &OsStr),
        (new_parent, new_name): (INodeNo, &OsStr),
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let (parent, new_parent) = (&*self.node(parent)?, &*self.node(new_parent)?);
        let call = Call::Rename {
            parent,
            name,
            new_parent,
            new_name,
            flags,
        };
        let from = self.layer.name(parent, name);
        let to = self.layer.name(new_parent, new_name);
        self.past_layer(&call, || {
            rustix::fs::renameat_with(parent, &*from, new_parent, &*to, flags)
        })
    }

    pub(crate) fn remove_file(&self, parent: INodeNo, name: &OsStr) -> Result<(), Errno> {
        let parent = &*self.node(parent)?;
        self.remove(&Call::Unlink { parent, name }, AtFlags::empty())
    }

    pub(crate) fn remove_folder(&self, parent: INodeNo, name: &OsStr) -> Result<(), Errno> {
        let parent = &*self.node(parent)?;
        self.remove(&Call::Rmdir { parent, name }, AtFlags::REMOVEDIR)
    }

    fn remove(&self, call: &Call<'_>, flags: AtFlags) -> Result<(), Errno> {
        let (parent, name) = call.place();
        let name = self.layer.name(parent, name.expect("what is removed has a name"));
        self.past_layer(call, || rustix::fs::unlinkat(parent, &*name, flags))
    }
}
