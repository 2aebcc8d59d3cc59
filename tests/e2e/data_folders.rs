//! What daemons of the host work with is neither backed up nor restored over while they do.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::cluster::{Cluster, wait_until};

const CHILDREN: [&str; 6] = [
    "primary-1",
    "primary-2",
    "primary-3",
    "media-1",
    "media-2",
    "client-1",
];

fn exceptions(cluster: &Cluster, job: &Value) -> String {
    cluster.run(&["job", "log", job["id"].as_str().unwrap()]).stdout
}

/// As when somebody restores the whole host.
fn restore(cluster: &Cluster, point: &str, to: &Path, code: i32) -> Value {
    let to = to.to_str().unwrap();
    let args = [
        "-o",
        "json",
        "restore",
        point,
        "--to",
        to,
        "--overwrite",
        "always",
        "--wait",
    ];
    cluster.try_run(&args).expect(code).json()
}

#[test]
fn t90_a_restore_over_the_clusters_own_folder_sets_nothing_back() {
    let mut cluster = Cluster::start();
    let own = cluster.data_dir();
    let note = own.join("state/a note");
    std::fs::write(&note, "of before").unwrap();
    cluster.apply_policy("own", &[&own], "").expect(0);
    // One that does not run is backed up: that is a copy, and may be all that is left of it.
    cluster.kill(&["media-2"]);
    let job = cluster.run_job("own", 3);
    let named = exceptions(&cluster, &job);
    for child in CHILDREN {
        let is_named = named.contains(&format!("state/{child}"));
        assert_eq!(is_named, child != "media-2", "{child}: {named}");
    }
    let point = job["items"][0]["restore_point"].as_str().unwrap().to_owned();

    // Elsewhere everything is written that is in it.
    let elsewhere = cluster.place("elsewhere");
    restore(&cluster, &point, &elsewhere, 0);
    let restored = elsewhere.join(own.strip_prefix("/").unwrap()).join("state");
    assert!(restored.join("media-2/journal").is_dir());
    assert_eq!(std::fs::read_dir(restored.join("primary-1")).unwrap().count(), 0);

    cluster.restart("media-2");
    wait_until("media-2 to be back", || {
        let agents = cluster.json(&["agent", "list"]);
        let is_back = |agent: &&Value| agent["connected"] == true;
        agents.as_array().unwrap().iter().filter(is_back).count() == 3
    });
    std::fs::write(&note, "of now").unwrap();
    let job = restore(&cluster, &point, Path::new("/"), 3);
    let named = exceptions(&cluster, &job);
    for folder in CHILDREN
        .map(|child| format!("state/{child}"))
        .iter()
        .chain([&"/run".to_owned()])
    {
        assert!(named.contains(folder), "{folder}: {named}");
    }
    assert_eq!(std::fs::read_to_string(&note).unwrap(), "of before");

    // Whatever has been since is there when all start again.
    cluster.apply_policy("later", &[&elsewhere], "").expect(0);
    let known = cluster.json(&["job", "list"]);
    cluster.stop(Signal::TERM);
    cluster.start_dev();
    assert_eq!(cluster.json(&["job", "list"]), known);
    cluster.run_job("later", 0);
    cluster.check_repository();
}
