//! Writes one file so that it appears whole or not at all: temporary name, fsync, close, rename, fsync of the directory, a look at
//! what is there.
//! Which file it is, is `local`'s business, which alone calls this.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use outlast_direct_io::{AlignedBuffer, BLOCK, is_aligned, refuses_direct};
use outlast_kit::calls::{linkat, openat, renameat, renameat_with, statat, unlinkat};
use outlast_kit::files::close;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};

use crate::error::{RepositoryError, Result};
use crate::storage::FileKind;
use crate::storage::root::Root;

/// Part of the name of every temporary file of ours, so that they can be told from those of others.
pub(super) const TEMPORARY_MARK: &str = ".outlast-tmp-";
/// Below this the page cache is as good.
const DIRECT_FROM: usize = 64 * 1024;

/// What to do if the final name is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IfTaken {
    Replace,
    Refuse,
}

/// Whether the file system takes O_DIRECT; learnt at the first refusal.
#[derive(Debug)]
pub(super) struct DirectAccess(AtomicBool);

impl DirectAccess {
    pub(super) fn new(allowed: bool) -> DirectAccess {
        DirectAccess(AtomicBool::new(allowed))
    }

    fn worth_trying(&self, data: &[u8]) -> bool {
        data.len() >= DIRECT_FROM && is_aligned(data) && self.0.load(Ordering::Relaxed)
    }

    /// Opens a file of which `length` bytes at once are wanted.
    pub(super) fn open_to_read(
        &self,
        root: &Root,
        (kind, name): (FileKind, &str),
        length: usize,
    ) -> io::Result<File> {
        if length >= DIRECT_FROM && self.0.load(Ordering::Relaxed) {
            match root.open_file(kind, name, OFlags::DIRECT) {
                Err(error) if refuses_direct(&error) => self.refused(&root.path_of(kind, name)),
                opened => return opened,
            }
        }
        root.open_file(kind, name, OFlags::empty())
    }

    /// As [`DirectAccess::open_to_read`], after what that opened was refused when it was read.
    pub(super) fn open_without(&self, root: &Root, (kind, name): (FileKind, &str)) -> io::Result<File> {
        self.refused(&root.path_of(kind, name));
        root.open_file(kind, name, OFlags::empty())
    }

    fn refused(&self, path: &Path) {
        if self.0.swap(false, Ordering::Relaxed) {
            tracing::debug!(path = %path.display(), "the file system cannot go past the page cache");
        }
    }
}

/// Where a file goes: into an open directory. The path is for messages only.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) directory: BorrowedFd<'a>,
    pub(super) name: &'a str,
    pub(super) path: &'a Path,
}

/// Writes `data` as `target`. The temporary file is removed again if anything fails.
pub(super) fn write(target: Target<'_>, data: &[u8], if_taken: IfTaken, direct: &DirectAccess) -> Result<()> {
    let nonce = u64::from_le_bytes(crate::crypto::random()?);
    let temporary = format!(
        "{}{TEMPORARY_MARK}{}-{nonce:016x}",
        target.name,
        std::process::id()
    );
    // An interrupted close has closed and perhaps not stored: the file is written anew.
    while let Err(error) =
        fill(target, &temporary, data, direct).and_then(|()| publish(target, &temporary, if_taken))
    {
        // Best effort: what stays is ignored by readers and removed when it is a day old.
        let _ = unlinkat(target.directory, &temporary, AtFlags::empty());
        return Err(match error.kind() {
            ErrorKind::Interrupted => continue,
            ErrorKind::AlreadyExists => RepositoryError::AlreadyExists {
                location: target.path.display().to_string(),
            },
            _ => RepositoryError::from_io(target.path, error),
        });
    }
    sync_directory(target.directory)
        .and_then(|()| look_again(target, data))
        .map_err(|error| RepositoryError::from_io(target.path, error))
}

/// Whether what has the name now is what was written: a file system that stores files when they are closed, or later, may have taken
/// everything and stored nothing. What is not whole goes again: restic refuses a repository with an index file that is cut.
fn look_again(target: Target<'_>, data: &[u8]) -> io::Result<()> {
    let Target { directory, name, .. } = target;
    let stored = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?.st_size;
    let is_whole = u64::try_from(stored) == Ok(data.len() as u64);
    if is_whole && (data.len() >= DIRECT_FROM || holds(target, data)?) {
        return Ok(());
    }
    let _ = unlinkat(directory, name, AtFlags::empty());
    Err(io::Error::other(format!(
        "the file system took {} bytes without an error and did not store them: the file has {stored} bytes{}; look into what \
         is mounted there",
        data.len(),
        if is_whole { " and other content" } else { "" },
    )))
}

fn holds(target: Target<'_>, data: &[u8]) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = File::from(openat(target.directory, target.name, flags, Mode::empty())?);
    let mut stored = Vec::with_capacity(data.len() + 1);
    file.take(data.len() as u64 + 1).read_to_end(&mut stored)?;
    Ok(stored == data)
}

/// Makes creations, renames and removals in a directory durable.
pub(super) fn sync_directory(directory: BorrowedFd<'_>) -> io::Result<()> {
    ignore_unsupported(outlast_kit::calls::fsync(directory).map_err(io::Error::from))
}

fn fill(target: Target<'_>, temporary: &str, data: &[u8], direct: &DirectAccess) -> io::Result<()> {
    if direct.worth_trying(data) {
        match fill_direct(target.directory, temporary, data) {
            // Some file systems take a file opened this way, and refuse what is written: so does what they hand it on to, which
            // does not hear of a flag that is taken back. The file is made anew.
            Err(error) if refuses_direct(&error) => direct.refused(target.path),
            filled => return filled,
        }
        // Linux creates the file before it finds that it cannot be opened this way.
        let _ = unlinkat(target.directory, temporary, AtFlags::empty());
    }
    let mut file = create(target.directory, temporary, OFlags::empty())?;
    file.write_all(data)?;
    store(file)
}

/// Brings a file that is complete to the disk, or to wherever it is stored.
fn store(file: File) -> io::Result<()> {
    ignore_unsupported(file.sync_all())?;
    close(file)
}

fn create(directory: BorrowedFd<'_>, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let created = openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(File::from(created))
}

/// Writes whole blocks from `data` itself and the rest from a padded block that is cut off afterwards.
fn fill_direct(directory: BorrowedFd<'_>, temporary: &str, data: &[u8]) -> io::Result<()> {
    let file = create(directory, temporary, OFlags::DIRECT)?;
    let whole = data.len() - data.len() % BLOCK;
    file.write_all_at(&data[..whole], 0)?;
    if whole < data.len() {
        let mut last = AlignedBuffer::new(BLOCK);
        last.bytes_mut()[..data.len() - whole].copy_from_slice(&data[whole..]);
        file.write_all_at(last.bytes(), whole as u64)?;
        file.set_len(data.len() as u64)?;
    }
    store(file)
}

fn publish(target: Target<'_>, temporary: &str, if_taken: IfTaken) -> io::Result<()> {
    let Target { directory, name, .. } = target;
    if if_taken == IfTaken::Replace {
        return Ok(renameat(directory, temporary, directory, name)?);
    }
    // A hard link fails if the name is taken, also over NFS.
    match linkat(directory, temporary, directory, name, AtFlags::empty()) {
        Ok(()) => {
            // The file is published; a second name that stays does no harm.
            let _ = unlinkat(directory, temporary, AtFlags::empty());
            Ok(())
        }
        Err(rustix::io::Errno::EXIST) => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => Ok(renameat_with(
            directory,
            temporary,
            directory,
            name,
            RenameFlags::NOREPLACE,
        )?),
    }
}

/// Some file systems cannot sync; then there is nothing more we could do.
fn ignore_unsupported(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| {
        if refuses_direct(&error) {
            Ok(())
        } else {
            Err(error)
        }
    })
}

/// Whether an interrupted write of ours left this file behind.
pub(super) fn is_temporary(name: &str) -> bool {
    name.contains(TEMPORARY_MARK)
}
