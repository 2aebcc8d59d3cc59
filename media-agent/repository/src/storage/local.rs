//! A repository in a directory, local or mounted (NFS). The layout is restic's.
//! How a directory is reached is in `root`, how one file is written safely in `atomic_file`. Created by the media agent and by tests.
//!
//! Invariant: once bound, nothing is read from or written to a directory that was not recognised since it was opened.

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outlast_direct_io::{AlignedBuffer, read_range, refuses_direct};
use outlast_kit::files::create_folder;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, OFlags};

use crate::error::{Damage, RepositoryError, Result};
use crate::storage::atomic_file::{self, DirectAccess, IfTaken, Target};
use crate::storage::root::{Exchanged, Root, path_of};
use crate::storage::{CONFIG_NAME, FileKind, Found, Place, Recognise, Storage};

/// Files other than packs are read whole, so a limit protects our memory from a file that cannot be one of ours.
const MAX_WHOLE_FILE: u64 = 512 << 20;

/// A directory that holds, or will hold, one repository.
#[derive(Debug)]
pub struct LocalStorage {
    path: PathBuf,
    location: String,
    direct: DirectAccess,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    identity: Option<Arc<dyn Recognise>>,
    /// While somebody holds it. Nothing stays open between uses, or the file system could not be unmounted.
    held: Option<Arc<Root>>,
    holders: usize,
}

/// A directory as it was opened.
struct Seen<'a> {
    storage: &'a LocalStorage,
    root: &'a Root,
}

impl LocalStorage {
    pub fn new(path: impl Into<PathBuf>) -> LocalStorage {
        let path = path.into();
        LocalStorage {
            location: path.display().to_string(),
            path,
            direct: DirectAccess::new(true),
            state: Mutex::default(),
        }
    }

    /// The same, but everything goes through the page cache.
    pub fn without_direct_access(path: impl Into<PathBuf>) -> LocalStorage {
        LocalStorage {
            direct: DirectAccess::new(false),
            ..LocalStorage::new(path)
        }
    }

    /// What everything goes through: what is held, or what is there now and recognised.
    fn root(&self) -> Result<Arc<Root>> {
        let identity = {
            let state = self.state.lock();
            if let Some(held) = &state.held {
                return Ok(Arc::clone(held));
            }
            state.identity.clone()
        };
        Ok(Arc::new(self.open(identity.as_deref())?))
    }

    /// Opens the directory and has it recognised.
    fn open(&self, identity: Option<&dyn Recognise>) -> Result<Root> {
        let root = Root::open(&self.path).map_err(|error| match (found_of(&error), identity) {
            (Some(found), Some(identity)) => identity.replaced(found),
            (Some(found), None) => self.no_repository(found),
            (None, _) => RepositoryError::from_io(&self.path, error),
        })?;
        if let Some(identity) = identity {
            identity.recognise(&Seen {
                storage: self,
                root: &root,
            })?;
        }
        Ok(root)
    }

    fn no_repository(&self, found: Found) -> RepositoryError {
        RepositoryError::NotARepository {
            location: self.location.clone(),
            found,
        }
    }

    fn error(&self, kind: FileKind, name: &str, error: io::Error) -> RepositoryError {
        if error.kind() == ErrorKind::NotFound {
            RepositoryError::NotFound {
                kind,
                name: name.to_owned(),
                location: self.location.clone(),
            }
        } else {
            RepositoryError::from_io(&path_of(&self.path, kind, name), error)
        }
    }

    fn read_in(&self, root: &Root, kind: FileKind, name: &str) -> Result<Vec<u8>> {
        let failed = |error| self.error(kind, name, error);
        let mut file = root.open_file(kind, name, OFlags::empty()).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let too_large = || {
            let limit = MAX_WHOLE_FILE;
            RepositoryError::damaged_file(&self.location, kind, name, Damage::TooLarge { limit })
        };
        if length > MAX_WHOLE_FILE {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        // What it is said to have may not be what it has.
        let mut bounded = io::Read::take(&mut file, MAX_WHOLE_FILE + 1);
        io::Read::read_to_end(&mut bounded, &mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_WHOLE_FILE {
            return Err(too_large());
        }
        Ok(bytes)
    }

    fn list_in(&self, root: &Root, kind: FileKind) -> Result<Vec<(String, u64)>> {
        let failed = |error| self.directory_error(&path_of(&self.path, kind, ""), error);
        // An empty mount point has no files, but that must not look like an empty repository.
        if root.directory(kind, "").is_err() && !root.exists(FileKind::Config, CONFIG_NAME).map_err(failed)? {
            return Err(self.no_repository(self.found_in(root)?));
        }
        if kind == FileKind::Config {
            let size = root.config_size().map_err(failed)?;
            return Ok(size
                .map(|size| (CONFIG_NAME.to_owned(), size))
                .into_iter()
                .collect());
        }
        root.list(kind).map_err(failed)
    }

    /// Of a directory of packs.
    fn directory_error(&self, path: &Path, error: io::Error) -> RepositoryError {
        let over = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Exchanged>());
        match (over.cloned(), self.state.lock().identity.clone()) {
            (Some(Exchanged { folder }), Some(identity)) => identity.replaced(Found::MountedOver { folder }),
            _ => RepositoryError::from_io(path, error),
        }
    }

    fn found_in(&self, root: &Root) -> Result<Found> {
        root.found()
            .map_err(|error| RepositoryError::from_io(&self.path, error))
    }

    fn write_in(&self, root: &Root, kind: FileKind, name: &str, data: &[u8]) -> Result<()> {
        let if_taken = if kind == FileKind::Config {
            IfTaken::Refuse
        } else {
            IfTaken::Replace
        };
        let path = path_of(&self.path, kind, name);
        let directory = root
            .directory_to_write(kind, name)
            .map_err(|error| self.directory_error(&path, error))?;
        let target = Target {
            directory: directory.as_fd(),
            name,
            path: &path,
        };
        atomic_file::write(target, data, if_taken, &self.direct)
    }
}

impl Storage for LocalStorage {
    fn location(&self) -> &str {
        &self.location
    }

    fn create_layout(&self) -> Result<()> {
        let failed = |error| RepositoryError::from_io(&self.path, error);
        create_folder(&self.path, 0o700).map_err(failed)?;
        let root = self.root()?;
        if let (_, Some(entry)) = root.entries().map_err(failed)? {
            let location = self.location.clone();
            return Err(RepositoryError::ForeignContent { location, entry });
        }
        root.make_layout().map_err(failed)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<(String, u64)>> {
        self.list_in(&*self.root()?, kind)
    }

    fn read(&self, kind: FileKind, name: &str) -> Result<Vec<u8>> {
        self.read_in(&*self.root()?, kind, name)
    }

    fn size(&self, kind: FileKind, name: &str) -> Result<u64> {
        let stat = self.root()?.stat(kind, name);
        let stat = stat.map_err(|error| self.error(kind, name, error))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn read_range(
        &self,
        kind: FileKind,
        name: &str,
        range: Range<u64>,
        buffer: &mut AlignedBuffer,
    ) -> Result<Range<usize>> {
        let failed = |error| self.error(kind, name, error);
        let root = self.root()?;
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let file = self
            .direct
            .open_to_read(&root, (kind, name), length)
            .map_err(failed)?;
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
            Err(error) if refuses_direct(&error) => self
                .direct
                .open_without(&root, (kind, name))
                .and_then(|file| read_range(&file, range.start, length, buffer)),
            read => read,
        };
        match read {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(too_short()),
            read => read.map_err(failed),
        }
    }

    fn write(&self, kind: FileKind, name: &str, data: &[u8]) -> Result<()> {
        let root = self.root()?;
        let written = self.write_in(&root, kind, name, data);
        match &written {
            // A directory that was removed while it was held: say what has become of the place, if that is it.
            Err(error) if error.is_missing_directory() => self.prove().and(written),
            _ => written,
        }
    }

    fn mounted_over(&self, pack: &str) -> Result<Option<PathBuf>> {
        let over = self.root()?.mounted_over(pack);
        over.map_err(|error| self.error(FileKind::Pack, pack, error))
    }

    fn remove(&self, kind: FileKind, name: &str) -> Result<()> {
        let root = self.root()?;
        let removed = root.directory(kind, name).and_then(|directory| {
            outlast_kit::calls::unlinkat(&directory, name, AtFlags::empty())?;
            atomic_file::sync_directory(directory.as_fd())
        });
        removed.map_err(|error| self.error(kind, name, error))
    }

    fn exists(&self, kind: FileKind, name: &str) -> Result<bool> {
        match self.root()?.exists(kind, name) {
            // Nor is there a directory of that kind.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            found => found.map_err(|error| self.error(kind, name, error)),
        }
    }

    fn modified(&self, kind: FileKind, name: &str) -> Result<SystemTime> {
        let root = self.root()?;
        let modified = root
            .open_file(kind, name, OFlags::empty())
            .and_then(|file| file.metadata()?.modified());
        modified.map_err(|error| self.error(kind, name, error))
    }

    fn remove_stale_temporaries(&self, age: Duration) -> Result<usize> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let oldest = now.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        self.root()?
            .remove_temporaries(|stat| stat.st_mtime < oldest)
            .map_err(|error| RepositoryError::from_io(&self.path, error))
    }

    fn found(&self) -> Result<Found> {
        self.found_in(&*self.root()?)
    }

    fn bind(&self, identity: Option<Arc<dyn Recognise>>) {
        self.state.lock().identity = identity;
    }

    fn hold(&self) -> Result<()> {
        let root = self.root()?;
        root.pin()
            .map_err(|error| RepositoryError::from_io(&self.path, error))?;
        let mut state = self.state.lock();
        state.held.get_or_insert(root);
        state.holders += 1;
        Ok(())
    }

    fn release(&self) {
        let mut state = self.state.lock();
        state.holders = state.holders.saturating_sub(1);
        if state.holders == 0 {
            state.held = None;
        }
    }

    fn prove(&self) -> Result<()> {
        let (identity, held) = {
            let state = self.state.lock();
            (state.identity.clone(), state.held.clone())
        };
        let Some(identity) = identity else { return Ok(()) };
        let now = self.open(Some(&*identity))?;
        let Some(held) = held else { return Ok(()) };
        let there = now
            .place()
            .map_err(|error| RepositoryError::from_io(&self.path, error))?;
        // What is held may not answer any more, if it was unmounted.
        if held.place().is_ok_and(|held| held == there) {
            return Ok(());
        }
        Err(identity.replaced(Found::MountedAnew))
    }
}

impl Place for Seen<'_> {
    fn read(&self, kind: FileKind, name: &str) -> Result<Vec<u8>> {
        self.storage.read_in(self.root, kind, name)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<(String, u64)>> {
        self.storage.list_in(self.root, kind)
    }

    fn found(&self) -> Result<Found> {
        self.storage.found_in(self.root)
    }
}

/// What it means for the location that it cannot be opened.
fn found_of(error: &io::Error) -> Option<Found> {
    match error.kind() {
        ErrorKind::NotFound => Some(Found::Nothing),
        ErrorKind::NotADirectory => Some(Found::NoDirectory),
        _ => None,
    }
}
