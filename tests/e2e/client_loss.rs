//! A job whose client is lost: what the primaries make of it, and that it goes on (F-09, F-09a, F-18, S-11a, T-10, E-05).

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::failover::assert_restores;
use crate::outage::{Outage, Way};
use crate::tree;

/// Agents that wait for a client for 3 s, and a leader that decides a second after it began.
fn cluster() -> Cluster {
    let cluster = Cluster::start();
    let set = [
        "cluster",
        "set",
        "--disruption-grace",
        "1s",
        "--reconnect-for",
        "3s",
    ];
    cluster.run(&set);
    // They hear of it with their next welcome.
    for media in ["media-1", "media-2"] {
        cluster.kill(&[media]);
        cluster.restart(media);
    }
    wait_until("all agents to be here", || {
        let agents = cluster.json(&["agent", "list"]);
        let here = |agent: &Value| agent["connected"] == true && agent["state"] == "enabled";
        agents
            .as_array()
            .is_some_and(|agents| agents.len() == 3 && agents.iter().all(here))
    });
    cluster
}

fn show(cluster: &Cluster, id: &str) -> Value {
    cluster.json(&["job", "show", id])
}

/// A job under way: what it backs up, and its id. It has a checkpoint if it makes any.
fn under_way(cluster: &Cluster, interval: &str, retry: &str) -> (PathBuf, String) {
    let source = cluster.place("source");
    let big = source.join("big");
    std::fs::write(&big, tree::noise(24 << 20, 91)).unwrap();
    // What has just changed is read again by every attempt (S-14c).
    let last = big.metadata().unwrap().modified().unwrap();
    wait_until("the file to be settled", || {
        last.elapsed().is_ok_and(|age| age > Duration::from_secs(3))
    });
    let more = format!(
        "[checkpoint]\ninterval = \"{interval}\"\n[limits]\nbandwidth = \"2MiB/s\"\n[retry]\n{retry}"
    );
    cluster.apply_policy("slow", &[&source], &more).expect(0);
    let id = cluster.json(&["job", "run", "slow"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    wait_until("data to flow, and a checkpoint", || {
        let progress = &show(cluster, &id)["progress"];
        progress["bytes"].as_u64().unwrap_or(0) > 0
            && (interval != "1s" || progress["checkpoint_at"].is_string())
    });
    (source, id)
}

fn wait_for_state(cluster: &Cluster, id: &str, state: &str) -> Value {
    let mut job = Value::Null;
    wait_until(&format!("the job to be {state}"), || {
        // Without a leader for a moment.
        let shown = cluster.try_run(&["-o", "json", "job", "show", id]);
        job = if shown.code == 0 {
            shown.json()
        } else {
            Value::Null
        };
        job["state"] == state
    });
    job
}

/// The statuses and codes of its attempts.
fn ends(job: &Value) -> Vec<(String, u64)> {
    let attempts = job["attempts"].as_array().unwrap().iter();
    let end = |attempt: &Value| {
        let status = attempt["status"].as_str().unwrap_or("none").to_owned();
        (status, attempt["status_code"].as_u64().unwrap_or(u64::MAX))
    };
    attempts.map(end).collect()
}

/// It went on by itself, from its checkpoint, and left one restore point with every byte.
fn assert_resumed(cluster: &Cluster, id: &str, source: &std::path::Path, code: u64) {
    let job = cluster.run(&["-o", "json", "job", "watch", id]).json();
    let expected = [("failed".to_owned(), code), ("successful".to_owned(), 0)];
    assert_eq!(ends(&job), expected, "{job:#}");
    let last = &job["attempts"][1];
    assert!(last["bytes_carried_over"].as_u64().unwrap() > 0, "{job:#}");
    assert!(last["bytes_resent"].is_u64(), "{job:#}");
    assert_eq!(last["resumed_from"], job["attempts"][0]["id"], "{job:#}");
    let points = cluster.json(&["restore-point", "list"]);
    assert_eq!(points.as_array().unwrap().len(), 1, "{points:#}");
    assert_restores(cluster, &job, source);
    cluster.check_repository();
}

#[test]
fn f09_a_client_that_is_killed_and_comes_back_is_gone_on_with_whoever_leads() {
    let cluster = cluster();
    let (source, id) = under_way(&cluster, "1s", "delay = \"5s\"");
    cluster.kill(&["client-1"]);
    cluster.restart("client-1");
    let job = wait_for_state(&cluster, &id, "incomplete");
    assert_eq!(ends(&job), [("failed".to_owned(), 50)], "{job:#}");
    assert_eq!(
        (&job["status"], job["waiting"]["until"].is_string()),
        (&Value::Null, true)
    );
    let reason = job["waiting"]["reason"].as_str().unwrap();
    assert!(
        reason.contains("ended 50") && reason.contains("try 1 of 2"),
        "{reason}"
    );
    cluster.kill(&[&cluster.leader()]);
    assert_resumed(&cluster, &id, &source, 50);
    let details = cluster.run(&["job", "details", &id]).stdout;
    assert!(details.contains("try 1 of 2 begins"), "{details}");
}

#[test]
fn s11a_t07_t10_a_client_that_stays_away_is_58_and_its_job_is_held_released_and_resumed() {
    let cluster = cluster();
    let (source, id) = under_way(&cluster, "1s", "delay = \"5s\"");
    cluster.kill(&["client-1"]);
    let job = wait_for_state(&cluster, &id, "incomplete");
    assert_eq!(ends(&job), [("failed".to_owned(), 58)], "{job:#}");
    let listed = |state: &str| {
        let jobs = cluster.json(&["job", "list", "--state", state]);
        jobs.as_array().unwrap().len()
    };
    assert_eq!(
        (listed("incomplete"), listed("held"), listed("waiting_for_retry")),
        (1, 0, 0)
    );
    // It is due, and says what it waits for.
    wait_until("the job to wait for its client", || {
        let waiting = &show(&cluster, &id)["waiting"];
        let reason = waiting["reason"].as_str().unwrap_or_default();
        reason.contains("client local is not connected") && waiting["for"] == "local"
    });
    let held = cluster.json(&["job", "hold", &id]);
    assert_eq!(held["state"], "held", "{held:#}");
    assert!(
        held["waiting"]["reason"].as_str().unwrap().contains("held by"),
        "{held:#}"
    );
    let actions: Vec<_> = held["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a.as_str().unwrap())
        .collect();
    assert_eq!(actions, ["cancel", "release", "resume", "restart"]);
    assert_eq!((listed("incomplete"), listed("held")), (0, 1));
    // Whoever waits for it is not kept waiting.
    let watched = cluster.try_run(&["job", "watch", &id]).expect(1);
    assert!(watched.stderr.contains("is held"), "{}", watched.stderr);
    cluster.restart("client-1");
    // A run that somebody else wants is not in its way, nor is it in that one's (F-09a).
    let released = cluster.json(&["job", "release", &id]);
    assert_eq!(released["state"], "incomplete", "{released:#}");
    assert_resumed(&cluster, &id, &source, 58);
    // Done: it cannot be resumed, and what can be done is said.
    let refused = cluster.try_run(&["job", "resume", &id]).expect(5);
    assert!(
        refused.stderr.contains("what can be done now: restart"),
        "{}",
        refused.stderr
    );
    let again = cluster
        .run(&["-o", "json", "job", "restart", &id, "--wait"])
        .json();
    assert_ne!(again["id"], id.as_str());
    assert_eq!(
        (&again["policy"], &again["status"]),
        (&"slow".into(), &"successful".into())
    );
}

#[test]
fn f09_without_a_checkpoint_a_job_begins_again() {
    let cluster = cluster();
    let (source, id) = under_way(&cluster, "15m", "delay = \"5s\"");
    cluster.kill(&["client-1"]);
    cluster.restart("client-1");
    let job = wait_for_state(&cluster, &id, "waiting_for_retry");
    assert_eq!(ends(&job), [("failed".to_owned(), 50)], "{job:#}");
    let job = cluster.run(&["-o", "json", "job", "watch", &id]).json();
    let expected = [("failed".to_owned(), 50), ("successful".to_owned(), 0)];
    assert_eq!(ends(&job), expected, "{job:#}");
    assert_restores(&cluster, &job, &source);
}

#[test]
fn f09_with_no_primary_up_the_decision_waits() {
    let cluster = cluster();
    let (source, id) = under_way(&cluster, "1s", "delay = \"5s\"");
    let media = show(&cluster, &id)["attempts"][0]["media_agent"]
        .as_str()
        .unwrap()
        .to_owned();
    let outage = Outage::begin(&cluster, Way::Killed, 3);
    cluster.kill(&["client-1"]);
    wait_until("the media agent to give the attempt up", || {
        cluster.log(&media).contains("attempt cannot go on here")
    });
    outage.end();
    let job = wait_for_state(&cluster, &id, "incomplete");
    assert_eq!(ends(&job), [("failed".to_owned(), 58)], "{job:#}");
    cluster.restart("client-1");
    assert_resumed(&cluster, &id, &source, 58);
}

/// F-17, and a policy that wants no tries: done, with the code.
#[test]
fn s11a_a_client_that_is_shut_down_in_order_is_50_and_said_so() {
    let cluster = cluster();
    let (_, id) = under_way(&cluster, "15m", "tries = 0");
    cluster.end("client-1");
    let job = cluster
        .try_run(&["-o", "json", "job", "watch", &id])
        .expect(1)
        .json();
    assert_eq!(
        (&job["state"], &job["status_code"]),
        (&"done".into(), &50.into()),
        "{job:#}"
    );
    let text = job["attempts"][0]["error"]["text"].as_str().unwrap();
    assert!(text.contains("host or agent was shut down"), "{text}");
}
