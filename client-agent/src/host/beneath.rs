//! Directories below a root, opened one name at a time and never through a symbolic link.
//!
//! Nobody on the host can lead a backup or a restore out of its root by swapping a directory for a link, and paths may be
//! longer than the kernel takes in one piece. Used by the walker, the readers and the restore.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use outlast_kit::calls::openat;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The directories on the way to the last one that stay open, the deepest of them.
const MOST_OPEN: usize = 16;

/// The way to the directories below one root; remembers the last one and those above it, since entries of one directory come
/// together and its siblings after it.
pub(crate) struct Beneath {
    root: Arc<OwnedFd>,
    /// Each is below the one before it.
    way: VecDeque<(Vec<u8>, Arc<OwnedFd>)>,
}

impl Beneath {
    pub(crate) fn new(root: Arc<OwnedFd>) -> Self {
        let way = VecDeque::new();
        Self { root, way }
    }

    /// The directory at `path` below the root; the empty path is the root itself.
    pub(crate) fn folder(&mut self, path: &[u8]) -> Result<Arc<OwnedFd>, Errno> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        while self.way.back().is_some_and(|(known, _)| !leads_to(known, path)) {
            self.way.pop_back();
        }
        let (mut folder, mut end) = match self.way.back() {
            Some((known, folder)) => (Arc::clone(folder), known.len()),
            None => (Arc::clone(&self.root), 0),
        };
        while end < path.len() {
            let start = if end == 0 { 0 } else { end + 1 };
            let name = path[start..]
                .split(|byte| *byte == b'/')
                .next()
                .unwrap_or_default();
            end = start + name.len();
            folder = Arc::new(open_folder(&folder, name)?);
            if self.way.len() == MOST_OPEN {
                self.way.pop_front();
            }
            self.way.push_back((path[..end].to_vec(), Arc::clone(&folder)));
        }
        Ok(folder)
    }

    /// Drops what is remembered: a directory may have been replaced.
    pub(crate) fn forget(&mut self) {
        self.way.clear();
    }
}

/// Whether `path` is `known` or below it.
fn leads_to(known: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(known)
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The directory `name` in `folder`.
pub(crate) fn open_folder(folder: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(folder, name, FOLDER, Mode::empty())
}

/// The file `name` in `folder`, to be read without a trace in its access time, where that may be asked for.
pub(crate) fn open_quietly(folder: impl AsFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    match openat(&folder, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only a file's owner may.
        Err(Errno::PERM) => openat(&folder, name, flags, Mode::empty()),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use rustix::io::Errno;

    use super::Beneath;

    #[test]
    fn f17_links_are_not_followed_at_any_depth() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir_all(temp.path().join("out/b")).unwrap();
        std::os::unix::fs::symlink("../out", root.join("link")).unwrap();
        std::os::unix::fs::symlink("../../out", root.join("a/link")).unwrap();
        let fd: OwnedFd = std::fs::File::open(&root).unwrap().into();
        let mut beneath = Beneath::new(Arc::new(fd));
        assert!(beneath.folder(b"a/b").is_ok());
        for path in [&b"link"[..], b"link/b", b"a/link", b"a/link/b"] {
            let error = beneath.folder(path).unwrap_err();
            assert!(matches!(error, Errno::LOOP | Errno::NOTDIR), "{path:?}: {error}");
        }
    }
}
