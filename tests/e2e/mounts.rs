//! File systems that a test mounts, as root; they go with the test.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Mount(PathBuf);

impl Mount {
    /// An empty file system in memory.
    pub(crate) fn tmpfs(at: &Path, size: &str) -> Self {
        Self::new(at, &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
    }

    /// A file with an empty ext4 file system in it.
    pub(crate) fn make_image(image: &Path, size: u64) {
        Self::make_image_of(image, size, &["-b", "4096"]);
    }

    /// As [`Mount::make_image`], with these options of mkfs.ext4.
    pub(crate) fn make_image_of(image: &Path, size: u64, options: &[&str]) {
        std::fs::File::create(image).unwrap().set_len(size).unwrap();
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-O", "^has_journal"])
            .args(options)
            .arg(image)
            .status()
            .expect("mkfs.ext4 is installed: apt-get install e2fsprogs");
        assert!(made.success(), "making a file system in {}", image.display());
    }

    /// The file system in a file.
    pub(crate) fn image(at: &Path, image: &Path, mode: &str) -> Self {
        Self::new(at, &["-o", &format!("loop,{mode}"), image.to_str().unwrap()])
    }

    /// Another folder in the place of this one.
    pub(crate) fn bind(at: &Path, other: &Path) -> Self {
        Self::new(at, &["--bind", other.to_str().unwrap()])
    }

    /// A folder once more, where nothing can be changed.
    pub(crate) fn read_only(at: &Path, of: &Path) -> Self {
        let mounted = Self::bind(at, of);
        let status = Command::new("mount")
            .args(["-o", "remount,bind,ro"])
            .arg(at)
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "remounting {}",
            at.display()
        );
        mounted
    }

    fn new(at: &Path, args: &[&str]) -> Self {
        let mounted = Command::new("mount").args(args).arg(at).status().unwrap();
        assert!(mounted.success(), "mounting at {}", at.display());
        Self(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Something may still look at it; then it goes when that is over.
        let unmount = |args: &[&str]| Command::new("umount").args(args).arg(&self.0).status();
        if !unmount(&[]).is_ok_and(|status| status.success()) {
            let _ = unmount(&["--lazy"]);
        }
    }
}
