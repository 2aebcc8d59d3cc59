//! S-12b: the folders of all primaries are set back to a copy, while agents and storage unit go on.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::cluster::{Cluster, wait_until};
use crate::group::{Hosts, Node};

const PRIMARIES: [&str; 3] = ["primary-1", "primary-2", "primary-3"];

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Ends all primaries, does this to their folders, and starts them again.
fn while_down(cluster: &Cluster, change: impl Fn(&Path, &Path)) {
    cluster.kill(&PRIMARIES);
    for name in PRIMARIES {
        let state = cluster.data_dir().join("state").join(name);
        change(&state, &cluster.place("copies").join(name));
    }
    PRIMARIES.iter().for_each(|name| cluster.restart(name));
    cluster.wait_for_all_primaries();
    wait_until("all agents to be back", || {
        let agents = cluster.json(&["agent", "list"]);
        agents
            .as_array()
            .unwrap()
            .iter()
            .all(|agent| agent["connected"] == true)
    });
}

fn alarms(cluster: &Cluster) -> Vec<Value> {
    let status = cluster.json(&["cluster", "status"]);
    status["alarms"].as_array().unwrap().clone()
}

fn number(job: &Value) -> u64 {
    job["id"].as_str().unwrap().parse().unwrap()
}

fn restored(cluster: &Cluster, source: &Path, job: &Value) -> String {
    let to = cluster.place(&format!("restored-{}", number(job)));
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let restore = cluster.json(&["restore", point, "--to", to.to_str().unwrap(), "--wait"]);
    assert_eq!(restore["status"], "successful", "{restore:#}");
    std::fs::read_to_string(to.join(source.strip_prefix("/").unwrap()).join("file")).unwrap()
}

#[test]
fn t90_s12b_a_group_that_was_set_back_says_so_and_gives_no_number_out_again() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    let write = |text: &str| std::fs::write(source.join("file"), text).unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    write("one");
    let first = cluster.run_job("home", 0);
    write("two");
    let second = cluster.run_job("home", 0);
    while_down(&cluster, copy);
    // All primaries gone and come back: nothing is missing, and nobody says so.
    assert_eq!(alarms(&cluster), Vec::<Value>::new());

    write("three, which will be missing");
    let lost = cluster.run_job("home", 0);
    while_down(&cluster, |state, kept| {
        std::fs::remove_dir_all(state).unwrap();
        copy(kept, state);
    });
    wait_until("the alarm", || !alarms(&cluster).is_empty());
    let found = alarms(&cluster);
    assert_eq!(found.len(), 1, "{found:#?}");
    let alarm = &found[0];
    assert_eq!(
        (&alarm["number"], &alarm["kind"]),
        (&json!(1), &json!("set_back"))
    );
    let text = alarm["text"].as_str().unwrap();
    assert!(text.contains(&format!("job {}", number(&lost))), "{text}");
    assert!(text.contains("outlast cluster acknowledge 1"), "{text}");
    let said = cluster.run(&["cluster", "status"]).stdout;
    assert!(said.contains("ALARM 1: this group was set back"), "{said}");

    // Job 3 of before is not taken for the new one, nor its data.
    write("four");
    let next = cluster.run_job("home", 0);
    assert!(number(&next) > number(&lost), "{next:#}");
    assert_eq!(next["status"], "successful", "{next:#}");
    for (job, content) in [(&next, "four"), (&second, "two"), (&first, "one")] {
        assert_eq!(restored(&cluster, &source, job), content);
    }
    let points = cluster.json(&["restore-point", "list"]);
    let listed: Vec<_> = points.as_array().unwrap().iter().map(number_of_job).collect();
    assert_eq!(listed, [&next, &second, &first].map(number), "{points:#}");

    cluster.run(&["cluster", "acknowledge", "1"]);
    assert_eq!(alarms(&cluster), Vec::<Value>::new());
    // Nobody remembers more than there is now.
    while_down(&cluster, |_, _| {});
    assert_eq!(alarms(&cluster), Vec::<Value>::new());
    cluster.try_run(&["cluster", "acknowledge", "7"]).expect(6);
    cluster.check_repository();
}

fn number_of_job(point: &Value) -> u64 {
    point["job"].as_str().unwrap().parse().unwrap()
}

/// One primary keeps what the two others have lost.
#[test]
fn t90_s12b_a_primary_that_holds_more_than_its_group_ends_with_what_to_do() {
    let hosts = Hosts::new();
    let [mut one, mut two, mut three] = hosts.first_three();
    for node in [&mut one, &mut two, &mut three] {
        node.start();
    }
    let change = |nodes: &[&Node], grace: &str| {
        hosts
            .run(nodes, &["cluster", "set", "--disruption-grace", grace])
            .expect(0);
    };
    change(&[&one, &two, &three], "21s");
    let end = |nodes: [&mut Node; 3]| {
        nodes
            .into_iter()
            .for_each(|node| node.end(rustix::process::Signal::KILL));
    };
    end([&mut one, &mut two, &mut three]);
    for node in [&two, &three] {
        copy(&node.data, &node.data.with_extension("kept"));
    }
    for node in [&mut one, &mut two, &mut three] {
        node.start();
    }
    for grace in ["22s", "23s", "24s"] {
        change(&[&one, &two, &three], grace);
    }
    end([&mut one, &mut two, &mut three]);
    for node in [&two, &three] {
        std::fs::remove_dir_all(&node.data).unwrap();
        copy(&node.data.with_extension("kept"), &node.data);
    }
    // One election, as what is lost had: were terms counted, both histories would be of the same one.
    two.start();
    three.start();
    change(&[&two, &three], "18s");
    one.launch();
    assert_eq!(one.ended(), Some(5), "{}", one.said());
    let said = one.said();
    for part in [
        "holds another history than its group",
        "this node has what was acknowledged since",
        "To keep the group's history",
        "outlast cluster remove one",
        "To keep this node's: stop all primaries",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The others go on meanwhile.
    change(&[&two, &three], "19s");
}
