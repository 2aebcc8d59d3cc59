//! B-01: a task that panics ends what it served, with a code; a reconciler begins again and says so; a daemon that lost a part it needs
//! ends. The panics are planted (`outlast_kit::tasks::PLANTED`), in real processes of builds with debug assertions.

use std::path::PathBuf;

use outlast_kit::tasks::PLANTED;
use serde_json::Value;

use crate::cluster::{Cluster, is_running, wait_until};
use crate::outage::job_under_way;
use crate::tree;

const PRIMARIES: [&str; 3] = ["primary-1", "primary-2", "primary-3"];
const MEDIA: [&str; 2] = ["media-1", "media-2"];

/// A cluster in some of whose processes a panic can be planted.
struct Planted {
    cluster: Cluster,
    mine: PathBuf,
}

impl Planted {
    fn in_all_of(children: &[&str]) -> Self {
        let cluster = Cluster::start();
        let mine = cluster.place("planted").join("panic");
        cluster.kill(children);
        for child in children {
            cluster.restart_with(child, &[(PLANTED, mine.to_str().unwrap())]);
        }
        let planted = Self { cluster, mine };
        planted.cluster.wait_for_all_primaries();
        planted.wait_for_agents();
        planted
    }

    fn wait_for_agents(&self) {
        wait_until("all agents to be here", || {
            let listed = self
                .cluster
                .try_run(&["--timeout", "1s", "-o", "json", "agent", "list"]);
            listed.code == 0 && {
                let agents = listed.json();
                let here = |agent: &Value| agent["connected"] == true;
                agents
                    .as_array()
                    .is_some_and(|agents| agents.len() == 3 && agents.iter().all(here))
            }
        });
    }

    /// The next task of this name to do anything panics.
    fn plant(&self, task: &str) {
        let whole = self.mine.with_extension("new");
        std::fs::write(&whole, task).unwrap();
        std::fs::rename(&whole, &self.mine).unwrap();
    }

    fn wait_for_panic(&self) {
        wait_until("the planted panic", || !self.mine.exists());
    }

    fn says(&self, children: &[&str], text: &str) -> bool {
        children
            .iter()
            .any(|child| self.cluster.log(child).contains(text))
    }
}

/// The end of a job; whatever it is.
fn ended(cluster: &Cluster, id: &str) -> Value {
    let mut job = Value::Null;
    wait_until("the job to end", || {
        job = cluster.json(&["job", "show", id]);
        job["state"] == "done"
    });
    job
}

fn media_agent_of(cluster: &Cluster, id: &str) -> String {
    let job = cluster.json(&["job", "show", id]);
    job["attempts"][0]["media_agent"].as_str().unwrap().to_owned()
}

#[test]
fn t90_b01_a_reconciler_that_panics_begins_again_and_says_so() {
    let planted = Planted::in_all_of(&PRIMARIES);
    let cluster = &planted.cluster;
    let source = cluster.place("source");
    tree::make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    planted.plant("dispatcher");
    // The job wakes it, and is dispatched by the next one.
    cluster.run_job("home", 0);
    planted.wait_for_panic();
    let status = cluster.json(&["cluster", "status"]);
    let reconcilers = status["reconcilers"].as_array().unwrap();
    let restarts: Vec<_> = reconcilers
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["restarts"].as_u64().unwrap()))
        .collect();
    assert!(restarts.contains(&("dispatcher", 1)), "{status:#}");
    assert!(restarts.contains(&("watchdog", 0)), "{status:#}");
    let dispatcher = reconcilers
        .iter()
        .find(|one| one["name"] == "dispatcher")
        .unwrap();
    assert!(
        dispatcher["error"].is_null() && dispatcher["runs"].as_u64() > Some(0),
        "{status:#}"
    );
    let table = cluster.run(&["cluster", "status"]).stdout;
    assert!(
        table.contains("PANICS") && table.contains("dispatcher"),
        "{table}"
    );
    assert!(!table.contains("watchdog"), "{table}");
    assert!(planted.says(&PRIMARIES, "a task has panicked and is started again"));
}

#[test]
fn t90_b01_an_attempt_whose_task_panics_ends_with_a_code_and_a_history() {
    let planted = Planted::in_all_of(&MEDIA);
    let cluster = &planted.cluster;
    let source = cluster.place("source");
    let id = job_under_way(cluster, &source, 1, 4);
    let media_agent = media_agent_of(cluster, &id);
    let pid = cluster.pid(&media_agent);
    planted.plant("attempt ");
    planted.wait_for_panic();
    let job = ended(cluster, &id);
    assert_eq!(job["status_code"], 84, "{job:#}");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    assert_eq!(job["attempts"][0]["status_code"], 84, "{job:#}");
    let log = cluster.run(&["job", "log", &id]).stdout;
    assert!(
        log.contains("the media agent failed (planted in attempt"),
        "{log}"
    );
    // Only that: the same process runs the next one.
    std::fs::remove_file(source.join("big")).unwrap();
    cluster.run_job("slow", 0);
    assert_eq!(cluster.pid(&media_agent), pid);
    assert!(planted.says(&MEDIA, "a task has panicked; what it served ends with it"));
    cluster.check_repository();
}

#[test]
fn t90_b01_a_daemon_that_lost_a_part_it_needs_ends_and_its_attempt_is_settled_by_the_next() {
    let planted = Planted::in_all_of(&MEDIA);
    let cluster = &planted.cluster;
    // Not done before the process is gone.
    let id = job_under_way(cluster, &cluster.place("source"), 2, 1);
    let media_agent = media_agent_of(cluster, &id);
    let pid = cluster.pid(&media_agent);
    planted.plant("manager of attempts");
    cluster.run(&["job", "cancel", &id]);
    planted.wait_for_panic();
    wait_until("the media agent to end", || {
        cluster
            .log(&media_agent)
            .contains("its manager of attempts panicked")
    });
    wait_until("its process to be gone", || !is_running(pid));
    // As a service manager does.
    cluster.restart(&media_agent);
    let job = ended(cluster, &id);
    assert_eq!(job["status_code"], 150, "{job:#}");
    let attempts = job["attempts"].as_array().unwrap();
    assert!(
        attempts.iter().all(|attempt| attempt["status_code"].is_number()),
        "{job:#}"
    );
    cluster.check_repository();
}

#[test]
fn t90_b01_a_connection_whose_task_panics_ends_alone() {
    let planted = Planted::in_all_of(&PRIMARIES);
    let cluster = &planted.cluster;
    let source = cluster.place("source");
    tree::make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    planted.plant("session of ");
    // Agents say every few seconds that they are there.
    planted.wait_for_panic();
    cluster.run_job("home", 0);
    assert!(planted.says(&PRIMARIES, "a task has panicked; nothing else ends"));
    let status = cluster.json(&["cluster", "status"]);
    let restarted = |one: &Value| one["restarts"] != 0;
    assert!(
        !status["reconcilers"].as_array().unwrap().iter().any(restarted),
        "{status:#}"
    );
}

#[test]
fn t90_b01_the_attempt_of_a_client_whose_task_panics_ends_with_a_code() {
    let planted = Planted::in_all_of(&["client-1"]);
    let cluster = &planted.cluster;
    // Agents learn it with their next welcome.
    cluster.run(&["cluster", "set", "--reconnect-for", "3s"]);
    cluster.kill(&MEDIA);
    MEDIA.iter().for_each(|name| cluster.restart(name));
    planted.wait_for_agents();
    let source = cluster.place("source");
    let id = job_under_way(cluster, &source, 3, 4);
    let pid = cluster.pid("client-1");
    planted.plant("attempt ");
    planted.wait_for_panic();
    let job = ended(cluster, &id);
    // The client is there, only this attempt of it does not come back: another one does (F-18).
    assert_eq!(job["status_code"], 0, "{job:#}");
    assert_eq!(job["attempts"][0]["status_code"], 1111, "{job:#}");
    std::fs::remove_file(source.join("big")).unwrap();
    cluster.run_job("slow", 0);
    assert_eq!(cluster.pid("client-1"), pid);
}
