//! File systems that a test mounts, as root; they go with the test.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Mount(PathBuf);

impl Mount {
    /// An empty file system in memory.
    pub(crate) fn tmpfs(at: &Path, size: &str) -> Self {
        Self::new(at, &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
    }

    fn new(at: &Path, args: &[&str]) -> Self {
        let mounted = Command::new("mount").args(args).arg(at).status().unwrap();
        assert!(mounted.success(), "mounting at {}", at.display());
        Self(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
