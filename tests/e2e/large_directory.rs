//! A directory with very many entries: its tree is one long blob (the size of the day is `tests/scale`'s).

use crate::cluster::Cluster;
use crate::tree;

const ENTRIES: usize = 20_000;

#[test]
fn s02_a_large_directory_comes_back_from_us_and_from_restic() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    for number in 0..ENTRIES {
        let content = if number % 4 == 0 {
            number.to_string()
        } else {
            String::new()
        };
        std::fs::write(source.join(format!("file-{:08x}", number * 7919)), content).unwrap();
    }
    tree::let_age();
    cluster.apply_policy("large", &[&source], "").expect(0);
    let job = cluster.run_job("large", 0);
    let files = |job: &serde_json::Value| job["attempts"][0]["files"].clone();
    assert_eq!(files(&job), ENTRIES, "{job:#}");

    // Unchanged: the long tree of the parent is read beside the walk, and no file again.
    let again = cluster.run_job("large", 0);
    assert_eq!(files(&again), ENTRIES, "{again:#}");
    let counters = &again["attempts"][0];
    assert_eq!(counters["bytes_read"], 0, "{again:#}");
    // One entry changed: one file is read.
    std::fs::write(source.join("file-00000000"), "other").unwrap();
    let third = cluster.run_job("large", 0);
    assert_eq!(third["attempts"][0]["bytes_read"], 5, "{third:#}");
    cluster.check_repository();

    let points = cluster.json(&["restore-point", "list"]);
    let id = third["items"][0]["restore_point"].as_str().unwrap().to_owned();
    assert_eq!(points.as_array().unwrap().len(), 3, "{points:#}");
    let listed = cluster.json(&["restore-point", "ls", &id]);
    assert_eq!(listed.as_array().unwrap().len(), ENTRIES);

    let (ours, theirs) = (cluster.place("ours"), cluster.place("theirs"));
    cluster.run(&["restore", &id, "--to", ours.to_str().unwrap(), "--wait"]);
    cluster.restic(&["--no-lock", "restore", &id, "--target", theirs.to_str().unwrap()]);
    for restored in [ours, theirs] {
        tree::assert_same(&source, &restored.join(source.strip_prefix("/").unwrap()));
    }
}
