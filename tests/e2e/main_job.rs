//! The main job: a directory, through a real cluster, into a repository that plain restic verifies and restores.

use std::path::Path;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Ran, outlast};
use crate::tree;

#[test]
fn s01_a_tree_is_backed_up_and_restored_by_restic_and_by_us() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    tree::make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 0);
    assert_eq!(
        (&job["state"], &job["status"], &job["status_code"]),
        (&json!("done"), &json!("successful"), &json!(0)),
        "{job:#}"
    );
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1);
    cluster.check_repository();

    let by_restic = cluster.place("by-restic");
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    cluster.restic(&["restore", point, "--target", by_restic.to_str().unwrap()]);
    tree::assert_same(&source, &inside(&by_restic, &source));

    let by_us = cluster.place("by-us");
    let restore = cluster.json(&["restore", point, "--to", by_us.to_str().unwrap(), "--wait"]);
    assert_eq!(restore["status"], "successful", "{restore:#}");
    tree::assert_same(&source, &inside(&by_us, &source));
    say_what_happened(&cluster, &job);
    an_unchanged_tree_is_not_read_again(&cluster, &job);
}

/// S-13, L-01, L-02: histories, details, log and lists of the job.
fn say_what_happened(cluster: &Cluster, job: &Value) {
    let id = job["id"].as_str().unwrap();
    let history = &cluster.json(&["history", "list", "--job", id])[0];
    assert_eq!(history["status"], "successful");
    assert!(history["bytes"].as_u64().unwrap() > 9_000_000, "{history:#}");
    assert!(
        history["bytes_new"].as_u64().unwrap() <= history["bytes"].as_u64().unwrap(),
        "{history:#}"
    );
    assert!(history["bytes_stored"].as_u64().unwrap() > 0, "{history:#}");

    let details = cluster.json(&["job", "details", id]);
    let texts: Vec<_> = details
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts.first(), Some(&"submitted"));
    assert!(texts.last().unwrap().contains("successful"), "{texts:#?}");

    let log = cluster
        .run(&["job", "log", id, "--format", "text"])
        .stdout
        .to_lowercase();
    for section in ["job information", "exceptions", "errors", "completion"] {
        assert!(log.contains(section), "L-01: no section {section:?} in\n{log}");
    }
    let html = cluster.run(&["job", "log", id, "--format", "html"]).stdout;
    assert!(html.contains("<html") && html.contains("</html>"));

    let points = cluster.json(&["restore-point", "list"]);
    assert_eq!(points.as_array().unwrap().len(), 1);
    assert_eq!(points[0]["id"], points[0]["snapshot"]);
    let listed = cluster.json(&["restore-point", "ls", points[0]["id"].as_str().unwrap()]);
    let names: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert!(names.iter().any(|name| name.ends_with("/docs")), "{names:?}");
    let snapshots = cluster.restic(&["snapshots", "--json"]).json();
    assert_eq!(snapshots[0]["hostname"], "local");
}

fn an_unchanged_tree_is_not_read_again(cluster: &Cluster, first: &Value) {
    let again = cluster.run_job("home", 0);
    let (old, new) = (&first["attempts"][0], &again["attempts"][0]);
    assert_eq!(old["bytes"], new["bytes"], "the restore point holds the same");
    assert_eq!(new["bytes_new"], 0, "{again:#}");
    cluster.check_repository();
    let all = cluster.json(&["job", "list"]);
    let ids: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["id"].as_str().unwrap().parse::<u64>().unwrap())
        .collect();
    assert!(ids.is_sorted_by(|a, b| a > b), "newest first: {ids:?}");
}

/// Where a restore puts an item.
pub(crate) fn inside(target: &Path, item: &Path) -> std::path::PathBuf {
    target.join(item.strip_prefix("/").unwrap())
}

#[test]
fn the_readmes_one_command_backs_a_directory_up() {
    let cluster = Cluster::unstarted();
    let source = cluster.place("source");
    tree::make(&source);
    let dev = |code: i32| {
        let mut command = outlast();
        command
            .args(["-o", "json", "dev", "--once", "--port", "0", "--data-dir"])
            .arg(cluster.data_dir())
            .arg(&source);
        Ran::of(command.output().unwrap()).expect(code)
    };
    let job = dev(0).json();
    assert_eq!(job["status"], "successful", "{job:#}");
    assert_eq!(job["policy"], "dev");
    cluster.check_repository();
    // The same folder goes on where it was: the next job has the next number and finds everything unchanged.
    let again = dev(0).json();
    let number = |job: &Value| job["id"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(number(&again), number(&job) + 1);
    assert_eq!(again["attempts"][0]["bytes_new"], 0, "{again:#}");
    for child in ["primary-1", "media-1", "client-1"] {
        assert!(
            !cluster.data_dir().join(format!("run/{child}.pid")).exists(),
            "{child} is still there"
        );
    }
}

#[test]
fn single_paths_are_restored_and_existing_files_kept_as_told() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::create_dir_all(source.join("a/b")).unwrap();
    std::fs::write(source.join("a/b/wanted"), b"from the restore point").unwrap();
    std::fs::write(source.join("a/unwanted"), b"x").unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 0);
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let target = cluster.place("target");
    let wanted = source.join("a/b/wanted");
    let restored = inside(&target, &wanted);
    let restore = |overwrite: &str, code: i32| {
        let (wanted, target) = (wanted.to_str().unwrap(), target.to_str().unwrap());
        let arguments = ["-o", "json", "restore", &point[..12], wanted, "--to", target];
        let more = ["--overwrite", overwrite, "--wait"];
        let ran = cluster.try_run(&[&arguments[..], &more[..]].concat());
        ran.expect(code).json()
    };
    assert_eq!(restore("never", 0)["status"], "successful");
    assert_eq!(std::fs::read(&restored).unwrap(), b"from the restore point");
    assert!(!inside(&target, &source.join("a/unwanted")).exists());
    // Nothing that was asked for is there afterwards: that is a failure.
    for (overwrite, code, expected) in [
        ("never", 1, "changed since"),
        ("always", 0, "from the restore point"),
    ] {
        std::fs::write(&restored, b"changed since").unwrap();
        restore(overwrite, code);
        assert_eq!(
            std::fs::read_to_string(&restored).unwrap(),
            expected,
            "--overwrite {overwrite}"
        );
    }
}
