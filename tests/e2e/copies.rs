//! C-09: one identity, one session.

use std::process::Stdio;

use serde_json::Value;

use crate::cluster::{Cluster, outlast, wait_until};
use crate::tree;

/// The client that `outlast dev` starts.
fn local(cluster: &Cluster) -> Value {
    let agents = cluster.json(&["agent", "list"]);
    let is_local = |agent: &&Value| agent["name"] == "local";
    agents.as_array().unwrap().iter().find(is_local).unwrap().clone()
}

#[test]
fn c09_a_copy_of_an_agent_that_takes_turns_with_it_raises_an_alarm() {
    let cluster = Cluster::start();
    assert!(local(&cluster)["turns_taken"].is_null());
    // A restarted agent is no copy.
    cluster.kill(&["client-1"]);
    cluster.restart("client-1");
    wait_until("the client to be back", || local(&cluster)["connected"] == true);
    assert!(local(&cluster)["turns_taken"].is_null());

    let config = std::fs::read_to_string(cluster.data_dir().join("config/client-1.toml")).unwrap();
    let folder = cluster.place("copy");
    let data = format!("data_dir = {:?}", folder.join("state"));
    let lines = config
        .lines()
        .map(|line| if line.starts_with("data_dir") { &data } else { line });
    let copied = folder.join("client.toml");
    std::fs::write(&copied, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let mut copy = outlast()
        .args(["client-agent", "--config"])
        .arg(&copied)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the alarm", || !local(&cluster)["turns_taken"].is_null());
    for command in [&["agent", "list"][..], &["agent", "show", "local"]] {
        let said = cluster.run(command).stdout;
        assert!(said.contains("ALARM: two processes take turns"), "{said}");
    }
    copy.kill().unwrap();
    copy.wait().unwrap();

    // Once the copy is gone the agent works as before.
    let source = cluster.place("source");
    tree::make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    assert_eq!(cluster.run_job("home", 0)["status"], "successful");
}
