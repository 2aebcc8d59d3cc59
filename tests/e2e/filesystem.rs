//! Everything a file system holds, through the whole path, restored by us and by plain restic (docs/file-systems.md).

mod cases;
mod changes;
pub(crate) mod compare;
mod holes;
mod kinds;
mod long_paths;
mod matrix;
mod other_client;
mod restores;
mod ticks;

use crate::cluster::Cluster;
use crate::main_job::inside;
use crate::tree;

/// Of what is in the repository, restic 0.14 does not bring this back; we do.
const LOST_BY_RESTIC: [&str; 20] = [
    "attributes of root/link: attributes",
    "hard links/a/fifo: links",
    "hard links/fifo: links",
    "hard links/link: links",
    "hard links/z/link: links",
    "links/latin-1: target",
    "sparse/all: holes",
    "sparse/at odd places: holes",
    "sparse/at the end: holes",
    "sparse/at the start: holes",
    "sparse/in the middle: holes",
    "sparse/many: holes",
    "sparse/shortest: holes",
    "special/socket: missing",
    "times/2262: time",
    "times/2446: time",
    "times/folder 2262: time",
    "times/folder 2262/link: time",
    "times/folder 2446: time",
    "times/folder 2446/link: time",
];

#[test]
fn everything_a_file_system_holds_comes_back() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    let _mounted = cases::make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 0);
    assert_eq!(job["status"], "successful", "{job:#}");
    cluster.check_repository();
    let point = job["items"][0]["restore_point"].as_str().unwrap();

    let by_us = cluster.place("by-us");
    let restore = cluster.json(&["restore", point, "--to", by_us.to_str().unwrap(), "--wait"]);
    assert_eq!(restore["status"], "successful", "{restore:#}");
    let none: [&str; 0] = [];
    assert_eq!(compare::differences(&source, &inside(&by_us, &source)), none);
    tree::assert_same(&source, &inside(&by_us, &source));

    let by_restic = cluster.place("by-restic");
    cluster.restic(&["restore", point, "--target", by_restic.to_str().unwrap()]);
    let lost = compare::differences(&source, &inside(&by_restic, &source));
    let made = |row: &&str| source.join(path_of(row)).symlink_metadata().is_ok();
    let expected: Vec<_> = LOST_BY_RESTIC.into_iter().filter(made).collect();
    assert_eq!(lost, expected);
    let by_rsync = tree::rsync(&source, &inside(&by_restic, &source));
    for line in by_rsync.lines() {
        let is_known = expected.iter().any(|row| line.contains(path_of(row)));
        assert!(is_known, "rsync sees what we do not: {line}");
    }
}

/// Of a line of differences.
fn path_of(row: &str) -> &str {
    row.rsplit_once(": ").unwrap().0
}
