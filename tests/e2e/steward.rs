//! What lies in a storage unit, looked at by its steward (F-15), and a check of it (F-19).

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::tree;

fn points(cluster: &Cluster) -> Vec<Value> {
    cluster
        .json(&["restore-point", "list"])
        .as_array()
        .unwrap()
        .clone()
}

#[test]
fn f15_a_restore_point_whose_snapshot_is_gone_is_shown_as_lost_and_comes_back_with_it() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), b"one").unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    let first = cluster.run_job("home", 0);
    cluster.run_job("home", 0);
    // Somebody else's stay.
    cluster.restic(&["backup", "--host", "stranger", source.to_str().unwrap()]);
    let lost = first["items"][0]["restore_point"].as_str().unwrap();
    let snapshot = cluster.data_dir().join("storage/snapshots").join(lost);
    let aside = cluster.place("aside").join(lost);
    std::fs::rename(&snapshot, &aside).unwrap();
    // A new leader looks soon.
    let leads_anew = || {
        let leader = cluster.leader();
        cluster.run(&["cluster", "transfer-leader"]);
        wait_until("another one to lead", || cluster.leader() != leader);
    };
    leads_anew();
    let is_lost = |id: &str| {
        let all = points(&cluster);
        let point = all.iter().find(|point| point["id"] == id);
        point.is_some_and(|point| point["lost"].is_string())
    };
    wait_until("the loss to be noticed", || is_lost(lost));
    assert_eq!(points(&cluster).len(), 2, "it is not dropped");
    assert_eq!(cluster.json(&["storage", "list"])[0]["lost"], 1);
    let table = cluster.run(&["-o", "table", "restore-point", "list"]).stdout;
    assert!(table.contains("LOST since"), "{table}");
    let to = cluster.place("to");
    let args = ["restore", lost, "--to", to.to_str().unwrap(), "--wait"];
    let refused = cluster.try_run(&args).expect(5);
    assert!(refused.stderr.contains("is lost"), "{}", refused.stderr);
    let snapshots = cluster.restic(&["snapshots", "--json"]).json();
    let strangers = snapshots.as_array().unwrap().iter();
    assert_eq!(strangers.filter(|one| one["hostname"] == "stranger").count(), 1);
    std::fs::rename(&aside, &snapshot).unwrap();
    leads_anew();
    wait_until("it to be back", || !is_lost(lost));
    cluster.run(&args);
}

fn some_pack(cluster: &Cluster) -> std::path::PathBuf {
    let folders = std::fs::read_dir(cluster.data_dir().join("storage/data")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let files = files.map(|file| file.unwrap().path());
    files
        .max_by_key(|path| std::fs::metadata(path).unwrap().len())
        .unwrap()
}

fn flip(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[test]
fn f19_a_check_says_what_is_wrong_and_writes_nothing() {
    let mut cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), tree::noise(3 << 20, 40)).unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 0);
    let id = job["items"][0]["restore_point"].as_str().unwrap().to_owned();
    let before = tree_of(&cluster.data_dir().join("storage"));
    for more in [&[][..], &["--read-data"], &["--wait"]] {
        let checked = cluster.json(&[&["storage", "check", "storage"], more].concat());
        assert_eq!(checked["clean"], true, "{checked:#}");
    }
    cluster.try_run(&["storage", "check", "nowhere"]).expect(6);
    // Damage inside a pack is found by reading.
    let pack = some_pack(&cluster);
    flip(&pack, 1000);
    let quick = cluster
        .try_run(&["-o", "json", "storage", "check", "storage"])
        .expect(0);
    assert_eq!(quick.json()["clean"], true);
    let found = cluster
        .try_run(&["-o", "json", "storage", "check", "storage", "--read-data"])
        .expect(1)
        .json();
    let text = found["findings"].to_string();
    let name = pack.file_name().unwrap().to_str().unwrap();
    assert!(
        text.contains(name) && text.contains(&id) && text.contains("/file"),
        "{found:#}"
    );
    flip(&pack, 1000);
    assert_eq!(
        tree_of(&cluster.data_dir().join("storage")),
        before,
        "nothing was written"
    );
    // What is cut or gone, without.
    for agent in ["media-1", "media-2"] {
        cluster.end(agent);
        cluster.restart(agent);
    }
    std::fs::File::options()
        .write(true)
        .open(&pack)
        .unwrap()
        .set_len(100)
        .unwrap();
    wait_until("a check to be possible", || {
        cluster.try_run(&["storage", "check", "storage"]).code != 5
    });
    let found = cluster
        .try_run(&["-o", "json", "storage", "check", "storage"])
        .expect(1)
        .json();
    assert!(found["findings"].to_string().contains(&id), "{found:#}");
    cluster.stop(Signal::TERM);
}

/// Names and lengths of everything but locks.
fn tree_of(root: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with("locks") => {}
                true => folders.push(path),
                false => found.push((path.clone(), std::fs::metadata(&path).unwrap().len())),
            }
        }
    }
    found.sort();
    found
}
