//! S-14a, F-19: the storage unit is what it was, or it is left alone; what cannot be written can still be read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::main_job::inside;
use crate::mounts::{Mount, is_root};
use crate::tree;

/// Every file below a folder with its content, every folder without.
fn everything(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut everything(&path));
            found.insert(path, None);
        } else {
            let content = std::fs::read(&path).unwrap();
            found.insert(path, Some(content));
        }
    }
    found
}

/// Plain restic on any repository, with the password of the cluster's.
fn restic(cluster: &Cluster, repository: &Path, args: &[&str]) {
    let cache = cluster.place("cache");
    let ran = Command::new("restic")
        .arg("-r")
        .arg(repository)
        .arg("--password-file")
        .arg(cluster.data_dir().join("repository-password"))
        .arg("--cache-dir")
        .arg(cache)
        .args(args)
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// Starts a job that takes some seconds, and waits until it is in the middle of it.
fn begin_slow_job(cluster: &Cluster) -> String {
    let job = cluster.json(&["job", "run", "slow"]);
    let id = job["id"].as_str().unwrap().to_owned();
    wait_until("the job to send data", || {
        let job = cluster.json(&["job", "show", &id]);
        job["progress"]["bytes"].as_u64().is_some_and(|bytes| bytes > 0)
    });
    id
}

/// The job has failed because the unit is not what it was, and every attempt says what was there.
fn assert_refused(cluster: &Cluster, id: &str, says: &str) {
    let watched = cluster.try_run(&["-o", "json", "job", "watch", id]).expect(1);
    let job: Value = watched.json();
    assert_eq!(job["status_code"], 2106, "{says}: {job:#}");
    assert_eq!(job["items"][0]["restore_point"], Value::Null, "{job:#}");
    for attempt in job["attempts"].as_array().unwrap() {
        let text = attempt["error"]["text"].as_str().unwrap();
        assert!(text.contains(says), "{text}");
        assert!(
            !text.contains("initialise") && !text.contains("rebuild"),
            "{text}"
        );
    }
}

#[test]
fn s14a_what_takes_the_place_of_the_unit_under_a_running_job_is_left_untouched() {
    if !is_root() {
        return;
    }
    let mut cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), tree::noise(12 << 20, 7)).unwrap();
    // It lasts long enough for a busy machine to meet it in its middle, and looks at its unit all the time.
    let slow = "[checkpoint]\ninterval = \"1s\"\n[limits]\nbandwidth = \"512KiB/s\"";
    cluster.apply_policy("home", &[&source], "").expect(0);
    let first = cluster.run_job("home", 0);
    let point = first["items"][0]["restore_point"].as_str().unwrap().to_owned();
    let changed = cluster.place("changed");
    cluster.apply_policy("slow", &[&changed], slow).expect(0);
    let mut seed = 20;
    let mut begin = |cluster: &Cluster| {
        seed += 1;
        std::fs::write(changed.join("file"), tree::noise(12 << 20, seed)).unwrap();
        begin_slow_job(cluster)
    };
    let storage = cluster.data_dir().join("storage");
    let aside = cluster.place("aside");

    // Somebody else's, with the same password.
    let foreign = cluster.place("foreign");
    restic(&cluster, &foreign, &["init"]);
    restic(&cluster, &foreign, &["backup", source.to_str().unwrap()]);
    let before = everything(&foreign);
    let id = begin(&cluster);
    let mounted = Mount::bind(&storage, &foreign);
    assert_refused(&cluster, &id, "another repository is there");
    assert!(everything(&foreign) == before, "the other repository was touched");
    restic(&cluster, &foreign, &["check", "--read-data"]);
    drop(mounted);

    for (part, says) in [("keys", "its key file"), ("config", "\"config\" is not")] {
        let id = begin(&cluster);
        std::fs::rename(storage.join(part), aside.join(part)).unwrap();
        assert_refused(&cluster, &id, says);
        std::fs::rename(aside.join(part), storage.join(part)).unwrap();
    }
    // All of it was transient: the same agents go on with the next job, and nothing is broken.
    cluster.run_job("home", 0);
    cluster.check_repository();
    let target = cluster.place("target");
    cluster.run(&["restore", &point, "--to", target.to_str().unwrap(), "--wait"]);
    tree::assert_same(&source, &inside(&target, &source));

    // Removed, and another one in the same place at once: nothing there would be another finding.
    let (fresh, old) = (cluster.place("fresh"), aside.join("old"));
    restic(&cluster, &fresh, &["init"]);
    let id = begin(&cluster);
    std::fs::rename(&storage, &old).unwrap();
    std::fs::rename(&fresh, &storage).unwrap();
    // Until the media agent has noticed it may still write into what it has open.
    wait_until("the old one to be gone", || {
        let _ = std::fs::remove_dir_all(&old);
        !old.exists()
    });
    let before = everything(&storage);
    assert_refused(&cluster, &id, "another repository is there");
    let job = cluster.run_job("home", 1);
    assert_refused(
        &cluster,
        job["id"].as_str().unwrap(),
        "another repository is there",
    );
    assert!(everything(&storage) == before, "the new repository was touched");
    cluster.stop(Signal::TERM);
}

#[test]
fn f19_a_read_only_unit_is_restored_from_and_a_backup_into_it_is_84() {
    if !is_root() {
        return;
    }
    let mut cluster = Cluster::start();
    let source = cluster.place("source");
    tree::make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    let first = cluster.run_job("home", 0);
    let point = first["items"][0]["restore_point"].as_str().unwrap();
    let storage = cluster.data_dir().join("storage");
    let mounted = Mount::read_only(&storage, &storage);
    // Also by agents that were started like this, with locks of their predecessors in it.
    cluster.kill(&["media-1"]);
    cluster.restart("media-1");
    restore_and_compare(&cluster, point, &source);
    let job = cluster.run_job("home", 1);
    assert_eq!(job["status_code"], 84, "{job:#}");
    let agent = job["attempts"][0]["media_agent"].as_str().unwrap();
    assert!(cluster.log(agent).contains("code=84"), "{}", cluster.log(agent));
    cluster.assert_logs_show_no_types();
    let text = job["attempts"][0]["error"]["text"].as_str().unwrap();
    assert!(
        text.contains("read-only") && !text.contains("give it to the user"),
        "{text}"
    );
    drop(mounted);
    cluster.run_job("home", 0);
    cluster.check_repository();
    cluster.stop(Signal::TERM);
}

fn restore_and_compare(cluster: &Cluster, point: &str, source: &Path) {
    let target = cluster.place("target");
    let restore = cluster.json(&["restore", point, "--to", target.to_str().unwrap(), "--wait"]);
    assert_eq!(restore["status"], "successful", "{restore:#}");
    tree::assert_same(source, &inside(&target, source));
    cluster.run(&["restore-point", "ls", point]);
}

#[test]
fn f19_a_unit_without_room_for_a_lock_is_restored_from_and_a_backup_into_it_is_129() {
    if !is_root() {
        return;
    }
    let mut cluster = Cluster::unstarted();
    let storage = cluster.place("cluster/storage");
    let _mounted = Mount::tmpfs(&storage, "48m");
    cluster.start_dev();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), tree::noise(4 << 20, 5)).unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    let first = cluster.run_job("home", 0);
    let point = first["items"][0]["restore_point"].as_str().unwrap();
    fill(&storage);
    let job = cluster.run_job("home", 1);
    assert_eq!(job["status_code"], 129, "{job:#}");
    restore_and_compare(&cluster, point, &source);
    std::fs::remove_file(storage.join(FILLER)).unwrap();
    cluster.run_job("home", 0);
    cluster.check_repository();
    // Before its storage is unmounted; otherwise the folder could not be removed.
    cluster.stop(Signal::TERM);
}

/// What [`fill`] leaves.
pub(crate) const FILLER: &str = "filler";

/// Writes until not one byte has room any more.
pub(crate) fn fill(folder: &Path) {
    use std::io::Write as _;
    let mut filler = std::fs::File::create(folder.join(FILLER)).unwrap();
    for piece in [1 << 20, 4096, 1] {
        while filler.write_all(&vec![1; piece]).is_ok() {}
    }
}

/// Before a job fails of it.
#[test]
fn t90_s14a_a_media_agent_whose_unit_is_not_there_raises_an_alarm_when_it_starts() {
    let mut cluster = Cluster::start();
    let source = cluster.place("source");
    cluster.apply_policy("home", &[&source], "").expect(0);
    cluster.run_job("home", 0);
    let config = cluster.data_dir().join("storage/config");
    let away = cluster.place("away").join("config");
    let alarms = |cluster: &Cluster| {
        let status = cluster.json(&["cluster", "status"]);
        status["alarms"].as_array().unwrap().clone()
    };
    cluster.kill(&["media-1"]);
    std::fs::rename(&config, &away).unwrap();
    cluster.restart("media-1");
    wait_until("the alarm", || {
        let is_it = |alarm: &Value| {
            let text = alarm["text"].as_str().unwrap();
            alarm["kind"] == "storage_unit" && text.contains("media agent media-1") && text.contains("config")
        };
        alarms(&cluster).iter().any(is_it)
    });
    let status = cluster.run(&["cluster", "status"]).stdout;
    assert!(
        status.contains("ALARM: media agent media-1 cannot use its storage unit"),
        "{status}"
    );
    let log = cluster.log("media-1");
    let told = log
        .lines()
        .find(|line| line.contains("ERROR") && line.contains("cannot be used now"));
    assert!(told.is_some_and(|line| line.contains("config")), "{log}");
    // It goes when the unit is back and somebody has looked: each minute, or with the next session.
    std::fs::rename(&away, &config).unwrap();
    cluster.kill(&["media-1"]);
    cluster.restart("media-1");
    wait_until("the alarm to go", || alarms(&cluster).is_empty());
    cluster.stop(Signal::TERM);
}
