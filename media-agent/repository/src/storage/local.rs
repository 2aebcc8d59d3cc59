//! A repository in a directory, local or mounted (NFS). The layout is restic's.
//! How one file is written safely is in `atomic_file`. Created by the media agent and by tests.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use outlast_direct_io::{AlignedBuffer, read_range, refuses_direct, set_direct};

use crate::error::{Damage, RepositoryError, Result};
use crate::storage::atomic_file::{self, DirectAccess, IfTaken};
use crate::storage::{CONFIG_NAME, FileKind, Storage};

const KINDS_WITH_DIRECTORY: [FileKind; 5] = [
    FileKind::Key,
    FileKind::Index,
    FileKind::Snapshot,
    FileKind::Lock,
    FileKind::Pack,
];
/// Directories that file systems themselves put at the top.
const HARMLESS: [&str; 2] = ["lost+found", ".snapshot"];
/// Files other than packs are read whole, so a limit protects our memory from a file that cannot be one of ours.
const MAX_WHOLE_FILE: u64 = 512 << 20;

/// A directory that holds, or will hold, one repository.
#[derive(Debug)]
pub struct LocalStorage {
    root: PathBuf,
    location: String,
    direct: DirectAccess,
}

impl LocalStorage {
    pub fn new(root: impl Into<PathBuf>) -> LocalStorage {
        let root = root.into();
        LocalStorage {
            location: root.display().to_string(),
            root,
            direct: DirectAccess::new(true),
        }
    }

    /// The same, but everything goes through the page cache.
    pub fn without_direct_access(root: impl Into<PathBuf>) -> LocalStorage {
        LocalStorage {
            direct: DirectAccess::new(false),
            ..LocalStorage::new(root)
        }
    }

    fn directory(&self, kind: FileKind, name: &str) -> PathBuf {
        let top = match directory_name(kind) {
            Some(directory) => self.root.join(directory),
            None => return self.root.clone(),
        };
        match (kind, name.get(..2)) {
            (FileKind::Pack, Some(prefix)) => top.join(prefix),
            _ => top,
        }
    }

    fn path(&self, kind: FileKind, name: &str) -> PathBuf {
        self.directory(kind, name).join(name)
    }

    fn error(&self, kind: FileKind, name: &str, path: &Path, error: io::Error) -> RepositoryError {
        if error.kind() == ErrorKind::NotFound {
            RepositoryError::NotFound {
                kind,
                name: name.to_owned(),
                location: self.location.clone(),
            }
        } else {
            RepositoryError::from_io(path, error)
        }
    }

    /// Every directory that can hold files of ours: the root, the five kinds, the packs' second level.
    fn all_directories(&self) -> Vec<PathBuf> {
        let mut all = vec![self.root.clone()];
        all.extend(KINDS_WITH_DIRECTORY.map(|kind| self.directory(kind, "")));
        all.extend((0..=255u8).map(|prefix| self.directory(FileKind::Pack, &format!("{prefix:02x}"))));
        all
    }

    fn refuse_foreign_content(&self) -> Result<()> {
        for entry in read_directory(&self.root)? {
            let path = entry.path();
            let name = entry.file_name();
            let ours = KINDS_WITH_DIRECTORY
                .iter()
                .any(|&kind| Some(&*name) == directory_name(kind).map(AsRef::as_ref));
            let harmless = name == CONFIG_NAME || HARMLESS.iter().any(|harmless| name == *harmless);
            if !ours && !harmless && !atomic_file::is_temporary(&path) {
                let entry = name.to_string_lossy().into_owned();
                return Err(RepositoryError::ForeignContent {
                    location: self.location.clone(),
                    entry,
                });
            }
        }
        Ok(())
    }
}

impl Storage for LocalStorage {
    fn location(&self) -> &str {
        &self.location
    }

    fn create_layout(&self) -> Result<()> {
        create_directory(&self.root)?;
        self.refuse_foreign_content()?;
        for directory in self.all_directories() {
            create_directory(&directory)?;
        }
        atomic_file::sync_directory(&self.directory(FileKind::Pack, ""))?;
        atomic_file::sync_directory(&self.root)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<(String, u64)>> {
        // An empty mount point has no files, but that must not look like an empty repository.
        if !self.directory(kind, "").is_dir() && !self.path(FileKind::Config, CONFIG_NAME).is_file() {
            let reason = "its directories and its configuration file are missing";
            return Err(RepositoryError::NotARepository {
                location: self.location.clone(),
                reason,
            });
        }
        let mut files = Vec::new();
        match kind {
            FileKind::Config => {
                if let Ok(metadata) = fs::metadata(self.path(kind, CONFIG_NAME)) {
                    files.push((CONFIG_NAME.to_owned(), metadata.len()));
                }
            }
            FileKind::Pack => {
                for prefix in 0..=255u8 {
                    list_directory(&self.directory(kind, &format!("{prefix:02x}")), &mut files)?;
                }
            }
            _ => list_directory(&self.directory(kind, ""), &mut files)?,
        }
        Ok(files)
    }

    fn read(&self, kind: FileKind, name: &str) -> Result<Vec<u8>> {
        let path = self.path(kind, name);
        let failed = |error| self.error(kind, name, &path, error);
        let length = fs::metadata(&path).map_err(failed)?.len();
        if length > MAX_WHOLE_FILE {
            let damage = Damage::TooLarge {
                limit: MAX_WHOLE_FILE,
            };
            return Err(RepositoryError::damaged_file(&self.location, kind, name, damage));
        }
        fs::read(&path).map_err(failed)
    }

    fn size(&self, kind: FileKind, name: &str) -> Result<u64> {
        let path = self.path(kind, name);
        let metadata = fs::metadata(&path).map_err(|error| self.error(kind, name, &path, error))?;
        Ok(metadata.len())
    }

    fn read_range(
        &self,
        kind: FileKind,
        name: &str,
        range: Range<u64>,
        buffer: &mut AlignedBuffer,
    ) -> Result<Range<usize>> {
        let path = self.path(kind, name);
        let failed = |error| self.error(kind, name, &path, error);
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let file = self.direct.open_to_read(&path, length).map_err(failed)?;
        // Looked at first, so that a wrong index cannot make us allocate for bytes that are not there.
        let available = file.metadata().map_err(failed)?.len();
        let too_short = || {
            RepositoryError::damaged_file(&self.location, kind, name, Damage::TooShort { length: available })
        };
        if range.end > available {
            return Err(too_short());
        }
        let read = match read_range(&file, range.start, length, buffer) {
            // Some file systems say only now that they cannot do it past the page cache.
            Err(error) if refuses_direct(&error) => set_direct(&file, false)
                .map_err(io::Error::from)
                .and_then(|()| read_range(&file, range.start, length, buffer)),
            read => read,
        };
        match read {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(too_short()),
            read => read.map_err(failed),
        }
    }

    fn write(&self, kind: FileKind, name: &str, data: &[u8]) -> Result<()> {
        let directory = self.directory(kind, name);
        let if_taken = if kind == FileKind::Config {
            IfTaken::Refuse
        } else {
            IfTaken::Replace
        };
        if !directory.is_dir() {
            // Other programs make the second level of the packs only when needed. Never the root: if that is
            // missing, the storage is not mounted.
            DirBuilder::new()
                .mode(0o700)
                .create(&directory)
                .or_else(|error| {
                    if error.kind() == ErrorKind::AlreadyExists {
                        Ok(())
                    } else {
                        Err(error)
                    }
                })
                .map_err(|error| RepositoryError::from_io(&directory, error))?;
            atomic_file::sync_directory(directory.parent().unwrap_or(&self.root))?;
        }
        atomic_file::write(&directory, name, data, if_taken, &self.direct)
    }

    fn remove(&self, kind: FileKind, name: &str) -> Result<()> {
        let path = self.path(kind, name);
        fs::remove_file(&path).map_err(|error| self.error(kind, name, &path, error))?;
        atomic_file::sync_directory(&self.directory(kind, name))
    }

    fn exists(&self, kind: FileKind, name: &str) -> Result<bool> {
        let path = self.path(kind, name);
        path.try_exists()
            .map_err(|error| RepositoryError::from_io(&path, error))
    }

    fn remove_stale_temporaries(&self, age: Duration) -> Result<usize> {
        let now = SystemTime::now();
        let mut removed = 0;
        for directory in self.all_directories() {
            for entry in read_directory(&directory)? {
                let path = entry.path();
                if !atomic_file::is_temporary(&path) {
                    continue;
                }
                let modified = entry.metadata().and_then(|metadata| metadata.modified());
                let stale =
                    modified.is_ok_and(|time| now.duration_since(time).is_ok_and(|passed| passed > age));
                if stale && fs::remove_file(&path).is_ok() {
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

fn directory_name(kind: FileKind) -> Option<&'static str> {
    match kind {
        FileKind::Config => None,
        FileKind::Key => Some("keys"),
        FileKind::Index => Some("index"),
        FileKind::Snapshot => Some("snapshots"),
        FileKind::Lock => Some("locks"),
        FileKind::Pack => Some("data"),
    }
}

fn create_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| RepositoryError::from_io(path, error))
}

/// The entries of a directory; none if it does not exist.
fn read_directory(path: &Path) -> Result<Vec<fs::DirEntry>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(RepositoryError::from_io(path, error)),
    };
    entries
        .collect::<io::Result<Vec<_>>>()
        .map_err(|error| RepositoryError::from_io(path, error))
}

/// Adds the files whose name is an identifier. Everything else, temporary files above all, is not there.
fn list_directory(path: &Path, files: &mut Vec<(String, u64)>) -> Result<()> {
    for entry in read_directory(path)? {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.len() != 64 || !name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => files.push((name, metadata.len())),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(RepositoryError::from_io(&entry.path(), error)),
        }
    }
    Ok(())
}
