//! The replicated state as the Raft group drives it: entries in, changed rows out. Readers share the state.

use std::sync::{Arc, RwLock, RwLockReadGuard};

use outlast_core::{ClusterState, Command, Entry};
use outlast_raft::{Applied, Machine, MachineError};
use tokio::sync::watch;

use crate::wakes::Wakes;

/// The state, shared by the one that applies and those that read.
#[derive(Clone)]
pub(crate) struct SharedState {
    state: Arc<RwLock<ClusterState>>,
    /// The index of the last applied entry: a wake-up that says "look", never "what".
    applied: watch::Sender<u64>,
    wakes: Wakes,
    /// The newest cluster version this node speaks.
    speaks: u32,
}

impl SharedState {
    pub(crate) fn new(speaks: u32) -> Self {
        Self {
            state: Arc::default(),
            applied: watch::Sender::new(0),
            wakes: Wakes::default(),
            speaks,
        }
    }

    /// What a node does not speak it would apply in another way than the others.
    fn check_version(&self, version: u32) -> Result<(), MachineError> {
        if version <= self.speaks {
            return Ok(());
        }
        Err(MachineError::TooOld {
            what: format!(
                "the group's version is {version}, and this program speaks {} at most; install the program that the other \
                 members run, and start it again",
                self.speaks
            ),
        })
    }

    /// The state now. Held for moments only: applying waits for it.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, ClusterState> {
        self.state
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Changes with every applied entry.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Who is woken for what.
    pub(crate) fn wakes(&self) -> &Wakes {
        &self.wakes
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, ClusterState> {
        self.state
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Machine for SharedState {
    fn restore(&mut self, rows: Vec<(Vec<u8>, Vec<u8>)>, applied: u64) -> Result<(), MachineError> {
        let rows = rows.iter().map(|(key, row)| (key.as_slice(), row.as_slice()));
        let state = ClusterState::from_rows(rows).map_err(|error| MachineError::Corrupt {
            what: error.to_string(),
        })?;
        self.check_version(state.cluster().map_or(0, |cluster| cluster.version))?;
        *self.write() = state;
        self.applied.send_replace(applied);
        self.wakes.everything();
        Ok(())
    }

    fn apply(&mut self, index: u64, command: &[u8]) -> Result<Applied, MachineError> {
        let entry = Entry::decode(command).map_err(|what| MachineError::UnknownEntry { index, what })?;
        if let Command::RaiseClusterVersion { to: version } | Command::FoundCluster { version, .. } =
            &entry.command
        {
            self.check_version(*version)?;
        }
        let (reply, changes, touched) = {
            let mut state = self.write();
            let reply = state.apply(&entry);
            (reply, state.take_changes(), state.take_touched())
        };
        let reply = rmp_serde::to_vec_named(&reply).map_err(|error| MachineError::Corrupt {
            what: error.to_string(),
        })?;
        self.applied.send_replace(index);
        self.wakes.touched(&touched);
        Ok(Applied { reply, changes })
    }
}
