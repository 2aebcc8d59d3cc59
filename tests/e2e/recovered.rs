//! C-01 to C-03, S-08: a media agent that says nothing for so long that there is no communication with it, where failover does nothing about it.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::cluster::{Cluster, wait_until};
use crate::failover::{agents_of, assert_restores, be_impatient};
use crate::outage::{job_under_way, over, slow_job_under_way};

/// Stalled after 6 s, without communication 6 s later.
fn be_short(cluster: &Cluster) {
    be_impatient(cluster);
    let set = [
        "cluster",
        "set",
        "--stalled-after",
        "6s",
        "--no-communication-after",
        "6s",
        "--reconnect-for",
        "12s",
    ];
    let settings = cluster.json(&set);
    assert_eq!(settings["no_communication_after"], 6, "{settings:#}");
}

fn show(cluster: &Cluster, id: &str) -> Value {
    cluster.json(&["job", "show", id])
}

fn state_of(cluster: &Cluster, agent: &str) -> Value {
    cluster.json(&["agent", "show", agent])["state"].clone()
}

/// Waits until the first attempt has no right any more, and has the job begun again now, whatever it waits for.
fn recovered(cluster: &Cluster, id: &str) {
    wait_until("the attempt to be recovered", || {
        let job = show(cluster, id);
        job["state"] != "active" || job["attempts"].as_array().unwrap().len() > 1
    });
    let job = show(cluster, id);
    if job["state"] == "waiting_for_retry" {
        // T-08: why, and until when.
        let waiting = &job["waiting"];
        let reason = waiting["reason"].as_str().unwrap();
        assert!(reason.contains("rule Recovered Jobs"), "{waiting:#}");
        assert!(waiting["until"].is_string(), "{waiting:#}");
        cluster.try_run(&["job", "resume", id]).expect(0);
    }
}

fn has_only_restore_points(cluster: &Cluster) -> bool {
    let snapshots = cluster.restic(&["snapshots", "--json"]).json();
    let points = cluster.json(&["restore-point", "list"]);
    snapshots.as_array().unwrap().len() == points.as_array().unwrap().len()
}

#[test]
fn s08_c03_without_failover_an_attempt_ends_recovered_and_its_ghost_commits_nothing() {
    let cluster = Cluster::start();
    be_short(&cluster);
    cluster.json(&["pool", "set", "default", "--failover", "off"]);
    let source = cluster.place("source");
    let id = slow_job_under_way(&cluster, &source, 61);
    let (media, other) = agents_of(&cluster, &id);
    cluster.signal(&[media.as_str()], Signal::STOP);
    wait_until("C-03 to be announced", || {
        show(&cluster, &id)["unknown"]["rule"] == "C-03"
    });
    let unknown = show(&cluster, &id)["unknown"].clone();
    assert!(unknown.is_null() || unknown["at"].is_string(), "{unknown:#}");
    wait_until("it to be stalled", || state_of(&cluster, &media) != "enabled");
    recovered(&cluster, &id);
    wait_until("no communication to be said", || {
        state_of(&cluster, &media) == "no_communication"
    });
    let job = cluster.run(&["-o", "json", "job", "watch", &id]).json();
    let attempts = job["attempts"].as_array().unwrap();
    let told: Vec<_> = attempts
        .iter()
        .map(|attempt| (&attempt["status"], &attempt["media_agent"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!("recovered"), &json!(media)),
            (&json!("successful"), &json!(other))
        ],
        "{job:#}"
    );
    assert_eq!(attempts[0]["status_code"], 1112, "{job:#}");
    assert_eq!(attempts[0]["failed_over_to"], attempts[1]["id"], "{job:#}");
    let back = [&attempts[1]["resumed_from"], &attempts[1]["retry_of"]];
    assert!(back.contains(&&attempts[0]["id"]), "{job:#}");
    // S-13: no history without a log.
    let log = cluster.run(&["job", "log", &id, "--attempt", "1"]).stdout;
    assert!(log.contains("is silent for"), "{log}");
    assert_restores(&cluster, &job, &source);

    let points = cluster.json(&["restore-point", "list"]);
    cluster.signal(&[media.as_str()], Signal::CONT);
    wait_until("it to have ended its attempt", || {
        over(&cluster, &media, &id).is_some()
    });
    wait_until("only restore points to be there", || {
        has_only_restore_points(&cluster)
    });
    assert_eq!(cluster.json(&["restore-point", "list"]), points);
    wait_until("it to be enabled again", || {
        state_of(&cluster, &media) == "enabled"
    });
    assert_eq!(show(&cluster, &id)["attempts"].as_array().unwrap().len(), 2);
    cluster.check_repository();
}

#[test]
fn c03_c08_with_both_witnesses_silent_the_attempt_ends_recovered_after_all() {
    let cluster = Cluster::start();
    be_short(&cluster);
    let source = cluster.place("source");
    let id = slow_job_under_way(&cluster, &source, 62);
    let (media, other) = agents_of(&cluster, &id);
    cluster.kill(&["client-1", media.as_str()]);
    wait_until("C-03 to be announced", || {
        show(&cluster, &id)["unknown"]["rule"] == "C-03"
    });
    recovered(&cluster, &id);
    cluster.restart("client-1");
    let job = cluster.run(&["-o", "json", "job", "watch", &id]).json();
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!(attempts[0]["status"], "recovered", "{job:#}");
    assert_eq!(attempts[1]["status"], "successful", "{job:#}");
    assert_eq!(attempts[1]["media_agent"], other, "{job:#}");
    assert_restores(&cluster, &job, &source);
    cluster.restart(&media);
    wait_until("only restore points to be there", || {
        has_only_restore_points(&cluster)
    });
    cluster.check_repository();
}

/// C-01 and C-08c as a person meets them.
#[test]
fn c01_c08c_thresholds_are_set_at_three_levels_shown_with_their_level_and_only_so_that_they_fit() {
    let cluster = Cluster::start();
    let of_agent = |name: &str| cluster.json(&["agent", "show", name])["stalled_after"].clone();
    let said = |seconds: u64, from: &str| json!({"seconds": seconds, "from": from});
    assert_eq!(of_agent("media-1"), said(300, "default"));
    cluster.json(&["cluster", "set", "--stalled-after", "6m"]);
    assert_eq!(of_agent("media-1"), said(360, "cluster"));
    assert_eq!(of_agent("local"), said(360, "cluster"));
    let pool = cluster.json(&["pool", "set", "default", "--stalled-after", "7m"]);
    assert_eq!(pool["thresholds"]["stalled_after"], said(420, "pool"), "{pool:#}");
    cluster.json(&["agent", "set", "media-1", "--stalled-after", "8m"]);
    assert_eq!(of_agent("media-1"), said(480, "agent"));
    assert_eq!(of_agent("media-2"), said(420, "pool"));
    assert_eq!(of_agent("local"), said(360, "cluster"));
    let text = cluster.run(&["agent", "show", "media-1"]).stdout;
    assert!(text.contains("8m 00s (of the agent)"), "{text}");
    cluster.json(&["agent", "set", "media-1", "--stalled-after", "default"]);
    cluster.json(&["pool", "set", "default", "--stalled-after", "default"]);
    assert_eq!(of_agent("media-1"), said(360, "cluster"));
    cluster.json(&["cluster", "set", "--stalled-after", "default"]);
    let status = cluster.json(&["cluster", "status"]);
    assert_eq!(
        status["settings"]["thresholds"]["stalled_after"],
        said(300, "default"),
        "{status:#}"
    );
    // Each from both of its sides; the refusal names both settings, their values, and what is allowed.
    for (refused, parts) in [
        (
            &["cluster", "set", "--disruption-grace", "26s"][..],
            ["disruption_grace is 26s", "failover_after is 30s", "1s to 25s"],
        ),
        (
            &["pool", "set", "default", "--failover-after", "24s"],
            ["disruption_grace is 20s", "failover_after is 24s", "25s to 5m"],
        ),
        (
            &["agent", "set", "media-1", "--stalled-after", "29s"],
            ["failover_after is 30s", "stalled_after is 29s", "30s to 12h"],
        ),
        (
            &["cluster", "set", "--reconnect-for", "21m"],
            [
                "reconnect_for is 21m",
                "no_communication_after is 15m",
                "1s to 20m",
            ],
        ),
    ] {
        let told = cluster.try_run(refused).expect(2).stderr;
        for part in parts {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
    cluster.try_run(&["agent", "set", "nobody"]).expect(6);
    cluster
        .try_run(&["agent", "set", "local", "--failover-after", "40s"])
        .expect(2);
}

#[test]
fn c08a_an_agent_is_removed_when_nothing_runs_on_it_and_is_not_welcome_any_more() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    let id = job_under_way(&cluster, &source, 63, 1);
    let (media, other) = agents_of(&cluster, &id);
    let told = cluster.try_run(&["agent", "remove", &media]).expect(5).stderr;
    assert!(told.contains("--declare-dead"), "{told}");
    cluster.try_run(&["agent", "remove", "local"]).expect(5);
    cluster.try_run(&["agent", "remove", "nobody"]).expect(6);
    cluster.kill(&[media.as_str()]);
    wait_until("it not to be heard any more", || {
        let args = ["-o", "json", "agent", "remove", &media, "--declare-dead"];
        cluster.try_run(&args).code == 0
    });
    let job = cluster.run(&["-o", "json", "job", "watch", &id]).json();
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!(attempts[0]["status"], "resumed", "{job:#}");
    assert_eq!(attempts[1]["media_agent"], other, "{job:#}");
    assert_eq!(attempts[1]["status"], "successful", "{job:#}");
    assert_restores(&cluster, &job, &source);
    cluster.try_run(&["agent", "show", &media]).expect(6);
    cluster.try_run(&["agent", "remove", other]).expect(5);
    // It comes back, and is told.
    cluster.restart(&media);
    wait_until("it to be told that it was removed", || {
        cluster.log(&media).contains("was removed from this cluster")
    });
    cluster.try_run(&["agent", "show", &media]).expect(6);
    // What the job left is restorable through the other one.
    let target = cluster.place("through-the-other");
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    cluster
        .try_run(&["restore", point, "--to", target.to_str().unwrap(), "--wait"])
        .expect(0);
}
