//! A retried submission happens once: its answer is kept for a day.

use std::ops::Bound;

use outlast_proto::words::{RequestId, Seconds, Timestamp};

use crate::reply::Reply;
use crate::state::ClusterState;

/// How long an answer is kept. Nobody retries a submission for longer.
const KEEP: Seconds = Seconds(24 * 3600);
/// How many old answers one submission clears away, so that no single entry is slow.
const CLEAR_AT_ONCE: usize = 16;

impl ClusterState {
    pub(super) fn known_reply(&self, id: &RequestId) -> Option<Reply> {
        self.requests.get(id).map(|(_, reply)| reply.clone())
    }

    pub(super) fn remember_reply(&mut self, id: &RequestId, at: Timestamp, reply: &Reply) {
        let ages = &self.indexes.request_ages;
        let old = ages
            .range((Bound::Unbounded, Bound::Excluded((at, RequestId::default()))))
            .take(CLEAR_AT_ONCE)
            .filter(|(then, _)| then.plus(KEEP) < at)
            .cloned()
            .collect::<Vec<_>>();
        for (then, old) in old {
            self.requests.remove(&old);
            self.indexes.request_ages.remove(&(then, old));
        }
        self.requests.insert(id.clone(), (at, reply.clone()));
        self.indexes.request_ages.insert((at, id.clone()));
    }
}
