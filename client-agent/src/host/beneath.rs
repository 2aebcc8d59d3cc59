//! Directories below a root, opened one name at a time and never through a symbolic link.
//!
//! Nobody on the host can lead a backup or a restore out of its root by swapping a directory for a link, and paths may be
//! longer than the kernel takes in one piece. Used by the walker, the readers and the restore.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The way to the directories below one root; remembers the last one, since entries of one directory come together.
pub(crate) struct Beneath {
    root: Arc<OwnedFd>,
    last: Option<(Vec<u8>, Arc<OwnedFd>)>,
}

impl Beneath {
    pub(crate) fn new(root: Arc<OwnedFd>) -> Self {
        Self { root, last: None }
    }

    /// The directory at `path` below the root; the empty path is the root itself.
    pub(crate) fn folder(&mut self, path: &[u8]) -> Result<Arc<OwnedFd>, Errno> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        if let Some((known, folder)) = &self.last
            && known == path
        {
            return Ok(Arc::clone(folder));
        }
        // Further down from where we were last, if that leads there.
        let (mut folder, left) = match &self.last {
            Some((known, folder)) if path.starts_with(known) && path.get(known.len()) == Some(&b'/') => {
                (Arc::clone(folder), &path[known.len() + 1..])
            }
            _ => (Arc::clone(&self.root), path),
        };
        for name in left.split(|byte| *byte == b'/') {
            folder = Arc::new(open_folder(&folder, name)?);
        }
        self.last = Some((path.to_vec(), Arc::clone(&folder)));
        Ok(folder)
    }

    /// Drops what is remembered: a directory may have been replaced.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }
}

/// The directory `name` in `folder`.
pub(crate) fn open_folder(folder: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(folder, name, FOLDER, Mode::empty())
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
