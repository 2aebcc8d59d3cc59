//! an attempt that is not resilient, or not marked yet, and its primaries: away for longer than `disruption_grace`, it fails with
//! 40, and the media agent says so itself; away for less, it goes on.

use std::path::Path;

use crate::cluster::{Cluster, wait_until};
use crate::outage::{Outage, Way, job_under_way, over, slow_job};
use crate::stream::{MEDIA, count, with_proxies};

/// A cluster whose agents know a grace of 2 s.
fn with_short_grace(resilience: &str) -> Cluster {
    let cluster = Cluster::start();
    let settings = ["--disruption-grace", "2s", "--resilience", resilience];
    cluster.run(&[&["cluster", "set"], &settings[..]].concat());
    cluster
}

fn media_agent(cluster: &Cluster, id: &str) -> String {
    let job = cluster.json(&["job", "show", id]);
    job["attempts"][0]["media_agent"].as_str().unwrap().to_owned()
}

fn snapshots(cluster: &Cluster) -> usize {
    let snapshots = cluster.data_dir().join("storage/snapshots");
    std::fs::read_dir(snapshots).map_or(0, Iterator::count)
}

/// Waits until the media agent has said, with no primary there, that the attempt failed and why.
fn wait_for_the_end(cluster: &Cluster, media: &str, id: &str, why: &str) {
    wait_until("the media agent to say that the attempt is over", || {
        over(cluster, media, id).is_some()
    });
    let said = over(cluster, media, id).unwrap();
    assert!(said.contains(why), "{said}");
    assert_eq!(snapshots(cluster), 0);
}

/// What the primaries say when they are back.
fn assert_failed(cluster: &Cluster, id: &str, why: &str) {
    let job = cluster
        .try_run(&["-o", "json", "job", "watch", id])
        .expect(1)
        .json();
    assert_eq!(job["status"], "failed", "{job:#}");
    assert_eq!(job["status_code"], 40, "{job:#}");
    let histories = cluster.json(&["history", "list", "--job", id]);
    let [history] = histories.as_array().unwrap().as_slice() else {
        panic!("{histories:#}")
    };
    assert_eq!(history["status_code"], 40, "{history:#}");
    let text = history["error"]["text"].as_str().unwrap();
    assert_eq!(text, why);
    assert_eq!(cluster.json(&["restore-point", "list"]), serde_json::json!([]));
    cluster.check_repository();
}

#[test]
fn r03_an_attempt_without_mark_fails_with_40_after_the_grace() {
    const WHY: &str = "no primary answered for 2 s and the job is not resilient";
    let cluster = Cluster::start();
    cluster.run(&["cluster", "set", "--resilience", "off"]);
    let source = cluster.place("source");
    for way in [Way::Killed, Way::Stopped] {
        let id = job_under_way(&cluster, &source, 50 + way as u64, 1);
        let media = media_agent(&cluster, &id);
        // It is in force at connected agents at once, for what runs there.
        cluster.run(&["cluster", "set", "--disruption-grace", "2s"]);
        wait_until("the media agent to know the grace", || {
            count(&cluster, &media, "settings of the cluster have changed") > 0
        });
        let outage = Outage::begin(&cluster, way, 3);
        wait_for_the_end(&cluster, &media, &id, WHY);
        cluster.kill(&[&media]);
        outage.end();
        cluster.restart(&media);
        assert_failed(&cluster, &id, WHY);
        cluster.wait_for_all_primaries();
    }
}

/// The job would be resilient, but its client has not come: there is no mark yet.
#[test]
fn r03_an_attempt_from_before_its_mark_fails_with_40_after_the_grace() {
    const WHY: &str = "no primary answered for 2 s before the attempt was marked as resilient";
    let cluster = with_short_grace("on");
    let proxies = with_proxies(&cluster);
    let source = cluster.place("source");
    for way in [Way::Killed, Way::Stopped] {
        proxies.iter().for_each(|proxy| proxy.close());
        let id = slow_job(&cluster, &source, 60 + way as u64, 8);
        let mut begun = [false; 2];
        wait_until("the attempt to begin", || {
            let text = format!("attempt begins job={id} ");
            begun = MEDIA.map(|media| count(&cluster, media, &text) > 0);
            begun != [false; 2]
        });
        let media = MEDIA[usize::from(begun[1])];
        let outage = Outage::begin(&cluster, way, 3);
        wait_for_the_end(&cluster, media, &id, WHY);
        // The client comes too late.
        proxies.iter().for_each(|proxy| proxy.open());
        outage.end();
        assert_failed(&cluster, &id, WHY);
        cluster.wait_for_all_primaries();
    }
}

/// F-13: the same attempt in an outage that both agents notice and that is over within the grace.
#[test]
fn r03_an_outage_shorter_than_the_grace_is_no_end() {
    let cluster = Cluster::start();
    // A busy machine may take long to bring them back.
    cluster.run(&["pool", "set", "default", "--failover-after", "200s"]);
    let settings = ["--resilience", "off", "--disruption-grace", "100s"];
    cluster.run(&[&["cluster", "set"], &settings[..]].concat());
    let source = cluster.place("source");
    let id = job_under_way(&cluster, &source, 70, 4);
    let media = media_agent(&cluster, &id);
    let lost = || [&media, "client-1"].map(|child| count(&cluster, child, "no session with the leader"));
    let before = lost();
    let outage = Outage::begin(&cluster, Way::Killed, 3);
    wait_until("both agents to have lost their primaries", || {
        lost().iter().zip(before).all(|(now, before)| *now > before)
    });
    outage.end();
    let job = cluster.run(&["-o", "json", "job", "watch", &id]).json();
    assert_eq!(job["status"], "successful", "{job:#}");
    assert_eq!(job["resilient"], false, "{job:#}");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    assert_restored(&cluster, &job, &source);
}

fn assert_restored(cluster: &Cluster, job: &serde_json::Value, source: &Path) {
    cluster.check_repository();
    let target = cluster.place("target");
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    cluster.restic(&["restore", point, "--target", target.to_str().unwrap()]);
    crate::tree::assert_same(source, &target.join(source.strip_prefix("/").unwrap()));
}
