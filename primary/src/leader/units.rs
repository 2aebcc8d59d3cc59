//! The leader's look at storage units (F-02): which have no room, which nobody can use. What is made of it the core says.

use std::time::Duration;

use outlast_core::{Command, Reply, units};

use super::Leader;
use crate::reconcilers::{Reconciler, Trouble};
use crate::wakes::Cause;

/// As often as media agents say something new.
const EVERY: Duration = Duration::from_secs(2);

pub(super) struct Units(pub(super) Leader);

impl Reconciler for Units {
    const NAME: &'static str = "units";
    const WAKES: &'static [Cause] = &[Cause::Presence];

    fn period(&self) -> Option<Duration> {
        Some(EVERY)
    }

    async fn look(&mut self) -> Result<Vec<Command>, Trouble> {
        let Leader { brain, registry, .. } = &self.0;
        let (seen, now) = (registry.storage_seen(), brain.clock().now());
        Ok(units::look(&brain.read(), &seen, now))
    }

    fn hear(&mut self, command: &Command, reply: &Reply) {
        if let (Command::ChangeUnitState { unit, to, why, .. }, Reply::Done) = (command, reply) {
            tracing::warn!(%unit, state = %to, why, "what is known of a storage unit has changed");
        }
    }
}
