//! S-12b: a group most of whose nodes were set back to an older copy, and the node that holds more than they do.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use outlast_raft::{Exclusion, RaftOptions, StopReason};
use support::{
    Home, Node, assert_holds, cluster, copy, eventually, eventually_eq, leader, propose_somewhere,
};

type Acked = BTreeMap<u64, String>;

fn feed(nodes: &[Node], count: usize, what: &str, acked: &mut Acked) {
    acked.extend((0..count).map(|n| propose_somewhere(nodes, &format!("{what} {n}"))));
}

fn copy_of(home: &Home) -> PathBuf {
    home.dir.path().join("copy")
}

fn set_back(home: &Home) {
    fs::remove_dir_all(home.data()).unwrap();
    copy(&copy_of(home), &home.data());
}

/// Keeps next to nothing of the log.
fn forgetful(home: &Home) -> Node {
    let options = RaftOptions {
        snapshot_every: 10,
        keep_log: 0,
        ..home.options()
    };
    Node::start_with(home, options).unwrap()
}

fn start(homes: &[Home]) -> Vec<Node> {
    homes.iter().map(forgetful).collect()
}

/// Three nodes, of which the last two were set back, to copies of different age, and have gone on as a group of two. The first
/// has `lost` entries of its own since, the others `new` ones.
fn two_set_back(lost: usize, new: usize) -> (Vec<Home>, Vec<Node>, Acked) {
    let (homes, mut nodes) = cluster(3);
    let mut acked = Acked::new();
    for home in &homes[1..] {
        feed(&nodes, 10, &format!("kept by {}", home.id), &mut acked);
        everywhere(&nodes, &acked);
        nodes.into_iter().for_each(Node::stop);
        copy(&home.data(), &copy_of(home));
        nodes = start(&homes);
    }
    feed(&nodes, lost, "only with the first", &mut acked);
    everywhere(&nodes, &acked);
    nodes.into_iter().for_each(Node::stop);
    homes[1..].iter().for_each(set_back);
    // As many elections as the lost entries have seen: counted, their terms would be the same.
    let nodes = start(&homes[1..]);
    feed(&nodes, new, "after it was set back", &mut Acked::new());
    (homes, nodes, acked)
}

fn everywhere(nodes: &[Node], acked: &Acked) {
    eventually("all on every node", || {
        let has_all = |node: &Node| acked.keys().all(|index| node.rows().contains_key(index));
        nodes.iter().all(has_all).then_some(())
    });
}

/// Starts the first node again, which says that it holds another history, and has not touched its own.
fn stopped(home: &Home, acked: &Acked) -> Node {
    let newer = forgetful(home);
    let said = eventually("the node to stop", || newer.raft.stop_reason());
    let end = acked.keys().next_back().unwrap();
    let StopReason::Excluded(exclusion @ Exclusion::Diverged { node_id: 1, .. }) = said else {
        panic!("{said:?}");
    };
    let text = exclusion.to_string();
    assert!(text.contains(&format!("up to entry {end} of term")), "{text}");
    assert!(!text.contains('{'), "{text}");
    assert_holds(&newer.rows(), acked);
    newer
}

#[test]
fn t90_s12b_a_node_that_holds_more_than_its_group_stops_and_loses_nothing() {
    let (homes, nodes, acked) = two_set_back(20, 5);
    let newer = stopped(&homes[0], &acked);
    newer.stop();
    nodes.into_iter().for_each(Node::stop);

    // The way back to what it holds: the older copy on the others again, and they take from it what they lack.
    set_back(&homes[1]);
    let mut nodes = start(&homes[..2]);
    eventually("the newer one to lead", || nodes[0].leads().then_some(()));
    set_back(&homes[2]);
    nodes.push(forgetful(&homes[2]));
    for node in &nodes {
        eventually_eq("all rows", &true, || {
            let rows = node.rows();
            acked.keys().all(|index| rows.contains_key(index))
        });
        assert_holds(&node.rows(), &acked);
    }
}

/// Counted terms would take the group's entries for the continuation of what this node holds.
#[test]
fn t90_s12b_a_node_whose_group_went_on_further_does_not_append_to_its_own() {
    let (homes, nodes, acked) = two_set_back(5, 5);
    let end = *acked.keys().next_back().unwrap();
    while leader(&nodes).raft.status().last_log <= Some(end) {
        propose_somewhere(&nodes, "on");
    }
    stopped(&homes[0], &acked).stop();
    propose_somewhere(&nodes, "goes on");
}

/// The log that would show it is gone: at the group, which sends a snapshot.
#[test]
fn t90_s12b_a_snapshot_does_not_replace_another_history() {
    let (homes, nodes, acked) = two_set_back(5, 20);
    let end = *acked.keys().next_back().unwrap();
    eventually("a log that begins later", || {
        propose_somewhere(&nodes, "on");
        nodes
            .iter()
            .all(|node| node.raft.status().purged > Some(end))
            .then_some(())
    });
    stopped(&homes[0], &acked).stop();
    propose_somewhere(&nodes, "goes on");
}

/// The log that would show it is gone: here. openraft takes what lies before its beginning for what the leader has.
#[test]
fn t90_s12b_a_node_with_a_snapshot_of_another_history_does_not_follow() {
    let (homes, nodes, acked) = two_set_back(80, 5);
    let newer = stopped(&homes[0], &acked);
    assert!(newer.raft.status().purged > leader(&nodes).raft.status().last_log);
    newer.stop();
    propose_somewhere(&nodes, "goes on");
}
