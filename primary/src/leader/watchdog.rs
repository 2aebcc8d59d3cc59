//! The leader's watchdog: who has been silent for how long (C-05), and what is made of it (C-02).

use std::time::Duration;

use outlast_core::silence::Silence;
use outlast_core::{Command, Reply};
use outlast_kit::shutdown::Shutdown;
use tokio::time::MissedTickBehavior;

use crate::brain::Brain;
use crate::sessions::Registry;

/// The unit in which silence is counted.
const TICK: Duration = Duration::from_secs(1);

/// Ticks until the term is over.
pub(crate) async fn run(brain: Brain, registry: Registry, term_over: Shutdown) {
    let mut silence = Silence::default();
    let mut ticks = tokio::time::interval(TICK);
    // A pause of this process is nobody's silence.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = term_over.begun() => return,
        }
        let heard = registry.take_heard();
        let commands = silence.tick(&brain.read(), &heard);
        if !commands.is_empty() {
            change(&brain, commands).await;
        }
    }
}

/// Only a node that still leads counts, and only on the newest state; what fails comes again with the next tick.
async fn change(brain: &Brain, commands: Vec<Command>) {
    if let Err(error) = brain.catch_up().await {
        tracing::debug!(%error, "silence is not judged without a majority");
        return;
    }
    for command in commands {
        let Command::ChangeAgentState { agent, to, .. } = &command else {
            continue;
        };
        let (agent, to) = (agent.clone(), *to);
        match brain.propose(command).await {
            Ok(Reply::Done) => {
                tracing::warn!(%agent, state = %to, "what is heard of the agent has changed its state")
            }
            // Somebody else was quicker.
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the state of an agent could not be changed"),
        }
    }
}
