//! Decides what becomes of attempts whose media agent is drained, as the core says (C-08b).

use std::time::Duration;

use outlast_core::touched::Rows;
use outlast_core::{Command, Reply, drain};

use super::Leader;
use crate::reconcilers::{Reconciler, Trouble};
use crate::wakes::Cause;

/// Without any change it looks this often all the same: whose silence is too long no entry says.
const AT_LEAST: Duration = Duration::from_secs(5);

pub(super) struct Drain(pub(super) Leader);

impl Reconciler for Drain {
    const NAME: &'static str = "drain";
    const WAKES: &'static [Cause] = &[Cause::Rows(Rows::Agents), Cause::Presence];

    fn period(&self) -> Option<Duration> {
        Some(AT_LEAST)
    }

    async fn look(&mut self) -> Result<Vec<Command>, Trouble> {
        let Leader { brain, registry, .. } = &self.0;
        let presence = registry.presence();
        Ok(drain::plan(&brain.read(), &presence))
    }

    fn hear(&mut self, command: &Command, reply: &Reply) {
        if let (
            Command::DecideDrained {
                job,
                attempt,
                drained,
            },
            Reply::Done,
        ) = (command, reply)
        {
            tracing::info!(%job, %attempt, ?drained, "the media agent of an attempt is drained");
        }
    }
}
