//! Everything killed, everything stopped: what was recorded stays, and the work goes on.

use std::path::Path;

use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::tree;

#[test]
fn s12_all_processes_killed_in_mid_job_lose_nothing() {
    let mut cluster = Cluster::start();
    let (first, second) = (cluster.place("first"), cluster.place("second"));
    tree::make(&first);
    std::fs::write(second.join("big"), tree::noise(24 << 20, 3)).unwrap();
    cluster.apply_policy("quick", &[&first], "").expect(0);
    let before = cluster.run_job("quick", 0);
    cluster
        .apply_policy("slow", &[&first, &second], "[limits]\nbandwidth = \"8MiB/s\"")
        .expect(0);
    let id = cluster.json(&["job", "run", "slow"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    wait_until("the second item to be in progress", || {
        let job = cluster.json(&["job", "show", &id]);
        job["items"][1]["outcome"] == "in_progress" && job["progress"]["bytes"].as_u64().unwrap_or(0) > 0
    });
    cluster.kill_everything();
    cluster.check_repository();

    cluster.start_dev();
    let job = cluster.run(&["-o", "json", "job", "watch", &id]).json();
    assert_eq!(job["status"], "successful", "{job:#}");
    let attempts = job["attempts"].as_array().unwrap();
    let statuses: Vec<_> = attempts
        .iter()
        .map(|attempt| attempt["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["failed_over", "successful"], "{job:#}");
    assert_eq!(attempts[0]["failed_over_to"], attempts[1]["id"]);
    // The first item was finished before the outage: it keeps the restore point it had, of attempt 1.
    let points = cluster.json(&["restore-point", "list", "--policy", "slow"]);
    let attempt_of = |item: &Value| {
        let point = points
            .as_array()
            .unwrap()
            .iter()
            .find(|point| point["id"] == item["restore_point"]);
        point.unwrap()["attempt"].as_u64().unwrap()
    };
    let of_items: Vec<_> = job["items"].as_array().unwrap().iter().map(attempt_of).collect();
    assert_eq!((points.as_array().unwrap().len(), of_items), (2, vec![1, 2]));

    let histories = cluster.json(&["history", "list"]);
    let mut ids: Vec<_> = histories
        .as_array()
        .unwrap()
        .iter()
        .map(|history| history["id"].clone())
        .collect();
    assert_eq!(ids.len(), 3, "{histories:#}");
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert_eq!(
        cluster.json(&["job", "show", before["id"].as_str().unwrap()]),
        before
    );

    cluster.check_repository();
    let target = cluster.place("target");
    let point = job["items"][1]["restore_point"].as_str().unwrap();
    cluster.restic(&["restore", point, "--target", target.to_str().unwrap()]);
    tree::assert_same(&second, &target.join(second.strip_prefix("/").unwrap()));
    cluster.run_job("quick", 0);
}

#[test]
fn a_stopped_cluster_comes_back_with_everything() {
    let mut cluster = Cluster::start();
    let source = cluster.place("source");
    tree::make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 0);
    let lists: [&[&str]; 4] = [
        &["job", "list"],
        &["history", "list"],
        &["restore-point", "list"],
        &["policy", "list"],
    ];
    let before: Vec<_> = lists.iter().map(|list| cluster.json(list)).collect();
    cluster.stop(rustix::process::Signal::TERM);
    cluster.start_dev();
    for (list, before) in lists.iter().zip(before) {
        assert_eq!(cluster.json(list), before, "{list:?}");
    }
    let again = cluster.run_job("home", 0);
    assert_eq!(again["attempts"][0]["bytes_new"], 0, "{again:#}");
    let number = |job: &Value| job["id"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(number(&again), number(&job) + 1);
    cluster.check_repository();
}

#[test]
fn t90_a_job_goes_on_after_dev_was_stopped_in_the_middle_of_it() {
    let mut cluster = Cluster::start();
    let source = cluster.place("source");
    let id = slow_job_under_way(&cluster, &source, 5);
    cluster.stop(rustix::process::Signal::TERM);
    cluster.start_dev();
    let job = cluster.run(&["-o", "json", "job", "watch", &id]).json();
    assert_eq!(job["status"], "successful", "{job:#}");
    assert_eq!(job["attempts"][0]["status"], "failed_over", "{job:#}");
    cluster.check_repository();
}

#[test]
fn r04_a_job_goes_on_while_every_primary_is_down_and_the_truth_arrives_later() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    let id = slow_job_under_way(&cluster, &source, 4);
    let media = cluster.json(&["job", "show", &id])["attempts"][0]["media_agent"]
        .as_str()
        .unwrap()
        .to_owned();
    let primaries = ["primary-1", "primary-2", "primary-3"];
    cluster.kill(&primaries);
    wait_until("the snapshot to be written without a primary", || {
        // Whole, under its own name; before that it has a temporary one.
        let snapshots = std::fs::read_dir(cluster.data_dir().join("storage/snapshots")).unwrap();
        snapshots
            .filter(|entry| entry.as_ref().is_ok_and(|e| e.file_name().len() == 64))
            .count()
            == 1
    });
    cluster.kill(&[&media]);
    for child in primaries.into_iter().chain([media.as_str()]) {
        cluster.restart(child);
    }
    let job = cluster.run(&["-o", "json", "job", "watch", &id]).json();
    assert_eq!(job["status"], "successful", "{job:#}");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    assert_eq!(
        cluster.json(&["restore-point", "list"]).as_array().unwrap().len(),
        1
    );
    cluster.check_repository();
}

/// A job of some seconds whose data flows: 24 MiB at 8 MiB/s.
pub(crate) fn slow_job_under_way(cluster: &Cluster, source: &Path, seed: u64) -> String {
    std::fs::write(source.join("big"), tree::noise(24 << 20, seed)).unwrap();
    cluster
        .apply_policy("slow", &[source], "[limits]\nbandwidth = \"8MiB/s\"")
        .expect(0);
    let job = cluster.json(&["job", "run", "slow"]);
    let id = job["id"].as_str().unwrap().to_owned();
    wait_until("data to flow", || {
        let bytes = &cluster.json(&["job", "show", &id])["progress"]["bytes"];
        bytes.as_u64().unwrap_or(0) > 0
    });
    id
}
