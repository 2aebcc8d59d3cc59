//! What was to be removed in the storage unit and could not be, because it was read-only or away: tried again until it is done.
//! Otherwise a lock of ours keeps a prune away for half an hour, and checkpoints of a job that is over stay for good.
//!
//! Files are remembered by the repository itself; here are removals that mean several. Asked by every attempt that
//! begins, and now and then by a task of its own. What an earlier process could not do is not known here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::shutdown::Shutdown;
use outlast_proto::words::AttemptId;
use outlast_repository::{RepositoryError, SnapshotId};

use super::unit::StorageUnit;
use super::{checkpoints, fence};

/// Several snapshots that are to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    /// Checkpoints of a job that is over, up to this attempt.
    Checkpoints { cluster: String, through: AttemptId },
    /// What a fenced attempt left.
    Fence {
        cluster: String,
        fenced: AttemptId,
        keep: BTreeSet<SnapshotId>,
    },
}

impl StorageUnit {
    /// Something could not be done now.
    pub(crate) fn later(&self, chore: Chore) {
        let mut chores = self.chores.lock();
        if !chores.contains(&chore) {
            chores.push(chore);
        }
    }

    fn has_chores(&self) -> bool {
        let has_leftovers = || {
            let opened = self.opened.try_lock();
            opened.is_some_and(|opened| opened.as_ref().is_some_and(|it| it.has_leftovers()))
        };
        !self.chores.lock().is_empty() || has_leftovers()
    }

    /// Does what was left. What cannot be done stays for the next time.
    pub(crate) fn tidy(&self) {
        if !self.has_chores() {
            return;
        }
        match self.try_to_tidy() {
            Ok(()) => tracing::info!(unit = self.name, "what could not be removed before is removed"),
            Err(error) => tracing::debug!(unit = self.name, %error, "what could not be removed before stays"),
        }
    }

    fn try_to_tidy(&self) -> Result<(), RepositoryError> {
        self.repository()?.remove_leftovers()?;
        loop {
            let Some(chore) = self.chores.lock().first().cloned() else {
                return Ok(());
            };
            self.do_now(&chore)?;
            self.chores.lock().retain(|left| *left != chore);
        }
    }

    fn do_now(&self, chore: &Chore) -> Result<(), RepositoryError> {
        match chore {
            Chore::Checkpoints { cluster, through } => {
                let (repository, lock) = self.lock()?;
                checkpoints::remove_checkpoints(&repository, &lock, cluster, *through)?;
            }
            Chore::Fence {
                cluster,
                fenced,
                keep,
            } => {
                fence::remove_snapshots(self, cluster, *fenced, keep)?;
            }
        }
        Ok(())
    }
}

/// Tidies up now and then, until the agent ends.
pub(crate) async fn keep_tidy(unit: Arc<StorageUnit>, every: Duration, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = shutdown.begun() => return,
        }
        let unit = Arc::clone(&unit);
        let tidied = tokio::task::spawn_blocking(move || unit.tidy()).await;
        if let Err(error) = tidied {
            tracing::error!(%error, "tidying up failed");
        }
    }
}
