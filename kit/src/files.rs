//! What must outlive a power cut: small files that are whole or not there, folders, and names in a folder.
//!
//! The rule of the house: when something returns with success, what it promised is on the disk, by content and by name; and
//! what a process finds at its start counts only once that is so, for whoever wrote it may have been killed before its sync.
//! A file that was written is closed by [`close`], never by dropping it: some file systems store it only then, and say only then
//! that they could not.
//! Used by everything that keeps files of its own.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::io::Errno;

/// Replaces `path` by `content`, durably. `mode` are the permission bits of a new file.
///
/// # Errors
/// Any I/O error. Then the old content is still there, unless it was the last step that failed, the sync of the name:
/// then the new one is, and nobody knows which of the two a power cut leaves.
pub fn write_durably(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
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
        .and_then(|()| close(file))
        .and_then(|()| std::fs::rename(temporary, path));
    if let Err(error) = written {
        // The half-written file is worth nothing; the first error is the one to report.
        let _ = std::fs::remove_file(temporary);
        return Err(error);
    }
    sync_folder(folder_of(path))
}

/// Closes what was written, before it gets its name or is said to be there. A file system that keeps files elsewhere (FUSE, NFS)
/// may bring them there only now, whatever it answered to a sync.
///
/// # Errors
/// What the file system says; the file is closed all the same, and what it holds is not known.
pub fn close(file: impl Into<OwnedFd>) -> io::Result<()> {
    Ok(nix::unistd::close(file.into())?)
}

/// As [`close`], of a file that stays open.
///
/// # Errors
/// What the file system says; what the file holds is not known then.
pub fn flush(file: impl AsFd) -> io::Result<()> {
    loop {
        match close(rustix::io::fcntl_dupfd_cloexec(&file, 0)?) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            flushed => return flushed,
        }
    }
}

/// Removes `path` durably; not there is fine.
///
/// # Errors
/// Any other I/O error.
pub fn remove_durably(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(folder_of(path)),
    }
}

/// Makes a folder and those above it that are missing, durably: a power cut takes a folder whose name was not synced with
/// all that is in it, however often that was synced. `mode` are the permission bits of new ones.
///
/// # Errors
/// Any I/O error, also if something else has the name.
pub fn create_folder(folder: &Path, mode: u32) -> io::Result<()> {
    let parent = match folder.parent() {
        Some(_) => folder_of(folder),
        None => return Ok(()),
    };
    if !folder.is_dir() {
        create_folder(parent, mode)?;
        match DirBuilder::new().mode(mode).create(folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !folder.is_dir() {
                    return Err(Errno::NOTDIR.into());
                }
            }
            made => made?,
        }
    }
    // Also if it is there: whoever made it may have been killed before it came to this.
    // But the name of a mount point is not what leads to what is mounted there.
    if folder.metadata()?.dev() != parent.metadata()?.dev() {
        return Ok(());
    }
    match sync_folder(parent) {
        // One may pass through a folder that one may not list; it was made by somebody else, long ago.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Any I/O error.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some file systems cannot; then there is nothing more we could do.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// The one that `path` is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use outlast_test_filesystems::{At, Disk, Odd, can_mount, mount};
    use rustix::io::Errno;

    use super::{create_folder, flush, remove_durably, write_durably};

    #[test]
    fn t90_what_returned_with_success_outlives_a_power_cut() {
        if !can_mount() {
            return;
        }
        for seed in 0..6 {
            let folder = tempfile::tempdir().unwrap();
            let mut disk = Disk::new(folder.path(), seed).unwrap();
            let at = disk.path().to_owned();
            // One that somebody made and did not come to sync.
            std::fs::create_dir(at.join("a")).unwrap();
            create_folder(&at.join("a"), 0o755).unwrap();
            create_folder(&at.join("b/c/d"), 0o700).unwrap();
            for folder in ["a", "b/c/d"] {
                write_durably(&at.join(folder).join("file"), b"old", 0o600).unwrap();
                write_durably(&at.join(folder).join("file"), b"new", 0o600).unwrap();
                write_durably(&at.join(folder).join("gone"), b"", 0o600).unwrap();
                remove_durably(&at.join(folder).join("gone")).unwrap();
            }
            disk.lose_power().unwrap();
            for folder in ["a", "b/c/d"] {
                assert_eq!(std::fs::read(at.join(folder).join("file")).unwrap(), b"new");
                assert!(!at.join(folder).join("gone").exists());
            }
        }
    }

    /// Where files are stored when they are closed, only that says that they are not; a sync there is none.
    #[test]
    fn t90_what_a_close_cannot_store_is_not_written() {
        if !can_mount() {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let [below, at] = ["below", "at"].map(|name| temp.path().join(name));
        for folder in [&below, &at] {
            std::fs::create_dir(folder).unwrap();
        }
        let odd = Odd::new();
        odd.fails(At::anywhere().calls(&["fsync", "fsyncdir"]), Errno::NOSYS);
        let _mounted = mount(&below, &at, odd.clone()).unwrap();
        write_durably(&at.join("file"), b"old", 0o600).unwrap();
        let open = std::fs::File::options()
            .append(true)
            .open(at.join("file"))
            .unwrap();
        flush(&open).unwrap();
        odd.fails(At::path("file").and_below().calls(&["flush"]), Errno::IO);
        odd.fails(
            At::path(format!("file.{}.tmp", std::process::id())).calls(&["flush"]),
            Errno::IO,
        );
        let error = write_durably(&at.join("file"), b"new", 0o600).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::IO));
        assert_eq!(std::fs::read(at.join("file")).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(&below).unwrap().count(), 1);
        let error = flush(&open).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::IO));
    }

    /// The disk of the host may be broken where another one is mounted to restore to.
    #[test]
    fn t90_a_mount_point_is_not_its_folders_matter() {
        if !can_mount() {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let [below, at, other] = ["below", "at", "other"].map(|name| temp.path().join(name));
        for folder in [&below, &at, &other, &below.join("point"), &below.join("folder")] {
            std::fs::create_dir(folder).unwrap();
        }
        let odd = Odd::new();
        let _disk = mount(&below, &at, odd.clone()).unwrap();
        let _mounted = mount(&other, &at.join("point"), Odd::new()).unwrap();
        odd.fails(At::anywhere().calls(&["fsyncdir"]), Errno::IO);
        create_folder(&at.join("point"), 0o700).unwrap();
        create_folder(&at.join("point/new"), 0o700).unwrap();
        assert!(create_folder(&at.join("folder"), 0o700).is_err());
    }

    #[test]
    fn what_has_the_name_of_a_folder_and_is_none_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(create_folder(&file, 0o700).is_err());
        assert!(create_folder(&file.join("below"), 0o700).is_err());
        create_folder(Path::new("."), 0o700).unwrap();
    }
}
