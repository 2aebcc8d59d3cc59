//! Nodes that lost their disk, nodes that were removed, and how a group is formed and joined so that both are noticed
//! (DESIGN 2, docs/adr/0004).

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use outlast_raft::{
    Exclusion, InitializeError, MembershipError, NodeId, Peer, ProposeError, Role, StopReason,
};
use support::{
    Home, Node, assert_holds, cluster, eventually, eventually_eq, leader, patient_cluster, propose_somewhere,
};

type Acked = BTreeMap<u64, String>;

/// Until all of these nodes have it, not only a majority.
fn feed(nodes: &[Node], count: usize, acked: &mut Acked) {
    for n in 0..count {
        let (index, text) = propose_somewhere(nodes, &format!("command {} of {n}", acked.len()));
        acked.insert(index, text);
    }
    for node in nodes {
        eventually(&format!("what node {} has", node.id), || {
            let last = *acked.keys().next_back()?;
            node.rows().contains_key(&last).then_some(())
        });
    }
}

fn take(nodes: &mut Vec<Node>, which: impl Fn(&Node) -> bool) -> Node {
    let at = nodes.iter().position(which).unwrap();
    nodes.remove(at)
}

fn home(homes: &[Home], id: NodeId) -> &Home {
    homes.iter().find(|home| home.id == id).unwrap()
}

/// As after a change of disks.
fn empty(home: &Home) {
    fs::remove_dir_all(home.data()).unwrap();
}

fn members(homes: &[Home]) -> BTreeMap<NodeId, Peer> {
    homes.iter().map(|home| (home.id, home.peer())).collect()
}

fn lost(node_id: NodeId) -> StopReason {
    StopReason::Excluded(Exclusion::LostDisk { node_id })
}

fn removed(node_id: NodeId) -> StopReason {
    StopReason::Excluded(Exclusion::Removed { node_id })
}

fn assert_stops(node: &Node, reason: &StopReason) {
    eventually_eq(
        &format!("the end of node {}", node.id),
        &Some(reason.clone()),
        || node.raft.stop_reason(),
    );
}

/// It never took part: no vote, no entry.
fn assert_untouched(node: &Node) {
    let status = node.raft.status();
    assert_eq!((status.term, status.last_log), (0, None), "{status:?}");
}

#[test]
fn a_node_with_an_emptied_directory_is_refused_and_comes_back_under_a_new_number() {
    let (mut homes, mut nodes) = patient_cluster(3);
    let mut acked = Acked::new();
    feed(&nodes, 30, &mut acked);
    let gone = take(&mut nodes, |node| !node.leads()).id;
    empty(home(&homes, gone));
    feed(&nodes, 10, &mut acked);
    let emptied = Node::start(home(&homes, gone)).unwrap();
    assert_stops(&emptied, &lost(gone));
    assert_untouched(&emptied);
    emptied.stop();

    // Not under its old number, also when it is asked for: nobody would know what it promised.
    let chief = leader(&nodes);
    let emptied = Node::start(home(&homes, gone)).unwrap();
    let again = chief.run(chief.raft.add_learner(gone, home(&homes, gone).peer()));
    assert!(
        matches!(again, Err(MembershipError::Unfit { node_id, .. }) if node_id == gone),
        "{again:?}"
    );
    emptied.stop();
    chief.run(chief.raft.remove(gone)).unwrap();
    // The directory may stay as it is: nothing was promised in it.
    let mut moved = homes.remove(homes.iter().position(|home| home.id == gone).unwrap());
    moved.id = 4;
    nodes.push(Node::start(&moved).unwrap());
    let chief = leader(&nodes);
    chief.run(chief.raft.add_learner(4, moved.peer())).unwrap();
    chief.run(chief.raft.promote(4)).unwrap();
    feed(&nodes, 5, &mut acked);
    let want = leader(&nodes).rows();
    assert_holds(&want, &acked);
    for node in &nodes {
        eventually_eq("rows", &want, || node.rows());
    }
}

#[test]
fn an_emptied_node_elects_nobody_who_lacks_what_it_acknowledged() {
    let (homes, mut nodes) = cluster(3);
    let mut acked = Acked::new();
    feed(&nodes, 5, &mut acked);
    let behind = take(&mut nodes, |node| !node.leads()).id;
    feed(&nodes, 30, &mut acked);
    let forgetful = take(&mut nodes, |node| !node.leads()).id;
    let whole = nodes.remove(0);
    let whole = (whole.id, whole.kill()).0;
    empty(home(&homes, forgetful));
    // These two are a majority, and neither has what was acknowledged last.
    let behind = Node::start(home(&homes, behind)).unwrap();
    let emptied = Node::start(home(&homes, forgetful)).unwrap();
    assert_stops(&emptied, &lost(forgetful));
    assert_untouched(&emptied);
    assert_eq!(
        behind.propose("refused"),
        Err(ProposeError::NotLeader { leader: None })
    );
    let nodes = [behind, Node::start(home(&homes, whole)).unwrap()];
    feed(&nodes, 5, &mut acked);
    assert_holds(&leader(&nodes).rows(), &acked);
    assert_untouched(&emptied);
}

#[test]
fn an_emptied_founder_founds_nothing_while_the_others_are_away_nor_when_they_come() {
    let (homes, nodes) = cluster(3);
    let mut acked = Acked::new();
    feed(&nodes, 20, &mut acked);
    nodes.into_iter().for_each(Node::kill);
    empty(&homes[0]);
    let founder = Node::start(&homes[0]).unwrap();
    let early = founder.run(async {
        tokio::time::timeout(Duration::from_secs(1), founder.raft.initialize(members(&homes))).await
    });
    assert!(early.is_err(), "{early:?}");
    assert_untouched(&founder);
    let nodes = [Node::start(&homes[1]).unwrap(), Node::start(&homes[2]).unwrap()];
    let late = founder.run(founder.raft.initialize(members(&homes)));
    assert_eq!(
        late,
        Err(InitializeError::Excluded(Exclusion::LostDisk { node_id: 1 }))
    );
    assert_stops(&founder, &lost(1));
    assert_untouched(&founder);
    feed(&nodes, 5, &mut acked);
    assert_holds(&leader(&nodes).rows(), &acked);
}

#[test]
fn two_emptied_nodes_make_no_group_beside_the_one_that_remembers() {
    let (homes, nodes) = cluster(3);
    let mut acked = Acked::new();
    feed(&nodes, 20, &mut acked);
    nodes.into_iter().for_each(Node::kill);
    empty(&homes[0]);
    empty(&homes[1]);
    let emptied = [Node::start(&homes[0]).unwrap(), Node::start(&homes[1]).unwrap()];
    let whole = Node::start(&homes[2]).unwrap();
    let formed = emptied[0].run(emptied[0].raft.initialize(members(&homes)));
    assert_eq!(
        formed,
        Err(InitializeError::Excluded(Exclusion::LostDisk { node_id: 1 }))
    );
    for node in &emptied {
        assert_stops(node, &lost(node.id));
        assert_untouched(node);
    }
    assert_holds(&whole.rows(), &acked);
}

#[test]
fn an_emptied_node_that_made_a_group_of_its_own_is_told_by_the_old_one() {
    let (homes, mut nodes) = cluster(3);
    feed(&nodes, 5, &mut Acked::new());
    let gone = take(&mut nodes, |node| !node.leads()).id;
    empty(home(&homes, gone));
    let emptied = Node::start(home(&homes, gone)).unwrap();
    // As `cluster init` by hand does it; whichever comes first, it does not go on.
    let alone = BTreeMap::from([(gone, home(&homes, gone).peer())]);
    let _ = emptied.run(emptied.raft.initialize(alone));
    assert_stops(&emptied, &lost(gone));
}

#[test]
fn a_group_is_formed_once_all_first_members_are_there_and_belong_to_none() {
    let homes: Vec<Home> = (1..=3).map(Home::new).collect();
    let mut nodes = vec![Node::start(&homes[0]).unwrap(), Node::start(&homes[1]).unwrap()];
    let early = nodes[0].run(async {
        tokio::time::timeout(Duration::from_secs(1), nodes[0].raft.initialize(members(&homes))).await
    });
    assert!(early.is_err(), "{early:?}");
    nodes.iter().for_each(assert_untouched);
    // A member that has a group of its own already.
    let stranger = Home {
        id: 3,
        address: homes[2].address,
        dir: tempfile::tempdir().unwrap(),
        timing: homes[2].timing,
    };
    let other = Node::start(&stranger).unwrap();
    other
        .run(other.raft.initialize(BTreeMap::from([(3, stranger.peer())])))
        .unwrap();
    let refused = nodes[0].run(nodes[0].raft.initialize(members(&homes)));
    let unknown = Exclusion::Unknown {
        node_id: 1,
        by: "node3".into(),
    };
    assert_eq!(refused, Err(InitializeError::Excluded(unknown)));
    other.stop();
    nodes.remove(0).stop();
    nodes.push(Node::start(&homes[0]).unwrap());
    nodes.push(Node::start(&homes[2]).unwrap());
    let formed = nodes[1].run(nodes[1].raft.initialize(members(&homes)));
    assert_eq!(formed, Ok(true));
    feed(&nodes, 3, &mut Acked::new());
}

#[test]
fn whoever_joins_is_there_is_the_one_meant_and_is_new() {
    let (homes, nodes) = patient_cluster(1);
    let chief = leader(&nodes);
    let join = |id: NodeId, home: &Home| chief.run(chief.raft.add_learner(id, home.peer()));
    let away = Home::patient(2);
    let refused = join(2, &away);
    assert!(
        matches!(refused, Err(MembershipError::NoAnswer { node_id: 2, .. })),
        "{refused:?}"
    );
    let two = Node::start(&away).unwrap();
    let refused = join(3, &away).unwrap_err();
    assert!(refused.to_string().contains("node 2 answers there"), "{refused}");
    let elsewhere = Home::patient(5);
    let other = Node::start(&elsewhere).unwrap();
    other
        .run(other.raft.initialize(BTreeMap::from([(5, elsewhere.peer())])))
        .unwrap();
    let refused = join(5, &elsewhere);
    assert!(
        matches!(refused, Err(MembershipError::Unfit { node_id: 5, .. })),
        "{refused:?}"
    );
    join(2, &away).unwrap();
    // The command may be given again.
    join(2, &away).unwrap();
    chief.run(chief.raft.promote(2)).unwrap();
    eventually_eq("its role", &Role::Follower, || two.raft.status().role);
    drop(homes);
}

#[test]
fn a_removed_node_notices_whether_it_runs_or_comes_back_later() {
    let (homes, mut nodes) = patient_cluster(5);
    feed(&nodes, 5, &mut Acked::new());
    let chief = leader(&nodes).id;
    let remove = |nodes: &[Node], id: NodeId| {
        let chief = leader(nodes);
        chief.run(chief.raft.remove(id)).unwrap();
    };
    let running = nodes.iter().find(|node| node.id != chief).unwrap().id;
    remove(&nodes, running);
    let running = take(&mut nodes, |node| node.id == running);
    assert_stops(&running, &removed(running.id));
    let away = take(&mut nodes, |node| node.id != chief);
    let away = (away.id, away.stop()).0;
    remove(&nodes, away);
    let back = Node::start(home(&homes, away)).unwrap();
    assert_stops(&back, &removed(away));
    // The leader itself.
    remove(&nodes, chief);
    let former = take(&mut nodes, |node| node.id == chief);
    assert_stops(&former, &removed(chief));
    feed(&nodes, 5, &mut Acked::new());
    for node in &nodes {
        assert_eq!(node.raft.stop_reason(), None);
    }
}

#[test]
fn a_member_without_a_leader_does_not_take_itself_for_removed() {
    let (homes, mut nodes) = cluster(3);
    feed(&nodes, 5, &mut Acked::new());
    nodes.remove(0).kill();
    let last = nodes.remove(0);
    nodes.remove(0).kill();
    eventually_eq("nobody named", &None, || last.raft.status().leader);
    // Long enough for it to ask several times.
    let start = std::time::Instant::now();
    eventually("time to pass", || {
        (start.elapsed() > Duration::from_secs(4)).then_some(())
    });
    assert_eq!(last.raft.stop_reason(), None);
    nodes.extend(
        homes
            .iter()
            .filter(|home| home.id != last.id)
            .map(|home| Node::start(home).unwrap()),
    );
    nodes.push(last);
    feed(&nodes, 3, &mut Acked::new());
}
