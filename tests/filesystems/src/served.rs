//! What is served: the nodes, what is open, and the layer that each operation passes on its way to the backing folder. `serve`
//! calls it with what the kernel says; its operations are in `served::names` and `served::files`.

use std::ffi::OsStr;
use std::sync::Arc;

use fuser::{FileAttr, FileHandle, INodeNo};
use rustix::io::Errno;

use crate::answer;
use crate::layer::{Call, Layer};
use crate::nodes::{Node, Nodes};
use crate::opened::{Open, Opened};

mod files;
mod names;

pub(crate) use names::Maker;

pub(crate) struct Served<L> {
    pub(crate) nodes: Nodes,
    pub(crate) opened: Opened,
    pub(crate) layer: L,
}

impl<L: Layer> Served<L> {
    pub(crate) fn past_layer<T>(
        &self,
        call: &Call<'_>,
        act: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let result = self.layer.before(call).and_then(|()| act());
        let told = result.as_ref().map(|_| ()).map_err(|error| *error);
        self.layer.after(call, told);
        result
    }

    pub(crate) fn node(&self, id: INodeNo) -> Result<Arc<Node>, Errno> {
        self.nodes.get(id.0)
    }

    pub(crate) fn attributes(&self, node: &Node) -> Result<FileAttr, Errno> {
        let mut stat = node.stat()?;
        self.layer.attributes(node, &mut stat);
        Ok(answer::attributes(node.id(), &stat))
    }

    /// On a node, open or not.
    pub(crate) fn on_node<T>(
        &self,
        id: INodeNo,
        call: impl for<'a> FnOnce(&'a Node) -> Call<'a>,
        act: impl FnOnce(&Node) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let node = self.node(id)?;
        self.past_layer(&call(&node), || act(&node))
    }

    /// On an open file or folder.
    pub(crate) fn on_open<T>(
        &self,
        handle: FileHandle,
        call: impl for<'a> FnOnce(&'a Open) -> Call<'a>,
        act: impl FnOnce(&Open) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let open = self.opened.get(handle.0)?;
        self.past_layer(&call(&open), || act(&open))
    }

    /// Of an entry that is there, or was just made.
    fn entry(&self, parent: &Node, name: &OsStr) -> Result<(Arc<Node>, FileAttr), Errno> {
        let node = self.nodes.look_up(parent, name)?;
        match self.attributes(&node) {
            Ok(attributes) => Ok((node, attributes)),
            Err(error) => {
                self.nodes.forget(node.id(), 1);
                Err(error)
            }
        }
    }
}
