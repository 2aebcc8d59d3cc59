//! Locks of others: a job waits for them, says for whom, and goes on when they are gone or when their process is.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::cluster::{Cluster, send, wait_until};
use crate::main_job::inside;
use crate::tree;

/// A `restic check` that stands still while it has the repository for itself.
struct StoppedCheck(Child);

impl StoppedCheck {
    fn new(cluster: &Cluster) -> Self {
        let locks = cluster.data_dir().join("storage/locks");
        let child = Command::new("restic")
            .arg("-r")
            .arg(cluster.data_dir().join("storage"))
            .arg("--password-file")
            .arg(cluster.data_dir().join("repository-password"))
            .args(["--no-cache", "check", "--read-data"])
            // The kernel ends stopped processes whose group nobody looks after any more.
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let check = Self(child);
        wait_until("restic to have its lock", || {
            std::fs::read_dir(&locks).unwrap().count() > 0
        });
        check.signal(Signal::STOP);
        assert!(std::fs::read_dir(&locks).unwrap().count() > 0, "it was too quick");
        check
    }

    fn signal(&self, signal: Signal) {
        send(i32::try_from(self.0.id()).unwrap(), signal);
    }

    /// As the kernel does when memory is short: its lock stays.
    fn kill(self) {
        drop(self);
    }
}

impl Drop for StoppedCheck {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn show(cluster: &Cluster, id: &str) -> Value {
    cluster.json(&["job", "show", id])
}

fn waiting_for_lock(cluster: &Cluster, id: &str) -> String {
    let mut reason = String::new();
    wait_until("the job to say what it waits for", || {
        let job = show(cluster, id);
        reason = job["waiting"]["reason"].as_str().unwrap_or_default().to_owned();
        reason.contains("exclusive lock")
    });
    reason
}

#[test]
fn t90_a_job_waits_for_somebodys_lock_and_a_killed_check_costs_nothing() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), tree::noise(24 << 20, 3)).unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    let first = cluster.run_job("home", 0);
    let point = first["items"][0]["restore_point"].as_str().unwrap();

    let check = StoppedCheck::new(&cluster);
    let run = |cluster: &Cluster, args: &[&str]| cluster.json(args)["id"].as_str().unwrap().to_owned();
    let target = cluster.place("target");
    let restore = ["restore", point, "--to", target.to_str().unwrap()];
    let canceled = run(&cluster, &restore);
    let reason = waiting_for_lock(&cluster, &canceled);
    assert!(reason.contains(&format!("process {}", check.0.id())), "{reason}");
    cluster.run(&["job", "cancel", &canceled]);
    let watched = cluster.try_run(&["-o", "json", "job", "watch", &canceled]);
    assert_eq!(watched.json()["status_code"], 150, "{}", watched.stdout);

    // Longer than a client waits for a media agent that is not there.
    let id = run(&cluster, &["job", "run", "home"]);
    waiting_for_lock(&cluster, &id);
    std::thread::sleep(std::time::Duration::from_secs(75));
    waiting_for_lock(&cluster, &id);
    check.kill();
    let job = cluster.json(&["job", "watch", &id]);
    assert_eq!(job["status"], "successful", "{job:#}");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    cluster.run(&[&restore[..], &["--wait"]].concat());
    tree::assert_same(&source, &inside(&target, &source));
    cluster.check_repository();
}

/// Its id is another then, and the restore point follows it.
#[test]
fn t90_a_restore_point_whose_snapshot_was_tagged_is_still_restored_and_listed() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    tree::make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    let first = cluster.run_job("home", 0);
    let point = first["items"][0]["restore_point"].as_str().unwrap();
    for tag in ["keep", "twice"] {
        cluster.restic(&["tag", "--add", tag]);
    }
    let there = cluster.restic(&["snapshots", "--json"]).json();
    assert_ne!(there[0]["id"], point, "restic has given it another id");
    cluster.run(&["restore-point", "ls", point]);
    let target = cluster.place("target");
    let restore = cluster.json(&["restore", point, "--to", target.to_str().unwrap(), "--wait"]);
    assert_eq!(restore["status"], "successful", "{restore:#}");
    tree::assert_same(&source, &inside(&target, &source));
    // It is still the parent of the next.
    let again = cluster.run_job("home", 0);
    assert_eq!(again["attempts"][0]["bytes_new"], 0, "{again:#}");
    cluster.check_repository();
}
