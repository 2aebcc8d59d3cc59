//! Hard links of restores: those that the target does not take (S-14e), and files that only look like links.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rustix::fs::{AtFlags, CWD, linkat};
use rustix::process::Signal;
use serde_json::Value;

use crate::cluster::{Cluster, PATIENCE, wait_until};
use crate::filesystem::compare::differences;
use crate::main_job::inside;
use crate::mounts::{Mount, is_root};
use crate::restics::{self, INSTALLED};
use crate::tree;

fn restore(cluster: &Cluster, point: &str, target: &Path, overwrite: &str, code: i32) -> Value {
    let to = target.to_str().unwrap();
    let arguments = [
        "-o",
        "json",
        "restore",
        point,
        "--to",
        to,
        "--overwrite",
        overwrite,
        "--wait",
    ];
    cluster.try_run(&arguments).expect(code).json()
}

const FILES: [&str; 4] = ["file", "empty", "sparse", "link"];

/// A restore point of files with four names each: in `a`, twice in `mounted`, in `z`.
fn backed_up(cluster: &Cluster, source: &Path) -> String {
    for folder in ["a", "mounted", "z"] {
        fs::create_dir(source.join(folder)).unwrap();
    }
    let name = |path: &str| source.join(path);
    fs::write(name("a/file"), tree::noise(3 << 20, 1)).unwrap();
    fs::write(name("a/empty"), b"").unwrap();
    let sparse = fs::File::create(name("a/sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"in the middle", 32 << 20).unwrap();
    std::os::unix::fs::symlink("somewhere", name("a/link")).unwrap();
    for file in FILES {
        let first = name("a").join(file);
        for other in [
            format!("mounted/{file}"),
            format!("mounted/second {file}"),
            format!("z/{file}"),
        ] {
            // Links of links are not followed.
            linkat(CWD, &first, CWD, name(&other), AtFlags::empty()).unwrap();
        }
    }
    cluster.apply_policy("home", &[source], "").expect(0);
    let job = cluster.run_job("home", 0);
    job["items"][0]["restore_point"].as_str().unwrap().to_owned()
}

#[test]
fn s14e_a_link_to_another_mount_becomes_a_copy() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::start();
    let source = cluster.place("source");
    let point = backed_up(&cluster, &source);
    let target = cluster.place("target");
    let there = inside(&target, &source);
    fs::create_dir_all(there.join("mounted")).unwrap();
    let _mounted = Mount::tmpfs(&there.join("mounted"), "64m");
    let job = restore(&cluster, &point, &target, "always", 0);
    assert_eq!(job["attempts"][0]["files"], 16, "{job:#}");
    let inode = |path: &str| there.join(path).symlink_metadata().unwrap().ino();
    for file in FILES {
        let of = |folder: &str| inode(&format!("{folder}/{file}"));
        assert_eq!(of("a"), of("z"), "{file}: links go on where they can be made");
        assert_eq!(of("mounted"), inode(&format!("mounted/second {file}")), "{file}");
    }
    let room = there.join("mounted/sparse").metadata().unwrap().blocks() * 512;
    assert!(room < 1 << 20, "{room} bytes for a sparse file");
    let other: Vec<_> = differences(&source, &there)
        .into_iter()
        .filter(|line| !line.ends_with(": links"))
        .collect();
    assert_eq!(other, [""; 0]);
}

/// The first name is taken by a file that nobody may change.
#[test]
fn s14e_other_names_of_a_file_whose_first_name_cannot_be_given_are_there() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::start();
    let source = cluster.place("source");
    let point = backed_up(&cluster, &source);
    let image = cluster.data_dir().join("image");
    let second = cluster.place("second");
    Mount::make_image(&image, 128 << 20);
    let _mounted = Mount::image(&second, &image, "rw");
    let there = inside(&second, &source);
    fs::create_dir_all(there.join("a")).unwrap();
    let kept = there.join("a/file");
    fs::write(&kept, b"immutable").unwrap();
    let immutable = |how: &str| {
        let status = Command::new("chattr").arg(how).arg(&kept).status();
        assert!(status.unwrap().success(), "chattr {how}");
    };
    immutable("+i");
    let job = restore(&cluster, &point, &second, "always", 3);
    immutable("-i");
    assert_eq!(job["attempts"][0]["exceptions"], 1, "{job:#}");
    assert_eq!(fs::read(&kept).unwrap(), b"immutable");
    let original = fs::read(source.join("a/file")).unwrap();
    for other in ["mounted/file", "mounted/second file", "z/file"] {
        assert!(fs::read(there.join(other)).unwrap() == original, "{other}");
        assert_eq!(
            there.join(other).metadata().unwrap().ino(),
            there.join("z/file").metadata().unwrap().ino()
        );
    }
}

/// More files than the walk runs ahead of those who read them.
const MANY: usize = 30_000;

/// How many descriptors a process has open of this folder.
fn open_at(pid: i32, folder: &Path) -> usize {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    open.filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to == folder))
        .count()
}

/// A restore point of `top`: a file with two names, many files, and others with its number, which were made when it had been walked and removed.
fn given_out_again(cluster: &Cluster, top: &Path) -> String {
    let zz = top.join("zz");
    for folder in [&top.join("m"), &zz] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(top.join("a1"), "AAAA content").unwrap();
    fs::hard_link(top.join("a1"), top.join("a2")).unwrap();
    let number = top.join("a1").metadata().unwrap().ino();
    for file in 0..MANY {
        fs::write(top.join(format!("m/{file}")), "1").unwrap();
    }
    cluster.apply_policy("home", &[top], "").expect(0);
    let job = cluster.json(&["job", "run", "home"]);
    let id = job["id"].as_str().unwrap();
    // The walk has one, and who reads is there, too: then both have left what lies before.
    let (client, folder) = (cluster.pid("client-1"), top.join("m").canonicalize().unwrap());
    let deadline = Instant::now() + PATIENCE;
    while open_at(client, &folder) < 2 {
        assert!(Instant::now() < deadline, "the walk never came to the many files");
    }
    cluster.signal(&["client-1"], Signal::STOP);
    fs::remove_file(top.join("a1")).unwrap();
    fs::remove_file(top.join("a2")).unwrap();
    fs::write(zz.join("b1"), "BBBB other 1").unwrap();
    let again = zz.join("b1").metadata().unwrap().ino();
    fs::hard_link(zz.join("b1"), zz.join("c1")).unwrap();
    cluster.signal(&["client-1"], Signal::CONT);
    assert_eq!(again, number, "ext4 gives it out again");
    wait_until("the job to end", || {
        cluster.json(&["job", "show", id])["state"] == "done"
    });
    let job = cluster.json(&["job", "show", id]);
    assert_eq!(job["status"], "successful", "{job:#}");
    job["items"][0]["restore_point"].as_str().unwrap().to_owned()
}

/// On ext4, which gives a number out again at once: restored by us and by restic, each name has its own content.
#[test]
fn t90_files_that_had_one_number_after_one_another_are_no_links() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::start();
    let image = cluster.data_dir().join("image");
    Mount::make_image_of(&image, 400 << 20, &["-b", "4096", "-N", "70000"]);
    let source = cluster.place("source");
    let _mounted = Mount::image(&source, &image, "rw");
    let top = source.join("top");
    let point = given_out_again(&cluster, &top);
    let point = point.as_str();
    let expected = [
        ("a1", "AAAA content"),
        ("a2", "AAAA content"),
        ("zz/b1", "BBBB other 1"),
        ("zz/c1", "BBBB other 1"),
    ];
    let by_us = cluster.place("by-us");
    let wanted = ["a1", "a2", "zz"].map(|name| top.join(name).to_str().unwrap().to_owned());
    let [a1, a2, zz] = wanted.each_ref().map(String::as_str);
    let to = ["--to", by_us.to_str().unwrap(), "--wait"];
    cluster.run(&[&["restore", point, a1, a2, zz], &to[..]].concat());
    let includes = ["--include", a1, "--include", a2, "--include", zz];
    let mut targets = vec![by_us];
    for (number, restic) in [Some(INSTALLED.into()), restics::current()]
        .into_iter()
        .flatten()
        .enumerate()
    {
        let target = cluster.place(&format!("by-restic-{number}"));
        let to = target.to_str().unwrap();
        cluster
            .try_restic_of(
                &restic,
                &[&["restore", point, "--target", to], &includes[..]].concat(),
            )
            .expect(0);
        targets.push(target);
    }
    for target in targets {
        let there = inside(&target, &top);
        for (name, content) in expected {
            let found = fs::read_to_string(there.join(name)).unwrap();
            assert_eq!(found, content, "{}: {name}", target.display());
        }
        let inode = |name: &str| there.join(name).metadata().unwrap().ino();
        assert_eq!(inode("a1"), inode("a2"), "{}", target.display());
        assert_eq!(inode("zz/b1"), inode("zz/c1"), "{}", target.display());
    }
}
