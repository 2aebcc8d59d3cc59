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

/// Nor does restic 0.18 this.
const LOST_BY_CURRENT_RESTIC: [&str; 18] = [
    "hard links/a/fifo: links",
    "hard links/fifo: links",
    "hard links/link: links",
    "hard links/z/link: links",
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

    assert_lost(
        &cluster,
        Path::new(restics::INSTALLED),
        &LOST_BY_RESTIC,
        point,
        &source,
    );
    if let Some(current) = restics::current() {
        cluster
            .try_restic_of(&current, &["--no-lock", "check", "--read-data"])
            .expect(0);
        assert_lost(&cluster, &current, &LOST_BY_CURRENT_RESTIC, point, &source);
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
