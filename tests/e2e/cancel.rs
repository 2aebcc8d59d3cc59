//! `job cancel` (S-05, S-12a, X-08, X-09): of jobs that wait, that run, and whose media agent is away.

use serde_json::{Value, json};

use crate::cluster::{Cluster, wait_until};
use crate::tree;

/// A job of two items, the first of which is done and the second in progress, for three quarters of a minute.
fn half_done(cluster: &Cluster) -> String {
    let (first, second) = (cluster.place("first"), cluster.place("second"));
    std::fs::write(first.join("small"), tree::noise(1 << 20, 2)).unwrap();
    std::fs::write(second.join("big"), tree::noise(48 << 20, 3)).unwrap();
    cluster
        .apply_policy("slow", &[&first, &second], "[limits]\nbandwidth = \"1MiB/s\"")
        .expect(0);
    let id = submit(cluster, "slow");
    wait_until("the second item to be in progress", || {
        let job = cluster.json(&["job", "show", &id]);
        job["items"][1]["outcome"] == "in_progress"
    });
    id
}

fn submit(cluster: &Cluster, policy: &str) -> String {
    let job = cluster.json(&["job", "run", policy]);
    job["id"].as_str().unwrap().to_owned()
}

/// The job when it is done: canceled, in one history.
fn canceled(cluster: &Cluster, id: &str) -> Value {
    let job = cluster
        .try_run(&["-o", "json", "job", "watch", id])
        .expect(1)
        .json();
    assert_eq!(
        (&job["state"], &job["status"], &job["status_code"]),
        (&json!("done"), &json!("canceled"), &json!(150)),
        "{job:#}"
    );
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    assert_eq!(job["attempts"][0]["status"], "canceled", "{job:#}");
    assert_eq!(job["actions"], json!(["restart"]));
    // Done is done: a second one is refused and changes nothing.
    let again = cluster.try_run(&["job", "cancel", id]).expect(5);
    assert!(
        again.stderr.contains(&format!("job {id} is done: canceled")),
        "{}",
        again.stderr
    );
    assert_eq!(cluster.json(&["job", "show", id]), job);
    job
}

#[test]
fn s12a_a_job_that_is_canceled_while_it_waits_has_one_history_of_no_attempt() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    cluster
        .apply_policy_for("nobody", "home", &[&source], "")
        .expect(0);
    let id = submit(&cluster, "home");
    let job = cluster.json(&["job", "show", &id]);
    assert_eq!(
        (&job["state"], &job["actions"]),
        (&json!("queued"), &json!(["cancel", "hold"]))
    );

    let said = cluster.run(&["job", "cancel", &id]);
    assert_eq!(said.stdout, format!("job {id} is canceled\n"));
    let job = canceled(&cluster, &id);
    let history = &job["attempts"][0];
    assert_eq!(
        (
            &history["attempt"],
            &history["media_agent"],
            &history["started_at"]
        ),
        (&json!(0), &Value::Null, &Value::Null),
        "{job:#}"
    );
    assert_eq!(job["items"][0]["outcome"], "not_started");
    let listed = cluster.json(&["history", "list", "--job", &id]);
    assert_eq!(listed, json!([history]));
    // No history without a log (S-13), and somebody did it (L-02).
    let log = cluster.json(&["job", "log", &id]);
    assert_eq!(log["job_information"]["attempt"], 0, "{log:#}");
    assert!(cluster.run(&["job", "log", &id]).stdout.contains("canceled"));
    let details = cluster.json(&["job", "details", &id]);
    let last = details.as_array().unwrap().last().unwrap();
    let text = last["text"].as_str().unwrap();
    assert!(
        text.starts_with("canceled by operator \"") && text.ends_with("while it was queued"),
        "{text}"
    );

    for (id, code) in [("77", 6), ("seven", 6)] {
        cluster.try_run(&["job", "cancel", id]).expect(code);
    }
}

#[test]
fn x09_an_active_job_keeps_what_it_has_finished() {
    let cluster = Cluster::start();
    let id = half_done(&cluster);
    let said = cluster.run(&["job", "cancel", &id]);
    assert!(
        said.stdout.starts_with(&format!("job {id} is ")),
        "{}",
        said.stdout
    );
    let job = canceled(&cluster, &id);
    let outcomes: Vec<_> = [0, 1].map(|item| job["items"][item]["outcome"].clone()).into();
    assert_eq!(outcomes, [json!("done"), json!("stopped")], "{job:#}");
    let points = cluster.json(&["restore-point", "list"]);
    let of_items: Vec<_> = points.as_array().unwrap().iter().map(|p| &p["id"]).collect();
    assert_eq!(of_items, [&job["items"][0]["restore_point"]]);
    assert_eq!(job["items"][1]["restore_point"], Value::Null);
    cluster.check_repository();

    // Nothing of it is left to be in the way of the next.
    cluster
        .apply_policy("home", &[&cluster.place("first")], "")
        .expect(0);
    cluster.run_job("home", 0);
}

#[test]
fn x08_a_job_whose_media_agent_is_away_ends_when_it_is_back() {
    let cluster = Cluster::start();
    let id = half_done(&cluster);
    let job = cluster.json(&["job", "show", &id]);
    let media_agent = job["attempts"][0]["media_agent"].as_str().unwrap();
    cluster.kill(&[media_agent]);
    wait_until("the leader to miss it", || {
        cluster.run(&["job", "cancel", &id]);
        cluster.json(&["job", "show", &id])["waiting"]["for"] == media_agent
    });
    let job = cluster.json(&["job", "show", &id]);
    assert_eq!(job["state"], "stopping", "{job:#}");
    let said = cluster.run(&["job", "cancel", &id]);
    assert!(said.stdout.contains("is not connected"), "{}", said.stdout);

    // It was interrupted, and would go on in a new attempt if nobody had canceled it.
    cluster.restart(media_agent);
    let job = canceled(&cluster, &id);
    assert_eq!(job["items"][0]["outcome"], "done", "{job:#}");
    cluster.check_repository();
}

#[test]
fn x08_without_a_leader_nothing_is_canceled() {
    let cluster = Cluster::start();
    let id = half_done(&cluster);
    let all = ["primary-1", "primary-2", "primary-3"];
    cluster.kill(&all);
    let refused = cluster
        .try_run(&["--timeout", "1s", "job", "cancel", &id])
        .expect(4);
    assert!(refused.stderr.contains("no leader"), "{}", refused.stderr);
    for primary in all {
        cluster.restart(primary);
    }
    wait_until("the primaries to be back", || {
        cluster.try_run(&["--timeout", "1s", "job", "cancel", &id]).code == 0
    });
    canceled(&cluster, &id);
}
