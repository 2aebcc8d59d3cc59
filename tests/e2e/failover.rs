//! SPEC 5: the media server is gone, and the job goes on on another one.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::outage::{Outage, Way, over, slow_job_under_way};
use crate::tree;

/// With a short patience.
pub(crate) fn cluster() -> Cluster {
    let cluster = Cluster::start();
    be_impatient(&cluster);
    cluster
}

/// Silent media agents lose their attempts after 6 s.
pub(crate) fn be_impatient(cluster: &Cluster) {
    cluster
        .try_run(&["cluster", "set", "--disruption-grace", "1s"])
        .expect(0);
    let pool = cluster.json(&["pool", "set", "default", "--failover-after", "6s"]);
    assert_eq!(pool["failover_after"], 6, "{pool:#}");
}

fn show(cluster: &Cluster, id: &str) -> Value {
    cluster.json(&["job", "show", id])
}

fn watched(cluster: &Cluster, id: &str) -> Value {
    cluster.run(&["-o", "json", "job", "watch", id]).json()
}

/// On which media agent its attempt runs, and another one.
pub(crate) fn agents_of(cluster: &Cluster, id: &str) -> (String, &'static str) {
    let job = show(cluster, id);
    let media = job["attempts"][0]["media_agent"].as_str().unwrap().to_owned();
    let other = if media == "media-1" { "media-2" } else { "media-1" };
    (media, other)
}

/// Two histories, linked both ways, the second on the other media agent, and one restore point of it with every byte.
fn assert_moved(cluster: &Cluster, id: &str, source: &Path, [first, second]: [&str; 2]) {
    let job = watched(cluster, id);
    assert_eq!(job["status"], "successful", "{job:#}");
    let attempts = job["attempts"].as_array().unwrap();
    let told: Vec<_> = attempts
        .iter()
        .map(|attempt| (&attempt["status"], &attempt["media_agent"]))
        .map(|(status, agent)| (status.as_str().unwrap(), agent.as_str().unwrap()))
        .collect();
    assert_eq!(told, [("resumed", first), ("successful", second)], "{job:#}");
    assert_eq!(attempts[1]["resumed_from"], attempts[0]["id"], "{job:#}");
    assert_eq!(attempts[0]["failed_over_to"], attempts[1]["id"], "{job:#}");
    assert_eq!(attempts[0]["status_code"], 1111, "{job:#}");
    let listed = cluster.json(&["history", "list", "--job", id]);
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed:#}");
    let log = cluster.run(&["job", "log", id, "--attempt", "1"]).stdout;
    assert!(log.contains("is silent for"), "{log}");
    assert_restores(cluster, &job, source);
}

pub(crate) fn assert_restores(cluster: &Cluster, job: &Value, source: &Path) {
    let target = cluster.place("target");
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    cluster.restic(&["restore", point, "--target", target.to_str().unwrap()]);
    tree::assert_same(source, &target.join(source.strip_prefix("/").unwrap()));
}

/// Every snapshot in the storage unit is a restore point.
fn has_only_restore_points(cluster: &Cluster) -> bool {
    let snapshots = cluster.restic(&["snapshots", "--json"]).json();
    let points = cluster.json(&["restore-point", "list"]);
    snapshots.as_array().unwrap().len() == points.as_array().unwrap().len()
}

#[test]
fn s03_f02_a_media_agent_that_is_killed_and_stays_away_loses_its_job_to_another() {
    let cluster = cluster();
    let source = cluster.place("source");
    let id = slow_job_under_way(&cluster, &source, 21);
    let (media, other) = agents_of(&cluster, &id);
    cluster.kill(&[media.as_str()]);
    // C-08: before anything happens it is said what is not known, by which rule what will happen, and when.
    wait_until("the silence to be shown", || {
        !show(&cluster, &id)["unknown"].is_null()
    });
    let job = show(&cluster, &id);
    if let Some(unknown) = job["unknown"].as_object() {
        for field in ["since", "client_last_word", "rule", "next_step"] {
            assert!(unknown[field].is_string(), "{field}: {job:#}");
        }
        assert!(
            job["waiting"]["reason"].as_str().unwrap().contains(&media),
            "{job:#}"
        );
    }
    assert_moved(&cluster, &id, &source, [media.as_str(), other]);
    let details = cluster.run(&["job", "details", &id]).stdout;
    assert!(details.contains("is given up"), "{details}");
    // F-03: it comes back, is fenced, and leaves nothing but what is official.
    cluster.restart(&media);
    wait_until("only restore points to be there", || {
        has_only_restore_points(&cluster)
    });
    assert_eq!(watched(&cluster, &id)["attempts"].as_array().unwrap().len(), 2);
    cluster.check_repository();
}

#[test]
fn f04_a_media_agent_that_was_frozen_and_wakes_commits_nothing() {
    let cluster = cluster();
    let source = cluster.place("source");
    let id = slow_job_under_way(&cluster, &source, 22);
    let (media, other) = agents_of(&cluster, &id);
    cluster.signal(&[media.as_str()], Signal::STOP);
    assert_moved(&cluster, &id, &source, [media.as_str(), other]);
    let points = cluster.json(&["restore-point", "list"]);
    cluster.signal(&[media.as_str()], Signal::CONT);
    wait_until("it to have ended its attempt", || {
        over(&cluster, &media, &id).is_some()
    });
    wait_until("only restore points to be there", || {
        has_only_restore_points(&cluster)
    });
    assert_eq!(cluster.json(&["restore-point", "list"]), points);
    let job = watched(&cluster, &id);
    assert_eq!(job["attempts"].as_array().unwrap().len(), 2, "{job:#}");
    cluster.check_repository();
    // And it works again.
    cluster.run_job("slow", 0);
}

#[test]
fn s12_f14_what_was_finished_before_its_media_agent_was_lost_is_successful_and_not_run_again() {
    let cluster = cluster();
    let source = cluster.place("source");
    let id = slow_job_under_way(&cluster, &source, 23);
    let (media, _) = agents_of(&cluster, &id);
    let outage = Outage::begin(&cluster, Way::Stopped, 3);
    wait_until("the attempt to be over", || over(&cluster, &media, &id).is_some());
    // Nobody else has heard of it.
    cluster.kill(&[media.as_str()]);
    outage.end();
    let job = watched(&cluster, &id);
    assert_eq!(job["status"], "successful", "{job:#}");
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{job:#}");
    assert_eq!(attempts[0]["media_agent"], media.as_str(), "{job:#}");
    assert_eq!(attempts[0]["failed_over_to"], Value::Null, "{job:#}");
    assert_restores(&cluster, &job, &source);
    let details = cluster.run(&["job", "details", &id]).stdout;
    assert!(details.contains("does not begin"), "{details}");
    cluster.restart(&media);
    wait_until("only restore points to be there", || {
        has_only_restore_points(&cluster)
    });
    let job = watched(&cluster, &id);
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    cluster.check_repository();
}

#[test]
fn c08_c08a_with_both_witnesses_gone_nothing_is_started_until_somebody_says_that_the_host_is_gone() {
    let cluster = cluster();
    let source = cluster.place("source");
    let id = slow_job_under_way(&cluster, &source, 25);
    let (media, other) = agents_of(&cluster, &id);
    cluster.try_run(&["agent", "declare-dead", &media]).expect(5);
    cluster.try_run(&["agent", "declare-dead", "nobody"]).expect(6);
    cluster.try_run(&["agent", "declare-dead", "local"]).expect(5);
    cluster.kill(&["client-1", media.as_str()]);
    let waits = || {
        show(&cluster, &id)["waiting"]["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    wait_until("the advice to be given", || waits().contains("declare-dead"));
    assert_eq!(show(&cluster, &id)["attempts"].as_array().unwrap().len(), 1);
    let agent = cluster.json(&["agent", "declare-dead", &media]);
    assert_eq!(agent["state"], "no_communication", "{agent:#}");
    wait_until("the next attempt to be given away", || {
        let job = show(&cluster, &id);
        job["attempts"].as_array().unwrap().len() == 2 || job["state"] == "queued"
    });
    cluster.restart("client-1");
    let job = watched(&cluster, &id);
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!(attempts[0]["status"], "resumed", "{job:#}");
    assert_eq!(attempts[1]["status"], "successful", "{job:#}");
    assert_eq!(attempts[1]["media_agent"], other, "{job:#}");
    assert_restores(&cluster, &job, &source);
    let details = cluster.run(&["job", "details", &id]).stdout;
    assert!(details.contains("declared media agent"), "{details}");
    cluster.restart(&media);
    wait_until("only restore points to be there", || {
        has_only_restore_points(&cluster)
    });
    cluster.check_repository();
}

#[test]
fn c01_c08b_an_agent_that_is_disabled_or_drained_gets_no_jobs_until_it_is_enabled() {
    let cluster = cluster();
    let source = cluster.place("source");
    tree::make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    let pool = cluster.json(&["pool", "set", "default", "--order", "media-2,media-1"]);
    assert_eq!(
        pool["media_agents"],
        serde_json::json!(["media-2", "media-1"]),
        "{pool:#}"
    );
    cluster
        .try_run(&["pool", "set", "default", "--order", "media-2"])
        .expect(2);
    let by = |media: &str| {
        let job = cluster.run_job("home", 0);
        assert_eq!(job["attempts"][0]["media_agent"], media, "{job:#}");
    };
    by("media-2");
    for (command, state, admin) in [
        ("disable", "disabled", "disabled"),
        ("drain", "enabled", "draining"),
    ] {
        let agent = cluster.json(&["agent", command, "media-2"]);
        assert_eq!(
            (&agent["state"], &agent["admin"]),
            (&state.into(), &admin.into()),
            "{agent:#}"
        );
        by("media-1");
        let is_there = || cluster.json(&["agent", "show", "media-2"])["connected"] == true;
        cluster.kill(&["media-2"]);
        wait_until("media-2 to be gone", || !is_there());
        cluster.restart("media-2");
        wait_until("media-2 to be back", is_there);
        by("media-1");
        let agent = cluster.json(&["agent", "enable", "media-2"]);
        assert_eq!(
            (&agent["state"], &agent["admin"]),
            (&"enabled".into(), &"enabled".into()),
            "{agent:#}"
        );
        by("media-2");
    }
}
