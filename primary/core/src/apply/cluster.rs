//! The cluster's own row.

use outlast_proto::words::{Counters, JobId, Timestamp, Timing};

use super::{Context, Outcome};
use crate::entry::Command;
use crate::reply::{Refusal, Reply};
use crate::rows::{Cluster, Settings};
use crate::state::ClusterState;
use crate::touched::Rows;

/// The newest cluster version this program speaks: which commands it knows, and what they do (DESIGN 3).
///
/// Whoever adds a command, or changes what one does to the state, raises this by one, and has the new behaviour only where the state's
/// own version has come to it. That is raised by an entry, once all members speak the new one.
///
/// 2: jobs have nonces (S-12b), and their exceptions survive a change of attempt (S-02). 3: jobs say who submitted them, and how
/// many files a restore left alone. 4: reigns of leaders and alarms, by which the group notices that it was set back (S-12b). 5: restore points name
/// the tree of their snapshot. 6: numbers say how much the policy's patterns left out. 7: times of restore points lie between their attempt's begin
/// and their entry, and which one is the last that was committed is kept (B-09); what an earlier attempt of a restore met counts for it (S-02). 8: items, open attempts
/// and their exceptions have rows of their own; attempts are superseded, and fences owed until they are acknowledged (F-04). 9: what follows an attempt that
/// failed is decided by rules (E-05), agents and the cluster have thresholds of their own (C-01), storage units have states (F-02, F-19).
pub const CLUSTER_VERSION: u32 = 9;

/// From this version on jobs say who submitted them, and numbers what was left alone.
pub const JOBS_SAY_BY_WHOM: u32 = 3;

/// From this version on jobs have nonces, and nothing of another nonce counts for a job.
const NONCES: u32 = 2;
/// From this version on exceptions are an item's, and count for the job, whichever attempt ends it.
const EXCEPTIONS_OF_ITEMS: u32 = 2;

/// From this version on reigns and entries are counted, and alarms raised.
const SET_BACKS: u32 = 4;

/// From this version on restore points name the tree of their snapshot.
const TREES: u32 = 5;

/// From this version on numbers say how much the policy's patterns left out.
const EXCLUDED: u32 = 6;

/// From this version on no clock of an agent sets restore points in another order.
const ORDERED_RESTORE_POINTS: u32 = 7;
/// From this version on exceptions of each attempt of a restore count for it.
const EXCEPTIONS_OF_RESTORES: u32 = 7;

/// From this version on items, open attempts and their exceptions have rows of their own, and attempts can be superseded.
const SPLIT_JOBS: u32 = 8;

/// From this version on rules follow attempts that failed, silence has thresholds of each agent, and storage units have states.
const RULES: u32 = 9;

/// Of a cluster that was founded by a program that did not say what it speaks.
pub(super) const FOUNDING_VERSION: u32 = 1;

impl Command {
    /// The cluster version that brought it: a member that does not speak that one cannot read it, and stops.
    #[must_use]
    pub const fn since(&self) -> u32 {
        match self {
            Command::SetAgentAdmin { .. }
            | Command::DeclareDead { .. }
            | Command::SupersedeAttempt { .. }
            | Command::RecordFence { .. } => SPLIT_JOBS,
            Command::SetAgentThresholds { .. }
            | Command::RemoveAgent { .. }
            | Command::RecoverAttempt { .. }
            | Command::ChangeUnitState { .. }
            | Command::DecideDrained { .. }
            | Command::SettleLoss { .. }
            | Command::BeginFollowUp { .. }
            | Command::EndFollowUp { .. }
            | Command::HoldJob { .. }
            | Command::ReleaseJob { .. }
            | Command::ResumeJob { .. }
            | Command::RestartJob { .. }
            | Command::MarkRestorePoints { .. }
            | Command::ChangeRules { .. } => RULES,
            // It could, and would leave out what it does not know.
            Command::ChangeSettings { change } if !change.thresholds.is_none() => RULES,
            // Of before somebody could ask for them too early: their reconcilers look at the version themselves.
            _ => FOUNDING_VERSION,
        }
    }
}

impl ClusterState {
    /// Whether each member can read this command, as far as this state knows.
    #[must_use]
    pub fn can_read(&self, command: &Command) -> bool {
        let since = command.since();
        since == FOUNDING_VERSION || self.cluster().is_some_and(|cluster| cluster.version >= since)
    }

    /// Takes the leader's time unless it lies before the last entry's: time never goes back.
    pub(super) fn advance_clock(&mut self, at: Timestamp) -> Timestamp {
        match self.cluster.get(&()) {
            Some(cluster) if at > cluster.last_at => {}
            Some(cluster) => return cluster.last_at,
            None => return at,
        }
        if let Some(cluster) = self.cluster.get_mut(&()) {
            cluster.last_at = at;
        }
        at
    }

    pub(super) fn establish_cluster(
        &mut self,
        (id, ticket_key): (&str, &[u8]),
        timing: Timing,
        version: u32,
        context: Context<'_>,
    ) -> Reply {
        if self.cluster().is_none() {
            let cluster = Cluster {
                id: id.to_owned(),
                ticket_key: ticket_key.to_vec(),
                version,
                last_at: context.at,
                next_job: JobId(1),
                entries: 0,
                settings: Settings {
                    timing,
                    ..Settings::default()
                },
            };
            self.cluster.insert((), cluster);
            self.touch(Rows::Settings);
        }
        Reply::Done
    }

    /// Whether jobs have nonces, in this cluster version.
    #[must_use]
    pub fn has_nonces(&self) -> bool {
        self.cluster().is_some_and(|cluster| cluster.version >= NONCES)
    }

    /// What of an attempt's numbers this cluster version knows: members of before have no more.
    pub(super) fn known_numbers(&self, mut counters: Counters) -> Counters {
        if !self.says_by_whom() {
            counters.left_alone = 0;
        }
        if self.cluster().is_none_or(|cluster| cluster.version < EXCLUDED) {
            counters.excluded = 0;
        }
        counters
    }

    /// Whether exceptions survive a change of attempt (S-02), in this cluster version.
    pub(crate) fn keeps_exceptions(&self) -> bool {
        let version = self.cluster().map(|cluster| cluster.version);
        version.is_some_and(|version| version >= EXCEPTIONS_OF_ITEMS)
    }

    /// Whether what an earlier attempt of a restore met counts for it, in this cluster version.
    pub(super) fn keeps_exceptions_of_restores(&self) -> bool {
        let version = self.cluster().map(|cluster| cluster.version);
        version.is_some_and(|version| version >= EXCEPTIONS_OF_RESTORES)
    }

    /// Whether restore points name the tree of their snapshot, in this cluster version.
    pub(super) fn names_trees(&self) -> bool {
        self.cluster().is_some_and(|cluster| cluster.version >= TREES)
    }

    /// Whether restore points keep the order in which they were committed, in this cluster version.
    pub(super) fn orders_restore_points(&self) -> bool {
        let version = self.cluster().map(|cluster| cluster.version);
        version.is_some_and(|version| version >= ORDERED_RESTORE_POINTS)
    }

    /// Whether items and open attempts of jobs have rows of their own, and attempts can be superseded, in this cluster version.
    #[must_use]
    pub fn splits_jobs(&self) -> bool {
        self.cluster()
            .is_some_and(|cluster| cluster.version >= SPLIT_JOBS)
    }

    /// Whether rules follow attempts that failed, agents and the cluster have thresholds, and storage units have states, in this cluster version.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.cluster().is_some_and(|cluster| cluster.version >= RULES)
    }

    /// Whether the group notices that it was set back, in this cluster version.
    #[must_use]
    pub fn knows_set_backs(&self) -> bool {
        self.cluster().is_some_and(|cluster| cluster.version >= SET_BACKS)
    }

    /// What marks count by.
    pub(super) fn count_entry(&mut self) {
        if self.knows_set_backs()
            && let Some(cluster) = self.cluster.get_mut(&())
        {
            cluster.entries += 1;
        }
    }

    /// The cluster version that all members speak, if it is newer than the one in force.
    #[must_use]
    pub fn version_all_speak(&self) -> Option<u32> {
        let in_force = self.cluster()?.version;
        let spoken = self.present_members().map(|(_, member)| {
            let facts = member.facts.as_ref();
            facts.map_or(0, |facts| facts.cluster_version)
        });
        spoken.min().filter(|version| *version > in_force)
    }

    /// Refused if a member has come or changed since that does not speak it: it could not read what follows.
    pub(super) fn raise_cluster_version(&mut self, to: u32) -> Outcome {
        let in_force = self.cluster().map_or(0, |cluster| cluster.version);
        if to <= in_force || self.version_all_speak().is_none_or(|spoken| spoken < to) {
            return Err(Refusal::InvalidRequest {
                field: "cluster_version".to_owned(),
                reason: format!("not all members speak version {to}, or it is in force"),
            });
        }
        let (was_split, had_rules) = (self.splits_jobs(), self.has_rules());
        if let Some(cluster) = self.cluster.get_mut(&()) {
            cluster.version = to;
        }
        if self.splits_jobs() && !was_split {
            self.jobs.touch_all();
            self.items.touch_all();
            self.open.touch_all();
            self.exceptions.touch_all();
        }
        if self.has_rules() && !had_rules {
            self.let_pools_inherit();
        }
        self.touch(Rows::Settings);
        Ok(Reply::Done)
    }
}
