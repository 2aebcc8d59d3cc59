//! Three nodes over loopback: proposing, failover, restarts, snapshots, membership (DESIGN section 2).

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use outlast_raft::{MAX_COMMAND, MembershipError, ProposeError, Role, StopReason};
use support::{
    Home, Node, assert_holds, cluster, eventually, eventually_eq, leader, patient_cluster, propose_somewhere,
};

fn feed(nodes: &[Node], count: usize, acked: &mut BTreeMap<u64, String>) {
    for n in 0..count {
        let (index, text) = propose_somewhere(nodes, &format!("command {} of {n}", acked.len()));
        assert!(
            acked.insert(index, text).is_none(),
            "index {index} acknowledged twice"
        );
    }
}

fn assert_all_hold(nodes: &[Node], acked: &BTreeMap<u64, String>) {
    let want = leader(nodes).rows();
    assert_holds(&want, acked);
    for node in nodes {
        eventually_eq(&format!("rows of node {}", node.id), &want, || node.rows());
    }
}

#[test]
fn a_follower_refuses_and_names_the_leader() {
    let (homes, nodes) = patient_cluster(3);
    let mut acked = BTreeMap::new();
    feed(&nodes, 20, &mut acked);
    let chief = leader(&nodes);
    let follower = nodes.iter().find(|node| node.id != chief.id).unwrap();
    let home = homes.iter().find(|home| home.id == chief.id).unwrap();
    let named = Some((chief.id, home.peer()));
    eventually_eq(
        "the leader named",
        &Err(ProposeError::NotLeader {
            leader: named.clone(),
        }),
        || follower.propose("refused"),
    );
    let read = follower.run(follower.raft.ensure_linearizable());
    assert_eq!(read, Err(ProposeError::NotLeader { leader: named }));
    let large = chief.run(chief.raft.propose(vec![0; MAX_COMMAND + 1]));
    assert_eq!(
        large,
        Err(ProposeError::TooLarge {
            size: MAX_COMMAND + 1,
            limit: MAX_COMMAND
        })
    );
    // The largest allowed ones travel together: messages are limited by bytes, not by entries.
    let big = futures::future::join_all((0..12).map(|n| chief.raft.propose(vec![n; MAX_COMMAND])));
    assert!(chief.run(big).iter().all(Result::is_ok));
    eventually_eq("rows of the follower", &chief.rows(), || follower.rows());
    let status = chief.raft.status();
    assert_eq!((status.role, status.members.len()), (Role::Leader, 3));
    eventually("everyone matched and reachable", || {
        let status = chief.raft.status();
        let good =
            |m: &outlast_raft::Member| m.voter && m.reachable == Some(true) && m.matched == status.last_log;
        status.members.iter().all(good).then_some(())
    });
    nodes.into_iter().for_each(Node::stop);
}

#[test]
fn what_was_acknowledged_survives_the_leader_and_a_restart_of_all() {
    let (homes, mut nodes) = cluster(3);
    let mut acked = BTreeMap::new();
    feed(&nodes, 50, &mut acked);
    let dead = leader(&nodes).id;
    let at = nodes.iter().position(|node| node.id == dead).unwrap();
    nodes.remove(at).kill();
    let start = Instant::now();
    feed(&nodes, 1, &mut acked);
    println!("failover took {:?}", start.elapsed());
    // A linearizable read on whoever leads now sees everything, at once.
    let rows = eventually("a linearizable read", || {
        let chief = leader(&nodes);
        let read = chief.run(chief.raft.ensure_linearizable());
        read.ok().map(|()| chief.rows())
    });
    assert_holds(&rows, &acked);
    feed(&nodes, 30, &mut acked);
    let home = homes.iter().find(|home| home.id == dead).unwrap();
    nodes.push(Node::start(home).unwrap());
    assert_all_hold(&nodes, &acked);
    nodes.into_iter().for_each(Node::kill);
    let nodes: Vec<Node> = homes.iter().map(|home| Node::start(home).unwrap()).collect();
    feed(&nodes, 10, &mut acked);
    assert_all_hold(&nodes, &acked);
    nodes.into_iter().for_each(Node::stop);
    let nodes: Vec<Node> = homes.iter().map(|home| Node::start(home).unwrap()).collect();
    feed(&nodes, 10, &mut acked);
    assert_all_hold(&nodes, &acked);
}

#[test]
fn a_new_node_joins_by_snapshot_and_an_old_one_leaves() {
    let (mut homes, mut nodes) = patient_cluster(3);
    let mut acked = BTreeMap::new();
    feed(&nodes, 100, &mut acked);
    let chief = leader(&nodes);
    let applied = chief.raft.status().applied.unwrap();
    chief.run(chief.raft.trigger_snapshot()).unwrap();
    eventually("a snapshot", || {
        chief.raft.status().snapshot.filter(|at| *at >= applied)
    });
    chief.run(chief.raft.purge(applied)).unwrap();
    eventually("a purged log", || {
        chief.raft.status().purged.filter(|at| *at >= applied)
    });
    let home = Home::patient(4);
    let joining = Node::start(&home).unwrap();
    chief.run(chief.raft.add_learner(4, home.peer())).unwrap();
    eventually("the new node's snapshot", || {
        joining.raft.status().snapshot.filter(|at| *at >= applied)
    });
    assert_eq!(
        chief.run(chief.raft.promote(9)),
        Err(MembershipError::NotAMember { node_id: 9 })
    );
    chief.run(chief.raft.promote(4)).unwrap();
    eventually_eq("the new node's role", &Role::Follower, || {
        joining.raft.status().role
    });
    // An ordinary one goes, not the leader.
    let gone = nodes.iter().find(|node| node.id != chief.id).unwrap().id;
    chief.run(chief.raft.remove(gone)).unwrap();
    let members: Vec<_> = chief.raft.status().members.iter().map(|m| m.id).collect();
    assert!(
        members.len() == 3 && members.contains(&4) && !members.contains(&gone),
        "{members:?}"
    );
    let at = nodes.iter().position(|node| node.id == gone).unwrap();
    nodes.remove(at).stop();
    homes.remove(at);
    nodes.push(joining);
    homes.push(home);
    feed(&nodes, 20, &mut acked);
    assert_all_hold(&nodes, &acked);
    // Snapshot and purged log are still good after a restart.
    nodes.into_iter().for_each(Node::kill);
    let nodes: Vec<Node> = homes.iter().map(|home| Node::start(home).unwrap()).collect();
    assert!(
        nodes
            .iter()
            .any(|node| node.raft.status().snapshot >= Some(applied))
    );
    feed(&nodes, 5, &mut acked);
    assert_all_hold(&nodes, &acked);
}

#[test]
fn the_log_is_snapshotted_and_purged_by_itself() {
    let homes: Vec<Home> = (1..=3).map(Home::new).collect();
    let start = |home: &Home| {
        let mut options = home.options();
        (options.snapshot_every, options.keep_log) = (50, 10);
        Node::start_with(home, options).unwrap()
    };
    let mut nodes: Vec<Node> = homes.iter().map(start).collect();
    let members = homes.iter().map(|home| (home.id, home.peer())).collect();
    nodes[0].run(nodes[0].raft.initialize(members)).unwrap();
    let mut acked = BTreeMap::new();
    feed(&nodes, 5, &mut acked);
    let at = nodes.iter().position(|node| !node.leads()).unwrap();
    let behind = nodes.remove(at).id;
    feed(&nodes, 200, &mut acked);
    eventually("a purge", || {
        leader(&nodes).raft.status().purged.filter(|at| *at > 100)
    });
    // It missed more than the log still has.
    nodes.push(start(homes.iter().find(|home| home.id == behind).unwrap()));
    assert_all_hold(&nodes, &acked);
}

#[test]
fn leadership_is_handed_over_on_request() {
    let (_homes, nodes) = patient_cluster(3);
    let mut acked = BTreeMap::new();
    feed(&nodes, 5, &mut acked);
    let chief = leader(&nodes);
    let heir = nodes.iter().find(|node| node.id != chief.id).unwrap();
    let before = chief.raft.status().term;
    chief.run(chief.raft.transfer_leader(Some(heir.id))).unwrap();
    eventually("the heir leads", || heir.leads().then_some(()));
    assert!(heir.raft.leadership().borrow().term > before);
    feed(&nodes, 5, &mut acked);
    let chief = leader(&nodes);
    chief.run(chief.raft.transfer_leader(None)).unwrap();
    feed(&nodes, 5, &mut acked);
    assert_all_hold(&nodes, &acked);
    let other = nodes.iter().find(|node| !node.leads()).unwrap();
    let refused = other.run(other.raft.transfer_leader(None));
    assert!(
        matches!(refused, Err(MembershipError::NotLeader { .. })),
        "{refused:?}"
    );
}

#[test]
fn without_a_majority_a_proposal_ends() {
    let (_homes, mut nodes) = cluster(3);
    let mut acked = BTreeMap::new();
    feed(&nodes, 5, &mut acked);
    let chief = leader(&nodes).id;
    let at = nodes.iter().position(|node| node.id == chief).unwrap();
    let lonely = nodes.remove(at);
    nodes.into_iter().for_each(Node::kill);
    let within = Duration::from_millis(700);
    let first = lonely.run(lonely.raft.propose_within(b"lost".to_vec(), within));
    // Accepted before the lease ran out, or refused after it did: never acknowledged.
    assert!(
        matches!(
            first,
            Err(ProposeError::Timeout { .. } | ProposeError::NotLeader { .. })
        ),
        "{first:?}"
    );
    eventually("a refusal", || {
        let read = lonely.run(lonely.raft.ensure_linearizable());
        matches!(read, Err(ProposeError::NotLeader { leader: None })).then_some(())
    });
}

#[test]
fn an_entry_the_machine_does_not_know_stops_the_node() {
    let (_homes, nodes) = cluster(1);
    leader(&nodes).propose("good").unwrap();
    let answer = nodes[0].propose("poison");
    assert!(matches!(answer, Err(ProposeError::Stopped { .. })), "{answer:?}");
    let StopReason::Failed { reason } = nodes[0].run(nodes[0].raft.stopped()) else {
        panic!("not a failure")
    };
    assert!(reason.contains("poison"), "{reason}");
    assert!(!nodes[0].leads());
    assert_eq!(nodes[0].raft.status().role, Role::Stopped);
}

#[test]
fn a_node_whose_state_differs_stops_and_the_others_go_on() {
    let homes: Vec<Home> = (1..=3).map(Home::patient).collect();
    let start = |home: &Home| {
        let mut options = home.options();
        options.check_every = 50;
        Node::start_with(home, options).unwrap()
    };
    let mut nodes: Vec<Node> = homes.iter().map(start).collect();
    let members = homes.iter().map(|home| (home.id, home.peer())).collect();
    nodes[0].run(nodes[0].raft.initialize(members)).unwrap();
    let mut acked = BTreeMap::new();
    feed(&nodes, 120, &mut acked);
    assert_all_hold(&nodes, &acked);
    assert!(nodes.iter().all(|node| node.raft.stop_reason().is_none()));
    // Its next command it applies in its own way.
    let at = nodes.iter().position(|node| !node.leads()).unwrap();
    nodes[at].ledger.lie();
    feed(&nodes, 60, &mut acked);
    let liar = nodes.remove(at);
    let StopReason::Failed { reason } = liar.run(liar.raft.stopped()) else {
        panic!("not a failure")
    };
    assert!(reason.contains("differs from the leader's"), "{reason}");
    feed(&nodes, 60, &mut acked);
    assert_all_hold(&nodes, &acked);
    assert!(nodes.iter().all(|node| node.raft.stop_reason().is_none()));
}

#[test]
fn an_orderly_stop_is_told_apart() {
    let (_homes, nodes) = cluster(1);
    leader(&nodes).propose("good").unwrap();
    let node = &nodes[0];
    node.run(node.raft.shutdown());
    assert_eq!(node.run(node.raft.stopped()), StopReason::Shutdown);
    assert!(matches!(node.propose("late"), Err(ProposeError::Stopped { .. })));
}

/// openraft opens append streams to a dead peer without a pause; each attempt would be a connection here.
#[test]
fn a_dead_peer_is_not_called_in_a_busy_loop() {
    let (homes, mut nodes) = cluster(3);
    feed(&nodes, 3, &mut BTreeMap::new());
    let chief = leader(&nodes).id;
    let at = nodes.iter().position(|node| node.id != chief).unwrap();
    let dead = nodes.remove(at);
    let address = homes.iter().find(|home| home.id == dead.id).unwrap().address;
    dead.kill();
    let listener = eventually("the dead node's port", || TcpListener::bind(address).ok());
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    std::thread::spawn(move || {
        for call in listener.incoming() {
            drop(call);
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    eventually("a first call", || {
        (calls.load(Ordering::Relaxed) > 0).then_some(())
    });
    let (start, before) = (Instant::now(), calls.load(Ordering::Relaxed));
    while start.elapsed() < Duration::from_secs(2) {
        feed(&nodes, 1, &mut BTreeMap::new());
    }
    // Heartbeats 20 a second, retries of the log fewer; a busy loop makes thousands.
    let rate = (calls.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64();
    assert!(rate < 100.0, "{rate} calls a second");
}

#[test]
fn t90_a_leader_that_is_gone_is_not_named() {
    let (homes, mut nodes) = patient_cluster(3);
    let chief = leader(&nodes).id;
    let named = homes
        .iter()
        .find(|home| home.id == chief)
        .map(|home| (chief, home.peer()));
    for node in &nodes {
        eventually_eq("the leader named", &named, || node.raft.status().leader);
    }
    let last = nodes.iter().position(|node| node.id != chief).unwrap();
    let last = nodes.remove(last);
    nodes.into_iter().for_each(Node::kill);
    eventually_eq("nobody named", &None, || last.raft.status().leader);
    assert_eq!(
        last.propose("refused"),
        Err(ProposeError::NotLeader { leader: None })
    );
}
