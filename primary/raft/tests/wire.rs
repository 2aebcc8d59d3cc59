//! Frames no peer of ours would send: refused with a status, and the node goes on.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use outlast_proto::v1::raft_client::RaftClient;
use outlast_proto::v1::{HelloRequest, RaftFrame};
use serde::Serialize;
use support::{Home, Node, leader};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

#[derive(Serialize)]
struct Addressed<T> {
    to: u64,
    body: T,
}

fn frame<T: Serialize>(to: u64, body: T) -> RaftFrame {
    RaftFrame {
        format: 1,
        payload: rmp_serde::to_vec_named(&Addressed { to, body }).unwrap().into(),
    }
}

async fn client(home: &Home) -> RaftClient<Channel> {
    RaftClient::new(
        Endpoint::from_shared(format!("http://{}", home.address))
            .unwrap()
            .connect()
            .await
            .unwrap(),
    )
}

fn bad_frames() -> Vec<(RaftFrame, Code)> {
    vec![
        (
            RaftFrame {
                format: 2,
                payload: frame(1, ()).payload,
            },
            Code::InvalidArgument,
        ),
        (
            RaftFrame {
                format: 0,
                payload: vec![].into(),
            },
            Code::InvalidArgument,
        ),
        (
            RaftFrame {
                format: 1,
                payload: vec![].into(),
            },
            Code::InvalidArgument,
        ),
        (
            RaftFrame {
                format: 1,
                payload: vec![0xC1; 100].into(),
            },
            Code::InvalidArgument,
        ),
        // An array of 4 thousand million elements, and one of arrays in arrays.
        (
            RaftFrame {
                format: 1,
                payload: vec![0xDD, 0xFF, 0xFF, 0xFF, 0xFF].into(),
            },
            Code::InvalidArgument,
        ),
        (
            RaftFrame {
                format: 1,
                payload: vec![0x91; 100_000].into(),
            },
            Code::InvalidArgument,
        ),
        (frame(1, "not a request"), Code::InvalidArgument),
    ]
}

#[test]
fn strange_frames_are_refused_and_harmless() {
    let home = Home::new(1);
    let nodes = [Node::start(&home).unwrap()];
    nodes[0]
        .run(nodes[0].raft.initialize(BTreeMap::from([(1, home.peer())])))
        .unwrap();
    leader(&nodes).propose("before").unwrap();
    nodes[0].run(async {
        let mut client = client(&home).await;
        for (bad, code) in bad_frames() {
            assert_eq!(client.vote(bad.clone()).await.unwrap_err().code(), code);
            assert_eq!(client.pre_vote(bad.clone()).await.unwrap_err().code(), code);
            assert_eq!(
                client.transfer_leader(bad.clone()).await.unwrap_err().code(),
                code
            );
            let refused = client
                .install_snapshot(futures::stream::iter([bad.clone()]))
                .await;
            assert_eq!(refused.unwrap_err().code(), code);
            let mut answers = client
                .stream_append(futures::stream::iter([bad]))
                .await
                .unwrap()
                .into_inner();
            assert_eq!(answers.message().await.unwrap_err().code(), code);
        }
    });
    leader(&nodes).propose("after").unwrap();
}

#[derive(Serialize)]
struct LeaderId {
    term: u64,
    voted_for: Option<u64>,
}

#[derive(Serialize)]
struct Vote {
    leader_id: LeaderId,
    committed: bool,
}

#[derive(Serialize)]
struct LogId {
    leader_id: u64,
    index: u64,
}

#[derive(Serialize)]
struct VoteRequest {
    vote: Vote,
    last_log_id: Option<LogId>,
    leadership_transfer: bool,
}

/// With whom it is for, as a group says it to a node that may be new.
#[derive(Serialize)]
struct ToDirectory<T> {
    to: u64,
    incarnation: uuid::Uuid,
    body: T,
}

/// Between its vote and the first entry it belongs to a group whose members it does not know: whoever asks has to ask again, or would
/// take itself for a stranger to that group.
#[test]
fn t90_a_node_that_has_only_voted_does_not_say_whom_it_knows() {
    let home = Home::new(1);
    let node = Node::start(&home).unwrap();
    node.run(async {
        let mut client = client(&home).await;
        let hello = || HelloRequest { node_id: 9 };
        let new = client.hello(hello()).await.unwrap().into_inner();
        assert_eq!((new.promised, new.knows_you), (false, false));
        let body = VoteRequest {
            vote: Vote {
                committed: false,
                ..vote(1)
            },
            last_log_id: None,
            leadership_transfer: false,
        };
        let incarnation = new.incarnation.parse().unwrap();
        let request = ToDirectory {
            to: 1,
            incarnation,
            body,
        };
        let payload = rmp_serde::to_vec_named(&request).unwrap().into();
        client.vote(RaftFrame { format: 1, payload }).await.unwrap();
        let refused = client.hello(hello()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    });
}

#[derive(Serialize)]
struct Entry {
    log_id: LogId,
    payload: &'static str,
}

#[derive(Serialize)]
struct Append {
    vote: Vote,
    prev_log_id: Option<LogId>,
    entries: Vec<Entry>,
    leader_commit: Option<LogId>,
}

#[derive(Serialize)]
struct SnapshotStart {
    vote: Vote,
    len: u64,
}

fn vote(term: u64) -> Vote {
    Vote {
        leader_id: LeaderId {
            term,
            voted_for: Some(9),
        },
        committed: true,
    }
}

#[test]
fn well_formed_nonsense_is_refused_too() {
    let home = Home::new(1);
    let nodes = [Node::start(&home).unwrap()];
    nodes[0]
        .run(nodes[0].raft.initialize(BTreeMap::from([(1, home.peer())])))
        .unwrap();
    leader(&nodes).propose("before").unwrap();
    nodes[0].run(async {
        let mut client = client(&home).await;
        let request = || VoteRequest {
            vote: vote(1),
            last_log_id: None,
            leadership_transfer: false,
        };
        // Meant for another node, which once had this address.
        assert_eq!(
            client.vote(frame(2, request())).await.unwrap_err().code(),
            Code::FailedPrecondition
        );
        // The same request is good when it is meant for this one, so the refusals above are not about its form.
        client.vote(frame(1, request())).await.unwrap();
        let entry = |index| Entry {
            log_id: LogId { leader_id: 1, index },
            payload: "Blank",
        };
        let gap = Append {
            vote: vote(1),
            prev_log_id: None,
            entries: vec![entry(0), entry(7)],
            leader_commit: None,
        };
        let mut answers = client
            .stream_append(futures::stream::iter([frame(1, gap)]))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answers.message().await.unwrap_err().code(), Code::InvalidArgument);
        let slice = |bytes: Vec<u8>| RaftFrame {
            format: 1,
            payload: bytes.into(),
        };
        for (announced, sent) in [
            (10, vec![1; 9]),
            (10, vec![1; 11]),
            (10, vec![1; 10]),
            (0, vec![]),
        ] {
            let start = frame(
                1,
                SnapshotStart {
                    vote: vote(99),
                    len: announced,
                },
            );
            let refused = client
                .install_snapshot(futures::stream::iter([start, slice(sent)]))
                .await;
            assert_eq!(
                refused.unwrap_err().code(),
                Code::InvalidArgument,
                "{announced} bytes announced"
            );
        }
    });
    leader(&nodes).propose("after").unwrap();
    let left = std::fs::read_dir(home.data().join("snapshot")).unwrap().count();
    assert_eq!(left, 0, "refused snapshots were left behind");
}
