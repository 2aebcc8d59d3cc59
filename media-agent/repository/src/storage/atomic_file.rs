//! Writes one file so that it appears whole or not at all: temporary name, fsync, rename, fsync of the directory.
//! Which file it is, is `local`'s business, which alone calls this.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use outlast_direct_io::{AlignedBuffer, BLOCK, is_aligned, refuses_direct, set_direct};
use rustix::fs::OFlags;

use crate::error::{RepositoryError, Result};

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
    pub(super) fn open_to_read(&self, path: &Path, length: usize) -> io::Result<File> {
        if length >= DIRECT_FROM && self.0.load(Ordering::Relaxed) {
            match with_flags(OpenOptions::new().read(true), OFlags::DIRECT)?.open(path) {
                Err(error) if refuses_direct(&error) => self.refused(path),
                opened => return opened,
            }
        }
        File::open(path)
    }

    fn refused(&self, directory: &Path) {
        if self.0.swap(false, Ordering::Relaxed) {
            tracing::debug!(directory = %directory.display(), "the file system cannot go past the page cache");
        }
    }
}

/// Writes `data` as `directory/name`. The temporary file is removed again if anything fails.
pub(super) fn write(
    directory: &Path,
    name: &str,
    data: &[u8],
    if_taken: IfTaken,
    direct: &DirectAccess,
) -> Result<()> {
    let nonce = u64::from_le_bytes(crate::crypto::random()?);
    let temporary = directory.join(format!(
        "{name}{TEMPORARY_MARK}{}-{nonce:016x}",
        std::process::id()
    ));
    let target = directory.join(name);
    let written = fill(&temporary, data, direct).and_then(|()| publish(&temporary, &target, if_taken));
    if let Err(error) = written {
        // Best effort: what stays is ignored by readers and removed when it is a day old.
        let _ = fs::remove_file(&temporary);
        return Err(if error.kind() == ErrorKind::AlreadyExists {
            RepositoryError::AlreadyExists {
                location: target.display().to_string(),
            }
        } else {
            RepositoryError::from_io(&target, error)
        });
    }
    sync_directory(directory)
}

/// Makes creations, renames and removals in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|opened| ignore_unsupported(opened.sync_all()))
        .map_err(|error| RepositoryError::from_io(directory, error))
}

fn fill(temporary: &Path, data: &[u8], direct: &DirectAccess) -> io::Result<()> {
    let mut file = if direct.worth_trying(data) {
        match open(temporary, true) {
            Err(error) if refuses_direct(&error) => {
                direct.refused(temporary);
                // Linux creates the file before it finds that it cannot be opened this way.
                let _ = fs::remove_file(temporary);
                open(temporary, false)?
            }
            opened => write_direct(opened?, data, temporary, direct)?,
        }
    } else {
        open(temporary, false)?
    };
    let done = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    if done < data.len() {
        // A direct write that stopped half-way goes on through the page cache.
        file.set_len(0)?;
        file.write_all(data)?;
    }
    ignore_unsupported(file.sync_all())
}

fn open(path: &Path, direct: bool) -> io::Result<File> {
    let flags = if direct { OFlags::DIRECT } else { OFlags::empty() };
    with_flags(OpenOptions::new().write(true).create_new(true).mode(0o600), flags)?.open(path)
}

fn with_flags(options: &mut OpenOptions, flags: OFlags) -> io::Result<&mut OpenOptions> {
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    Ok(options.custom_flags(flags))
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

fn publish(temporary: &Path, target: &Path, if_taken: IfTaken) -> io::Result<()> {
    if if_taken == IfTaken::Replace {
        return fs::rename(temporary, target);
    }
    // A hard link fails if the name is taken, also over NFS.
    match fs::hard_link(temporary, target) {
        Ok(()) => {
            // The file is published; a second name that stays does no harm.
            let _ = fs::remove_file(temporary);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        Err(_) => rustix::fs::renameat_with(
            rustix::fs::CWD,
            temporary,
            rustix::fs::CWD,
            target,
            rustix::fs::RenameFlags::NOREPLACE,
        )
        .map_err(io::Error::from),
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
pub(super) fn is_temporary(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.contains(TEMPORARY_MARK))
}
