//! All hosts lose power at once, again and again, on disks that keep only what was synced: every process starts again, the primaries
//! agree, what was acknowledged is there once and with its truth, what counts as restorable comes back byte for byte, and what a restore
//! said it had restored is on its disk (R-04, R-05, S-12, S-14).
//!
//! Three primaries, two media agents, a client and a storage, each with a disk of its own. The source alone is on a disk of this machine.
//!
//! `OUTLAST_SEED` and `OUTLAST_ROUNDS` choose the run; the same seed gives the same plan and the same disks, not the same run.

mod account;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use outlast_test_filesystems::{Disk, can_mount};
use rustix::process::Signal;
use serde_json::Value;

use crate::cluster::{Ran, wait_until};
use crate::group::{Hosts, Node};
use crate::tree;

const QUICK: usize = 3;
const SOAK: usize = 200;
/// The repository is read from end to end so often.
const READ_EACH: usize = 10;
/// So long is waited for the moment at which the power is to go.
const FOR_THE_MOMENT: Duration = Duration::from_secs(10);

const PRIMARIES: std::ops::Range<usize> = 0..3;
const CLIENT: usize = 5;
const STORAGE: usize = 6;

/// When the power goes.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Any,
    /// Within a second of a start.
    Starting,
    /// The leader has just been killed.
    LeaderGone,
    /// A file of this kind is being written in the storage unit.
    Writing(&'static str),
    /// A job was just told to be done.
    Told,
}

const MOMENTS: [Moment; 7] = [
    Moment::Any,
    Moment::Any,
    Moment::Starting,
    Moment::LeaderGone,
    Moment::Writing("index"),
    Moment::Writing("snapshots"),
    Moment::Told,
];

/// An acknowledged job.
struct Job {
    /// What was in the source when it ran; of a restore, in its restore point.
    copy: PathBuf,
    /// Of a restore.
    to: Option<PathBuf>,
    /// The status that it is to have for ever.
    ended: Option<String>,
}

#[derive(Debug, Default)]
struct Counts {
    cuts: usize,
    moments: BTreeMap<String, usize>,
    kills: usize,
    unanswered: usize,
    backups: BTreeMap<String, usize>,
    restores: BTreeMap<String, usize>,
    compared_backups: usize,
    compared_restores: usize,
}

struct Scene {
    /// All of them end before their disks.
    nodes: Vec<Node>,
    disks: Vec<Disk>,
    hosts: Hosts,
    chance: u64,
    jobs: BTreeMap<String, Job>,
    /// Of successful backups, by job: the restore point and its snapshot.
    points: BTreeMap<String, (String, String)>,
    /// Restores that were told to be successful, and were not looked at since.
    told: Vec<(PathBuf, PathBuf)>,
    counts: Counts,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let hosts = Hosts::new();
        let [one, two, three] = hosts.first_three();
        let primaries = [&one, &two, &three];
        let media = ["media-1", "media-2"].map(|name| hosts.media_agent(&primaries, name));
        let client = hosts.client_agent(&primaries, "laptop");
        let nodes: Vec<_> = [one, two, three]
            .into_iter()
            .chain(media)
            .chain([client])
            .collect();
        let names = nodes.iter().map(|node| node.name.as_str()).chain(["storage"]);
        let disk = |(number, name): (u64, &str)| {
            let folder = hosts.path(&format!("host-{name}"));
            std::fs::create_dir(&folder).unwrap();
            Disk::new(&folder, seed.wrapping_mul(1000) + number).unwrap()
        };
        let disks: Vec<_> = (0..).zip(names).map(disk).collect();
        let unit = disks[STORAGE].path().join("storage/unit");
        for (node, disk) in nodes.iter().zip(&disks) {
            let text = std::fs::read_to_string(&node.config).unwrap();
            let data = disk.path().join("lib/outlast/data");
            let text = text
                .replace(&format!("{:?}", node.data), &format!("{data:?}"))
                .replace(&format!("{:?}", hosts.path("unit")), &format!("{unit:?}"));
            std::fs::write(&node.config, text).unwrap();
        }
        std::fs::create_dir(hosts.path("source")).unwrap();
        let mut scene = Self {
            nodes,
            disks,
            hosts,
            chance: seed,
            jobs: BTreeMap::new(),
            points: BTreeMap::new(),
            told: Vec::new(),
            counts: Counts::default(),
        };
        scene.set_up();
        scene
    }

    fn set_up(&mut self) {
        self.start();
        wait_until("the pool to be there", || {
            self.run(&["pool", "show", "default"]).code == 0
        });
        self.run(&[
            "cluster",
            "set",
            "--disruption-grace",
            "5s",
            "--reconnect-for",
            "20s",
        ])
        .expect(0);
        let source = self.hosts.path("source");
        for (name, bandwidth) in [("home", "8MiB/s"), ("slow", "512KiB/s")] {
            let file = self.hosts.path("policy.toml");
            let text = format!(
                "name = {name:?}\nclients = [\"laptop\"]\nitems = [{source:?}]\n[checkpoint]\ninterval = \"1s\"\n\
                 [limits]\nbandwidth = {bandwidth:?}\n[retry]\ndelay = \"1s\"\ntries = 100\n"
            );
            std::fs::write(&file, text).unwrap();
            self.run(&["policy", "apply", "-f", file.to_str().unwrap()])
                .expect(0);
        }
    }

    /// SplitMix64: 0 to `most`.
    fn up_to(&mut self, most: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % (most + 1)
    }

    fn some<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.up_to(all.len() as u64 - 1)).unwrap()]
    }

    fn run(&self, args: &[&str]) -> Ran {
        let primaries: Vec<_> = self.nodes[PRIMARIES].iter().collect();
        self.hosts.run(&primaries, args)
    }

    /// Asks again while nobody leads.
    fn json(&self, args: &[&str]) -> Value {
        let mut answer = Value::Null;
        wait_until(&format!("an answer to {args:?}"), || {
            let ran = self.run(args);
            assert!([0, 4].contains(&ran.code), "{ran:?}");
            if ran.code == 0 {
                answer = ran.json();
            }
            ran.code == 0
        });
        answer
    }

    /// Starts all that do not run, and waits until the group answers.
    fn start(&mut self) {
        self.launch();
        wait_until("the group to answer", || {
            self.run(&["cluster", "members"]).code == 0
        });
        self.check_processes();
    }

    fn check_processes(&mut self) {
        for node in &mut self.nodes {
            assert!(node.is_running(), "{} has ended by itself", node.name);
        }
    }

    fn launch(&mut self) {
        for node in &mut self.nodes {
            if !node.is_running() {
                node.launch();
            }
        }
    }

    /// All at once.
    fn lose_power(&mut self) {
        self.disks.iter().for_each(Disk::cut);
        self.nodes.iter().for_each(|node| node.signal(Signal::KILL));
        self.nodes.iter_mut().for_each(|node| node.end(Signal::KILL));
        for disk in &mut self.disks {
            disk.come_back().unwrap();
        }
        self.counts.cuts += 1;
    }

    fn pause(&mut self, most: u64) -> u64 {
        let milliseconds = self.up_to(most);
        std::thread::sleep(Duration::from_millis(milliseconds));
        milliseconds
    }

    /// One of the nodes is killed, and started again.
    fn kill_one(&mut self) {
        let which = usize::try_from(self.up_to(self.nodes.len() as u64 - 1)).unwrap();
        println!("  {} is killed", self.nodes[which].name);
        self.nodes[which].end(Signal::KILL);
        self.nodes[which].launch();
        self.counts.kills += 1;
    }

    /// Waits for the moment, and takes the power.
    fn cut_at(&mut self, moment: Moment, open: &[String]) {
        let begun = Instant::now();
        let mut later = 0;
        match moment {
            Moment::Any => later = self.pause(4000),
            Moment::Starting => {
                self.pause(2000);
                self.lose_power();
                self.launch();
                later = self.pause(1000);
            }
            Moment::LeaderGone => {
                self.pause(1500);
                let leader = self.json(&["cluster", "status"])["leader"].clone();
                if let Some(node) = self.nodes.iter_mut().find(|node| leader == node.name.as_str()) {
                    node.end(Signal::KILL);
                    self.counts.kills += 1;
                }
                later = self.pause(700);
            }
            Moment::Writing(kind) => {
                let folder = self.disks[STORAGE].path().join("storage/unit").join(kind);
                let is_being_written = || {
                    let mut names = std::fs::read_dir(&folder).into_iter().flatten().flatten();
                    names.any(|entry| entry.file_name().to_string_lossy().contains(".outlast-tmp-"))
                };
                while !is_being_written() && begun.elapsed() < FOR_THE_MOMENT {}
            }
            Moment::Told => {
                let is_done = |job: &String| {
                    let ran = self.run(&["job", "show", job]);
                    ran.code == 0 && ran.json()["state"] == "done"
                };
                while !open.iter().any(is_done) && begun.elapsed() < FOR_THE_MOMENT {}
            }
        }
        println!(
            "  the power goes: {moment:?}, after {} ms ({later} ms by plan)",
            begun.elapsed().as_millis()
        );
        self.lose_power();
        *self.counts.moments.entry(format!("{moment:?}")).or_default() += 1;
    }

    /// Something new in the source; a copy of all of it.
    fn change(&mut self, round: usize) -> PathBuf {
        let source = self.hosts.path("source");
        let seed = self.up_to(u64::MAX - 1);
        std::fs::write(
            source.join(format!("file-{}", round % 3)),
            tree::noise(700_000, seed),
        )
        .unwrap();
        std::fs::write(source.join(format!("small-{}", round % 9)), seed.to_string()).unwrap();
        let copy = self.hosts.path(&format!("copy-{round}"));
        let mut command = Command::new("cp");
        let copied = command.arg("-a").arg(&source).arg(&copy).status().unwrap();
        assert!(copied.success());
        copy
    }

    /// Gives a job to the primaries; its id once they acknowledge it.
    fn submit(&mut self, args: &[&str], copy: &Path, to: Option<PathBuf>) -> String {
        let mut id = None;
        let mut unanswered = 0;
        wait_until("a job to be taken in", || {
            let ran = self.run(args);
            // Where nobody leads it may have been taken in all the same.
            unanswered += usize::from(ran.code == 4);
            assert!([0, 4].contains(&ran.code), "{ran:?}");
            if ran.code == 0 {
                id = Some(ran.json()["id"].as_str().unwrap().to_owned());
            }
            id.is_some()
        });
        self.counts.unanswered += unanswered;
        let id = id.unwrap();
        let (copy, ended) = (copy.to_owned(), None);
        let before = self.jobs.insert(id.clone(), Job { copy, to, ended });
        assert!(before.is_none(), "two submissions are job {id}");
        id
    }

    /// A restore of some restore point there is, to the client's disk.
    fn submit_restore(&mut self, round: usize) -> Option<String> {
        let points: Vec<_> = self
            .points
            .iter()
            .map(|(job, (point, _))| (job.clone(), point.clone()))
            .collect();
        let last = points.len().checked_sub(1)?;
        let (job, point) = points[usize::try_from(self.up_to(last as u64)).unwrap()].clone();
        let to = self.disks[CLIENT].path().join(format!("restores/of/{round}"));
        let copy = self.jobs[&job].copy.clone();
        let args = ["restore", &point, "--to", to.to_str().unwrap()];
        Some(self.submit(&args, &copy, Some(to.clone())))
    }

    fn round(&mut self, round: usize, moment: Moment) {
        let copy = self.change(round);
        let mut open = vec![self.submit(&["job", "run", "slow"], &copy, None)];
        open.extend(self.submit_restore(round));
        for _ in 0..self.up_to(2) {
            self.pause(1000);
            self.kill_one();
        }
        open.push(self.submit(&["job", "run", "home"], &copy, None));
        if self.up_to(2) == 0 {
            open.push(self.submit(&["job", "run", "home", "--full"], &copy, None));
        }
        self.cut_at(moment, &open);
        self.start();
        self.check_restores();
        self.wait_for_the_ends();
        let new = self.check_jobs();
        self.check_points();
        self.check_primaries();
        self.check_backups(&new);
        self.check_processes();
    }
}

fn rounds(count: usize, seed: u64) {
    if !can_mount() {
        return;
    }
    println!("OUTLAST_SEED={seed} OUTLAST_ROUNDS={count}");
    let mut scene = Scene::new(seed);
    for round in 0..count {
        let moment = match round {
            0 => Moment::Told,
            1 => Moment::Writing("index"),
            2 => Moment::Starting,
            _ => scene.some(&MOMENTS),
        };
        println!("round {round}");
        scene.round(round, moment);
        if round % READ_EACH == READ_EACH - 1 || round + 1 == count {
            // What was told in this round is to be there after a cut, too.
            scene.lose_power();
            scene.check_restores();
            scene.restic(&["check", "--read-data"]);
            scene.start();
        }
        println!("  so far: {:?}", scene.counts);
    }
}

#[test]
fn t90_r05_all_hosts_lose_power_at_once() {
    rounds(QUICK, 1);
}

#[test]
#[ignore = "takes an hour or more"]
fn soak_all_hosts_lose_power_at_once() {
    let number = |name: &str, otherwise| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let count = usize::try_from(number("OUTLAST_ROUNDS", SOAK as u64)).unwrap();
    rounds(count, number("OUTLAST_SEED", 1));
}
