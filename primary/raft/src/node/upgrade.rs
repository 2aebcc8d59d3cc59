//! Tests only: directories and memberships from before there were incarnations. They cannot be made from outside any more.

use std::collections::BTreeMap;

use super::support::{Home, Node, Rows, eventually, eventually_eq, leader, propose_somewhere};
use crate::node::{Exclusion, StopReason};
use crate::peer::Seat;

fn start(homes: &[Home]) -> Vec<Node> {
    homes.iter().map(|home| Node::start(home).unwrap()).collect()
}

/// Three stopped nodes as the last version without incarnations left them, and what they hold.
fn old_group() -> (Vec<Home>, Rows) {
    let homes: Vec<Home> = (1..=3).map(Home::new).collect();
    let nodes = start(&homes);
    for node in &nodes {
        node.raft.inner.log.identity().promise().unwrap();
    }
    let seats: BTreeMap<_, _> = homes
        .iter()
        .map(|home| (home.id, Seat::of(home.peer(), None)))
        .collect();
    nodes[0].run(nodes[0].raft.inner.raft.initialize(seats)).unwrap();
    for n in 0..20 {
        propose_somewhere(&nodes, &format!("command {n}"));
    }
    let rows = leader(&nodes).rows();
    for node in &nodes {
        eventually_eq("rows", &rows, || node.rows());
    }
    nodes.into_iter().for_each(Node::stop);
    for home in &homes {
        let path = home.data().join("identity");
        let mut facts: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        facts.as_object_mut().unwrap().remove("incarnation").unwrap();
        std::fs::write(&path, facts.to_string()).unwrap();
    }
    (homes, rows)
}

#[test]
fn an_old_group_goes_on_and_its_members_are_bound_once_all_can_say_who_they_are() {
    let (homes, rows) = old_group();
    let mut nodes = start(&homes[..2]);
    let chief = leader(&nodes);
    assert_eq!(chief.run(chief.raft.bind_members()), Ok(false));
    nodes.push(Node::start(&homes[2]).unwrap());
    eventually("members to be bound", || {
        let chief = leader(&nodes);
        (chief.run(chief.raft.bind_members()) == Ok(true)).then_some(())
    });
    for node in &nodes {
        eventually("bound seats", || {
            let seats = node.raft.seats();
            seats
                .values()
                .all(|seat| seat.incarnation.is_some())
                .then_some(())
        });
        eventually_eq("rows", &rows, || node.rows());
    }
    let at = nodes.iter().position(|node| !node.leads()).unwrap();
    let gone = nodes.remove(at);
    let home = homes.iter().find(|home| home.id == gone.id).unwrap();
    gone.kill();
    std::fs::remove_dir_all(home.data()).unwrap();
    let emptied = Node::start(home).unwrap();
    let lost = StopReason::Excluded(Exclusion::LostDisk { node_id: home.id });
    eventually_eq("its end", &Some(lost), || emptied.raft.stop_reason());
}

#[test]
fn an_emptied_node_of_an_old_group_neither_votes_nor_is_bound() {
    let (homes, rows) = old_group();
    std::fs::remove_dir_all(homes[0].data()).unwrap();
    let nodes = start(&homes);
    let emptied = &nodes[0];
    let chief = leader(&nodes);
    assert_ne!(chief.id, 1);
    assert_eq!(chief.run(chief.raft.bind_members()), Ok(false));
    let status = emptied.raft.status();
    assert_eq!((status.term, status.last_log), (0, None));
    assert_eq!(chief.rows(), rows);
    propose_somewhere(&nodes, "goes on");
}
