//! DESIGN 3: a node of before starts with today's program, and everything it had is there. The sample is the data folder of the one primary of a
//! group of cluster version 7 (docs/adr/0009): one job successful, one under way, one queued, one canceled before it began.

use serde_json::Value;

use crate::cluster::{Ran, wait_until};
use crate::group::{Hosts, Node};

fn sample(node: &Node) {
    let archive = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/e2e/samples/primary-of-version-7.tar.gz"
    );
    std::fs::create_dir_all(&node.data).unwrap();
    let unpacked = std::process::Command::new("tar")
        .args(["--strip-components=2", "--no-same-owner", "-xzf", archive, "-C"])
        .arg(&node.data)
        .status();
    assert!(unpacked.unwrap().success());
}

fn documents(hosts: &Hosts, node: &Node) -> Vec<Value> {
    let run = |args: &[&str]| -> Ran { hosts.run(&[node], args).expect(0) };
    let mut all: Vec<Value> = [
        &["job", "list"][..],
        &["history", "list"],
        &["restore-point", "list"],
        &["policy", "list"],
    ]
    .map(|args| run(args).json())
    .into();
    for id in ["1", "2", "4"] {
        all.push(run(&["job", "details", id]).json());
        all.push(run(&["job", "log", id, "--format", "json"]).json());
    }
    all
}

#[test]
fn a_node_of_version_7_starts_with_everything_it_had_and_again_after_it() {
    let hosts = Hosts::new();
    let mut node = hosts.node(1, "primary-1");
    sample(&node);
    node.start();
    let version = || hosts.run(&[&node], &["cluster", "status"]);
    wait_until("it to lead", || version().code == 0);
    let jobs = hosts.run(&[&node], &["job", "list"]).expect(0).json();
    let told = |job: &Value| {
        let word = |field: &str| job[field].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", word("id"), word("state"), word("status"))
    };
    let states: Vec<_> = jobs.as_array().unwrap().iter().map(told).collect();
    assert_eq!(
        states,
        ["4 done canceled", "3 queued ", "2 active ", "1 done successful"]
    );
    let job = hosts.run(&[&node], &["job", "show", "2"]).expect(0).json();
    let items: Vec<_> = job["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["outcome"])
        .collect();
    assert_eq!(items, ["done", "failed", "in_progress"], "{job:#}");
    assert!(job["progress"]["checkpoint_at"].is_string(), "{job:#}");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    let before = documents(&hosts, &node);

    // Its rows have the layout of today by now; they are read again, and mean the same.
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::KILL] {
        node.end(signal);
        node.start();
        wait_until("it to lead again", || {
            hosts.run(&[&node], &["cluster", "status"]).code == 0
        });
        assert_eq!(documents(&hosts, &node), before, "{signal:?}");
    }
    let canceled = hosts.run(&[&node], &["job", "cancel", "3"]).expect(0).json();
    assert_eq!(canceled["status"], "canceled", "{canceled:#}");
}
