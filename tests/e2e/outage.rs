//! Everything killed, everything stopped: what was recorded stays, and the work goes on.

use std::path::Path;

use rustix::process::Signal;
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
    assert_eq!(statuses, ["resumed", "successful"], "{job:#}");
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
    cluster.stop(Signal::TERM);
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
    cluster.stop(Signal::TERM);
    cluster.start_dev();
    let job = cluster.run(&["-o", "json", "job", "watch", &id]).json();
    assert_eq!(job["status"], "successful", "{job:#}");
    assert_eq!(job["attempts"][0]["status"], "resumed", "{job:#}");
    cluster.check_repository();
}

/// A job of some seconds whose data flows: 24 MiB at 8 MiB/s.
pub(crate) fn slow_job_under_way(cluster: &Cluster, source: &Path, seed: u64) -> String {
    job_under_way(cluster, source, seed, 8)
}

/// As [`slow_job_under_way`], at so many MiB/s.
pub(crate) fn job_under_way(cluster: &Cluster, source: &Path, seed: u64, rate: u32) -> String {
    let id = slow_job(cluster, source, seed, rate);
    wait_until("data to flow", || {
        let bytes = &cluster.json(&["job", "show", &id])["progress"]["bytes"];
        bytes.as_u64().unwrap_or(0) > 0
    });
    id
}

/// Submits a job of 24 MiB at so many MiB/s.
pub(crate) fn slow_job(cluster: &Cluster, source: &Path, seed: u64, rate: u32) -> String {
    std::fs::write(source.join("big"), tree::noise(24 << 20, seed)).unwrap();
    let more = format!("[limits]\nbandwidth = \"{rate}MiB/s\"");
    cluster.apply_policy("slow", &[source], &more).expect(0);
    let job = cluster.json(&["job", "run", "slow"]);
    job["id"].as_str().unwrap().to_owned()
}

/// How primaries go away.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// kill -9: connections end.
    Killed,
    /// SIGSTOP: connections stay, and nobody answers.
    Stopped,
}

/// Some primaries away, until it is ended.
pub(crate) struct Outage<'a> {
    cluster: &'a Cluster,
    way: Way,
    primaries: Vec<&'static str>,
}

impl<'a> Outage<'a> {
    /// Takes so many primaries away at once, the leader among them.
    pub(crate) fn begin(cluster: &'a Cluster, way: Way, how_many: usize) -> Self {
        let leader = cluster.leader();
        let mut primaries = vec!["primary-1", "primary-2", "primary-3"];
        primaries.sort_by_key(|primary| *primary != leader);
        primaries.truncate(how_many);
        match way {
            Way::Killed => cluster.kill(&primaries),
            Way::Stopped => cluster.signal(&primaries, Signal::STOP),
        }
        Self {
            cluster,
            way,
            primaries,
        }
    }

    /// Lets them come back.
    pub(crate) fn end(self) {
        if let Way::Killed = self.way {
            self.primaries
                .iter()
                .for_each(|primary| self.cluster.restart(primary));
        }
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        // Also when the test fails: what is stopped does not end when it is asked to.
        if let Way::Stopped = self.way {
            self.cluster.signal(&self.primaries, Signal::CONT);
        }
    }
}

/// The line in which a media agent says that an attempt of the job is over and in its journal.
pub(crate) fn over(cluster: &Cluster, media: &str, job: &str) -> Option<String> {
    let job = format!("job={job} ");
    let log = cluster.log(media);
    let mut lines = log.lines();
    lines
        .find(|line| {
            ["attempt is over", "attempt has failed"]
                .iter()
                .any(|end| line.contains(end))
                && line.contains(&job)
        })
        .map(str::to_owned)
}
