//! File systems whose stamps say little: what is written twice within one tick, images with stamps that their maker chose (S-14c).

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::changes::exceptions;
use crate::cluster::Cluster;
use crate::main_job::inside;
use crate::mounts::Mount;

const SIZE: usize = 6 << 20;

/// Writes the whole file again and again, each time with one byte that is another one, until `enough`; the last byte.
fn rewrite(path: &Path, enough: &AtomicBool) -> u8 {
    let file = File::options().write(true).open(path).unwrap();
    let mut byte = 0_u8;
    while !enough.load(Ordering::Relaxed) {
        byte = byte.wrapping_add(1);
        file.write_all_at(&vec![byte; SIZE], 0).unwrap();
    }
    byte
}

/// Ends the writer also when the test fails.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn t90_s14c_what_changes_within_one_tick_of_a_file_systems_clock() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting a file system needs root");
        return;
    }
    let cluster = Cluster::start();
    let (source, image) = (cluster.place("source"), cluster.place("disk").join("image"));
    // Inodes of 128 bytes have no room for parts of seconds.
    Mount::make_image_of(&image, 64 << 20, &["-b", "4096", "-I", "128"]);
    let _mounted = Mount::image(&source, &image, "rw");
    fs::remove_dir(source.join("lost+found")).unwrap();
    let (busy, quiet) = (source.join("busy"), source.join("quiet"));
    fs::write(&busy, vec![0; SIZE]).unwrap();
    fs::write(&quiet, b"written just before the backup").unwrap();
    assert_eq!(fs::metadata(&busy).unwrap().ctime_nsec(), 0);
    cluster.apply_policy("home", &[&source], "").expect(0);

    let enough = AtomicBool::new(false);
    let (job, last) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| rewrite(&busy, &enough));
        let set = SetAtEnd(&enough);
        let job = cluster.run_job("home", 3);
        drop(set);
        (job, writer.join().unwrap())
    });
    assert_eq!(job["status"], "completed_with_exceptions", "{job:#}");
    let found = exceptions(&cluster, &job);
    assert_eq!(found, [("busy".into(), "changed while it was read".into())]);

    // Nothing but the content is another one.
    let job = cluster.run_job("home", 0);
    assert_eq!(job["status"], "successful", "{job:#}");
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let target = cluster.place("by-us");
    cluster.json(&["restore", point, "--to", target.to_str().unwrap(), "--wait"]);
    let there = inside(&target, &source);
    assert!(fs::read(there.join("busy")).unwrap() == vec![last; SIZE]);
    assert_eq!(
        fs::read(there.join("quiet")).unwrap(),
        b"written just before the backup"
    );
}

/// When every file of every image was changed, as reproducible makers of images have it: 2020-01-01.
const GIVEN: &str = "1577836800";

/// An image with one file of this content; the same but for the content, whenever it is made.
fn squashfs(image: &Path, content: &[u8]) {
    let folder = image.with_extension("folder");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file"), content).unwrap();
    let made = Command::new("mksquashfs")
        .args([&folder, image])
        .args(["-noappend", "-all-root", "-mkfs-time", GIVEN, "-all-time", GIVEN])
        .output()
        .expect("Debian's package squashfs-tools");
    assert!(made.status.success(), "{made:?}");
}

fn ext4(image: &Path, content: &[u8]) {
    let folder = image.with_extension("folder");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file"), content).unwrap();
    Mount::make_image_of(image, 8 << 20, &["-d", folder.to_str().unwrap()]);
    for stamp in ["ctime", "mtime", "ctime_extra", "mtime_extra"] {
        let value = if stamp.ends_with("extra") {
            "0"
        } else {
            "@1577836800"
        };
        let set = Command::new("debugfs")
            .args(["-w", "-R", &format!("set_inode_field /file {stamp} {value}")])
            .arg(image)
            .output()
            .unwrap();
        assert!(set.status.success(), "{set:?}");
    }
}

#[test]
fn t90_s14c_another_image_in_the_same_place_is_read() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting a file system needs root");
        return;
    }
    let cluster = Cluster::start();
    let images = cluster.place("images");
    type Maker = fn(&Path, &[u8]);
    for (kind, make) in [("squashfs", squashfs as Maker), ("ext4", ext4)] {
        let source = cluster.place(kind);
        let image = |number: u8| images.join(format!("{kind}-{number}"));
        cluster.apply_policy(kind, &[&source], "").expect(0);
        let mut seen = Vec::new();
        for (number, content) in [(1, b"yesterday's"), (2, b"today's ver")] {
            make(&image(number), content);
            let mounted = Mount::image(&source, &image(number), "ro");
            let stat = fs::metadata(source.join("file")).unwrap();
            seen.push((
                stat.ino(),
                stat.size(),
                stat.mtime(),
                stat.ctime(),
                stat.ctime_nsec(),
            ));
            let job = cluster.run_job(kind, 0);
            drop(mounted);
            let point = job["items"][0]["restore_point"].as_str().unwrap();
            let target = cluster.place(&format!("{kind}-restored-{number}"));
            cluster.json(&["restore", point, "--to", target.to_str().unwrap(), "--wait"]);
            assert_eq!(
                fs::read(inside(&target, &source).join("file")).unwrap(),
                content,
                "{kind}"
            );
        }
        // Nothing that stat says tells them apart: else this would prove nothing.
        assert_eq!(seen[0], seen[1], "{kind}");
    }
}
