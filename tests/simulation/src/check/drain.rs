//! Media agents that are drained: who leaves them, and with what (C-08b).

use outlast_core::rows::{Drained, OpenAttempt};
use outlast_core::{ClusterState, Command, Entry};
use outlast_media_core::{AttemptId, Halt};
use outlast_proto::words::AgentAdmin;

use super::Oracle;

impl Oracle {
    /// No job is given to a media agent that is drained, and of others nobody is told to leave.
    pub(super) fn look_at_drained(&mut self, state: &ClusterState, entry: &Entry) {
        let is_drained = |open: &OpenAttempt| {
            let agent = state.agent(&open.media_agent);
            agent.is_some_and(|agent| agent.admin == AgentAdmin::Draining)
        };
        match &entry.command {
            Command::DispatchJob { job, version, .. } => {
                let row = state.job(*job).filter(|row| row.version == version + 1);
                let open = row.and_then(|row| state.running_of(row));
                if let Some(open) = open.filter(|open| is_drained(open)) {
                    let text = format!("job {job} is given to {}, which is drained", open.media_agent);
                    self.contradict("C-08b", text);
                }
            }
            Command::DecideDrained {
                job,
                attempt,
                drained: Drained::Moves,
            } => {
                let row = state.job(*job).filter(|row| row.running == Some(*attempt));
                let moves = row.filter(|row| state.running_of(row).is_some_and(OpenAttempt::moves));
                self.told_to_leave
                    .extend(moves.map(|row| row.key().attempt(*attempt)));
            }
            _ => {}
        }
        let decided = |open: &&OpenAttempt| open.is_running() && open.drained.is_some();
        let mut decided = state.open_attempts().filter(|(_, open)| decided(open));
        if let Some((job, open)) = decided.find(|(_, open)| !is_drained(open)) {
            let text = format!("job {job} is to leave {}, which is not drained", open.media_agent);
            self.contradict("C-08b", text);
        }
    }

    /// An attempt's work is over because it was told to leave. `is_new`: data came since a checkpoint was last tried.
    pub(crate) fn leaves(&mut self, id: AttemptId, is_new: bool) {
        if is_new {
            let text = format!("{id} leaves, and has made no checkpoint of what came last");
            self.contradict("C-08b", text);
        }
    }

    /// A journal says durably that an attempt made room: somebody wanted that, and nothing else that counts more.
    pub(super) fn leaves_as_told(&mut self, id: AttemptId) {
        self.left.insert(id);
        if !self.told_to_leave.contains(&id) {
            self.contradict("C-08b", format!("{id} makes room, and nobody wanted that"));
        }
        let why = self.told.get(&id);
        if matches!(why, Some(Halt::Fenced | Halt::Stopped(_))) && !self.excused.contains(&id) {
            let text = format!("{id} was told {why:?}, and makes room for another attempt");
            self.contradict("S-12", text);
        }
    }

    pub(crate) fn moves(&self) -> u64 {
        self.left.len() as u64
    }
}
