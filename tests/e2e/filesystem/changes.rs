//! What changes, goes away or cannot be read while it is backed up: exceptions with their reason, and the rest is whole (S-02).

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde_json::Value;

use super::cases::{attribute, touch};
use super::compare;
use crate::cluster::{Cluster, wait_until};
use crate::main_job::inside;
use crate::mounts::Mount;
use crate::tree::noise;

/// Name and reason of a job's exceptions, in the order of the names.
pub(super) fn exceptions(cluster: &Cluster, job: &Value) -> Vec<(String, String)> {
    let log = cluster.json(&["job", "log", job["id"].as_str().unwrap()]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found: Vec<_> = log["exceptions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|exception| {
            let path = text(&exception["path"]);
            (
                path.rsplit('/').next().unwrap().to_owned(),
                text(&exception["reason"]),
            )
        })
        .collect();
    found.sort();
    found
}

fn restored(cluster: &Cluster, point: &str) -> std::path::PathBuf {
    let target = cluster.place("by-us");
    let restore = cluster.json(&["restore", point, "--to", target.to_str().unwrap(), "--wait"]);
    assert_eq!(restore["status"], "successful", "{restore:#}");
    target
}

#[test]
fn s02_files_that_change_while_they_are_read() {
    const SIZE: usize = 32 << 20;
    let cluster = Cluster::start();
    let source = cluster.place("source");
    // In the order of the walk. A client has two to four readers: the first two files are under way when the last ones wait.
    let names = ["1 grows", "2 shrinks", "3", "4", "5 vanishes", "6 is replaced"];
    for name in names {
        fs::write(source.join(name), noise(SIZE, 1)).unwrap();
    }
    fs::write(source.join("7 stays"), b"content").unwrap();
    cluster
        .apply_policy("home", &[&source], "[limits]\nbandwidth = \"10MiB/s\"")
        .expect(0);
    let id = cluster.json(&["job", "run", "home"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    wait_until("the first file to be read", || {
        cluster.json(&["job", "show", &id])["progress"]["bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 0)
    });
    let open = |name: &str| {
        fs::OpenOptions::new()
            .write(true)
            .open(source.join(name))
            .unwrap()
    };
    open("1 grows").write_all_at(b"more", SIZE as u64).unwrap();
    open("2 shrinks").set_len(1000).unwrap();
    fs::remove_file(source.join("5 vanishes")).unwrap();
    fs::remove_file(source.join("6 is replaced")).unwrap();
    std::os::unix::fs::symlink("7 stays", source.join("6 is replaced")).unwrap();
    wait_until("the end of the job", || {
        cluster.json(&["job", "show", &id])["state"] == "done"
    });
    let job = cluster.json(&["job", "show", &id]);
    assert_eq!(job["status"], "completed_with_exceptions", "{job:#}");
    let found = exceptions(&cluster, &job);
    let reasons: Vec<_> = found
        .iter()
        .map(|(name, reason)| (name.as_str(), reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            ("1 grows", "changed while it was read"),
            ("2 shrinks", "changed while it was read"),
            ("5 vanishes", "vanished before it was read"),
            ("6 is replaced", "is no longer a regular file"),
        ]
    );
    cluster.check_repository();
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let there = inside(&restored(&cluster, point), &source);
    let original = noise(SIZE, 1);
    assert!(
        fs::read(there.join("1 grows")).unwrap() == original,
        "what it was when reading began"
    );
    assert!(original.starts_with(&fs::read(there.join("2 shrinks")).unwrap()));
    assert_eq!(fs::read(there.join("7 stays")).unwrap(), b"content");
    assert!(!there.join("5 vanishes").exists() && !there.join("6 is replaced").exists());
    // The next backup reads again what was changing, and has it right.
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 0);
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let by_restic = cluster.place("by-restic");
    cluster.restic(&["restore", point, "--target", by_restic.to_str().unwrap()]);
    let none: [&str; 0] = [];
    assert_eq!(compare::differences(&source, &inside(&by_restic, &source)), none);
}

#[test]
fn s02_what_a_damaged_disk_does_not_give() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting a damaged file system needs root");
        return;
    }
    let cluster = Cluster::start();
    let (source, image) = (cluster.place("source"), cluster.place("disk").join("image"));
    let content = noise(24 << 20, 7);
    let make = |root: &Path| {
        for folder in ["closed", "fine"] {
            fs::create_dir(root.join(folder)).unwrap();
            fs::write(root.join(folder).join(format!("a file in {folder}")), b"content").unwrap();
        }
        fs::write(root.join("torn"), &content).unwrap();
        touch(&root.join("fine"), 5, 6);
    };
    Mount::make_image(&image, 48 << 20);
    {
        let _mounted = Mount::image(&source, &image, "rw");
        make(&source);
        fs::remove_dir(source.join("lost+found")).unwrap();
    }
    // The list of a folder's entries is overwritten, and the end of a file is cut off with the disk.
    let mut disk = fs::read(&image).unwrap();
    let find = |disk: &[u8], what: &[u8]| disk.windows(what.len()).position(|found| found == what).unwrap();
    let block = find(&disk, b"a file in closed") & !4095;
    disk[block..block + 4096].fill(0xa5);
    fs::write(&image, &disk).unwrap();
    let _mounted = Mount::image(&source, &image, "ro");
    let torn = find(&disk, &content[16 << 20..(16 << 20) + 4096]);
    fs::OpenOptions::new()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(torn as u64 & !4095)
        .unwrap();

    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 3);
    assert_eq!(job["status"], "completed_with_exceptions", "{job:#}");
    let found = exceptions(&cluster, &job);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].0, "closed");
    assert!(
        found[0]
            .1
            .starts_with("the directory cannot be listed to its end: "),
        "{found:?}"
    );
    assert_eq!(found[1].0, "torn");
    assert!(
        found[1]
            .1
            .starts_with("cannot be read to its end: Input/output error"),
        "{found:?}"
    );
    cluster.check_repository();
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let there = inside(&restored(&cluster, point), &source);
    assert!(there.join("closed").is_dir() && !there.join("torn").exists());
    let none: [&str; 0] = [];
    assert_eq!(
        compare::differences(&source.join("fine"), &there.join("fine")),
        none
    );
}

#[test]
fn t90_attributes_that_cannot_be_kept_are_named_and_the_rest_is() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    let is_root = rustix::process::geteuid().is_root();
    let large = source.join("large");
    fs::create_dir(&large).unwrap();
    let _mounted = is_root.then(|| Mount::tmpfs(&large, "64m"));
    for file in ["many", "fine"] {
        fs::write(large.join(file), file).unwrap();
        attribute(&large.join(file), "user.colour", b"blue");
    }
    if is_root {
        // More than a message between agents can hold.
        for number in 0..200 {
            attribute(
                &large.join("many"),
                &format!("user.z{number}"),
                &noise(65_000, number),
            );
        }
    } else {
        println!("left out: many large attributes need a file system of their own, which root mounts");
    }
    fs::write(source.join("odd"), b"odd").unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"user.caf\xe9");
    rustix::fs::setxattr(source.join("odd"), odd, b"x", rustix::fs::XattrFlags::empty()).unwrap();
    attribute(&source.join("odd"), "user.colour", b"red");
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 3);
    let found = exceptions(&cluster, &job);
    let mut expected = vec![("odd", "user.caf\\xe9: its name is not UTF-8")];
    if is_root {
        expected.insert(
            0,
            ("many", "user.z101: more than 262144 bytes in all; and 195 more"),
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((name, reason), (expected, left_out)) in found.iter().zip(expected) {
        assert_eq!(name, expected);
        assert_eq!(reason, &format!("extended attributes are left out: {left_out}"));
    }
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    // Where the source's file system is, there must be room for its attributes.
    let _target = is_root.then(|| Mount::tmpfs(&cluster.place("by-us"), "64m"));
    let there = inside(&restored(&cluster, point), &source);
    let lost = compare::differences(&source, &there);
    assert!(
        lost.iter()
            .all(|line| ["large/many: attributes", "odd: attributes"].contains(&line.as_str())),
        "{lost:?}"
    );
    for (file, colour) in [("large/many", b"blue"), ("odd", b"red\0")] {
        let mut value = [0; 4];
        rustix::fs::getxattr(there.join(file), "user.colour", &mut value[..]).unwrap();
        assert_eq!(&value, colour, "{file}");
    }
    cluster.check_repository();
}

#[test]
fn t90_directories_too_deep_to_be_kept_are_named_and_the_rest_is() {
    const LEVELS: usize = 4200;
    let cluster = Cluster::start();
    let source = cluster.place("source");
    fs::write(source.join("z"), b"after the deep one").unwrap();
    let mode = rustix::fs::Mode::RWXU;
    let mut folder: std::os::fd::OwnedFd = fs::File::open(&source).unwrap().into();
    for _ in 0..LEVELS {
        rustix::fs::mkdirat(&folder, "d", mode).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        folder = rustix::fs::openat(&folder, "d", flags, mode).unwrap();
    }
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 3);
    let found = exceptions(&cluster, &job);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].1.starts_with("more than 4096 directories deep"),
        "{found:?}"
    );
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let there = inside(&restored(&cluster, point), &source);
    assert_eq!(fs::read(there.join("z")).unwrap(), b"after the deep one");
    let depth = |root: &Path| {
        let find = std::process::Command::new("find")
            .arg(".")
            .arg("-printf")
            .arg("%d\n")
            .current_dir(root)
            .output();
        let depths = String::from_utf8(find.unwrap().stdout).unwrap();
        depths.lines().map(|line| line.parse::<usize>().unwrap()).max()
    };
    assert_eq!((depth(&source), depth(&there)), (Some(LEVELS), Some(4095)));
    // Deeper than who removes the test's folder goes.
    for root in [&source, &there] {
        assert!(
            std::process::Command::new("rm")
                .arg("-rf")
                .arg(root)
                .status()
                .unwrap()
                .success()
        );
    }
}
