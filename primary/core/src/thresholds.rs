//! How long a silence may last, at three levels: what an agent has of its own, its pool, the cluster (C-01). What a level does not say, the one
//! above says.
//!
//! Pure. Who counts is [`crate::contact`]; which values fit together, [`crate::durations`] says.

use outlast_proto::words::{AgentName, PoolName, Seconds};
use serde::{Deserialize, Serialize};

use crate::durations::Setting;
use crate::rows::Pool;
use crate::state::ClusterState;

/// In a change: what the level above says counts again.
pub const INHERIT: Seconds = Seconds(0);

/// C-04, where nobody has set anything.
pub const FAILOVER_AFTER: Seconds = Seconds(30);
/// C-02.
pub const STALLED_AFTER: Seconds = Seconds(5 * 60);
/// C-03.
pub const NO_COMMUNICATION_AFTER: Seconds = Seconds(15 * 60);

/// What follows when a silence has lasted so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Threshold {
    /// Attempts move (C-04).
    FailoverAfter,
    /// No new jobs (C-02).
    StalledAfter,
    /// So long after that: attempts end `recovered` (C-03).
    NoCommunicationAfter,
}

impl Threshold {
    /// Every one.
    pub const ALL: [Self; 3] = [
        Self::FailoverAfter,
        Self::StalledAfter,
        Self::NoCommunicationAfter,
    ];

    /// As the table of durations has it.
    #[must_use]
    pub const fn setting(self) -> Setting {
        match self {
            Self::FailoverAfter => Setting::FailoverAfter,
            Self::StalledAfter => Setting::StalledAfter,
            Self::NoCommunicationAfter => Setting::NoCommunicationAfter,
        }
    }

    /// Where nobody has set anything.
    #[must_use]
    pub const fn built_in(self) -> Seconds {
        match self {
            Self::FailoverAfter => FAILOVER_AFTER,
            Self::StalledAfter => STALLED_AFTER,
            Self::NoCommunicationAfter => NO_COMMUNICATION_AFTER,
        }
    }
}

/// What one level says of its own; or a change to it: none stays as it is, [`INHERIT`] goes back to the level above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// C-04.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover_after: Option<Seconds>,
    /// C-02.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_after: Option<Seconds>,
    /// C-03.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_communication_after: Option<Seconds>,
}

impl Thresholds {
    /// Whether it says nothing.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.failover_after.is_none() && self.stalled_after.is_none() && self.no_communication_after.is_none()
    }

    /// What it says of this one.
    #[must_use]
    pub const fn get(&self, which: Threshold) -> Option<Seconds> {
        match which {
            Threshold::FailoverAfter => self.failover_after,
            Threshold::StalledAfter => self.stalled_after,
            Threshold::NoCommunicationAfter => self.no_communication_after,
        }
    }

    /// Says another thing of this one.
    pub const fn set(&mut self, which: Threshold, value: Option<Seconds>) {
        match which {
            Threshold::FailoverAfter => self.failover_after = value,
            Threshold::StalledAfter => self.stalled_after = value,
            Threshold::NoCommunicationAfter => self.no_communication_after = value,
        }
    }

    /// What it says after this change.
    #[must_use]
    pub fn changed_by(mut self, change: &Self) -> Self {
        for which in Threshold::ALL {
            if let Some(value) = change.get(which) {
                self.set(which, Some(value).filter(|value| *value != INHERIT));
            }
        }
        self
    }
}

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The agent.
    Agent,
    /// Its pool.
    Pool,
    /// The cluster.
    Cluster,
    /// Nobody.
    BuiltIn,
}

impl Level {
    /// As people and programs are shown it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Pool => "pool",
            Self::Cluster => "cluster",
            Self::BuiltIn => "default",
        }
    }
}

/// A threshold in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// How long.
    pub value: Seconds,
    /// Who says it.
    pub from: Level,
}

/// Of the three levels that which counts first and says anything.
#[must_use]
pub fn in_force(
    which: Threshold,
    agent: Option<&Thresholds>,
    pool: Option<&Thresholds>,
    cluster: &Thresholds,
) -> InForce {
    let levels = [
        (Level::Agent, agent),
        (Level::Pool, pool),
        (Level::Cluster, Some(cluster)),
    ];
    let said = levels.into_iter().find_map(|(from, said)| {
        let value = said?.get(which)?;
        Some(InForce { value, from })
    });
    said.unwrap_or(InForce {
        value: which.built_in(),
        from: Level::BuiltIn,
    })
}

impl Pool {
    /// What the pool says of its own.
    #[must_use]
    pub const fn thresholds(&self) -> Thresholds {
        Thresholds {
            failover_after: self.failover_after,
            stalled_after: self.stalled_after,
            no_communication_after: self.no_communication_after,
        }
    }

    pub(crate) const fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.failover_after = thresholds.failover_after;
        self.stalled_after = thresholds.stalled_after;
        self.no_communication_after = thresholds.no_communication_after;
    }
}

impl ClusterState {
    /// Of an agent, known or not.
    #[must_use]
    pub fn threshold(&self, which: Threshold, agent: &AgentName) -> InForce {
        let row = self.agent(agent);
        let pool = row.and_then(|row| self.pool(&row.media.as_ref()?.pool));
        in_force(
            which,
            row.map(|row| &row.thresholds),
            pool.map(Pool::thresholds).as_ref(),
            &self.settings().thresholds,
        )
    }

    /// Of the media agents of a pool that say nothing of their own.
    #[must_use]
    pub fn threshold_of_pool(&self, which: Threshold, pool: &PoolName) -> InForce {
        let pool = self.pool(pool).map(Pool::thresholds);
        in_force(which, None, pool.as_ref(), &self.settings().thresholds)
    }

    /// Of the pools that say nothing of their own.
    #[must_use]
    pub fn threshold_of_cluster(&self, which: Threshold) -> InForce {
        in_force(which, None, None, &self.settings().thresholds)
    }
}
