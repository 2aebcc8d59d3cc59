//! An attempt that its media agent has ended because it lost its client: what becomes of it is decided here (F-09, F-18, S-11a), and only then
//! it gets its history. What the leader has to know for that, [`crate::recovery`] asks it.

use outlast_proto::words::{
    CompletionStatus, Counters, Interruption, JobId, JobState, Severity, StatusCode, Timestamp,
};

use super::attempts::{End, end_of};
use super::{Context, Outcome};
use crate::entry::LossVerdict;
use crate::reply::{Refusal, Reply};
use crate::rows::Loss;
use crate::state::ClusterState;

impl ClusterState {
    /// The media agent cannot go on with the attempt.
    pub(super) fn interrupted(
        &mut self,
        id: JobId,
        (counters, reason): (Counters, &str),
        cause: Option<Interruption>,
        (host, at): (&str, Timestamp),
    ) {
        self.say(id, at, Severity::Warning, host, format!("interrupted: {reason}"));
        let is_active = self
            .jobs
            .get(&id)
            .is_some_and(|job| job.state == JobState::Active);
        let loss = Loss {
            reason: reason.to_owned(),
            counters,
        };
        match cause.filter(|_| is_active && self.has_rules()) {
            None | Some(Interruption::StorageUnavailable) => {
                self.interrupt_attempt(id, Some(counters), reason.to_owned(), at);
            }
            Some(Interruption::ClientCameBackNew | Interruption::ClientShutDown) => {
                self.end_as_lost(id, StatusCode::CLIENT_PROCESS_ABORTED, reason, counters, at);
            }
            Some(Interruption::ClientUnreachable) => {
                if let Some(running) = self.running_mut(id) {
                    running.loss = Some(loss);
                }
                self.indexes.lost.insert(id);
                self.touch(crate::touched::Rows::FollowUps);
                self.touch_job(id);
            }
        }
    }

    /// The leader has looked whether the client is there.
    pub(super) fn settle_loss(
        &mut self,
        id: JobId,
        version: u64,
        verdict: LossVerdict,
        context: Context<'_>,
    ) -> Outcome {
        let job = self.jobs.get(&id).ok_or(Refusal::NoSuchJob { job: id })?;
        let loss = self.running_of(job).and_then(|open| open.loss.clone());
        let (Some(loss), true) = (loss, job.version == version && self.has_rules()) else {
            return Err(Refusal::Outdated);
        };
        let (client, at, counters) = (job.client.clone(), context.at, loss.counters);
        let reason = loss.reason;
        match verdict {
            LossVerdict::Away => {
                let text = format!("client {client} is not connected to the primaries either: {reason}");
                self.end_as_lost(id, StatusCode::CANNOT_CONNECT_TO_CLIENT, &text, counters, at);
            }
            LossVerdict::CameBackNew => {
                let text = format!(
                    "another process of client {client} is there than the one that began it: {reason}"
                );
                self.end_as_lost(id, StatusCode::CLIENT_PROCESS_ABORTED, &text, counters, at);
            }
            LossVerdict::CutOff { can_move: true } => {
                let text =
                    format!("client {client} is there, only the two do not reach each other: {reason}");
                self.interrupt_attempt(id, Some(counters), text, at);
            }
            LossVerdict::CutOff { can_move: false } => {
                let text = format!(
                    "client {client} is there, only the two do not reach each other, and no other media agent of the pool can take the job: {reason}"
                );
                self.end_as_lost(id, StatusCode::CONNECTION_BROKEN, &text, counters, at);
            }
        }
        Ok(Reply::Done)
    }

    /// It ends as a failure that leaves what can be gone on with.
    fn end_as_lost(&mut self, id: JobId, code: StatusCode, text: &str, counters: Counters, at: Timestamp) {
        let end = end_of(code, text, counters, None);
        let line = format!("the attempt ended: failed ({code}), {text}");
        self.say(id, at, Severity::Error, "primary", line);
        self.close_keeping(id, end, at);
    }

    /// The end of an attempt that an administrator wants to end while it is undecided what becomes of it.
    pub(super) fn cancel_lost(&mut self, id: JobId, at: Timestamp) -> bool {
        let job = self.jobs.get(&id);
        let loss = job.and_then(|job| self.running_of(job)?.loss.clone());
        let Some(loss) = loss else { return false };
        let end = End {
            status: CompletionStatus::Canceled,
            code: StatusCode::CANCELED,
            error: None,
            counters: loss.counters,
            stopped: None,
        };
        self.close_attempt(id, end, at);
        true
    }
}
