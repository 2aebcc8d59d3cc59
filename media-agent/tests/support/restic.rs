//! Plain restic as the judge. A test fails where it is not installed.

use std::path::Path;
use std::process::{Command, Output};

use super::world::{PASSWORD, World};

impl World {
    pub fn restic(&self, arguments: &[&str]) -> Output {
        Command::new("restic")
            .env("RESTIC_PASSWORD", PASSWORD)
            .env("RESTIC_CACHE_DIR", self.dir.path().join("restic-cache"))
            .arg("--repo")
            .arg(self.storage())
            .args(arguments)
            .output()
            .expect("restic cannot be run; install it: apt-get install restic")
    }

    /// `restic check --read-data` finds nothing and no lock is left.
    pub fn assert_clean(&self) {
        let checked = self.restic(&["check", "--read-data"]);
        assert!(
            checked.status.success(),
            "{}{}",
            String::from_utf8_lossy(&checked.stdout),
            String::from_utf8_lossy(&checked.stderr)
        );
        let locks = std::fs::read_dir(self.storage().join("locks")).unwrap().count();
        assert_eq!(locks, 0, "locks are left");
    }

    pub fn snapshots(&self) -> usize {
        std::fs::read_dir(self.storage().join("snapshots"))
            .unwrap()
            .count()
    }

    pub fn restic_restore(&self, snapshot: &[u8], to: &Path) {
        let id = snapshot.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let to = to.to_str().unwrap();
        let restored = self.restic(&["restore", &id, "--target", to]);
        assert!(
            restored.status.success(),
            "{}",
            String::from_utf8_lossy(&restored.stderr)
        );
    }
}
