//! What is mounted goes also when the process that mounted it is killed.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process that unmounts, lazily, when this one is gone and could not; or when it is dropped before it is told that there is nothing left.
pub struct Guard(Child);

impl Guard {
    pub fn of(at: &Path) -> io::Result<Self> {
        // What it reads ends with this process, for nobody else has the other end; a line says that all is done.
        let started = Command::new("sh")
            .args([
                "-c",
                "read -r _ && exit; exec umount --lazy -- \"$1\" 2>/dev/null",
                "sh",
            ])
            .arg(at)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        started.map(Self)
    }

    /// It is not mounted any more: what may be there now is another's.
    pub fn is_unmounted(&mut self) {
        if let Some(input) = &mut self.0.stdin {
            let _ = input.write_all(b"\n");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
