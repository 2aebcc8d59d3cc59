//! C-02, C-05: who is silent is shown as stalled and gets no new job; what a primary did not hear while it did not run counts for nothing.
//! S-11a: who is shut down in order is not taken for silent.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::failover::be_impatient;
use crate::tree;

const PRIMARIES: [&str; 3] = ["primary-1", "primary-2", "primary-3"];

fn agents(cluster: &Cluster) -> Vec<(String, String, Value)> {
    let listed = cluster.json(&["agent", "list"]);
    let row = |agent: &Value| {
        let word = |field: &str| agent[field].as_str().unwrap().to_owned();
        (word("name"), word("state"), agent["since"].clone())
    };
    let mut rows: Vec<_> = listed.as_array().unwrap().iter().map(row).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

fn state_of(cluster: &Cluster, name: &str) -> String {
    let mut agents = agents(cluster).into_iter();
    agents.find(|(agent, ..)| agent == name).unwrap().1
}

#[test]
fn c02_a_silent_media_agent_is_stalled_until_it_is_heard_again() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    tree::make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    be_impatient(&cluster);
    let pool = cluster.json(&["pool", "set", "default", "--stalled-after", "6s"]);
    assert_eq!(pool["stalled_after"], 6, "{pool:#}");
    for wrong in [&["--stalled-after", "0s"], &["--failover-after", "5s"]] {
        cluster
            .try_run(&[&["pool", "set", "default"], wrong.as_slice()].concat())
            .expect(2);
    }
    cluster.try_run(&["pool", "set", "nowhere"]).expect(6);

    cluster.kill(&["media-1"]);
    wait_until("media-1 to be stalled", || {
        state_of(&cluster, "media-1") == "communication_stalled"
    });
    // C-02: jobs go to others of the pool.
    let job = cluster.run_job("home", 0);
    assert_eq!(job["attempts"][0]["media_agent"], "media-2", "{job:#}");
    // A leader that has heard nothing of it yet believes no better of it.
    cluster.kill(&[cluster.leader().as_str()]);
    cluster.leader();
    assert_eq!(state_of(&cluster, "media-1"), "communication_stalled");
    cluster.restart("media-1");
    wait_until("media-1 to be heard", || {
        state_of(&cluster, "media-1") == "enabled"
    });
}

#[test]
fn c05_a_pause_of_the_primaries_is_nobodys_silence() {
    let cluster = Cluster::start();
    be_impatient(&cluster);
    cluster.json(&["pool", "set", "default", "--stalled-after", "6s"]);
    let before = agents(&cluster);
    for _ in 0..2 {
        cluster.signal(&PRIMARIES, Signal::STOP);
        // Longer than it takes to be stalled.
        std::thread::sleep(Duration::from_secs(8));
        cluster.signal(&PRIMARIES, Signal::CONT);
        cluster.leader();
    }
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!(agents(&cluster), before, "since when, too");
        std::thread::sleep(Duration::from_millis(100));
    }
}
