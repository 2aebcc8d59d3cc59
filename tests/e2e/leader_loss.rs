//! a primary's end is no outage for those who submit, and no acknowledged submission is lost or doubled.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, wait_until};
use crate::submitters::Submitters;

const KILLS: usize = 20;
const CLIENTS: usize = 8;

#[test]
fn r16_the_leader_is_killed_20_times_while_8_clients_submit_and_list() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    cluster.apply_policy("home", &[&source], "").expect(0);
    // The jobs wait: this is about submissions.
    cluster.kill(&["client-1"]);
    let submitters = Submitters::start(&cluster, "home", CLIENTS);

    let mut pauses = Vec::new();
    for _ in 0..KILLS {
        let leader = cluster.leader();
        submitters.wait_for_more();
        let killed = Instant::now();
        cluster.kill(&[&leader]);
        let next = || {
            let times = submitters.times();
            times
                .into_iter()
                .find(|time| *time > killed + Duration::from_millis(20))
        };
        wait_until("the next accepted submission", || next().is_some());
        pauses.push(next().unwrap() - killed);
        cluster.restart(&leader);
        cluster.wait_for_all_primaries();
    }
    let submitters = submitters.stop();

    pauses.sort();
    println!(
        "leader killed {KILLS} times: next accepted submission after median {:?}, max {:?}",
        pauses[KILLS / 2],
        pauses[KILLS - 1]
    );
    submitters.assert_nothing_lost_or_doubled(&cluster);
}

#[test]
fn r16_without_a_majority_submissions_fail_with_the_nodes_tried() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    cluster.apply_policy("home", &[&source], "").expect(0);
    cluster.kill(&["primary-2"]);
    cluster.run_job("home", 0);
    cluster.kill(&["primary-3"]);
    let refused = cluster
        .try_run(&["--timeout", "2s", "-o", "json", "job", "run", "home"])
        .expect(4);
    let error: serde_json::Value = serde_json::from_str(&refused.stderr).unwrap();
    let text = error["error"]["text"].as_str().unwrap();
    assert_eq!(
        text,
        "no leader: 1 of 3 primaries answer; --stale shows what it knows"
    );
    assert_eq!(error["error"]["tried"].as_array().unwrap().len(), 3);
    let stale = cluster.json(&["--stale", "job", "list"]);
    assert_eq!(stale.as_array().unwrap().len(), 1);
    cluster.restart("primary-2");
    cluster.run_job("home", 0);
}
