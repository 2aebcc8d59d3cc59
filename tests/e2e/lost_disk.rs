//! DESIGN 2: a node that lost its disk is refused under its old number and comes back by the commands it prints; a node
//! that was removed says so. No acknowledged job is lost by either.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cluster::wait_until;
use crate::group::{Hosts, Node};

/// The exit code of a node that may not take part under its number.
const REFUSED: i32 = 5;

/// Runs jobs of a client that never comes: they stay, and that is what is looked for.
struct Jobs<'a> {
    hosts: &'a Hosts,
    acknowledged: BTreeSet<String>,
}

impl<'a> Jobs<'a> {
    fn new(hosts: &'a Hosts, nodes: &[&Node]) -> Self {
        // Pools come into being with their first media agent; nothing else is wanted of it.
        let mut media = hosts.media_agent(nodes, "media");
        media.start();
        wait_until("the pool to be there", || {
            hosts.run(nodes, &["pool", "show", "default"]).code == 0
        });
        media.end(rustix::process::Signal::TERM);
        let policy = hosts.path("policy.toml");
        std::fs::write(
            &policy,
            "name = \"home\"\nclients = [\"nobody\"]\nitems = [\"/srv\"]\n",
        )
        .unwrap();
        let apply = ["policy", "apply", "-f", policy.to_str().unwrap()];
        hosts.run(nodes, &apply).expect(0);
        Self {
            hosts,
            acknowledged: BTreeSet::new(),
        }
    }

    fn submit(&mut self, nodes: &[&Node], count: usize) {
        for _ in 0..count {
            let job = self.hosts.run(nodes, &["job", "run", "home"]).expect(0).json();
            self.acknowledged.insert(job["id"].as_str().unwrap().to_owned());
        }
    }

    fn assert_all_there(&self, nodes: &[&Node]) {
        let list = self.hosts.run(nodes, &["job", "list"]).expect(0).json();
        let ids = list
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["id"].as_str().unwrap().to_owned());
        assert_eq!(ids.collect::<BTreeSet<_>>(), self.acknowledged);
    }
}

/// What stands between backticks: commands to give.
fn commands(said: &str) -> Vec<Vec<String>> {
    let last = said
        .lines()
        .rev()
        .find(|line| line.contains("outlast cluster join"))
        .unwrap();
    let quoted = last.split('`').skip(1).step_by(2);
    quoted
        .map(|command| command.split(' ').skip(1).map(str::to_owned).collect())
        .collect()
}

/// Gives the commands the node printed, with `number` where they say N, and does to its file what it says.
fn rejoin(hosts: &Hosts, others: &[&Node], mut node: Node, number: u64) -> Node {
    let printed = commands(&node.said());
    assert!(
        node.said().contains("set node_id to a number N"),
        "{}",
        node.said()
    );
    let give = |command: &[String]| {
        let number = number.to_string();
        let words: Vec<_> = command
            .iter()
            .map(|word| if word == "N" { &number } else { word }.as_str())
            .collect();
        hosts.run(others, &words).expect(0);
    };
    let (first, last) = printed.split_at(printed.len() - 1);
    first.iter().for_each(|command| give(command));
    node = hosts.node_at(number, &node.name, &node.address, "");
    node.start();
    give(&last[0]);
    node
}

fn numbers(hosts: &Hosts, nodes: &[&Node]) -> Vec<u64> {
    let members = hosts.run(nodes, &["cluster", "members"]).expect(0).json();
    let number = |member: &Value| member["node_id"].as_u64().unwrap();
    members.as_array().unwrap().iter().map(number).collect()
}

#[test]
fn a_node_that_lost_its_disk_is_refused_and_comes_back_by_the_commands_it_prints() {
    let hosts = Hosts::new();
    let (mut one, mut two, mut three) = (hosts.node(1, "one"), hosts.node(2, "two"), hosts.node(3, "three"));
    one.start();
    hosts.run(&[&one], &["cluster", "init"]).expect(0);
    let away = hosts.join(&[&one], "2", &two).expect(5);
    assert!(away.stderr.contains("does not answer"), "{}", away.stderr);
    two.start();
    three.start();
    hosts.join(&[&one], "2", &two).expect(0);
    hosts.join(&[&one], "3", &three).expect(0);
    let mut jobs = Jobs::new(&hosts, &[&one, &two, &three]);
    jobs.submit(&[&one, &two, &three], 5);
    // The leader, so that the others hold an election meanwhile.
    one.end(rustix::process::Signal::KILL);
    one.lose_disk();
    jobs.submit(&[&two, &three], 5);
    one.launch();
    assert_eq!(one.ended(), Some(REFUSED), "{}", one.said());
    assert!(one.said().contains("disk was lost or emptied"), "{}", one.said());
    // It is as empty the next time, and as refused.
    one.launch();
    assert_eq!(one.ended(), Some(REFUSED), "{}", one.said());
    let back = rejoin(&hosts, &[&two, &three], one, 4);
    let all = [&back, &two, &three];
    jobs.submit(&all, 2);
    jobs.assert_all_there(&all);
    assert_eq!(numbers(&hosts, &all), [2, 3, 4]);
    hosts.run(&all, &["cluster", "transfer-leader", "one"]).expect(0);
    jobs.assert_all_there(&all);
}

#[test]
fn an_emptied_founder_waits_for_the_others_and_is_then_refused() {
    let hosts = Hosts::new();
    let [mut one, mut two, mut three] = hosts.first_three();
    one.start();
    two.start();
    // Formed when all are there, and not before.
    hosts
        .run(&[&one, &two], &["--timeout", "1s", "job", "list"])
        .expect(4);
    let init = hosts.run(&[&one], &["cluster", "init"]).expect(5);
    assert!(init.stderr.contains("names the first members"), "{}", init.stderr);
    three.start();
    let mut jobs = Jobs::new(&hosts, &[&one, &two, &three]);
    jobs.submit(&[&one, &two, &three], 5);
    for node in [&mut one, &mut two, &mut three] {
        node.end(rustix::process::Signal::KILL);
    }
    one.lose_disk();
    one.start();
    hosts.run(&[&one], &["--timeout", "2s", "job", "list"]).expect(4);
    assert!(one.is_running());
    two.start();
    three.start();
    assert_eq!(one.ended(), Some(REFUSED), "{}", one.said());
    assert!(one.said().contains("take initial_members out"), "{}", one.said());
    jobs.assert_all_there(&[&two, &three]);
    let back = rejoin(&hosts, &[&two, &three], one, 4);
    jobs.submit(&[&back, &two, &three], 2);
    jobs.assert_all_there(&[&back, &two, &three]);
}

#[test]
fn two_nodes_that_lost_their_disks_are_refused_and_the_third_keeps_all() {
    let hosts = Hosts::new();
    let [mut one, mut two, mut three] = hosts.first_three();
    for node in [&mut one, &mut two, &mut three] {
        node.start();
    }
    let mut jobs = Jobs::new(&hosts, &[&one, &two, &three]);
    jobs.submit(&[&one, &two, &three], 5);
    for node in [&mut one, &mut two, &mut three] {
        node.end(rustix::process::Signal::TERM);
    }
    one.lose_disk();
    two.lose_disk();
    one.launch();
    two.launch();
    three.start();
    assert_eq!(one.ended(), Some(REFUSED), "{}", one.said());
    assert_eq!(two.ended(), Some(REFUSED), "{}", two.said());
    let known = hosts.run(&[&three], &["--stale", "job", "list"]).expect(0).json();
    assert_eq!(known.as_array().unwrap().len(), jobs.acknowledged.len());
}

#[test]
fn a_damaged_folder_says_how_to_come_back_too() {
    let hosts = Hosts::new();
    let mut one = hosts.node(1, "one");
    one.start();
    hosts.run(&[&one], &["cluster", "init"]).expect(0);
    one.end(rustix::process::Signal::TERM);
    std::fs::remove_dir_all(one.data.join("raft/log")).unwrap();
    one.launch();
    assert_eq!(one.ended(), Some(REFUSED), "{}", one.said());
    let printed = commands(&one.said());
    assert_eq!(printed[0][..], ["cluster", "remove", "one"]);
}

#[test]
fn a_removed_node_says_so_and_takes_part_no_more() {
    let hosts = Hosts::new();
    let [mut one, mut two, mut three] = hosts.first_three();
    for node in [&mut one, &mut two, &mut three] {
        node.start();
    }
    let mut jobs = Jobs::new(&hosts, &[&one, &two, &three]);
    jobs.submit(&[&one, &two, &three], 2);
    let notice = |node: &Node| {
        let status = hosts
            .run(&[node], &["--stale", "cluster", "status"])
            .expect(0)
            .json();
        status["notice"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(notice(&three), "");
    hosts
        .run(&[&one, &two, &three], &["cluster", "remove", "three"])
        .expect(0);
    wait_until("the node to notice", || {
        notice(&three).contains("was removed from the group")
    });
    let status = hosts
        .run(&[&three], &["--timeout", "1s", "cluster", "status"])
        .expect(4);
    assert!(
        status.stderr.contains("was removed from the group"),
        "{}",
        status.stderr
    );
    let refused = hosts
        .run(&[&three], &["--timeout", "1s", "job", "run", "home"])
        .expect(4);
    assert!(
        refused.stderr.contains("was removed from the group"),
        "{}",
        refused.stderr
    );
    assert!(three.said().contains("outlast cluster join"), "{}", three.said());
    assert!(!three.said().contains("good order"), "{}", three.said());
    // No elections: the term stays as it is, and the others do not hear of it.
    let term = |nodes: &[&Node]| hosts.run(nodes, &["cluster", "status"]).expect(0).json()["term"].clone();
    let before = term(&[&one, &two]);
    // Nor after a restart; and the others go on with it in their context.
    three.end(rustix::process::Signal::TERM);
    three.start();
    wait_until("the node to notice again", || {
        notice(&three).contains("was removed from the group")
    });
    assert!(three.is_running());
    jobs.submit(&[&three, &one, &two], 2);
    jobs.assert_all_there(&[&three, &one, &two]);
    assert_eq!(term(&[&three, &one, &two]), before);
    three.end(rustix::process::Signal::TERM);
    three.lose_disk();
    let back = rejoin(&hosts, &[&one, &two], three, 4);
    assert_eq!(numbers(&hosts, &[&one, &two, &back]), [1, 2, 4]);
    jobs.assert_all_there(&[&one, &two, &back]);
}
