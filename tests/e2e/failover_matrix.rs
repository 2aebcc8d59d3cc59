//! SPEC 5 as a table: what happens to the working media agent, with checkpoint restart and without, to a backup and to a restore. Each row looks at everything:
//! histories and their links, restore points, exceptions from before and after, the tree of an undisturbed run, what was sent again, ghosts, and every byte of the repository.
//!
//! Three primaries, two media agents, a client, each in a network namespace of its own; the storage unit is on a disk that can be full or read-only. Nearly all of the time is spent waiting, so
//! these clusters run beside the others.

mod account;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use outlast_test_filesystems::{At, Condition, Disk, Errno, Mounted, Odd, can_mount, mount};
use rustix::process::Signal;
use serde_json::Value;

use crate::cluster::{Ran, wait_until};
use crate::group::{Hosts, Node, OPERATOR};
use crate::network::Network;
use crate::tree;

const HOSTS: [&str; 7] = ["one", "two", "three", "media-1", "media-2", "laptop", OPERATOR];
const PRIMARIES: [&str; 3] = ["one", "two", "three"];
const CLIENT: &str = "laptop";
/// MiB each second, of a backup and of a restore.
const RATE: u32 = 4;
const MIB: u64 = 1 << 20;
/// Seconds between two checkpoints.
const INTERVAL: u64 = 1;

/// What happens to the media agent at work, or to its storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Killed,
    /// And woken when its job is done.
    Frozen,
    CutFromPrimaries,
    /// For less than `reconnect_for`.
    CutFromClient,
    CutFromBoth,
    Full,
    ReadOnly,
}

/// What becomes of the job.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Moves,
    /// One history, with the status that its data earns.
    Stays,
    /// `failed` with one of these; where it may be one agent's alone it is tried at another one first (F-18).
    Fails {
        codes: &'static [u64],
        moves: bool,
    },
}

const BACKUPS: [(Fault, Outcome); 7] = [
    (Fault::Killed, Outcome::Moves),
    (Fault::Frozen, Outcome::Moves),
    (Fault::CutFromPrimaries, Outcome::Stays),
    (Fault::CutFromClient, Outcome::Stays),
    (Fault::CutFromBoth, Outcome::Moves),
    (
        Fault::Full,
        Outcome::Fails {
            codes: &[129],
            moves: false,
        },
    ),
    (
        Fault::ReadOnly,
        Outcome::Fails {
            codes: &[84, 2106],
            moves: true,
        },
    ),
];

const RESTORES: [(Fault, Outcome); 5] = [
    (Fault::Killed, Outcome::Moves),
    (Fault::Frozen, Outcome::Moves),
    (Fault::CutFromPrimaries, Outcome::Stays),
    (Fault::CutFromClient, Outcome::Stays),
    (Fault::CutFromBoth, Outcome::Moves),
];

struct Scene {
    nodes: Vec<Node>,
    storage: Disk,
    /// Items before and behind the large one, each with a file that cannot be read.
    _odd: Mounted,
    hosts: Hosts,
}

impl Scene {
    fn new() -> Option<Self> {
        if !can_mount() || !Network::can_be() {
            return None;
        }
        let hosts = Hosts::in_network(Network::new(&HOSTS));
        let [one, two, three] = hosts.first_three();
        let primaries = [&one, &two, &three];
        let media = ["media-1", "media-2"].map(|name| hosts.media_agent(&primaries, name));
        let client = hosts.client_agent(&primaries, CLIENT);
        let folder = |name: &str| {
            std::fs::create_dir_all(hosts.path(name)).unwrap();
            hosts.path(name)
        };
        let storage = Disk::new(&folder("storage"), 1).unwrap();
        for node in &media {
            let text = std::fs::read_to_string(&node.config).unwrap();
            let unit = storage.path().join("unit");
            let text = text.replace(&format!("{:?}", hosts.path("unit")), &format!("{unit:?}"));
            std::fs::write(&node.config, text).unwrap();
        }
        let nodes: Vec<_> = [one, two, three]
            .into_iter()
            .chain(media)
            .chain([client])
            .collect();
        let mut scene = Self {
            _odd: odd(&folder("odd-backing"), &folder("odd")),
            nodes,
            storage,
            hosts,
        };
        scene.set_up();
        Some(scene)
    }

    fn set_up(&mut self) {
        self.nodes.iter_mut().for_each(Node::launch);
        wait_until("all to be there", || {
            let listed = self.run(&["agent", "list"]);
            listed.code == 0 && connected(&listed.json()) == 3
        });
        for command in [
            &["cluster", "set", "--disruption-grace", "1s"][..],
            &["pool", "set", "default", "--failover-after", "6s"],
        ] {
            self.run(command).expect(0);
        }
    }

    fn run(&self, args: &[&str]) -> Ran {
        let primaries: Vec<_> = self.nodes[..3].iter().collect();
        self.hosts.run(&primaries, args)
    }

    fn json(&self, args: &[&str]) -> Value {
        self.run(args).expect(0).json()
    }

    fn show(&self, id: &str) -> Value {
        self.json(&["job", "show", id])
    }

    fn network(&self) -> &Network {
        self.hosts.network.as_ref().unwrap()
    }

    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.name == name).unwrap()
    }

    fn restic(&self, args: &[&str]) -> Ran {
        let ran = Command::new("restic")
            .args(["--no-cache", "--quiet", "--no-lock", "--repo"])
            .arg(self.storage.path().join("unit"))
            .arg("--password-file")
            .arg(self.hosts.path("password"))
            .args(args)
            .output();
        Ran::of(ran.expect("restic is installed: apt-get install restic")).expect(0)
    }

    /// Does it, and undoes it when it has had its effect.
    fn disturb(&mut self, fault: Fault, media: &str, id: &str) {
        let is_done = |scene: &Self| scene.show(id)["state"] == "done";
        match fault {
            Fault::Killed => {
                self.node(media).end(Signal::KILL);
                wait_until("the job to be done", || is_done(self));
                self.node(media).launch();
            }
            Fault::Frozen => {
                self.node(media).signal(Signal::STOP);
                wait_until("the job to be done", || is_done(self));
                self.node(media).signal(Signal::CONT);
            }
            Fault::CutFromPrimaries => {
                self.network().cut(media, &PRIMARIES, true);
                wait_until("the silence to be shown", || !self.show(id)["unknown"].is_null());
                let over = format!("job={id} ");
                wait_until("it to have ended its attempt all the same", || {
                    let said = &self.nodes.iter().find(|node| node.name == media).unwrap().said();
                    let mut lines = said.lines();
                    lines.any(|line| line.contains("attempt is over") && line.contains(&over))
                });
                assert!(!is_done(self), "nobody can have heard of it");
                self.network().cut(media, &PRIMARIES, false);
            }
            Fault::CutFromClient => {
                self.network().cut(media, &[CLIENT], true);
                std::thread::sleep(std::time::Duration::from_secs(4));
                assert!(!is_done(self));
                self.network().cut(media, &[CLIENT], false);
            }
            Fault::CutFromBoth => {
                let others = [&PRIMARIES[..], &[CLIENT]].concat();
                self.network().cut(media, &others, true);
                wait_until("the job to be done", || is_done(self));
                self.network().cut(media, &others, false);
            }
            Fault::Full | Fault::ReadOnly => {
                let condition = if fault == Fault::Full {
                    Condition::Full
                } else {
                    Condition::ReadOnly
                };
                self.storage.be(condition);
                wait_until("the job to be done", || is_done(self));
                self.storage.be(Condition::Sound);
            }
        }
        wait_until("the job to be done", || is_done(self));
    }

    // --- backups

    fn backup(&mut self, number: u64, (fault, outcome): (Fault, Outcome), restart: bool) {
        println!("{fault:?}, checkpoint restart {restart}: {outcome:?}");
        let source = self.hosts.path("source");
        make(&source, number);
        let items = [
            self.hosts.path("odd/before"),
            source.clone(),
            self.hosts.path("odd/behind"),
        ];
        let checkpoint = format!("[checkpoint]\nrestart = {restart}\ninterval = \"{INTERVAL}s\"\n");
        self.apply(
            "row",
            &items,
            &format!("{checkpoint}[limits]\nbandwidth = \"{RATE}MiB/s\"\n"),
        );
        let id = text(&self.json(&["job", "run", "row"])["id"]);
        wait_until("data to flow, with a checkpoint", || {
            let job = self.show(&id);
            let progress = &job["progress"];
            job["items"][1]["outcome"] == "in_progress"
                && progress["bytes"].as_u64() > Some(4 * MIB)
                && (progress["checkpoint_at"].is_string() || !restart)
        });
        let media = text(&self.show(&id)["attempts"][0]["media_agent"]);
        self.disturb(fault, &media, &id);
        let job = self.show(&id);
        match outcome {
            Outcome::Fails { codes, moves } => {
                let first = if restart { "resumed" } else { "failed_over" };
                let histories = if moves {
                    &[first, "failed"][..]
                } else {
                    &["failed"]
                };
                self.assert_histories(&id, &job, histories);
                assert!(codes.contains(&job["status_code"].as_u64().unwrap()), "{job:#}");
                // What was finished before keeps its restore point, and the next run is none the worse for it.
                assert!(job["items"][0]["restore_point"].is_string(), "{job:#}");
                assert_eq!(job["items"][1]["restore_point"], Value::Null, "{job:#}");
                self.assert_settled(&id, &job);
                let again = self.json_of_end(&["job", "run", "row", "--wait"]);
                self.assert_points(&again, &source, &[1, 1, 1]);
            }
            Outcome::Stays => {
                self.assert_histories(&id, &job, &["completed_with_exceptions"]);
                self.assert_points(&job, &source, &[1, 1, 1]);
                self.assert_exceptions(&id, &[("before", None), ("behind", None)]);
                self.assert_settled(&id, &job);
            }
            Outcome::Moves => {
                let first = if restart { "resumed" } else { "failed_over" };
                self.assert_histories(&id, &job, &[first, "completed_with_exceptions"]);
                self.assert_points(&job, &source, &[1, 2, 2]);
                self.assert_exceptions(&id, &[("before", Some(1)), ("behind", None)]);
                self.assert_carried(&job, restart);
                self.assert_settled(&id, &job);
            }
        }
    }

    /// The document of a job that was waited for.
    fn json_of_end(&self, args: &[&str]) -> Value {
        let ran = self.run(args);
        assert!([0, 3].contains(&ran.code), "{ran:?}");
        ran.json()
    }

    fn apply(&self, name: &str, items: &[PathBuf], more: &str) {
        let file = self.hosts.path(&format!("{name}.toml"));
        let policy = format!("name = {name:?}\nclients = [{CLIENT:?}]\nitems = {items:?}\n{more}");
        std::fs::write(&file, policy).unwrap();
        self.run(&["policy", "apply", "-f", file.to_str().unwrap()])
            .expect(0);
    }

    // --- restores

    fn restore(&mut self, point: &str, (fault, outcome): (Fault, Outcome)) {
        println!("a restore, {fault:?}: {outcome:?}");
        let (source, target) = (
            self.hosts.path("source"),
            self.hosts.path(&format!("target-{fault:?}")),
        );
        let id = text(&self.json(&["restore", point, "--to", target.to_str().unwrap()])["id"]);
        let there = target.join(source.strip_prefix("/").unwrap());
        wait_until("the restore to be in the middle of the large file", || {
            arrived(&there) > 3 * MIB
        });
        assert_eq!(self.show(&id)["state"], "active", "it was too fast");
        let media = text(&self.show(&id)["attempts"][0]["media_agent"]);
        self.disturb(fault, &media, &id);
        let job = self.show(&id);
        assert_eq!(job["status"], "successful", "{job:#}");
        let statuses: &[_] = if let Outcome::Moves = outcome {
            &["failed_over", "successful"]
        } else {
            &["successful"]
        };
        self.assert_histories(&id, &job, statuses);
        tree::assert_same(&source, &there);
        self.assert_settled(&id, &job);
        // Nothing of a ghost comes later, either.
        tree::assert_same(&source, &there);
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

fn connected(agents: &Value) -> usize {
    let agents = agents.as_array().unwrap();
    agents.iter().filter(|agent| agent["connected"] == true).count()
}

/// Bytes that lie in a folder, under whatever name.
fn arrived(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|file| file.blocks() * 512)
        .sum()
}

/// Two folders with a file each that can be read and one that cannot.
fn odd(backing: &Path, at: &Path) -> Mounted {
    let odd = Odd::new();
    for folder in ["before", "behind"] {
        std::fs::create_dir(backing.join(folder)).unwrap();
        for file in ["fine", "unreadable"] {
            std::fs::write(backing.join(folder).join(file), file).unwrap();
        }
        let file = format!("{folder}/unreadable");
        odd.fails(At::path(file).calls(&["open"]), Errno::ACCESS);
    }
    mount(backing, at, odd).unwrap()
}

/// Small files, a long one with new content, a link; old enough for a checkpoint to be believed.
fn make(source: &Path, number: u64) {
    std::fs::create_dir_all(source.join("a")).unwrap();
    for small in 0..20 {
        std::fs::write(
            source.join(format!("a/{small}")),
            tree::noise(40_000, number * 100 + small),
        )
        .unwrap();
    }
    std::fs::write(source.join("long"), tree::noise(20 << 20, number * 100 + 50)).unwrap();
    let link = source.join("z-link");
    if !link.is_symlink() {
        std::os::unix::fs::symlink("nowhere", link).unwrap();
    }
    tree::let_age();
}

fn backups(restart: bool) {
    let Some(mut scene) = Scene::new() else { return };
    for (number, row) in (1..).zip(BACKUPS) {
        scene.backup(number, row, restart);
    }
}

#[test]
fn s04_f04_f07_c08_f18_backups_with_checkpoint_restart() {
    backups(true);
}

#[test]
fn s03_f04_c08_f18_backups_without_checkpoint_restart() {
    backups(false);
}

#[test]
fn s03_f04_f17_c08_restores() {
    let Some(mut scene) = Scene::new() else { return };
    let source = scene.hosts.path("source");
    make(&source, 1);
    scene.apply("home", &[source], "");
    let job = scene.json(&["job", "run", "home", "--wait"]);
    let point = text(&job["items"][0]["restore_point"]);
    for media in ["media-1", "media-2"] {
        scene.network().slow(media, RATE);
    }
    for row in RESTORES {
        scene.restore(&point, row);
    }
}
