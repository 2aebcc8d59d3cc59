//! S-12b: a group most of whose nodes were set back to an older copy, and the node that holds more than they do.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use outlast_raft::{Exclusion, StopReason};
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

fn start(homes: &[Home]) -> Vec<Node> {
    homes.iter().map(|home| Node::start(home).unwrap()).collect()
}

/// Three nodes, of which two were set back to a copy and have gone on in a later term.
fn two_set_back() -> (Vec<Home>, Vec<Node>, Acked) {
    let (homes, nodes) = cluster(3);
    let mut acked = Acked::new();
    feed(&nodes, 20, "kept", &mut acked);
    nodes.into_iter().for_each(Node::stop);
    homes[1..]
        .iter()
        .for_each(|home| copy(&home.data(), &copy_of(home)));
    let nodes = start(&homes);
    feed(&nodes, 20, "only with the first", &mut acked);
    let end = *acked.keys().next_back().unwrap();
    eventually("all on every node", || {
        nodes
            .iter()
            .all(|node| node.rows().contains_key(&end))
            .then_some(())
    });
    nodes.into_iter().for_each(Node::stop);
    homes[1..].iter().for_each(set_back);
    // Their next leader may be of the same term as the one whose entries are lost, the one after it is not.
    let nodes = start(&homes[1..]);
    let term = leader(&nodes).raft.leadership().borrow().term;
    nodes.into_iter().for_each(Node::stop);
    let nodes = start(&homes[1..]);
    eventually("a later term", || {
        (leader(&nodes).raft.leadership().borrow().term > term).then_some(())
    });
    feed(&nodes, 5, "after it was set back", &mut Acked::new());
    (homes, nodes, acked)
}

#[test]
fn t90_s12b_a_node_that_holds_more_than_its_group_stops_and_loses_nothing() {
    let (homes, nodes, acked) = two_set_back();
    let newer = Node::start(&homes[0]).unwrap();
    let said = eventually("the node to stop", || newer.raft.stop_reason());
    let end = acked.keys().next_back().unwrap();
    let StopReason::Excluded(exclusion @ Exclusion::Diverged { node_id: 1, .. }) = said else {
        panic!("{said:?}");
    };
    let text = exclusion.to_string();
    assert!(text.contains(&format!("up to entry {end} of term")), "{text}");
    assert!(!text.contains('{'), "{text}");
    assert_holds(&newer.rows(), &acked);
    newer.stop();
    nodes.into_iter().for_each(Node::stop);

    // The way back to what it holds: the older copy on the others again, and they take from it what they lack.
    set_back(&homes[1]);
    let mut nodes = start(&homes[..2]);
    eventually("the newer one to lead", || nodes[0].leads().then_some(()));
    set_back(&homes[2]);
    nodes.push(Node::start(&homes[2]).unwrap());
    for node in &nodes {
        eventually_eq("all rows", &true, || {
            let rows = node.rows();
            acked.keys().all(|index| rows.contains_key(index))
        });
        assert_holds(&node.rows(), &acked);
    }
}
