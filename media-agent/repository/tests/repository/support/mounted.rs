//! Mounts that end with the test.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A small file system of its own, unmounted at the end.
pub(crate) struct Mounted(TempDir);

impl Mounted {
    /// The reason if this machine lets us mount nothing.
    pub(crate) fn new(arguments: &[&str]) -> Result<Mounted, String> {
        let directory = tempfile::tempdir().unwrap();
        run(Command::new("mount").args(arguments).arg(directory.path()))?;
        Ok(Mounted(directory))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

/// A directory mounted over another one, until this is dropped.
pub(crate) struct Covered(PathBuf);

impl Covered {
    /// The reason if this machine lets us mount nothing.
    pub(crate) fn new(place: &Path, by: &Path) -> Result<Covered, String> {
        run(Command::new("mount").arg("--bind").arg(by).arg(place))?;
        Ok(Covered(place.to_owned()))
    }
}

impl Drop for Covered {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
