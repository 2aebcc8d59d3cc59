//! Holes that come and go while the content stays: each restore point has its own.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use serde_json::Value;

use super::cases::touch;
use super::{compare, restores};
use crate::cluster::Cluster;
use crate::main_job::inside;

const SIZE: usize = 3 << 20;

fn blocks(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks()
}

/// Two files of zeros that were written.
pub(super) fn make_whole(folder: &Path) {
    for name in ["punched", "stays"] {
        fs::write(folder.join(name), vec![0; SIZE]).unwrap();
        touch(&folder.join(name), 1_000_000_000, 5);
    }
}

pub(super) fn assert_whole(folder: &Path) {
    for name in ["punched", "stays"] {
        assert!(!has_hole(&folder.join(name)), "{name}");
        assert!(fs::read(folder.join(name)).unwrap() == vec![0; SIZE]);
    }
}

/// Of a file that [`make_whole`] made.
pub(super) fn has_hole(path: &Path) -> bool {
    blocks(path) * 512 < SIZE as u64
}

/// What a sparse file has between its holes, and its length.
pub(super) fn data(path: &Path) -> (u64, Vec<(u64, Vec<u8>)>) {
    let file = File::open(path).unwrap();
    let mut data = Vec::new();
    let mut place = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(place)) {
        place = seek(&file, SeekFrom::Hole(start)).unwrap();
        let mut bytes = vec![0; usize::try_from(place - start).unwrap()];
        file.read_exact_at(&mut bytes, start).unwrap();
        data.push((start, bytes));
    }
    (file.metadata().unwrap().len(), data)
}

/// Nothing for a TiB, but for two words.
pub(super) fn make_huge(path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(1 << 40).unwrap();
    for (text, place) in [("somewhere", 5 << 30), ("else", (1 << 39) + 12_345)] {
        file.write_all_at(text.as_bytes(), place).unwrap();
    }
}

/// Only the time of the last change tells that something happened.
pub(super) fn punch(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, flags, 4096, 2 << 20).unwrap();
    file.sync_all().unwrap();
    touch(path, 1_000_000_000, 5);
}

fn backup(cluster: &Cluster) -> String {
    let job = cluster.run_job("home", 0);
    assert_eq!(job["status"], "successful", "{job:#}");
    job["items"][0]["restore_point"].as_str().unwrap().to_owned()
}

/// Entries of the top folder of the item, as plain restic reads the tree that lists them.
fn entries_by_restic(cluster: &Cluster, point: &str, folder: &Path) -> Vec<Value> {
    let snapshot: Value = serde_json::from_str(&cluster.restic(&["cat", "snapshot", point]).stdout).unwrap();
    let mut tree = snapshot["tree"].as_str().unwrap().to_owned();
    let names = folder.iter().skip(1).map(|name| name.to_str().unwrap());
    for name in names {
        let text = cluster.restic(&["cat", "blob", &tree]).stdout;
        let json: Value = serde_json::from_str(&text).unwrap();
        let nodes = json["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["name"] == name).unwrap();
        tree = node["subtree"].as_str().unwrap().to_owned();
    }
    let json: Value = serde_json::from_str(&cluster.restic(&["cat", "blob", &tree]).stdout).unwrap();
    json["nodes"].as_array().unwrap().clone()
}

#[test]
fn s01_a_hole_that_comes_later_is_in_the_later_restore_point() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    make_whole(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    let whole = backup(&cluster);
    punch(&source.join("punched"));
    assert!(
        blocks(&source.join("punched")) < 4 << 11,
        "the file system makes holes"
    );
    let with_hole = backup(&cluster);
    cluster.check_repository();

    let restored = |point: &str, place: &str| {
        let target = cluster.place(place);
        restores::restore(&cluster, point, &[], &target, &[], 0);
        inside(&target, &source)
    };
    let before = restored(&whole, "before");
    assert_whole(&before);
    let none: [&str; 0] = [];
    let after = restored(&with_hole, "after");
    assert_eq!(compare::differences(&source, &after), none);
    assert!(has_hole(&after.join("punched")));

    // What says so is a field restic knows (docs/adr/0005): it lists, restores and dumps the file as any other.
    for (point, marked) in [(&whole, None), (&with_hole, Some(1))] {
        let entries = entries_by_restic(&cluster, point, &source);
        let device =
            |name: &str| entries.iter().find(|node| node["name"] == name).unwrap()["device"].as_u64();
        assert_eq!(
            (device("punched"), device("stays")),
            (marked, None),
            "{entries:#?}"
        );
    }
    let by_restic = cluster.place("by-restic");
    cluster.restic(&["restore", &with_hole, "--target", by_restic.to_str().unwrap()]);
    let differences = compare::differences(&source, &inside(&by_restic, &source));
    assert_eq!(differences, ["punched: holes"]);
    let path = source.join("punched");
    let dumped = cluster
        .restic(&["dump", &with_hole, path.to_str().unwrap()])
        .stdout;
    assert!(dumped.len() == SIZE && dumped.bytes().all(|byte| byte == 0));
}

/// Read, sent and written it would take hours.
#[test]
fn s01_a_tebibyte_of_nothing_comes_and_goes() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    make_huge(&source.join("huge"));
    // Zeros that were written, more than one chunk of them.
    fs::write(source.join("written"), vec![0; 40 << 20]).unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    let point = backup(&cluster);
    let target = cluster.place("target");
    restores::restore(&cluster, &point, &[], &target, &[], 0);
    let restored = inside(&target, &source);
    assert!(fs::read(restored.join("written")).unwrap() == vec![0; 40 << 20]);
    assert!(blocks(&restored.join("written")) * 512 >= 40 << 20);
    assert!(data(&source.join("huge")) == data(&restored.join("huge")));
}
