//! Sources that are odd, fail or hang (S-14d, S-02a, L-02), through all processes: what is one file's own is an exception, what is
//! the host's or the file system's fails the item with its cause, and what hangs is named.

use std::fs;
use std::path::Path;

use outlast_test_filesystems::{At, Errno, Mounted, Odd, can_mount, mount};
use rustix::process::{Pid, Resource, getrlimit, prlimit};
use serde_json::{Value, json};

use crate::cluster::{Cluster, wait_until};
use crate::mounts::Mount;

/// A folder `source` of the cluster with that many small files, seen through an odd file system.
fn odd_source(cluster: &Cluster, files: usize) -> (Odd, Mounted) {
    let [backing, at] = ["backing", "source"].map(|name| cluster.place(name));
    for number in 0..files {
        fs::write(backing.join(format!("{number:04}")), number.to_string()).unwrap();
    }
    let odd = Odd::new();
    let mounted = mount(&backing, &at, odd.clone()).unwrap();
    (odd, mounted)
}

/// A folder with one file, for an item that is fine.
fn sound_source(cluster: &Cluster) -> std::path::PathBuf {
    let sound = cluster.place("sound");
    fs::write(sound.join("file"), "kept").unwrap();
    sound
}

/// Path and reason of each of a job's exceptions.
fn exceptions(cluster: &Cluster, job: &Value) -> Vec<(String, String)> {
    let log = cluster.json(&["job", "log", job["id"].as_str().unwrap()]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let exceptions = log["exceptions"].as_array().unwrap().iter();
    exceptions
        .map(|exception| (text(&exception["path"]), text(&exception["reason"])))
        .collect()
}

/// The first item has failed with 13 and this cause, which the log tells; the second one is done.
fn assert_only_first_failed(cluster: &Cluster, job: &Value, item: &Path, cause: &str) {
    assert_eq!(
        (&job["status"], &job["status_code"]),
        (&json!("failed"), &json!(13)),
        "{job:#}"
    );
    assert_eq!(job["items"][0]["outcome"], "failed", "{job:#}");
    assert!(job["items"][0]["restore_point"].is_null(), "{job:#}");
    assert_eq!(job["items"][1]["outcome"], "done", "{job:#}");
    assert!(job["items"][1]["restore_point"].is_string(), "{job:#}");
    let id = job["id"].as_str().unwrap();
    let log = cluster.run(&["job", "log", id, "--format", "text"]).stdout;
    let told = log.lines().find(|line| line.trim_start().starts_with("cause:"));
    let told = told.unwrap_or_else(|| panic!("{log}"));
    assert!(told.contains(item.to_str().unwrap()), "{log}");
    assert!(told.contains(cause), "{log}");
}

#[test]
fn s14d_a_name_listed_twice_and_a_file_past_the_limit_are_exceptions_that_name_it() {
    if !can_mount() {
        return;
    }
    let cluster = Cluster::start();
    let (odd, mounted) = odd_source(&cluster, 5);
    odd.repeats("0003");
    let long = cluster.place("long");
    let _memory = Mount::tmpfs(&long, "1M");
    fs::write(long.join("small"), "kept").unwrap();
    let past = fs::File::create(long.join("past the limit")).unwrap();
    past.set_len(160 << 40).unwrap();
    cluster
        .apply_policy("home", &[mounted.path(), &long], "")
        .expect(0);
    let job = cluster.run_job("home", 3);
    assert_eq!(job["status"], "completed_with_exceptions", "{job:#}");
    let found = exceptions(&cluster, &job);
    let expected = [
        (mounted.path().join("0003"), "lists this name more than once"),
        (long.join("past the limit"), "longer than 16 TiB"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((path, reason), (expected, why)) in found.iter().zip(expected) {
        assert_eq!(Path::new(path), expected);
        assert!(reason.contains(why), "{reason}");
    }
    for (item, files) in [(0, 5), (1, 1)] {
        let point = job["items"][item]["restore_point"].as_str().unwrap();
        let listed = cluster.json(&["restore-point", "ls", point]);
        assert_eq!(listed.as_array().unwrap().len(), files, "{listed:#}");
    }
    cluster.check_repository();
}

/// 0 of 200 files were stored, and the job had exceptions.
#[test]
fn s02a_a_client_without_descriptors_fails_the_item() {
    let cluster = Cluster::start();
    // The walk holds each of the directories that it is in.
    let deep = cluster.place("deep");
    let mut folder = deep.clone();
    for level in 0..60 {
        folder.push(format!("level {level}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), level.to_string()).unwrap();
    }
    let sound = sound_source(&cluster);
    cluster.apply_policy("home", &[&deep, &sound], "").expect(0);
    let client = Pid::from_raw(cluster.pid("client-1"));
    let before = getrlimit(Resource::Nofile);
    let few = rustix::process::Rlimit {
        current: Some(40),
        ..before
    };
    prlimit(client, Resource::Nofile, few).unwrap();
    let job = cluster.run_job("home", 1);
    assert_only_first_failed(&cluster, &job, &deep, "LimitNOFILE");
    // With more of them it is as it should be.
    prlimit(client, Resource::Nofile, before).unwrap();
    let job = cluster.run_job("home", 0);
    assert_eq!(job["attempts"][0]["files"], 61, "{job:#}");
}

#[test]
fn s02a_a_root_that_cannot_be_listed_and_a_source_that_dies_fail_the_item() {
    if !can_mount() {
        return;
    }
    let cluster = Cluster::start();
    let (odd, mounted) = odd_source(&cluster, 200);
    let sound = sound_source(&cluster);
    cluster
        .apply_policy("home", &[mounted.path(), &sound], "")
        .expect(0);
    odd.fails(At::path("").calls(&["readdir"]), Errno::IO);
    let job = cluster.run_job("home", 1);
    assert_only_first_failed(&cluster, &job, mounted.path(), "it cannot be listed to its end");
    odd.heals();
    // In the middle of the job its server is gone.
    odd.fails(At::anywhere().calls(&["read"]).after(50), Errno::NOTCONN);
    let job = cluster.run_job("home", 1);
    assert_only_first_failed(&cluster, &job, mounted.path(), "the file system failed");
    odd.heals();
    let job = cluster.run_job("home", 0);
    assert_eq!(job["attempts"][0]["files"], 201, "{job:#}");
    cluster.check_repository();
}

#[test]
fn l02_a_file_system_that_hangs_is_named_in_progress_and_details() {
    if !can_mount() {
        return;
    }
    let cluster = Cluster::start();
    let (odd, mounted) = odd_source(&cluster, 20);
    let hangs = mounted.path().join("0007");
    cluster.apply_policy("home", &[mounted.path()], "").expect(0);
    let hang = odd.hangs(At::path("0007").calls(&["read"]));
    let id = cluster.json(&["job", "run", "home"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    hang.wait();
    wait_until("the path that hangs as the job's", || {
        let path = &cluster.json(&["job", "show", &id])["progress"]["path"];
        path.as_str() == hangs.to_str()
    });
    let says = format!(
        "{}: the client's file system has not answered for",
        hangs.display()
    );
    let told = || {
        let details = cluster.json(&["job", "details", &id]);
        let lines = details.as_array().unwrap().iter();
        let texts = lines.filter_map(|line| Some(line["text"].as_str()?.to_owned()));
        texts.filter(|text| text.starts_with(&says)).count()
    };
    wait_until("details to tell of it", || told() > 0);
    hang.release();
    let mut job = Value::Null;
    wait_until("the job to go on to its end", || {
        job = cluster.json(&["job", "show", &id]);
        job["state"] == "done"
    });
    assert_eq!(job["status"], "successful", "{job:#}");
    assert_eq!(told(), 1, "once");
}
