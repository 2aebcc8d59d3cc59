//! How long a silence may last until something follows (C-01), with the level that says so.

use outlast_proto::v1;
use serde::Serialize;

use crate::wire::text;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ThresholdDocument {
    pub(crate) seconds: u64,
    /// `agent`, `pool`, `cluster`, or `default`; null: a primary of before does not say it.
    pub(crate) from: Option<String>,
}

/// All three.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ThresholdsDocument {
    pub(crate) failover_after: ThresholdDocument,
    pub(crate) stalled_after: ThresholdDocument,
    pub(crate) no_communication_after: ThresholdDocument,
}

impl ThresholdDocument {
    pub(crate) fn of(threshold: Option<&v1::Threshold>) -> Self {
        let threshold = threshold.cloned().unwrap_or_default();
        Self {
            seconds: threshold.seconds,
            from: text(&threshold.from),
        }
    }
}
