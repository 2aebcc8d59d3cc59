//! Hard links of restores that the target does not take (S-14e): their content is there all the same.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use rustix::fs::{AtFlags, CWD, linkat};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::filesystem::compare::differences;
use crate::main_job::inside;
use crate::mounts::Mount;
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

/// File systems are mounted by root.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: file systems are mounted by root");
    }
    is_root
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
