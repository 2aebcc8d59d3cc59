//! F-13, R-16: every primary is stopped in good order and started again, one after the other, while clients submit and
//! backups run. Nobody is refused for longer than a client tries, and no job is interrupted.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::submitters::Submitters;
use crate::tree;

const CLIENTS: usize = 4;
const PRIMARIES: [&str; 3] = ["primary-1", "primary-2", "primary-3"];

#[test]
fn f13_a_rolling_restart_under_load_loses_nothing() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("big"), tree::noise(6 << 20, 9)).unwrap();
    cluster
        .apply_policy("home", &[&source], "[limits]\nbandwidth = \"4MiB/s\"")
        .expect(0);
    // Nobody has this client, so that what is submitted for it piles up beside the backups.
    let waiting = cluster.place("policies").join("waiting.toml");
    std::fs::write(
        &waiting,
        "name = \"waiting\"\nclients = [\"nobody\"]\nitems = [\"/srv\"]\n",
    )
    .unwrap();
    cluster.run(&["policy", "apply", "-f", waiting.to_str().unwrap()]);

    let over = AtomicBool::new(false);
    let (jobs, submitters) = std::thread::scope(|scope| {
        let _over = SetAtEnd(&over);
        let backups = scope.spawn(|| backups(&cluster, &over));
        wait_until("a backup to run", || {
            let jobs = cluster.json(&["job", "list", "--policy", "home"]);
            jobs.as_array()
                .unwrap()
                .iter()
                .any(|job| job["state"] == "active")
        });
        let submitters = Submitters::start(&cluster, "waiting", CLIENTS);
        for primary in PRIMARIES {
            submitters.wait_for_more();
            cluster.end(primary);
            submitters.wait_for_more();
            cluster.restart(primary);
            cluster.wait_for_all_primaries();
        }
        submitters.wait_for_more();
        over.store(true, Ordering::Relaxed);
        (backups.join().unwrap(), submitters.stop())
    });

    let gaps = submitters.times().windows(2).map(|pair| pair[1] - pair[0]).max();
    println!("longest gap between accepted submissions: {:?}", gaps.unwrap());
    submitters.assert_nothing_lost_or_doubled(&cluster);
    println!("{} backups ran meanwhile", jobs.len());
    for job in &jobs {
        let attempts = job["attempts"].as_array().unwrap();
        assert_eq!(
            (attempts.len(), &attempts[0]["status"]),
            (1, &Value::from("successful")),
            "{job:#}"
        );
    }
    let log = |primary: &str| {
        let file = cluster.data_dir().join("log").join(format!("{primary}.log"));
        std::fs::read_to_string(file).unwrap()
    };
    // One of them led when it was stopped, whoever that was.
    assert!(
        PRIMARIES
            .iter()
            .any(|primary| log(primary).contains("leadership handed over"))
    );
    for primary in PRIMARIES {
        // t90: a follower waited 5 s for the leader's replication stream, which never ends by itself.
        assert!(!log(primary).contains("did not end in time"), "{}", log(primary));
    }
    cluster.check_repository();
}

/// Lets the backups end also when the test fails meanwhile.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One backup after the other, each of something new; the documents of the finished jobs.
fn backups(cluster: &Cluster, over: &AtomicBool) -> Vec<Value> {
    let mut done = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let more = cluster.place("source").join(format!("more-{}", done.len()));
        std::fs::write(more, tree::noise(2 << 20, done.len() as u64)).unwrap();
        done.push(cluster.run_job("home", 0));
    }
    done
}
