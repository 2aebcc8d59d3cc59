//! Storage units that are full, away or not shared: F-02, F-08, F-18, S-12's exception.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::failover::be_impatient;
use crate::mounts::{Mount, is_root};
use crate::outage::{Outage, Way, over, slow_job};
use crate::place::{FILLER, fill};
use crate::tree;

/// `media-2` gets a storage unit of its own, which nobody else reaches.
fn part_units(cluster: &Cluster) -> PathBuf {
    let second = cluster.place("second");
    cluster.end("media-2");
    start_second(cluster, &second);
    wait_until("media-2 to be on its own unit", || {
        let agent = cluster.json(&["agent", "show", "media-2"]);
        agent["storage"]["unit"] == "second" && agent["connected"] == true
    });
    first_is_media_1(cluster);
    second
}

/// Whichever joined first.
fn first_is_media_1(cluster: &Cluster) {
    wait_until("the order to be set", || {
        let set = ["pool", "set", "default", "--order", "media-1,media-2"];
        cluster.try_run(&set).code == 0
    });
}

fn start_second(cluster: &Cluster, second: &Path) {
    let state = cluster.place("state-of-media-2");
    cluster.restart_with(
        "media-2",
        &[
            ("OUTLAST_STORAGE__UNIT", "second"),
            ("OUTLAST_STORAGE__PATH", second.to_str().unwrap()),
            ("OUTLAST_MEDIA_AGENT__DATA_DIR", state.to_str().unwrap()),
        ],
    );
}

/// As `storage list` has it.
fn unit(cluster: &Cluster, name: &str) -> Value {
    let units = cluster.json(&["storage", "list"]);
    let found = units.as_array().unwrap().iter().find(|unit| unit["unit"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {units:#}")).clone()
}

fn told(job: &Value) -> Vec<(&str, u64, &str)> {
    let attempts = job["attempts"].as_array().unwrap();
    let told = attempts.iter().map(|attempt| {
        let word = |field: &str| attempt[field].as_str().unwrap();
        (
            word("status"),
            attempt["status_code"].as_u64().unwrap(),
            word("media_agent"),
        )
    });
    told.collect()
}

fn watched(cluster: &Cluster, id: &str) -> Value {
    cluster.run(&["-o", "json", "job", "watch", id]).json()
}

fn details(cluster: &Cluster, id: &str) -> String {
    cluster.run(&["job", "details", id]).stdout
}

fn restores(cluster: &Cluster, point: &Value, source: &Path, to: &str) {
    let target = cluster.place(to);
    let (point, to) = (point.as_str().unwrap(), target.to_str().unwrap());
    cluster.run(&["restore", point, "--to", to, "--wait"]);
    tree::assert_same(source, &target.join(source.strip_prefix("/").unwrap()));
}

#[test]
fn f08_without_a_common_storage_unit_what_was_finished_stays_and_the_rest_runs_elsewhere() {
    let cluster = Cluster::start();
    part_units(&cluster);
    be_impatient(&cluster);
    let (small, large) = (cluster.place("small"), cluster.place("large"));
    std::fs::write(small.join("file"), tree::noise(1 << 20, 5)).unwrap();
    std::fs::write(large.join("file"), tree::noise(24 << 20, 6)).unwrap();
    let slow = "[limits]\nbandwidth = \"4MiB/s\"\n[checkpoint]\ninterval = \"1s\"";
    cluster.apply_policy("both", &[&small, &large], slow).expect(0);
    let job = cluster.json(&["job", "run", "both"]);
    let id = job["id"].as_str().unwrap();
    wait_until("the first item to be done and the second to be read", || {
        let job = cluster.json(&["job", "show", id]);
        job["items"][0]["outcome"] == "done" && job["items"][1]["outcome"] == "in_progress"
    });
    cluster.kill(&["media-1"]);
    let job = watched(&cluster, id);
    assert_eq!(
        told(&job),
        [("failed_over", 1103, "media-1"), ("successful", 0, "media-2")],
        "{job:#}"
    );
    let text = details(&cluster, id);
    for line in [
        "begins from zero: media agent media-2 does not reach storage unit storage",
        "its result is not known: storage unit storage",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // Each item has one restore point, and it lies where it was made.
    assert_eq!(job["attempts"][1]["bytes"], 24 << 20, "{job:#}");
    for name in ["storage", "second"] {
        assert_eq!(unit(&cluster, name)["restore_points"], 1, "{name}");
    }
    restores(&cluster, &job["items"][1]["restore_point"], &large, "to-large");
    cluster.restart("media-1");
    restores(&cluster, &job["items"][0]["restore_point"], &small, "to-small");
    // What the lost attempt left is removed, and nothing else.
    wait_until("only restore points to be there", || {
        let snapshots = cluster.restic(&["snapshots", "--json"]).json();
        snapshots.as_array().unwrap().len() == 1
    });
}

/// `media-1` had finished everything, and nobody has heard of it.
#[test]
fn s12_a_late_result_of_a_unit_that_nobody_else_reaches_is_a_line_of_the_details() {
    let cluster = Cluster::start();
    part_units(&cluster);
    be_impatient(&cluster);
    let source = cluster.place("source");
    let id = slow_job(&cluster, &source, 31, 8);
    wait_until("data to flow", || {
        let bytes = &cluster.json(&["job", "show", &id])["progress"]["bytes"];
        bytes.as_u64().unwrap_or(0) > 0
    });
    let outage = Outage::begin(&cluster, Way::Stopped, 3);
    wait_until("the attempt to be over", || {
        over(&cluster, "media-1", &id).is_some()
    });
    cluster.signal(&["media-1"], Signal::STOP);
    outage.end();
    let job = watched(&cluster, &id);
    assert_eq!(
        told(&job),
        [("failed_over", 1103, "media-1"), ("successful", 0, "media-2")],
        "{job:#}"
    );
    let points = cluster.json(&["restore-point", "list"]);
    assert_eq!(points.as_array().unwrap().len(), 1, "{points:#}");
    cluster.signal(&["media-1"], Signal::CONT);
    wait_until("the late result to be told", || {
        details(&cluster, &id).contains("attempt 1 reported its end (0) after it was closed")
    });
    let after = watched(&cluster, &id);
    assert_eq!(after["attempts"], job["attempts"], "nothing else changes");
    assert_eq!(cluster.json(&["restore-point", "list"]), points);
    // What it left is no restore point.
    wait_until("it to be removed", || {
        let snapshots = cluster.restic(&["snapshots", "--json"]).json();
        snapshots.as_array().unwrap().is_empty()
    });
    restores(&cluster, &job["items"][0]["restore_point"], &source, "to");
}

#[test]
fn f02_f18_a_full_unit_gets_no_job_until_there_is_room_and_another_takes_it_once() {
    if !is_root() {
        return;
    }
    let mut cluster = Cluster::unstarted();
    let storage = cluster.place("cluster/storage");
    let _mounted = Mount::tmpfs(&storage, "48m");
    cluster.start_dev();
    part_units(&cluster);
    let (little, much) = (cluster.place("little"), cluster.place("much"));
    std::fs::write(little.join("file"), tree::noise(1 << 20, 7)).unwrap();
    std::fs::write(much.join("file"), tree::noise(80 << 20, 8)).unwrap();
    cluster.apply_policy("little", &[&little], "").expect(0);
    cluster.apply_policy("much", &[&much], "").expect(0);
    let before = cluster.run_job("little", 0);
    assert_eq!(told(&before), [("successful", 0, "media-1")]);
    let job = cluster.run_job("much", 0);
    assert_eq!(
        told(&job),
        [("failed_over", 1110, "media-1"), ("successful", 0, "media-2")],
        "{job:#}"
    );
    assert_eq!(job["attempts"][0]["error"]["code"], 129, "{job:#}");
    // Somebody else takes what is left.
    fill(&storage);
    wait_until("the unit to be full", || {
        unit(&cluster, "storage")["state"] == "full"
    });
    let agent = cluster.json(&["agent", "show", "media-1"]);
    assert_eq!(agent["storage"]["state"], "full", "{agent:#}");
    assert!(
        cluster
            .run(&["storage", "list"])
            .stdout
            .contains("storage is full: ")
    );
    let job = cluster.run_job("little", 0);
    assert_eq!(told(&job), [("successful", 0, "media-2")], "{job:#}");
    // With nobody else to take it, it waits and says why; restores do not.
    cluster.run(&["agent", "disable", "media-2"]);
    let waiting = cluster.json(&["job", "run", "little"]);
    let id = waiting["id"].as_str().unwrap();
    wait_until("it to say what it waits for", || {
        let job = cluster.json(&["job", "show", id]);
        let reason = job["waiting"]["reason"].as_str().unwrap_or_default().to_owned();
        reason.contains("storage unit storage of media-1 is full")
    });
    restores(&cluster, &before["items"][0]["restore_point"], &little, "to");
    std::fs::remove_file(storage.join(FILLER)).unwrap();
    let job = watched(&cluster, id);
    assert_eq!(told(&job), [("successful", 0, "media-1")], "{job:#}");
    assert_eq!(unit(&cluster, "storage")["state"], "ok");
    cluster.check_repository();
    cluster.stop(Signal::TERM);
}

#[test]
fn f18_a_unit_that_is_read_only_at_one_agent_is_written_by_another() {
    if !is_root() {
        return;
    }
    let mut cluster = Cluster::start();
    let storage = cluster.data_dir().join("storage");
    let source = cluster.place("source");
    std::fs::write(source.join("file"), tree::noise(1 << 20, 9)).unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    let seen = cluster.place("seen-by-media-1");
    let view = Mount::bind(&seen, &storage);
    cluster.end("media-1");
    cluster.restart_with("media-1", &[("OUTLAST_STORAGE__PATH", seen.to_str().unwrap())]);
    wait_until("media-1 to be back", || {
        cluster.json(&["agent", "show", "media-1"])["connected"] == true
    });
    first_is_media_1(&cluster);
    let job = cluster.run_job("home", 0);
    assert_eq!(told(&job), [("successful", 0, "media-1")], "{job:#}");
    let over_it = Mount::read_only(&seen, &storage);
    let job = cluster.run_job("home", 0);
    assert_eq!(
        told(&job),
        [("resumed", 1111, "media-1"), ("successful", 0, "media-2")],
        "{job:#}"
    );
    assert_eq!(job["attempts"][0]["error"]["code"], 84, "{job:#}");
    // The unit is in order, and stays so.
    assert_eq!(unit(&cluster, "storage")["state"], "ok");
    cluster.check_repository();
    drop(over_it);
    drop(view);
    cluster.stop(Signal::TERM);
}

#[test]
fn f18_a_unit_that_is_away_at_one_agent_is_used_through_another() {
    if !is_root() {
        return;
    }
    let mut cluster = Cluster::start();
    let storage = cluster.data_dir().join("storage");
    let source = cluster.place("source");
    cluster
        .apply_policy("home", &[&source], "[limits]\nbandwidth = \"2MiB/s\"")
        .expect(0);
    let seen = cluster.place("seen-by-media-1");
    let view = Mount::bind(&seen, &storage);
    cluster.end("media-1");
    cluster.restart_with("media-1", &[("OUTLAST_STORAGE__PATH", seen.to_str().unwrap())]);
    wait_until("media-1 to be back", || {
        cluster.json(&["agent", "show", "media-1"])["connected"] == true
    });
    first_is_media_1(&cluster);
    std::fs::write(source.join("file"), tree::noise(16 << 20, 9)).unwrap();
    let job = cluster.json(&["job", "run", "home"]);
    let id = job["id"].as_str().unwrap();
    wait_until("data to flow", || {
        let bytes = &cluster.json(&["job", "show", id])["progress"]["bytes"];
        bytes.as_u64().unwrap_or(0) > 0
    });
    // In its middle another file system comes to lie over it.
    let over_it = Mount::tmpfs(&seen, "1m");
    let job = watched(&cluster, id);
    assert_eq!(
        told(&job),
        [("resumed", 1111, "media-1"), ("successful", 0, "media-2")],
        "{job:#}"
    );
    assert_eq!(job["attempts"][0]["error"]["code"], 2106, "{job:#}");
    // It says so by and by, and gets no jobs while another one can take them.
    wait_until("its problem to be shown", || {
        !unit(&cluster, "storage")["problems"]
            .as_array()
            .unwrap()
            .is_empty()
    });
    assert_eq!(unit(&cluster, "storage")["state"], "ok");
    let job = cluster.run_job("home", 0);
    assert_eq!(told(&job), [("successful", 0, "media-2")], "{job:#}");
    cluster.check_repository();
    drop(over_it);
    drop(view);
    cluster.stop(Signal::TERM);
}
