//! What both directions know about the host's file systems: paths, metadata, owners. No messages but `Node` are made here.

pub(crate) mod beneath;
pub(crate) mod birth;
pub(crate) mod errors;
pub(crate) mod given_stamps;
pub(crate) mod holes;
pub(crate) mod identity;
pub(crate) mod node;
pub(crate) mod open;
pub(crate) mod owners;
pub(crate) mod paths;
pub(crate) mod ticks;
pub(crate) mod xattrs;
