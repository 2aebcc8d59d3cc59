//! Paths longer than the kernel takes in one piece, below an item whose own path is short.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    FileType, Mode, OFlags, XattrFlags, fsetxattr, linkat, mkdirat, mknodat, openat, symlinkat,
};
use serde_json::json;

use super::compare;
use crate::cluster::Cluster;
use crate::main_job::inside;
use crate::tree::noise;

const LEVELS: usize = 45;
/// With the NUL at its end.
const PATH_MAX: usize = 4096;

#[test]
fn paths_past_4096_bytes_come_back() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 0);
    assert_eq!(job["status"], "successful", "{job:#}");
    cluster.check_repository();
    let again = cluster.run_job("home", 0);
    assert_eq!(again["attempts"][0]["bytes_new"], 0, "{again:#}");

    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let none: [&str; 0] = [];
    let by_us = cluster.place("by-us");
    let restored = cluster.json(&["restore", point, "--to", by_us.to_str().unwrap(), "--wait"]);
    assert_eq!(restored["status"], "successful", "{restored:#}");
    assert_eq!(compare::differences(&source, &inside(&by_us, &source)), none);

    one_of_them_alone(&cluster, &source, point);
    what_restic_makes_of_it(&cluster, &source, point);
}

fn name(level: usize) -> String {
    format!("{level:02} {}", "x".repeat(227))
}

fn deepest(item: &Path) -> PathBuf {
    item.join((0..LEVELS).map(name).collect::<PathBuf>())
}

fn make(root: &Path) {
    std::fs::write(root.join("two names"), b"one here, one far below").unwrap();
    let top: OwnedFd = std::fs::File::open(root).unwrap().into();
    let mut folder = top.try_clone().unwrap();
    for level in 0..LEVELS {
        mkdirat(&folder, name(level), Mode::RWXU | Mode::XGRP).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        folder = openat(&folder, name(level), flags, Mode::empty()).unwrap();
        put(&folder, "file", format!("level {level}").as_bytes());
    }
    put(&folder, "several chunks", &noise(3_000_000, 4));
    let file = put(&folder, "empty with an attribute", b"");
    if fsetxattr(&file, "user.where", b"far below", XattrFlags::empty()).is_err() {
        println!("left out: this file system has no attributes");
    }
    symlinkat("../../file", &folder, "link").unwrap();
    mknodat(&folder, "fifo", FileType::Fifo, Mode::RUSR, 0).unwrap();
    linkat(
        &top,
        "two names",
        &folder,
        "two names",
        rustix::fs::AtFlags::empty(),
    )
    .unwrap();
    mkdirat(&folder, "empty", Mode::RWXU).unwrap();
}

fn put(folder: &OwnedFd, name: &str, content: &[u8]) -> OwnedFd {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let file = openat(folder, name, flags, Mode::RUSR | Mode::WUSR).unwrap();
    let mut left = content;
    while !left.is_empty() {
        left = &left[rustix::io::write(&file, left).unwrap()..];
    }
    rustix::fs::fsync(&file).unwrap();
    file
}

fn one_of_them_alone(cluster: &Cluster, source: &Path, point: &str) {
    let target = cluster.place("alone");
    let wanted = deepest(source).join("file");
    let arguments = [
        "restore",
        point,
        wanted.to_str().unwrap(),
        "--to",
        target.to_str().unwrap(),
        "--wait",
    ];
    assert_eq!(cluster.json(&arguments)["status"], "successful");
    let lost = compare::differences(source, &inside(&target, source));
    let far = format!("{}/", deepest(Path::new("")).display());
    let kept = ["file", ": mode", ": time"];
    assert!(!lost.contains(&format!("{far}file: missing")), "{lost:?}");
    assert!(lost.contains(&format!("{far}fifo: missing")), "{lost:?}");
    assert!(
        lost.iter()
            .all(|line| line.ends_with(": missing") || kept.iter().any(|end| line.ends_with(end))),
        "{lost:?}"
    );
    let listed = cluster.json(&["restore-point", "ls", point, deepest(source).to_str().unwrap()]);
    assert_eq!(listed.as_array().unwrap().len(), 7, "{listed:#}");
    assert_eq!(listed[0]["type"], json!("dir"), "{listed:#}");
}

/// Restic 0.14 hands whole paths to the kernel: what lies deeper it names and leaves out. The rest comes back.
fn what_restic_makes_of_it(cluster: &Cluster, source: &Path, point: &str) {
    let target = cluster.place("by-restic");
    let restic = cluster.try_restic(&["restore", point, "--target", target.to_str().unwrap()]);
    assert_eq!(restic.code, 1);
    assert!(restic.stderr.contains("file name too long"), "{}", restic.stderr);
    let restored = inside(&target, source);
    let lost = compare::differences(source, &restored);
    let too_deep = |line: &String| {
        let path = line.strip_suffix(": missing");
        path.is_some_and(|path| restored.join(path).as_os_str().len() >= PATH_MAX)
    };
    let (missing, others): (Vec<_>, Vec<_>) = lost.into_iter().partition(too_deep);
    assert!(missing.len() > 2 * (LEVELS - 20), "{} are missing", missing.len());
    assert_eq!(others, ["two names: links"], "its other name is too deep");
}
