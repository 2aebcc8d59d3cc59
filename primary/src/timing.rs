//! The cluster's timing, kept beside the Raft state: elections need it before the state can be read.
//!
//! A node takes up a change when it starts the next time. Called by `node`.

use std::path::{Path, PathBuf};

use outlast_kit::files::write_durably;
use outlast_kit::shutdown::Shutdown;
use outlast_proto::words::Timing;

use crate::brain::Brain;

/// What the node last learned; none before it learned anything, or if the file says nothing known.
pub(crate) fn kept(data_dir: &Path) -> Option<Timing> {
    let text = std::fs::read_to_string(file(data_dir)).ok()?;
    Timing::from_word(text.trim())
}

/// Writes changes of the setting down as they are applied.
pub(crate) async fn keep(brain: Brain, data_dir: PathBuf, shutdown: Shutdown) {
    let mut changes = brain.changes();
    let mut known = kept(&data_dir);
    loop {
        changes.mark_unchanged();
        let now = brain.read().cluster().map(|cluster| cluster.settings.timing);
        if let Some(timing) = now.filter(|timing| known != Some(*timing)) {
            match write_durably(&file(&data_dir), timing.word().as_bytes(), 0o644) {
                Ok(()) if known.is_some() => {
                    tracing::info!(%timing, "the cluster's timing has changed; it counts from the next start of this node");
                }
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "the cluster's timing cannot be written down"),
            }
            known = now;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = shutdown.begun() => return,
        }
    }
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("timing")
}
