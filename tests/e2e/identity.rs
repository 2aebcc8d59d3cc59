//! S-02, S-12b: what belongs to a job, whichever attempt met it, and to no other job of its number.

use std::path::Path;

use serde_json::{Value, json};

use crate::cluster::{Cluster, wait_until};
use crate::tree;

/// The kernel refuses to read some of these files to anyone, root included.
const UNREADABLE: &str = "/sys/devices/virtual/net/lo";

/// Two items, the first with files that cannot be read; the media agent is killed in the second.
#[test]
fn t90_s02_exceptions_survive_a_change_of_attempt() {
    if !rustix::process::geteuid().is_root() {
        println!("NOT RUN: only root meets files that nobody can read; CI is root");
        return;
    }
    let cluster = Cluster::start();
    let big = cluster.place("big");
    std::fs::write(big.join("big"), tree::noise(24 << 20, 5)).unwrap();
    let items = [Path::new(UNREADABLE), big.as_path()];
    let more = "[limits]\nbandwidth = \"2MiB/s\"";
    cluster.apply_policy("slow", &items, more).expect(0);
    let id = cluster.json(&["job", "run", "slow"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut job = Value::Null;
    wait_until("the second item to be under way", || {
        job = cluster.json(&["job", "show", &id]);
        job["items"][0]["outcome"] == "done_with_exceptions" && job["items"][1]["outcome"] == "in_progress"
    });
    let media = job["attempts"][0]["media_agent"].as_str().unwrap().to_owned();
    cluster.kill(&[&media]);
    cluster.restart(&media);

    let watched = cluster.try_run(&["-o", "json", "job", "watch", &id]).expect(3);
    let job = watched.json();
    assert_eq!(
        (&job["status"], &job["status_code"]),
        (&json!("completed_with_exceptions"), &json!(1)),
        "{job:#}"
    );
    let attempts = job["attempts"].as_array().unwrap();
    let statuses: Vec<_> = attempts.iter().map(|attempt| &attempt["status"]).collect();
    assert_eq!(statuses, ["resumed", "completed_with_exceptions"], "{job:#}");
    // The counters stay those of the attempt.
    assert_eq!(attempts[1]["exceptions"], 0, "{job:#}");

    let named =
        |attempt: &str| cluster.json(&["job", "log", &id, "--attempt", attempt])["exceptions"].clone();
    let (first, last) = (named("1"), named("2"));
    let (first, last) = (first.as_array().unwrap(), last.as_array().unwrap());
    assert!(!first.is_empty());
    assert_eq!(first.len(), last.len(), "{last:#?}");
    for (met, told) in first.iter().zip(last) {
        assert_eq!(
            (&met["path"], &met["met_in_attempt"]),
            (&told["path"], &Value::Null)
        );
        assert_eq!(told["met_in_attempt"], 1);
    }
    let text = cluster.run(&["job", "log", &id]).stdout;
    assert!(text.contains("(met in attempt 1)"), "{text}");
    cluster.check_repository();
}
