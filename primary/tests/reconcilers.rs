//! What a node says of what it sees to (B-01): the leader of all, another node of what every node has.
#![allow(clippy::unwrap_used, reason = "tests; a script is read from top to bottom")]

mod support;

use support::{Group, name};

const OF_EVERY_NODE: [&str; 2] = ["introduction", "timing"];
const OF_THE_LEADER: [&str; 9] = [
    "clocks",
    "dispatcher",
    "drain",
    "members",
    "recovery",
    "steward",
    "units",
    "version",
    "watchdog",
];

#[tokio::test(flavor = "multi_thread")]
async fn b01_a_node_says_what_it_sees_to_and_how_that_gets_on() {
    let group = Group::start([1; 3]).await;
    group.make_leader_for_good(2).await;
    for node in 1..=3 {
        let mut expected = OF_EVERY_NODE.to_vec();
        if name(node) == name(2) {
            expected.extend(OF_THE_LEADER);
        }
        expected.sort_unstable();
        let told = group
            .reconcilers(node, |told| told.iter().all(|one| one.runs > 0))
            .await;
        let names: Vec<_> = told.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, expected, "node {node}");
        for one in &told {
            assert!(one.last_run.is_some(), "{one:?}");
            assert_eq!(one.restarts, 0, "{one:?}");
        }
    }
    // The watchdog counts seconds; nobody wakes it.
    let counts = |told: &[outlast_proto::v1::Reconciler]| {
        told.iter().any(|one| one.name == "watchdog" && one.runs > 2)
    };
    group.reconcilers(2, counts).await;
    group.stop().await;
}
