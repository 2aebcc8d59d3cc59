//! The leader's part in comparing states: it puts what it noted into the log. One task of each node, idle unless it leads.

use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::state::Check;
use crate::types::Raft;

/// Runs until the node goes.
pub(super) async fn run(raft: Raft, mut noted: watch::Receiver<Option<Check>>) {
    while noted.changed().await.is_ok() {
        let check = *noted.borrow_and_update();
        let leads = raft.metrics().borrow_watched().state.is_leader();
        if let Some(check) = check.filter(|_| leads)
            && let Err(error) = raft.client_write(check.command()).await
        {
            // The next one will do as well.
            tracing::debug!(index = check.index, %error, "state was not compared");
        }
    }
}
