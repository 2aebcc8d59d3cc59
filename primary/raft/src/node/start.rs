//! Opening a data directory: whose is it, is everything there, is it whole. Nothing runs yet. Blocks; called once by
//! [`RaftNode::start`](super::RaftNode::start).

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use outlast_kit::files::{create_folder, sync_folder};

use crate::error::{LossKind, StartError};
use crate::files::{DirLock, Identity, Stage};
use crate::log::{self, LogFault, LogStore, Mark};
use crate::machine::Machine;
use crate::options::RaftOptions;
use crate::state::{self, Core, Kept, OpenFault, Rows, RowsFault, StateStore};

pub(crate) struct Opened {
    pub(crate) log: LogStore,
    pub(crate) state: StateStore,
}

/// The names in a data directory, besides `lock` and `identity`.
struct Layout {
    dir: PathBuf,
    mark: PathBuf,
    log: PathBuf,
    state: PathBuf,
    snapshot: PathBuf,
}

pub(crate) fn open(options: &RaftOptions, machine: Box<dyn Machine>) -> Result<Opened, StartError> {
    let dir = &options.data_dir;
    make_private(dir).map_err(StartError::io("creating", dir))?;
    let lock = DirLock::take(dir)?;
    let layout = Layout::of(dir);
    let identity = match Identity::find(dir, options.node_id, &options.cluster)? {
        Some(identity) => identity,
        None => {
            layout.must_be_empty()?;
            Identity::claim(dir, options.node_id, &options.cluster)
                .map_err(StartError::io("claiming", dir))?
        }
    };
    // What its stage says was renamed into place, perhaps just before a kill; from here on it counts.
    sync_folder(dir).map_err(StartError::io("syncing", dir))?;
    if identity.stage() != Stage::Member {
        // Nothing was promised yet: what is there is unfinished or empty.
        layout.create(options.node_id)?;
        identity
            .advance(Stage::Ready)
            .map_err(StartError::io("claiming", dir))?;
    }
    layout.open(options, identity, machine, lock)
}

/// Everything the cluster knows lies here, the key that signs tickets included: it is nobody else's to read.
fn make_private(dir: &Path) -> io::Result<()> {
    create_folder(dir, 0o755)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

impl Layout {
    fn of(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
            mark: dir.join("mark"),
            log: dir.join("log"),
            state: dir.join("state"),
            snapshot: dir.join("snapshot"),
        }
    }

    fn parts(&self) -> [&PathBuf; 4] {
        [&self.mark, &self.log, &self.state, &self.snapshot]
    }

    fn must_be_empty(&self) -> Result<(), StartError> {
        match self.parts().into_iter().find(|part| part.exists()) {
            Some(part) => Err(self.lost(
                LossKind::Identity,
                format!("{} is there without it", part.display()),
            )),
            None => Ok(()),
        }
    }

    fn create(&self, node_id: u64) -> Result<(), StartError> {
        for part in self.parts() {
            let removed = if part.is_dir() {
                fs::remove_dir_all(part)
            } else {
                fs::remove_file(part)
            };
            match removed {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(StartError::io("removing", part)(e));
                }
                _ => {}
            }
        }
        Mark::create(&self.mark).map_err(StartError::io("creating", &self.mark))?;
        for dir in [&self.log, &self.state, &self.snapshot] {
            fs::create_dir(dir).map_err(StartError::io("creating", dir))?;
        }
        drop(Rows::create(&self.state, node_id).map_err(|fault| self.rows_fault(fault))?);
        sync_folder(&self.dir).map_err(StartError::io("syncing", &self.dir))
    }

    fn open(
        &self,
        options: &RaftOptions,
        identity: Identity,
        mut machine: Box<dyn Machine>,
        lock: DirLock,
    ) -> Result<Opened, StartError> {
        let mark = Mark::open(&self.mark).map_err(|e| self.lost(LossKind::Mark, e.to_string()))?;
        if !self.log.is_dir() {
            return Err(self.lost(LossKind::Log, "its directory is missing".into()));
        }
        let log = log::open(&self.log, &mark).map_err(|fault| self.log_fault(fault))?;
        let log = LogStore::new(log, mark, identity, lock);
        let snapshots = Kept::open(&self.snapshot).map_err(StartError::io("reading", &self.snapshot))?;
        let opened = state::open(&self.state, options.node_id, &log, &snapshots);
        let (rows, content) = opened.map_err(|fault| match fault {
            OpenFault::Unreachable(detail) => self.lost(LossKind::State, detail),
            OpenFault::System(fault) => self.rows_fault(fault),
        })?;
        let applied = rows.meta().applied.map_or(0, |id| id.index);
        machine.restore(content, applied)?;
        let core = Core::new(machine, rows, snapshots, options.check_every);
        let state = StateStore::new(core, log.clone(), self.snapshot.clone());
        Ok(Opened { log, state })
    }

    fn lost(&self, what: LossKind, detail: String) -> StartError {
        StartError::LostState {
            dir: self.dir.clone(),
            what,
            detail,
        }
    }

    fn log_fault(&self, fault: LogFault) -> StartError {
        match fault {
            LogFault::Short { .. } => self.lost(LossKind::Log, fault.to_string()),
            LogFault::Damaged { .. } => StartError::DamagedLog {
                dir: self.dir.clone(),
                detail: fault.to_string(),
            },
            LogFault::Io(source) => StartError::Io {
                doing: "opening the log in",
                path: self.log.clone(),
                source,
            },
        }
    }

    fn rows_fault(&self, fault: RowsFault) -> StartError {
        StartError::Io {
            doing: "opening the rows in",
            path: self.state.clone(),
            source: fault.into(),
        }
    }
}
