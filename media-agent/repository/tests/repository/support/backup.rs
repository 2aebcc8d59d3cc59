//! The smallest possible backup through the API: fixed chunks, no comparison with a parent.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use outlast_repository::{
    BlobId, BlobKind, ExtendedAttribute, Node, NodeKind, Repository, Snapshot, SnapshotId, Timestamp, Tree,
    Writer, WriterOptions, go_mode_from_st_mode,
};

const CHUNK: usize = 1 << 20;

/// Backs up the content of `root` as one snapshot.
pub(crate) fn back_up(repository: &Repository, root: &Path, options: WriterOptions) -> SnapshotId {
    let writer = repository.writer(options).unwrap();
    let tree = directory(&writer, root);
    writer.finish().unwrap();
    let snapshot = Snapshot::new(Timestamp::now(), tree, vec!["/".to_owned()], "test".to_owned());
    repository.save_snapshot(&snapshot).unwrap()
}

fn directory(writer: &Writer, path: &Path) -> BlobId {
    let mut tree = Tree::default();
    for entry in fs::read_dir(path).unwrap() {
        tree.nodes.push(node(writer, &entry.unwrap().path()));
    }
    writer.add_tree(&tree).unwrap().0
}

fn node(writer: &Writer, path: &Path) -> Node {
    let metadata = path.symlink_metadata().unwrap();
    let kind = kind_of(&metadata);
    let time = |secs, nanos: i64| Timestamp::new(secs, u32::try_from(nanos).unwrap());
    let mut node = Node {
        name: path.file_name().unwrap().as_bytes().to_vec(),
        kind,
        mode: go_mode_from_st_mode(metadata.mode()),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        atime: time(metadata.atime(), metadata.atime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        uid: metadata.uid(),
        gid: metadata.gid(),
        inode: metadata.ino(),
        device_id: metadata.dev(),
        links: metadata.nlink(),
        ..Node::default()
    };
    match kind {
        NodeKind::File => {
            node.size = metadata.len();
            node.content = Some(content(writer, &fs::read(path).unwrap()));
        }
        NodeKind::Dir => node.subtree = Some(directory(writer, path)),
        NodeKind::Symlink => {
            node.linktarget = Some(fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec())
        }
        _ => node.device = metadata.rdev(),
    }
    if kind != NodeKind::Symlink {
        for name in xattr::list(path).unwrap() {
            let value = xattr::get(path, &name).unwrap().unwrap_or_default();
            let name = name.into_string().unwrap();
            node.extended_attributes.push(ExtendedAttribute { name, value });
        }
    }
    node
}

/// Every second chunk takes the way of chunks that clients send compressed.
fn content(writer: &Writer, bytes: &[u8]) -> Vec<BlobId> {
    let add = |(number, chunk): (usize, &[u8])| {
        let id = BlobId::of(chunk);
        if number.is_multiple_of(2) {
            writer.add_blob(BlobKind::Data, id, chunk).unwrap();
        } else {
            let length = u32::try_from(chunk.len()).unwrap();
            let frame = zstd::bulk::compress(chunk, 1).unwrap();
            writer.add_untrusted(id, &frame, length, &mut Vec::new()).unwrap();
        }
        id
    };
    bytes.chunks(CHUNK).enumerate().map(add).collect()
}

fn kind_of(metadata: &Metadata) -> NodeKind {
    let kind = metadata.file_type();
    match () {
        () if kind.is_file() => NodeKind::File,
        () if kind.is_dir() => NodeKind::Dir,
        () if kind.is_symlink() => NodeKind::Symlink,
        () if kind.is_block_device() => NodeKind::Dev,
        () if kind.is_char_device() => NodeKind::CharDev,
        () if kind.is_fifo() => NodeKind::Fifo,
        () => NodeKind::Socket,
    }
}
