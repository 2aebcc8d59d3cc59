//! Marks of how far the group has come, as agents keep them (S-12b): signed, so that none but this group's own count.
//!
//! What is made of one stands in the core. Called by `admission` and `serve`.

use outlast_core::ClusterState;
use outlast_core::rows::{Mark, Recollection};
use outlast_proto::v1::{self, Hello, SignedMark};
use outlast_proto::words::{JobId, Timestamp};
use prost::Message as _;
use ring::signature::{ED25519, UnparsedPublicKey};

use super::key::{key_pair, public_key};

/// The key signs tickets, too: neither is ever taken for the other.
const CONTEXT: &[u8] = b"outlast mark";

/// How far this node knows the group to have come. To be told by a leader only.
pub(super) fn of_now(state: &ClusterState) -> Option<SignedMark> {
    let mark = state.mark_of_now()?;
    let mark = v1::Mark {
        reign: mark.reign,
        entries: mark.entries,
        highest_job: mark.highest_job.0,
        at: Some(mark.at.into()),
    }
    .encode_to_vec();
    let signature = key_pair(state.cluster()?)?.sign(&signed(&mark)).as_ref().to_vec();
    Some(SignedMark {
        mark: mark.into(),
        signature: signature.into(),
    })
}

/// What an agent remembers. A mark that this group has not signed counts as none.
pub(super) fn remembered(state: &ClusterState, said: &Hello) -> Recollection {
    let mark = said.mark.as_ref().and_then(|mark| read(state, mark));
    Recollection {
        highest_job: JobId(said.highest_job),
        mark,
    }
}

fn read(state: &ClusterState, said: &SignedMark) -> Option<Mark> {
    let key = public_key(state.cluster()?);
    let verified = UnparsedPublicKey::new(&ED25519, key).verify(&signed(&said.mark), &said.signature);
    if verified.is_err() {
        tracing::warn!("the mark that an agent shows is not signed by this group; it says nothing");
        return None;
    }
    let mark = v1::Mark::decode(said.mark.clone()).ok()?;
    Some(Mark {
        reign: mark.reign,
        entries: mark.entries,
        highest_job: JobId(mark.highest_job),
        at: mark.at.as_ref().map(Timestamp::from)?,
    })
}

fn signed(mark: &[u8]) -> Vec<u8> {
    [CONTEXT, mark].concat()
}

#[cfg(test)]
mod tests {
    use outlast_core::{CLUSTER_VERSION, ClusterState, Command, Entry};
    use outlast_proto::v1::Hello;
    use outlast_proto::words::{Timestamp, Timing};
    use ring::rand::SystemRandom;
    use ring::signature::Ed25519KeyPair;

    use super::{of_now, remembered};

    fn group() -> ClusterState {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let mut state = ClusterState::default();
        for command in [
            Command::FoundCluster {
                cluster_id: "c".into(),
                ticket_key: key.as_ref().to_vec(),
                timing: Timing::Lan,
                version: CLUSTER_VERSION,
            },
            Command::BeginReign { reign: 7 },
        ] {
            state.apply(&Entry {
                at: Timestamp(5),
                by: "one".into(),
                request_id: None,
                asked_by: None,
                command,
            });
        }
        state
    }

    #[test]
    fn s12b_only_the_marks_that_the_group_itself_has_signed_count() {
        let (ours, other) = (group(), group());
        let mark = of_now(&ours).unwrap();
        let hello = |mark| Hello {
            mark: Some(mark),
            ..Hello::default()
        };
        let read = remembered(&ours, &hello(mark.clone())).mark;
        assert_eq!(read, ours.mark_of_now());
        assert_eq!(remembered(&other, &hello(mark.clone())).mark, None);
        let mut forged = mark.clone();
        forged.mark = [&mark.mark[..], &[0x10, 99]].concat().into();
        assert_eq!(remembered(&ours, &hello(forged)).mark, None);
        assert_eq!(remembered(&ours, &Hello::default()).mark, None);
    }
}
