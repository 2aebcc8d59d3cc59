//! The cluster version (DESIGN 3): a newer one is put in force as soon as all members speak it, and begins a reign.

use std::time::Duration;

use outlast_core::touched::Rows;
use outlast_core::{Command, Reply};

use crate::brain::{Brain, draw_nonce};
use crate::reconcilers::{Reconciler, Trouble};
use crate::wakes::Cause;

pub(super) struct Version(pub(super) Brain);

impl Reconciler for Version {
    const NAME: &'static str = "version";
    const WAKES: &'static [Cause] = &[Cause::Rows(Rows::Members), Cause::Rows(Rows::Settings)];

    fn period(&self) -> Option<Duration> {
        None
    }

    async fn look(&mut self) -> Result<Vec<Command>, Trouble> {
        let spoken = self.0.read().version_all_speak();
        if spoken.is_some() && !begin_reign(&self.0).await {
            return Err(Trouble(
                "a reign under the new cluster version could not be begun".to_owned(),
            ));
        }
        Ok(Vec::new())
    }
}

/// From here on marks are of this leader's reign (S-12b).
pub(super) async fn begin_reign(brain: &Brain) -> bool {
    // What all members speak may be newer: then agents are asked right away what they remember.
    let spoken = brain.read().version_all_speak();
    if let Some(to) = spoken {
        raise(brain, to).await;
    }
    let knows = brain.read().knows_set_backs();
    let reign = draw_nonce().0;
    !knows || brain.propose(Command::BeginReign { reign }).await.is_ok()
}

async fn raise(brain: &Brain, to: u32) {
    match brain.propose(Command::RaiseClusterVersion { to }).await {
        Ok(Reply::Done) => tracing::info!(
            version = to,
            "all members speak a newer cluster version: it is in force"
        ),
        // Somebody came who does not speak it.
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "the cluster version could not be raised"),
    }
}
