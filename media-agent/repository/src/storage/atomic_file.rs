//! Writes one file so that it appears whole or not at all: temporary name, fsync, rename, fsync of the directory.
//! Which file it is, is `local`'s business, which alone calls this.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use outlast_direct_io::{AlignedBuffer, BLOCK, is_aligned, refuses_direct, set_direct};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, linkat, openat, renameat, renameat_with, unlinkat};

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
    let written = fill(target, &temporary, data, direct).and_then(|()| publish(target, &temporary, if_taken));
    if let Err(error) = written {
        // Best effort: what stays is ignored by readers and removed when it is a day old.
        let _ = unlinkat(target.directory, &temporary, AtFlags::empty());
        return Err(if error.kind() == ErrorKind::AlreadyExists {
            RepositoryError::AlreadyExists {
                location: target.path.display().to_string(),
            }
        } else {
            RepositoryError::from_io(target.path, error)
        });
    }
    sync_directory(target.directory).map_err(|error| RepositoryError::from_io(target.path, error))
}

/// Makes creations, renames and removals in a directory durable.
pub(super) fn sync_directory(directory: BorrowedFd<'_>) -> io::Result<()> {
    ignore_unsupported(rustix::fs::fsync(directory).map_err(io::Error::from))
}

fn fill(target: Target<'_>, temporary: &str, data: &[u8], direct: &DirectAccess) -> io::Result<()> {
    let create = |flags| create(target.directory, temporary, flags);
    let mut file = if direct.worth_trying(data) {
        match create(OFlags::DIRECT) {
            Err(error) if refuses_direct(&error) => {
                direct.refused(target.path);
                // Linux creates the file before it finds that it cannot be opened this way.
                let _ = unlinkat(target.directory, temporary, AtFlags::empty());
                create(OFlags::empty())?
            }
            opened => write_direct(opened?, data, target.path, direct)?,
        }
    } else {
        create(OFlags::empty())?
    };
    let done = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    if done < data.len() {
        // A direct write that stopped half-way goes on through the page cache.
        file.set_len(0)?;
        file.write_all(data)?;
    }
    ignore_unsupported(file.sync_all())
}

fn create(directory: BorrowedFd<'_>, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let created = openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(File::from(created))
}

/// Writes whole blocks from `data` itself and the rest from a padded block that is cut off afterwards. Gives the file
/// back empty and without O_DIRECT if the file system refuses only now.
fn write_direct(file: File, data: &[u8], path: &Path, direct: &DirectAccess) -> io::Result<File> {
    let whole = data.len() - data.len() % BLOCK;
    let written = file.write_all_at(&data[..whole], 0).and_then(|()| {
        if whole == data.len() {
            return Ok(());
        }
        let mut last = AlignedBuffer::new(BLOCK);
        last.bytes_mut()[..data.len() - whole].copy_from_slice(&data[whole..]);
        file.write_all_at(last.bytes(), whole as u64)?;
        file.set_len(data.len() as u64)
    });
    match written {
        Err(error) if refuses_direct(&error) => {
            direct.refused(path);
            set_direct(&file, false)?;
            file.set_len(0)?;
            Ok(file)
        }
        other => other.map(|()| file),
    }
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
