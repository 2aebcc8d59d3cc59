//! Checkpoints as their user meets them: made while nobody decides anything, no restore points, gone with the job (F-05).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::mounts::Mount;
use crate::outage::{Outage, Way};
use crate::tree;

/// Size of the one large file.
const BIG: usize = 24 << 20;

/// The checkpoints in the repository: how many bytes of the large file each has.
fn checkpoints(cluster: &Cluster) -> BTreeMap<String, u64> {
    let of_host = [
        "--no-lock",
        "snapshots",
        "--json",
        "--host",
        "local.outlast-checkpoint",
    ];
    let listed = cluster.restic(&of_host).json();
    let id = |listed: &Value| listed["id"].as_str().unwrap().to_owned();
    let ids = listed.as_array().unwrap().iter().map(id);
    // Of an old one that went meanwhile nothing is to be said.
    let offset = |id: &str| {
        let mark = cluster.try_restic(&["--no-lock", "dump", id, "/.outlast-checkpoint.json"]);
        (mark.code == 0).then(|| mark.json()["files_under_way"][0]["offset"].as_u64().unwrap_or(0))
    };
    ids.filter_map(|id| offset(&id).map(|offset| (id, offset)))
        .collect()
}

/// A job under way that has made a checkpoint: what it backs up, its id, its media agent.
fn job_with_a_checkpoint(cluster: &Cluster) -> (PathBuf, String, String) {
    let source = cluster.place("source");
    // No two parts of it are alike: what is not new is what was there already.
    std::fs::write(source.join("big"), tree::noise(BIG, 77)).unwrap();
    let more = "[checkpoint]\ninterval = \"1s\"\n[limits]\nbandwidth = \"2MiB/s\"";
    cluster.apply_policy("slow", &[&source], more).expect(0);
    let submitted = cluster.json(&["job", "run", "slow"]);
    let id = submitted["id"].as_str().unwrap().to_owned();
    let mut job = Value::Null;
    wait_until("a checkpoint to be shown", || {
        job = cluster.json(&["job", "show", &id]);
        job["progress"]["checkpoint_at"].is_string()
    });
    let media = job["attempts"][0]["media_agent"].as_str().unwrap().to_owned();
    (source, id, media)
}

#[test]
fn f05_checkpoints_go_on_without_a_primary_and_spare_the_next_attempt_what_they_hold() {
    let cluster = Cluster::start();
    let (source, id, media) = job_with_a_checkpoint(&cluster);
    assert_eq!(cluster.json(&["restore-point", "list"]), Value::Array(vec![]));

    let outage = Outage::begin(&cluster, Way::Killed, 3);
    let before = checkpoints(&cluster);
    let mut in_outage = BTreeMap::new();
    wait_until("checkpoints of the outage", || {
        in_outage = checkpoints(&cluster);
        let is_new = |(id, offset): (&String, &u64)| !before.contains_key(id) && *offset > 0;
        in_outage.iter().any(is_new)
    });
    cluster.check_repository();
    cluster.kill(&[&media]);
    let held = checkpoints(&cluster).into_values().max().unwrap();
    cluster.restart(&media);
    outage.end();

    let job = cluster.run(&["-o", "json", "job", "watch", &id]).json();
    let attempts = job["attempts"].as_array().unwrap();
    let statuses: Vec<_> = attempts.iter().map(|attempt| attempt["status"].clone()).collect();
    assert_eq!(statuses, ["resumed", "successful"], "{job:#}");
    let new = attempts[1]["bytes_new"].as_u64().unwrap();
    let everything = attempts[1]["bytes"].as_u64().unwrap();
    assert!(
        held > 0 && new <= everything - held,
        "{new} of {everything} are new, {held} were in a checkpoint"
    );
    assert_eq!(checkpoints(&cluster), BTreeMap::new());
    cluster.check_repository();
    let target = cluster.place("target");
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    cluster.restic(&["restore", point, "--target", target.to_str().unwrap()]);
    tree::assert_same(&source, &target.join(source.strip_prefix("/").unwrap()));
    println!("{held} of {everything} bytes were in a checkpoint, {new} were new to the second attempt");
}

/// Takes all the room there is.
fn fill(file: &Path) {
    let mut file = std::fs::File::create(file).unwrap();
    for size in [64 << 10, 4096, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}

/// Everything in one folder into another.
fn copy(from: &Path, to: &Path) {
    let from = from.join(".");
    let copied = Command::new("cp").arg("-a").arg(&from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn f05_a_full_journal_costs_checkpoints_but_not_the_attempt_and_leaves_none() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting a small file system needs root");
        return;
    }
    let mut cluster = Cluster::start();
    let state = cluster.data_dir().join("state/media-1");
    cluster.end("media-2");
    cluster.end("media-1");
    let away = cluster.place("away");
    copy(&state, &away);
    // In small blocks: what the last one has room for is written although the disk is full.
    let image = cluster.place("images").join("state");
    Mount::make_image_of(&image, 8 << 20, &["-b", "1024"]);
    let _mounted = Mount::image(&state, &image, "rw");
    copy(&away, &state);
    cluster.restart("media-1");
    let full = state.join("full");
    let source = cluster.place("source");
    // Whether there is room again before the item ends; if not, the job waits for it.
    for (number, frees) in [(1, true), (2, false)] {
        std::fs::write(source.join("big"), tree::noise(20 << 20, number)).unwrap();
        let more = "[checkpoint]\ninterval = \"1s\"\n[limits]\nbandwidth = \"1MiB/s\"";
        let policy = format!("slow-{number}");
        cluster.apply_policy(&policy, &[&source], more).expect(0);
        let id = cluster.json(&["job", "run", &policy])["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let show = || cluster.json(&["job", "show", &id]);
        wait_until("the item to begin", || {
            show()["progress"]["bytes"].as_u64() > Some(0)
        });
        fill(&full);
        let given_up = || cluster.log("media-1").matches("is given up").count();
        let before = given_up();
        wait_until("a checkpoint to be given up", || given_up() > before);
        if frees {
            std::fs::remove_file(&full).unwrap();
        } else {
            wait_until("the job to say what it waits for", || {
                let waiting = show()["waiting"].clone();
                waiting["for"] == "media-1"
                    && waiting["reason"].as_str().is_some_and(|reason| {
                        reason.contains("waits for room") && reason.contains("not in the storage unit")
                    })
            });
            let seen = cluster.run(&["job", "show", &id]).stdout;
            assert!(seen.contains("waits for room"), "{seen}");
            std::fs::remove_file(&full).unwrap();
        }
        wait_until("the job to end", || show()["state"] == "done");
        let job = show();
        assert_eq!(job["status_code"], 0, "{job:#}");
        assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
        assert_eq!(checkpoints(&cluster), BTreeMap::new());
    }
    cluster.check_repository();
    // Before its folder is unmounted; otherwise that could not be removed.
    cluster.stop(rustix::process::Signal::TERM);
}

#[test]
fn f05_a_job_that_is_canceled_while_its_media_agent_is_away_leaves_no_checkpoint() {
    let cluster = Cluster::start();
    let (_, id, media) = job_with_a_checkpoint(&cluster);
    let show = || cluster.json(&["job", "show", &id]);
    cluster.kill(&[&media]);
    assert!(!checkpoints(&cluster).is_empty());
    cluster.run(&["job", "cancel", &id]);
    cluster.restart(&media);
    wait_until("the job to end", || show()["state"] == "done");
    assert_eq!(show()["status"], "canceled");
    wait_until("its checkpoints to go", || checkpoints(&cluster).is_empty());
    cluster.check_repository();
}
