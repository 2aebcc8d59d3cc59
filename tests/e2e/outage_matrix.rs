//! S-12: primaries go away in mid-job, the job ends without them, its agents are killed before they return, and
//! the truth arrives all the same. A table: how they go away, how many of them, and when.

use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::outage::{Outage, Way, job_under_way, over, slow_job};
use crate::stream::{MEDIA, behind_proxies, restart_behind};
use crate::tree;

/// One, two, three of the three primaries, each with how fast the job is, in MiB/s of 24 MiB.
type Row = (usize, u32);

fn media_agent(cluster: &Cluster, id: &str) -> String {
    let job = cluster.json(&["job", "show", id]);
    job["attempts"][0]["media_agent"].as_str().unwrap().to_owned()
}

/// The job and everything that was said of it, after everybody is back, which began later than `ended_by`.
fn assert_truth(cluster: &Cluster, id: &str, source: &std::path::Path, ended_by: jiff::Timestamp) {
    let job = cluster.run(&["-o", "json", "job", "watch", id]).json();
    let ended: jiff::Timestamp = job["ended_at"].as_str().unwrap().parse().unwrap();
    assert!(ended < ended_by, "it ended during the outage: {job:#}");
    assert_eq!(
        (&job["status"], &job["resilient"]),
        (&"successful".into(), &true.into()),
        "{job:#}"
    );
    let histories = cluster.json(&["history", "list", "--job", id]);
    let [history] = histories.as_array().unwrap().as_slice() else {
        panic!("{histories:#}")
    };
    assert_eq!(
        (&history["status"], &history["attempt"]),
        (&"successful".into(), &1.into()),
        "{history:#}"
    );
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    let details = cluster.json(&["job", "details", id]);
    let is_mark = |line: &&Value| line["text"] == "job is resilient";
    assert_eq!(details.as_array().unwrap().iter().filter(is_mark).count(), 1);

    let points = cluster.json(&["restore-point", "list", "--policy", "slow"]);
    let of_job = points
        .as_array()
        .unwrap()
        .iter()
        .filter(|point| point["job"] == id);
    let point = &job["items"][0]["restore_point"];
    assert_eq!(
        of_job.map(|point| &point["id"]).collect::<Vec<_>>(),
        [point],
        "{points:#}"
    );
    let target = cluster.place(&format!("target-{id}"));
    cluster.run(&[
        "restore",
        point.as_str().unwrap(),
        "--to",
        target.to_str().unwrap(),
        "--wait",
    ]);
    tree::assert_same(source, &target.join(source.strip_prefix("/").unwrap()));
    cluster.check_repository();
}

fn in_mid_job(way: Way, rows: [Row; 3]) {
    let cluster = Cluster::start();
    // Whoever had no mark would not outlive these outages. Agents hear of it when they meet the next leader.
    cluster.run(&["cluster", "set", "--disruption-grace", "1s"]);
    let source = cluster.place("source");
    for (how_many, rate) in rows {
        let id = job_under_way(&cluster, &source, 30 + how_many as u64, rate);
        let media = media_agent(&cluster, &id);
        let outage = Outage::begin(&cluster, way, how_many);
        wait_until("the attempt to be over", || over(&cluster, &media, &id).is_some());
        cluster.kill(&[&media, "client-1"]);
        cluster.check_repository();
        let ended_by = jiff::Timestamp::now();
        outage.end();
        cluster.restart(&media);
        cluster.restart("client-1");
        assert_truth(&cluster, &id, &source, ended_by);
        cluster.wait_for_all_primaries();
        println!("{way:?} {how_many} of 3: one history, successful");
    }
}

#[test]
fn r04_primaries_killed_in_mid_job() {
    in_mid_job(Way::Killed, [(1, 8), (2, 8), (3, 8)]);
}

/// In the last row the agents have noticed, and the grace is over, long before the end.
#[test]
fn r04_primaries_stopped_in_mid_job() {
    in_mid_job(Way::Stopped, [(1, 8), (2, 8), (3, 1)]);
}

/// From before the mark: agents have a ticket and nothing more. The attempt begins, its stream breaks and comes back, and it ends,
/// with nobody there.
#[test]
fn r02_a_job_whose_ticket_was_just_delivered_is_done_without_a_primary() {
    let (cluster, proxies) = behind_proxies();
    let source = cluster.place("source");
    for way in [Way::Killed, Way::Stopped] {
        proxies.iter().for_each(|proxy| proxy.close());
        let id = slow_job(&cluster, &source, 40 + way as u64, 8);
        wait_until("client and media agent to have their orders", || {
            let has = |child: &str, text: &str| {
                let (log, job) = (cluster.log(child), format!("job={id} "));
                log.lines().any(|line| line.contains(text) && line.contains(&job))
            };
            MEDIA.iter().any(|media| has(media, "attempt begins"))
                && has("client-1", "there is no data stream to the media agent yet")
        });
        let media = media_agent(&cluster, &id);
        let said = cluster.json(&["job", "details", &id]).to_string();
        assert!(
            !said.contains("job is resilient"),
            "it has its mark already: {said}"
        );
        let outage = Outage::begin(&cluster, way, 3);
        let cuts = || proxies.iter().map(|proxy| proxy.cuts()).sum::<usize>();
        let before = cuts();
        for proxy in &proxies {
            proxy.plan([20_000, 3_000_000, 200_000, 5_000_000]);
            proxy.open();
        }
        wait_until("the attempt to be over", || over(&cluster, &media, &id).is_some());
        assert_eq!(cuts() - before, 4, "{way:?}");
        cluster.kill(&[&media, "client-1"]);
        cluster.check_repository();
        let ended_by = jiff::Timestamp::now();
        outage.end();
        for (child, proxy) in MEDIA.iter().zip(&proxies).filter(|(child, _)| **child == media) {
            restart_behind(&cluster, child, proxy);
        }
        cluster.restart("client-1");
        assert_truth(&cluster, &id, &source, ended_by);
        cluster.wait_for_all_primaries();
        // Else it would show itself in the next round, and use up a connection that is to be cut.
        wait_until(
            "the restarted client to have heard that its attempt is over",
            || {
                let log = cluster.log("client-1");
                let of_process = log.rsplit("client agent runs").next().unwrap();
                let lines = |text| of_process.matches(text).count();
                lines("attempt begins") == lines("attempt is over")
            },
        );
        println!("{way:?} before the mark: one history, successful");
    }
}
