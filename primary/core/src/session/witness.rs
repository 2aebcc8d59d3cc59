//! What clients say of their attempts (C-08), from the wire to the brain's words.
//!
//! Pure. Called by `primary/src/sessions` and by the simulation.

use std::collections::BTreeMap;

use outlast_proto::v1::{AttemptRef, StreamsSeen};
use outlast_proto::words::{AgentName, AttemptId};

use crate::contact::Word;
use crate::state::ClusterState;

/// What a client says of attempts of its own jobs.
#[must_use]
pub fn words(state: &ClusterState, client: &AgentName, seen: &StreamsSeen) -> BTreeMap<AttemptId, Word> {
    let own = |attempt: Option<&AttemptRef>| {
        let id = AttemptId::of_message(attempt).ok()?;
        let is_own = state.job(id.job).is_some_and(|job| job.client == *client);
        is_own.then_some(id)
    };
    let streams = seen.streams.iter().filter_map(|stream| {
        let word = if stream.broken || stream.unwelcomed {
            Word::Broken {
                since: stream.since_ms / 1000,
                // Whoever never welcomed it was not heard: the age is that of the begin.
                heard: stream.last_acknowledged_ms_ago / 1000,
            }
        } else {
            Word::Open {
                heard: stream.last_acknowledged_ms_ago / 1000,
            }
        };
        Some((own(stream.attempt.as_ref())?, word))
    });
    let ended = seen.ended.iter().filter_map(|ended| {
        let word = Word::Ended { code: ended.code };
        Some((own(ended.attempt.as_ref())?, word))
    });
    streams.chain(ended).collect()
}

/// Those of which the client need not say again that they have ended.
#[must_use]
pub fn closed(state: &ClusterState, seen: &StreamsSeen) -> Vec<AttemptRef> {
    let is_open = |id: AttemptId| {
        let is_same = state.job(id.job).is_some_and(|job| job.nonce == id.nonce);
        is_same && state.open_attempt(id.job, id.attempt).is_some()
    };
    let ended = seen.ended.iter().filter_map(|ended| ended.attempt.clone());
    ended
        .filter(|attempt| AttemptId::of_message(Some(attempt)).is_ok_and(|id| !is_open(id)))
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::state::ClusterState;
    use outlast_proto::v1::streams_seen::Ended;
    use outlast_proto::v1::{AttemptRef, StreamsSeen};

    #[test]
    fn c08_what_a_client_says_of_other_jobs_counts_for_nothing() {
        let state = ClusterState::default();
        let attempt = Some(AttemptRef {
            job: "7".into(),
            attempt: 1,
            nonce: 5,
        });
        let seen = StreamsSeen {
            streams: Vec::new(),
            ended: vec![Ended {
                attempt,
                code: Some(0),
            }],
        };
        assert!(super::words(&state, &"local".parse().unwrap(), &seen).is_empty());
        assert_eq!(super::closed(&state, &seen).len(), 1);
    }
}
