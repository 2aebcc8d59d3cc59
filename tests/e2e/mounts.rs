//! File systems that a test mounts, as root; they go with the test, also when it is killed.

use std::path::{Path, PathBuf};
use std::process::Command;

use outlast_test_filesystems::Guard;

/// Whether file systems can be mounted here.
pub(crate) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("NOT RUN: only root may mount; CI is root");
    }
    is_root
}

pub(crate) struct Mount {
    at: PathBuf,
    guard: Guard,
}

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
        let command = [&["mkfs.ext4", "-q", "-O", "^has_journal"], options].concat();
        Self::make_image_by(image, size, &command, "e2fsprogs");
    }

    /// A file with an empty file system that this command makes.
    pub(crate) fn make_image_by(image: &Path, size: u64, command: &[&str], package: &str) {
        std::fs::File::create(image).unwrap().set_len(size).unwrap();
        let made = Command::new(command[0])
            .args(&command[1..])
            .arg(image)
            .output()
            .unwrap_or_else(|error| {
                panic!("{} is installed: apt-get install {package}: {error}", command[0])
            });
        assert!(
            made.status.success(),
            "making a file system in {}: {}",
            image.display(),
            String::from_utf8_lossy(&made.stderr)
        );
    }

    /// The file system in a file. The device between them goes with the last who uses it.
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
        Self {
            at: at.to_owned(),
            guard: Guard::of(at).unwrap(),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Something may still look at it; then it goes when that is over, by the guard's hand.
        let unmounted = Command::new("umount").arg("--quiet").arg(&self.at).status();
        if unmounted.is_ok_and(|status| status.success()) {
            self.guard.is_unmounted();
        }
    }
}
