//! The cluster's timing, kept beside the Raft state: elections need it before the state can be read.
//!
//! A node takes up a change when it starts the next time. Called by `node`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use outlast_core::Command;
use outlast_core::touched::Rows;
use outlast_kit::files::write_durably;
use outlast_proto::words::Timing;

use crate::brain::Brain;
use crate::reconcilers::{Reconciler, Trouble};
use crate::wakes::Cause;

/// What could not be written is tried again so often.
const AT_LEAST: Duration = Duration::from_secs(60);

/// What the node last learned; none before it learned anything, or if the file says nothing known.
pub(crate) fn kept(data_dir: &Path) -> Option<Timing> {
    let text = std::fs::read_to_string(file(data_dir)).ok()?;
    Timing::from_word(text.trim())
}

/// Writes changes of the setting down as they are applied.
pub(crate) struct TimingKept {
    brain: Brain,
    data_dir: PathBuf,
    known: Option<Timing>,
}

impl TimingKept {
    pub(crate) fn new(brain: Brain, data_dir: PathBuf) -> Self {
        let known = kept(&data_dir);
        Self {
            brain,
            data_dir,
            known,
        }
    }
}

impl Reconciler for TimingKept {
    const NAME: &'static str = "timing";
    const WAKES: &'static [Cause] = &[Cause::Rows(Rows::Settings)];

    fn period(&self) -> Option<Duration> {
        Some(AT_LEAST)
    }

    async fn look(&mut self) -> Result<Vec<Command>, Trouble> {
        let now = self.brain.read().cluster().map(|cluster| cluster.settings.timing);
        let Some(timing) = now.filter(|timing| self.known != Some(*timing)) else {
            return Ok(Vec::new());
        };
        write_durably(&file(&self.data_dir), timing.word().as_bytes(), 0o644)
            .map_err(|error| Trouble(format!("the cluster's timing cannot be written down: {error}")))?;
        if self.known.is_some() {
            tracing::info!(%timing, "the cluster's timing has changed; it counts from the next start of this node");
        }
        self.known = now;
        Ok(Vec::new())
    }
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("timing")
}
