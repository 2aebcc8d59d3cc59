//! kill -9 of an agent at random instants of a backup, again and again: the repository stays clean, each job ends as the
//! specification says, and the last backup is whole (F-09, F-16, S-12, S-14).

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::tree;

const KILLS: usize = 20;
/// An attempt takes a little less, so that some are killed in their last steps, and some have just ended.
const LATEST: Duration = Duration::from_millis(1300);
/// The sixth interrupted attempt holds a job (E-05).
const KILLS_PER_JOB: usize = 5;

/// The instants. Which messages are under way then, the machine decides: the same seed gives the same plan, not the same run.
struct Dice(u64);

impl Dice {
    /// From `OUTLAST_SEED`, or from the clock; printed.
    fn new(test: &str) -> Self {
        let given = std::env::var("OUTLAST_SEED")
            .ok()
            .map(|seed| seed.parse().unwrap());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = given.unwrap_or_else(clock);
        println!("OUTLAST_SEED={seed} cargo test --test e2e {test}");
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn instant(&mut self) -> Duration {
        Duration::from_micros(self.next() % LATEST.as_micros() as u64)
    }
}

/// A cluster and a folder that takes about a second to back up, since some of it is new each time.
struct Scene {
    cluster: Cluster,
    source: std::path::PathBuf,
    dice: Dice,
    kills: usize,
}

impl Scene {
    fn new(test: &str) -> Self {
        let dice = Dice::new(test);
        let cluster = Cluster::start();
        let source = cluster.place("source");
        tree::make(&source);
        cluster
            .apply_policy(
                "slow",
                &[&source],
                "[limits]\nbandwidth = \"16MiB/s\"\n[retry]\ntries = 0",
            )
            .expect(0);
        Self {
            cluster,
            source,
            dice,
            kills: 0,
        }
    }

    fn submit(&mut self) -> String {
        let noise = tree::noise(12 << 20, self.dice.next());
        std::fs::write(self.source.join("big"), noise).unwrap();
        let job = self.cluster.json(&["job", "run", "slow"]);
        job["id"].as_str().unwrap().to_owned()
    }

    fn show(&self, id: &str) -> Value {
        self.cluster.json(&["job", "show", id])
    }

    /// Waits until attempt `number` runs, or the job is done; the media agent it runs on.
    fn running(&self, id: &str, number: usize) -> Option<String> {
        let mut media = None;
        wait_until("the attempt to run", || {
            let job = self.show(id);
            let agent = &job["attempts"][number]["media_agent"];
            media = agent
                .as_str()
                .map(str::to_owned)
                .filter(|_| job["state"] == "active");
            media.is_some() || job["state"] == "done"
        });
        media
    }

    /// Kills `child` at a random instant, looks at what is left, and starts it again; false if the job was done before.
    fn kill(&mut self, id: &str, child: &str) -> bool {
        std::thread::sleep(self.dice.instant());
        if self.show(id)["state"] == "done" {
            return false;
        }
        self.cluster.kill(&[child]);
        self.kills += 1;
        self.cluster.check_repository();
        self.cluster.restart(child);
        true
    }

    fn end(&self, id: &str) -> Value {
        wait_until("the job to be done", || self.show(id)["state"] == "done");
        self.show(id)
    }

    /// One history for each attempt, and a further backup restores to what the source is.
    fn assert_well(&self) {
        let histories = self.cluster.json(&["history", "list", "--limit", "1000"]);
        let mut of_attempts: Vec<_> = histories
            .as_array()
            .unwrap()
            .iter()
            .map(|history| (history["job"].to_string(), history["attempt"].to_string()))
            .collect();
        let all = of_attempts.len();
        of_attempts.sort();
        of_attempts.dedup();
        assert_eq!(of_attempts.len(), all, "{histories:#}");
        self.cluster.check_repository();
        let target = self.cluster.place("target");
        let last = self.cluster.run_job("slow", 0);
        let point = last["items"][0]["restore_point"].as_str().unwrap();
        self.restored(point, &target);
    }

    fn restored(&self, point: &str, target: &Path) {
        self.cluster
            .restic(&["restore", point, "--target", target.to_str().unwrap()]);
        tree::assert_same(&self.source, &target.join(self.source.strip_prefix("/").unwrap()));
    }
}

fn statuses(job: &Value) -> Vec<&str> {
    let attempts = job["attempts"].as_array().unwrap();
    attempts
        .iter()
        .map(|attempt| attempt["status"].as_str().unwrap())
        .collect()
}

/// F-16: the attempt is failed over, whatever it was doing, and the job is successful in the end.
#[test]
fn f16_a_media_agent_is_killed_20_times() {
    let mut scene = Scene::new("f16_a_media_agent_is_killed_20_times");
    let mut last = None;
    while scene.kills < KILLS {
        let id = scene.submit();
        let before = scene.kills;
        let mut attempts = 0;
        while scene.kills < KILLS && scene.kills - before < KILLS_PER_JOB {
            let Some(media) = scene.running(&id, attempts) else {
                break;
            };
            if !scene.kill(&id, &media) {
                break;
            }
            // Killed before it had marked the attempt, it goes on with just that one; killed after its end, it has the result.
            wait_until("the agent to say what became of the attempt", || {
                let job = scene.show(&id);
                let ended = job["attempts"][attempts]["status"].is_string();
                ended || job["items"][0]["outcome"] == "in_progress"
            });
            attempts = scene.show(&id)["attempts"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|attempt| attempt["status"].is_string())
                .count();
        }
        let job = scene.end(&id);
        let statuses = statuses(&job);
        let (end, earlier) = statuses.split_last().unwrap();
        assert_eq!(*end, "successful", "{job:#}");
        assert!(earlier.iter().all(|status| *status == "resumed"), "{job:#}");
        assert!(earlier.len() <= scene.kills - before, "{job:#}");
        last = Some(job);
    }
    let last = last.unwrap();
    let target = scene.cluster.place("last");
    scene.restored(last["items"][0]["restore_point"].as_str().unwrap(), &target);
    scene.assert_well();
}

/// F-09: an attempt whose client came back as another process ends with 50, at once; one that had not begun just begins.
#[test]
fn f09_a_client_agent_is_killed_20_times() {
    let mut scene = Scene::new("f09_a_client_agent_is_killed_20_times");
    let mut aborted = 0;
    while scene.kills < KILLS {
        let id = scene.submit();
        if scene.running(&id, 0).is_none() || !scene.kill(&id, "client-1") {
            continue;
        }
        let job = scene.end(&id);
        let point = &job["items"][0]["restore_point"];
        match statuses(&job).as_slice() {
            ["successful"] => assert!(point.is_string(), "{job:#}"),
            ["failed"] => {
                aborted += 1;
                assert_eq!(job["attempts"][0]["status_code"], 50, "{job:#}");
                assert!(point.is_null(), "{job:#}");
            }
            _ => panic!("{job:#}"),
        }
    }
    println!("{aborted} of {KILLS} attempts ended with 50");
    assert!(aborted > 0);
    scene.assert_well();
}

fn temporary_names(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => temporary_names(&entry.path()),
            _ => usize::from(
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with(".outlast-restore-"),
            ),
        })
        .sum()
}

/// A restore is never begun again by itself when its client was lost (F-17); what it left is put right all the same: temporary
/// names go when the client is back, and a later restore that overwrites nothing describes the directories that were left.
#[test]
fn t90_f17_what_a_killed_restore_left_is_put_right() {
    let cluster = Cluster::start();
    let proxies = crate::stream::with_proxies(&cluster);
    let source = cluster.place("source");
    tree::make(&source);
    let deep = source.join("docs/deep");
    let time = std::fs::metadata(&deep).unwrap().modified().unwrap();
    std::fs::write(deep.join("zz"), tree::noise(48 << 20, 4)).unwrap();
    std::fs::File::open(&deep).unwrap().set_modified(time).unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    let backup = cluster.run_job("home", 0);
    let point = backup["items"][0]["restore_point"].as_str().unwrap();
    let target = cluster.place("target");
    let restored = target.join(source.strip_prefix("/").unwrap());
    let to = target.to_str().unwrap();
    // Nothing more comes in the middle of the large file.
    proxies.iter().for_each(|proxy| proxy.be_silent_after(24 << 20));
    let job = cluster.json(&["restore", point, "--to", to]);
    let id = job["id"].as_str().unwrap();
    wait_until("the large file to begin", || {
        temporary_names(&restored.join("docs/deep")) > 0
    });
    cluster.kill(&["client-1"]);
    assert!(temporary_names(&target) > 0, "it was killed in the middle");
    proxies.iter().for_each(|proxy| proxy.be_silent(false));
    cluster.restart("client-1");
    let ended = cluster
        .try_run(&["-o", "json", "job", "watch", id])
        .expect(1)
        .json();
    assert_eq!(ended["attempts"][0]["status_code"], 50, "{ended:#}");
    assert_eq!(temporary_names(&target), 0);
    cluster.run(&["restore", point, "--to", to, "--overwrite", "never", "--wait"]);
    tree::assert_same(&source, &restored);
    assert_eq!(temporary_names(&target), 0);
}
