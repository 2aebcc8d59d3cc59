//! `apply`: the only way state changes. Total and deterministic; one file for each family of commands.

mod agents;
mod attempts;
mod cancel;
mod cluster;
mod control;
mod drain;
mod elsewhere;
mod follow_up;
mod jobs;
mod journal;
mod loss;
mod members;
mod policies;
mod policy_changes;
mod progress;
mod recovered;
mod remove_agent;
mod requests;
mod resume;
mod rules;
mod set_back;
mod settings;
mod supersede;
mod units;

use cluster::FOUNDING_VERSION;
pub use cluster::{CLUSTER_VERSION, JOBS_SAY_BY_WHOM};
pub use set_back::{Lost, MAX_JUMP};

use outlast_proto::words::{JobId, JobKey, Severity, Timestamp};

use crate::entry::{Asker, Command, Entry};
use crate::reply::Reply;
use crate::rows::{Detail, MemberFacts};
use crate::state::ClusterState;

/// A command refused inside a family; becomes [`Reply::Refused`].
type Outcome = Result<Reply, crate::reply::Refusal>;

/// What every command may need to know about its entry.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The entry's time, never before that of the entry before.
    pub(crate) at: Timestamp,
    /// The time of the entry before.
    pub(crate) last_at: Timestamp,
    /// The primary that proposed it.
    pub(crate) by: &'a str,
    /// Who asked for it.
    pub(crate) asked_by: Option<&'a Asker>,
}

impl ClusterState {
    /// Applies one committed entry. A refused command changes nothing but the clock; of journal events with a gap those
    /// before the gap count.
    pub fn apply(&mut self, entry: &Entry) -> Reply {
        let last_at = self.cluster().map_or(entry.at, |cluster| cluster.last_at);
        let at = self.advance_clock(entry.at);
        self.count_entry();
        if let Some(reply) = entry.request_id.as_ref().and_then(|id| self.known_reply(id)) {
            return reply;
        }
        let context = Context {
            at,
            last_at,
            by: &entry.by,
            asked_by: entry.asked_by.as_ref(),
        };
        let reply = self.run(&entry.command, context).unwrap_or_else(Reply::Refused);
        if let Some(id) = &entry.request_id {
            self.remember_reply(id, at, &reply);
        }
        // Looking at everything after each entry is quadratic: large states are left to the tests' own checks.
        debug_assert!(
            self.jobs.len() > CHECKED_JOBS || crate::invariants::violations(self).is_empty(),
            "{:?} after {entry:?}",
            crate::invariants::violations(self)
        );
        reply
    }

    fn run(&mut self, command: &Command, context: Context<'_>) -> Outcome {
        match command {
            Command::EstablishCluster {
                cluster_id,
                ticket_key,
                timing,
            } => Ok(self.establish_cluster((cluster_id, ticket_key), *timing, FOUNDING_VERSION, context)),
            Command::FoundCluster {
                cluster_id,
                ticket_key,
                timing,
                version,
            } => Ok(self.establish_cluster((cluster_id, ticket_key), *timing, *version, context)),
            Command::AdmitMember { node_id, name } => self.admit_member(*node_id, name, context),
            Command::RemoveMember { node_id } => self.remove_member(*node_id, context),
            Command::DescribeMember {
                node_id,
                host_id,
                version,
                cluster_version,
            } => {
                let facts = MemberFacts {
                    host_id: host_id.clone(),
                    version: version.clone(),
                    cluster_version: *cluster_version,
                };
                self.describe_member(*node_id, facts)
            }
            Command::RaiseClusterVersion { to } => self.raise_cluster_version(*to),
            Command::BeginReign { reign } => self.begin_reign(*reign, context),
            Command::TakeRecollection { agent, remembered } => {
                self.take_recollection(agent, remembered, context)
            }
            Command::AcknowledgeAlarm { number, by } => self.acknowledge_alarm(*number, by, context),
            Command::ChangeSettings { change } => self.change_settings(change),
            Command::ApplyPolicy { policy } => self.apply_policy(policy),
            Command::DeletePolicy { name } => self.delete_policy(name),
            Command::RegisterAgent { hello } => self.register_agent(hello, context),
            Command::ChangeAgentState { agent, from, to } => {
                self.change_agent_state(agent, (*from, *to), context)
            }
            Command::SetAgentAdmin { agent, admin } => self.set_agent_admin(agent, *admin),
            Command::DeclareDead { agent } => self.declare_dead(agent, context),
            Command::RemoveAgent { agent, dead, force } => self.remove_agent(agent, (*dead, *force), context),
            Command::SetAgentThresholds { agent, change } => self.set_agent_thresholds(agent, change),
            Command::ChangePool { name, change } => self.change_pool(name, change),
            Command::ChangeRules { change } => self.change_rules(change),
            Command::SubmitBackup { .. }
            | Command::SubmitRestore { .. }
            | Command::CancelJob { .. }
            | Command::DispatchJob { .. }
            | Command::RecordAdmission { .. }
            | Command::SupersedeAttempt { .. }
            | Command::RecoverAttempt { .. }
            | Command::RecordFence { .. }
            | Command::DecideDrained { .. }
            | Command::RecordEvents { .. }
            | Command::SettleLoss { .. }
            | Command::BeginFollowUp { .. }
            | Command::EndFollowUp { .. }
            | Command::HoldJob { .. }
            | Command::ReleaseJob { .. }
            | Command::ResumeJob { .. }
            | Command::RestartJob { .. } => self.run_on_jobs(command, context),
            Command::ChangeUnitState { unit, from, to, why } => {
                self.change_unit_state(unit, (*from, *to), why, context)
            }
            Command::MarkRestorePoints { ids, is_lost } => self.mark_restore_points(ids, *is_lost, context),
        }
    }

    /// As [`ClusterState::run`], for the commands about jobs that it passes on.
    fn run_on_jobs(&mut self, command: &Command, context: Context<'_>) -> Outcome {
        match command {
            Command::SubmitBackup {
                policy,
                client,
                full,
                nonce,
            } => self.submit_backup(policy, client.as_ref(), (*full, *nonce), context),
            Command::SubmitRestore { request, nonce } => self.submit_restore(request, *nonce, context),
            Command::CancelJob { job, by } => self.cancel_job(*job, by, context),
            Command::DispatchJob {
                job,
                version,
                media_agent,
            } => self.dispatch_job(*job, *version, media_agent, context),
            Command::RecordAdmission { job, attempt, nonce } => {
                let key = JobKey {
                    id: *job,
                    nonce: *nonce,
                };
                self.record_admission(key.attempt(*attempt))
            }
            Command::SupersedeAttempt {
                job,
                version,
                attempt,
                why,
                last_progress,
            } => self.supersede_attempt((*job, *version, *attempt), why, *last_progress, context),
            Command::RecoverAttempt {
                job,
                version,
                attempt,
                why,
                last_progress,
            } => self.recover_attempt((*job, *version, *attempt), why, *last_progress, context),
            Command::RecordFence {
                agent,
                job,
                nonce,
                through,
            } => self.record_fence(agent, *job, *nonce, *through),
            Command::RecordEvents {
                agent,
                journal_id,
                events,
            } => self.record_events(agent, journal_id, events, context),
            Command::DecideDrained {
                job,
                attempt,
                drained,
            } => self.decide_drained(*job, *attempt, drained, context),
            other => self.run_on_waiting(other, context),
        }
    }

    /// As [`ClusterState::run_on_jobs`], for jobs that do not run.
    fn run_on_waiting(&mut self, command: &Command, context: Context<'_>) -> Outcome {
        match command {
            Command::SettleLoss {
                job,
                version,
                verdict,
            } => self.settle_loss(*job, *version, *verdict, context),
            Command::BeginFollowUp { job, version } => self.begin_follow_up(*job, *version, context),
            Command::EndFollowUp { job, version } => self.end_follow_up(*job, *version, context),
            Command::HoldJob { job, by } => self.hold_job(*job, by, context),
            Command::ReleaseJob { job, by } => self.release_job(*job, by, context),
            Command::ResumeJob { job, by } => self.resume_job(*job, by, context),
            Command::RestartJob { job, by, nonce } => self.restart_job(*job, by, *nonce, context),
            // Every other one is `run`'s.
            _ => Err(crate::reply::Refusal::Outdated),
        }
    }

    /// Adds a line to a job's details.
    pub(crate) fn say(&mut self, job: JobId, at: Timestamp, severity: Severity, host: &str, text: String) {
        let Some(row) = self.jobs.get_mut(&job) else {
            return;
        };
        let number = row.details;
        if number >= MAX_DETAILS {
            return;
        }
        row.details += 1;
        let text = if row.details == MAX_DETAILS {
            format!("more than {MAX_DETAILS} lines; no more are kept")
        } else {
            text
        };
        self.details.insert(
            (job, number),
            Detail {
                time: at,
                severity,
                host: host.to_owned(),
                text,
            },
        );
    }
}

/// Up to how many jobs debug builds check the whole state after every entry.
const CHECKED_JOBS: usize = 100;
/// A job that says more than this has lost its reader; the bound keeps the state small.
const MAX_DETAILS: u32 = 500;
