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

use std::path::Path;

use crate::cluster::Cluster;
use crate::main_job::inside;
use crate::{restics, tree};

/// Of what is in the repository, restic does not bring this back; we do. And whether 0.18 does.
const LOST: [(&str, bool); 20] = [
    ("attributes of root/link: attributes", true),
    ("hard links/a/fifo: links", false),
    ("hard links/fifo: links", false),
    ("hard links/link: links", false),
    ("hard links/z/link: links", false),
    ("links/latin-1: target", true),
    ("sparse/all: holes", false),
    ("sparse/at odd places: holes", false),
    ("sparse/at the end: holes", false),
    ("sparse/at the start: holes", false),
    ("sparse/in the middle: holes", false),
    ("sparse/many: holes", false),
    ("sparse/shortest: holes", false),
    ("special/socket: missing", false),
    ("times/2262: time", false),
    ("times/2446: time", false),
    ("times/folder 2262: time", false),
    ("times/folder 2262/link: time", false),
    ("times/folder 2446: time", false),
    ("times/folder 2446/link: time", false),
];

/// What restic 0.14 does not bring back.
fn lost_by_restic() -> Vec<&'static str> {
    LOST.iter().map(|(line, _)| *line).collect()
}

/// What restic 0.18 does not bring back.
fn lost_by_current_restic() -> Vec<&'static str> {
    let lost = LOST.iter().filter(|(_, is_kept_now)| !is_kept_now);
    lost.map(|(line, _)| *line).collect()
}

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

    assert_lost(
        &cluster,
        Path::new(restics::INSTALLED),
        &lost_by_restic(),
        point,
        &source,
    );
    if let Some(current) = restics::current() {
        cluster
            .try_restic_of(&current, &["--no-lock", "check", "--read-data"])
            .expect(0);
        assert_lost(&cluster, &current, &lost_by_current_restic(), point, &source);
    }
}

/// What this restic does not bring back is what is known, and rsync sees no more than we do.
fn assert_lost(cluster: &Cluster, restic: &Path, known: &[&str], point: &str, source: &Path) {
    let target = tempfile::tempdir_in(cluster.data_dir().parent().unwrap()).unwrap();
    let to = target.path();
    cluster
        .try_restic_of(restic, &["restore", point, "--target", to.to_str().unwrap()])
        .expect(0);
    let lost = compare::differences(source, &inside(to, source));
    let made = |row: &&str| source.join(path_of(row)).symlink_metadata().is_ok();
    let expected: Vec<_> = known.iter().copied().filter(made).collect();
    assert_eq!(lost, expected, "{}", restic.display());
    for line in tree::rsync(source, &inside(to, source)).lines() {
        let is_known = expected.iter().any(|row| line.contains(path_of(row)));
        assert!(is_known, "rsync sees what we do not: {line}");
    }
}

/// Of a line of differences.
fn path_of(row: &str) -> &str {
    row.rsplit_once(": ").unwrap().0
}
