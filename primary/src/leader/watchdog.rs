//! The leader's watchdog: who has been silent for how long (C-05), and what is made of it (C-02).

use std::time::Duration;

use outlast_core::contact::Silence;
use outlast_core::{Command, Reply};

use super::Leader;
use crate::reconcilers::{Reconciler, Trouble};
use crate::wakes::Cause;

/// The unit in which silence is counted. A pause of this process is one late tick, and nobody's silence.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Watchdog {
    leader: Leader,
    silence: Silence,
}

impl Watchdog {
    pub(super) fn new(leader: Leader) -> Self {
        Self {
            leader,
            silence: Silence::default(),
        }
    }
}

impl Reconciler for Watchdog {
    const NAME: &'static str = "watchdog";
    /// It counts: only time wakes it.
    const WAKES: &'static [Cause] = &[];

    fn period(&self) -> Option<Duration> {
        Some(TICK)
    }

    async fn look(&mut self) -> Result<Vec<Command>, Trouble> {
        let Leader {
            brain,
            registry,
            live,
            ..
        } = &self.leader;
        let mut heard = registry.take_heard();
        heard.progress = live.numbers();
        let (presence, now) = (registry.presence(), brain.clock().now());
        let (commands, silent) = {
            let state = brain.read();
            let commands = self.silence.tick(&state, &presence, &heard);
            (commands, self.silence.silent(&state))
        };
        live.set_unknown(now, self.silence.unknown());
        registry.set_silent(silent);
        if !commands.is_empty() {
            // Only a node that still leads counts, and only on the newest state; what fails comes again with the next tick.
            brain.catch_up().await.map_err(|error| Trouble::of(&error))?;
        }
        Ok(commands)
    }

    fn hear(&mut self, command: &Command, reply: &Reply) {
        // Otherwise somebody else was quicker.
        if *reply != Reply::Done {
            return;
        }
        match command {
            Command::ChangeAgentState { agent, to, .. } => {
                tracing::warn!(%agent, state = %to, "what is heard of the agent has changed its state");
            }
            Command::SupersedeAttempt {
                job, attempt, why, ..
            } => tracing::warn!(%job, %attempt, why, "an attempt is given up; its job goes on in another"),
            Command::RecoverAttempt {
                job, attempt, why, ..
            } => {
                tracing::warn!(%job, %attempt, why, "an attempt ends recovered; what follows, the Recovered Jobs rule says")
            }
            _ => {}
        }
    }
}
