//! C-08b: a media agent is drained, and its jobs go on elsewhere, in the middle of a file and without sending anything again.

use std::path::Path;

use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::failover::{agents_of, assert_restores, be_impatient, cluster};
use crate::resume::{fill, tree_of};
use crate::stream::{MEDIA, behind_proxies};

/// A job in the middle of its long file. It makes no checkpoint but when it is told to.
fn under_way(cluster: &Cluster, source: &Path) -> String {
    fill(source);
    let slow = "[checkpoint]\ninterval = \"12h\"\n[limits]\nbandwidth = \"4MiB/s\"";
    cluster.apply_policy("slow", &[source], slow).expect(0);
    let submitted = cluster.json(&["job", "run", "slow"]);
    let id = submitted["id"].as_str().unwrap();
    wait_until("the long file to be under way", || {
        let job = cluster.json(&["job", "show", id]);
        job["progress"]["bytes"].as_u64() > Some(20 << 20)
    });
    id.to_owned()
}

/// What the drain says of the job.
fn drain(cluster: &Cluster, media: &str, id: &str) -> Value {
    let agent = cluster.json(&["agent", "drain", media]);
    assert_eq!(agent["admin"], "draining", "{agent:#}");
    let leaving = &agent["leaving"][0];
    assert_eq!(leaving["job"], id, "{agent:#}");
    leaving.clone()
}

fn watched(cluster: &Cluster, id: &str) -> Value {
    cluster.run(&["-o", "json", "job", "watch", id]).json()
}

/// The media agent of the last attempt, which is successful as all were before it that made room.
fn assert_successful(cluster: &Cluster, job: &Value, source: &Path) -> String {
    assert_eq!(job["status"], "successful", "{job:#}");
    let attempts = job["attempts"].as_array().unwrap();
    let (last, before) = attempts.split_last().unwrap();
    for (number, attempt) in before.iter().enumerate() {
        assert_eq!(attempt["status"], "resumed", "{job:#}");
        assert_eq!(attempt["failed_over_to"], attempts[number + 1]["id"], "{job:#}");
    }
    cluster.apply_policy("undisturbed", &[source], "").expect(0);
    let undisturbed = cluster.run_job("undisturbed", 0);
    assert_eq!(tree_of(cluster, job), tree_of(cluster, &undisturbed));
    assert_restores(cluster, job, source);
    cluster.check_repository();
    last["media_agent"].as_str().unwrap().to_owned()
}

#[test]
fn c08b_l04_a_drained_media_agents_job_goes_on_elsewhere_and_nothing_is_sent_again() {
    let cluster = cluster();
    let source = cluster.place("source");
    let id = under_way(&cluster, &source);
    let (media, other) = agents_of(&cluster, &id);
    let leaving = drain(&cluster, &media, &id);
    assert_eq!(
        (&leaving["moves"], &leaving["why"]),
        (&true.into(), &Value::Null),
        "{leaving}"
    );
    let job = watched(&cluster, &id);
    assert_eq!(job["attempts"].as_array().unwrap().len(), 2, "{job:#}");
    let number = |attempt: usize, field: &str| job["attempts"][attempt][field].as_u64().unwrap();
    let (done, carried, resent) = (
        number(0, "bytes"),
        number(1, "bytes_carried_over"),
        number(1, "bytes_resent"),
    );
    let (new, all) = (number(1, "bytes_new"), number(1, "bytes"));
    println!("{done} bytes were done, {carried} carried over, {resent} read again, {new} of {all} new");
    assert!(done > 20 << 20 && carried + resent >= done, "{job:#}");
    assert!(resent <= 1 << 20, "{job:#}");
    assert!(new <= all - carried, "{job:#}");
    let details = cluster.run(&["job", "details", &id]).stdout;
    for line in [
        "is drained",
        "makes a checkpoint",
        "made room",
        "goes on from checkpoint",
    ] {
        assert!(details.contains(line), "{line}: {details}");
    }
    assert_eq!(assert_successful(&cluster, &job, &source), other);
    // It is empty, and says so; it can be taken back.
    let agent = cluster.json(&["agent", "show", &media]);
    assert_eq!(
        (&agent["active_jobs"], &agent["leaving"]),
        (&0.into(), &Value::Array(vec![])),
        "{agent:#}"
    );
    cluster.json(&["agent", "enable", &media]);
    let pool = format!("{media},{other}");
    cluster.json(&["pool", "set", "default", "--order", &pool]);
    let again = cluster.run_job("undisturbed", 0);
    assert_eq!(again["attempts"][0]["media_agent"], media.as_str(), "{again:#}");
}

#[test]
fn c08b_with_no_other_media_agent_the_job_finishes_where_it_is_and_says_why() {
    let cluster = cluster();
    let source = cluster.place("source");
    let id = under_way(&cluster, &source);
    let (media, other) = agents_of(&cluster, &id);
    cluster.kill(&[other]);
    wait_until("the other one to be gone", || {
        cluster.json(&["agent", "show", other])["connected"] == false
    });
    let leaving = drain(&cluster, &media, &id);
    assert_eq!(leaving["moves"], false, "{leaving}");
    assert!(
        leaving["why"].as_str().unwrap().contains("no other media agent"),
        "{leaving}"
    );
    let shown = cluster.run(&["agent", "show", &media]).stdout;
    assert!(shown.contains("stays until it is done"), "{shown}");
    wait_until("the job to say so", || {
        let details = cluster.run(&["job", "details", &id]).stdout;
        details.contains("is drained, and attempt 1 finishes there: no other media agent")
    });
    let job = watched(&cluster, &id);
    assert_eq!(job["status"], "successful", "{job:#}");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
}

/// Nothing is waited for, least of all a client that cannot be reached from there.
#[test]
fn c08b_f18_a_job_whose_client_is_cut_off_from_the_drained_agent_moves_all_the_same() {
    let (cluster, proxies) = behind_proxies();
    be_impatient(&cluster);
    let source = cluster.place("source");
    let id = under_way(&cluster, &source);
    let (media, other) = agents_of(&cluster, &id);
    let of_media = MEDIA.iter().position(|name| *name == media).unwrap();
    proxies[of_media].be_silent(true);
    let leaving = drain(&cluster, &media, &id);
    assert_eq!(leaving["moves"], true, "{leaving}");
    let job = watched(&cluster, &id);
    assert_eq!(job["attempts"].as_array().unwrap().len(), 2, "{job:#}");
    assert_eq!(assert_successful(&cluster, &job, &source), other);
}

/// It may have left, or not: nothing is lost.
#[test]
fn c08b_s04_a_media_agent_that_is_drained_and_killed_at_once_loses_nothing() {
    let cluster = cluster();
    let source = cluster.place("source");
    let id = under_way(&cluster, &source);
    let (media, other) = agents_of(&cluster, &id);
    drain(&cluster, &media, &id);
    cluster.kill(&[media.as_str()]);
    let job = watched(&cluster, &id);
    assert_eq!(assert_successful(&cluster, &job, &source), other);
    cluster.restart(&media);
    wait_until("it to be back and empty", || {
        let agent = cluster.json(&["agent", "show", &media]);
        agent["connected"] == true && agent["active_jobs"] == 0
    });
    let agent = cluster.json(&["agent", "show", &media]);
    assert_eq!(agent["admin"], "draining", "{agent:#}");
}
