//! Small files that must be whole or not there: written under another name, synced, renamed.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Replaces `path` by `content`, durably. `mode` are the permission bits of a new file.
///
/// # Errors
/// Any I/O error; then the old content is still there.
pub fn write_durably(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = Path::new(&temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(temporary)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(temporary, path));
    if let Err(error) = written {
        // The half-written file is worth nothing; the first error is the one to report.
        let _ = std::fs::remove_file(temporary);
        return Err(error);
    }
    sync_folder(folder)
}

/// Removes `path` durably; not there is fine.
///
/// # Errors
/// Any other I/O error.
pub fn remove_durably(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(path.parent().unwrap_or(Path::new("."))),
    }
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}
