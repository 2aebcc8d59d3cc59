//! A pool as `pool list` and `pool show` print it. Durations are seconds.

use outlast_proto::{v1, words};
use serde::Serialize;

use super::{ThresholdDocument, ThresholdsDocument};
use crate::wire::{text, word};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct PoolDocument {
    pub(crate) name: String,
    pub(crate) media_agents: Vec<String>,
    pub(crate) method: Option<String>,
    pub(crate) failover: bool,
    pub(crate) failover_after: u64,
    pub(crate) stalled_after: u64,
    pub(crate) no_communication_after: u64,
    /// These three again, with who says so.
    pub(crate) thresholds: ThresholdsDocument,
}

impl From<&v1::Pool> for PoolDocument {
    fn from(pool: &v1::Pool) -> Self {
        let of = |seconds, from: &str| ThresholdDocument {
            seconds,
            from: text(from),
        };
        Self {
            name: pool.name.clone(),
            media_agents: pool.media_agents.clone(),
            method: word::<words::SelectionMethod>(pool.method),
            failover: pool.failover,
            failover_after: pool.failover_after_seconds,
            stalled_after: pool.stalled_after_seconds,
            no_communication_after: pool.no_communication_after_seconds,
            thresholds: ThresholdsDocument {
                failover_after: of(pool.failover_after_seconds, &pool.failover_after_from),
                stalled_after: of(pool.stalled_after_seconds, &pool.stalled_after_from),
                no_communication_after: of(
                    pool.no_communication_after_seconds,
                    &pool.no_communication_after_from,
                ),
            },
        }
    }
}
