//! What an attempt of a restore knows of what those before it made (F-17, S-14e): directories get all of their metadata, and names of
//! one file are one inode, whoever was killed or restarted, and when.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::filesystem::compare::differences;
use crate::main_job::inside;
use crate::proxy::Proxy;
use crate::stream::{MEDIA, restart_behind, with_proxies};
use crate::tree;

const FOLDERS: usize = 40;
/// More than a restore gathers before it gives names.
const FILES: usize = 700;
/// Of what comes from the media agent: among the directories, and in the large file, which comes when files have their names.
const EARLY: usize = 700 << 10;
const LATE: usize = 6 << 20;

/// A tree, a restore point of it, and a way to hold a restore in the middle.
struct Scene {
    cluster: Cluster,
    proxies: Vec<Proxy>,
    source: PathBuf,
    point: String,
    target: PathBuf,
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(program).args(arguments).arg(path).status();
    assert!(status.unwrap().success(), "{program} {}", path.display());
}

/// Directories with lists and attributes and an old time; files of which each has its second name behind a large file.
fn make(source: &Path) {
    let mut folders = Vec::new();
    for number in 0..FOLDERS {
        let folder = source.join(format!("deep/{}/{number}", number % 4));
        fs::create_dir_all(&folder).unwrap();
        for name in ["one", "two"] {
            fs::write(folder.join(name), tree::noise(4 << 10, number as u64)).unwrap();
        }
        folders.push(folder);
    }
    for name in ["files", "large", "second/names"] {
        fs::create_dir_all(source.join(name)).unwrap();
        folders.push(source.join(name));
    }
    fs::write(source.join("large/file"), tree::noise(24 << 20, 1)).unwrap();
    for number in 0..FILES {
        let first = source.join(format!("files/{number:03}"));
        fs::write(&first, tree::noise(4 << 10, number as u64)).unwrap();
        fs::hard_link(&first, source.join(format!("second/names/{number:03}"))).unwrap();
    }
    folders.extend((0..4).map(|number| source.join(format!("deep/{number}"))));
    folders.extend(["deep", "second", ""].map(|name| source.join(name)));
    for folder in folders {
        run("setfacl", &["-m", "u:79:rwx", "-d", "-m", "u:78:rx"], &folder);
        run("setfattr", &["-n", "user.d", "-v", "2"], &folder);
        let old = UNIX_EPOCH + Duration::new(1_262_300_000, 5_000_000);
        fs::File::open(&folder).unwrap().set_modified(old).unwrap();
    }
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::start();
        let proxies = with_proxies(&cluster);
        let source = cluster.place("source");
        make(&source);
        cluster.apply_policy("home", &[&source], "").expect(0);
        let backup = cluster.run_job("home", 0);
        let point = backup["items"][0]["restore_point"].as_str().unwrap().to_owned();
        let target = cluster.place("targets").join("target");
        Self {
            cluster,
            proxies,
            source,
            point,
            target,
        }
    }

    /// Begins a restore and waits until it is held after so many bytes; the job, and the media agent of its attempt.
    fn held(&self, overwrite: &str, after: usize) -> (String, &'static str) {
        if self.target.exists() {
            fs::remove_dir_all(&self.target).unwrap();
        }
        self.proxies.iter().for_each(|proxy| proxy.be_silent_after(after));
        let to = self.target.to_str().unwrap();
        let job = self
            .cluster
            .json(&["restore", &self.point, "--to", to, "--overwrite", overwrite]);
        let id = job["id"].as_str().unwrap().to_owned();
        let there = inside(&self.target, &self.source);
        wait_until("the restore to be in the middle", || match after {
            LATE => there.join("large").exists() && there.join("files/400").exists(),
            _ => there.join("deep/0/0").exists(),
        });
        let job = self.show(&id);
        assert_eq!(job["state"], "active", "it was too fast: {job:#}");
        let agent = job["attempts"][0]["media_agent"].as_str().unwrap();
        let agent = MEDIA.into_iter().find(|media| *media == agent).unwrap();
        (id, agent)
    }

    fn show(&self, id: &str) -> Value {
        self.cluster.json(&["job", "show", id])
    }

    /// Starts again what has ended, and lets everything through.
    fn goes_on(&self, children: &[&str]) {
        self.proxies.iter().for_each(|proxy| proxy.be_silent(false));
        for child in children {
            match MEDIA.iter().position(|media| media == child) {
                Some(at) => restart_behind(&self.cluster, child, &self.proxies[at]),
                None => self.cluster.restart(child),
            }
        }
    }

    /// It is successful in its second attempt, and everything is as it was.
    fn assert_comes_back(&self, what: &str, id: &str) {
        wait_until("the job to be done", || self.show(id)["state"] == "done");
        let job = self.show(id);
        let attempts = job["attempts"].as_array().unwrap();
        assert_eq!(job["status"], "successful", "{what}: {job:#}");
        assert_eq!(attempts.len(), 2, "{what}: {job:#}");
        assert_eq!(attempts[1]["exceptions"], 0, "{what}: {job:#}");
        self.assert_whole(what);
    }

    fn assert_whole(&self, what: &str) {
        let there = inside(&self.target, &self.source);
        assert_eq!(differences(&self.source, &there), [""; 0], "{what}");
        assert_eq!(tree::rsync(&self.source, &there), "", "{what}");
    }
}

#[test]
fn s03_f17_a_restore_whose_media_agent_stays_away_goes_on_on_another() {
    let scene = Scene::new();
    crate::failover::be_impatient(&scene.cluster);
    for after in [EARLY, LATE] {
        let (id, agent) = scene.held("never", after);
        scene.cluster.kill(&[agent]);
        scene.goes_on(&[]);
        scene.assert_comes_back("the media agent is gone", &id);
        let job = scene.show(&id);
        assert_eq!(job["attempts"][0]["status"], "failed_over", "{job:#}");
        assert_ne!(job["attempts"][1]["media_agent"], agent, "{job:#}");
        scene.goes_on(&[agent]);
    }
}

/// Earlier restores to the same place were killed and never finished; what they left is removed, and not what the client noted of it.
#[test]
fn t90_f17_directories_of_a_restore_that_is_interrupted_at_both_ends_come_back_whole() {
    let scene = Scene::new();
    for after in [EARLY, LATE] {
        let (id, _) = scene.held("never", after);
        scene.cluster.kill(&["client-1"]);
        scene.goes_on(&["client-1"]);
        let ended = scene
            .cluster
            .try_run(&["-o", "json", "job", "watch", &id])
            .expect(1)
            .json();
        assert_eq!(ended["attempts"][0]["status_code"], 50, "{ended:#}");
    }
    let rows = [
        ("never", EARLY, Duration::ZERO),
        ("never", EARLY, Duration::from_millis(1500)),
        ("never", LATE, Duration::ZERO),
        ("if-newer", LATE, Duration::from_millis(1500)),
        ("always", EARLY, Duration::ZERO),
    ];
    for (overwrite, after, pause) in rows {
        let what = format!("{overwrite}, after {after} bytes, {pause:?} away");
        let (id, agent) = scene.held(overwrite, after);
        scene.cluster.kill(&["client-1", agent]);
        // Not waited for: how long they are away is what is tried.
        std::thread::sleep(pause);
        scene.goes_on(&["client-1", agent]);
        scene.assert_comes_back(&what, &id);
    }
}

/// At a planned restart as well as at a kill; and a name that is lost later comes back as a link.
#[test]
fn t90_s14e_links_of_a_restore_that_moves_to_another_attempt_are_links() {
    let scene = Scene::new();
    for (overwrite, is_planned) in [
        ("never", true),
        ("never", false),
        ("if-newer", true),
        ("always", false),
    ] {
        let what = format!("{overwrite}, planned: {is_planned}");
        let (id, agent) = scene.held(overwrite, LATE);
        if is_planned {
            scene.cluster.end(agent);
        } else {
            scene.cluster.kill(&[agent]);
        }
        scene.goes_on(&[agent]);
        scene.assert_comes_back(&what, &id);
        let left_alone = scene.show(&id)["attempts"][1]["left_alone"].as_u64();
        assert_eq!(
            left_alone > Some(0),
            overwrite != "always",
            "{what}: {left_alone:?}"
        );
    }
    // As help 1202 advises: the first name of one is gone, the second of another, and both times come back too.
    let there = inside(&scene.target, &scene.source);
    for (name, folder) in [("files/000", "files"), ("second/names/001", "second/names")] {
        fs::remove_file(there.join(name)).unwrap();
        let time = fs::metadata(scene.source.join(folder))
            .unwrap()
            .modified()
            .unwrap();
        fs::File::open(there.join(folder))
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
    let to = scene.target.to_str().unwrap();
    let job = scene
        .cluster
        .json(&["restore", &scene.point, "--to", to, "--wait"]);
    assert_eq!(job["status"], "successful", "{job:#}");
    scene.assert_whole("restored again");
}
