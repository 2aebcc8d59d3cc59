//! Restores to odd file systems (S-14e): without case, without links, failing in the middle.

use std::fs;
use std::path::{Path, PathBuf};

use outlast_test_filesystems::{At, Errno, Mounted, Odd, can_mount, mount};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::filesystem::compare::differences;
use crate::main_job::inside;
use crate::tree;

/// A folder of the cluster as an odd file system; it goes before the cluster does.
struct OddTarget {
    at: PathBuf,
    odd: Odd,
    _mounted: Mounted,
}

impl OddTarget {
    fn new(cluster: &Cluster, name: &str) -> Self {
        let [backing, at] = ["backing", "target"].map(|kind| cluster.place(&format!("{name} {kind}")));
        let odd = Odd::new();
        let mounted = mount(&backing, &at, odd.clone()).unwrap();
        Self {
            at,
            odd,
            _mounted: mounted,
        }
    }
}

fn backed_up(cluster: &Cluster, source: &Path) -> String {
    cluster.apply_policy("home", &[source], "").expect(0);
    let job = cluster.run_job("home", 0);
    job["items"][0]["restore_point"].as_str().unwrap().to_owned()
}

/// The job, when it is done with that exit code.
fn restore(cluster: &Cluster, point: &str, target: &Path, overwrite: &str, code: i32) -> Value {
    let to = target.to_str().unwrap();
    let arguments = ["-o", "json", "restore", point, "--to", to];
    let more = ["--overwrite", overwrite, "--wait"];
    let ran = cluster.try_run(&[&arguments[..], &more[..]].concat());
    ran.expect(code).json()
}

/// Name and reason of each exception, sorted.
fn exceptions(cluster: &Cluster, job: &Value) -> Vec<(String, String)> {
    let log = cluster.json(&["job", "log", job["id"].as_str().unwrap()]);
    let exceptions = log["exceptions"].as_array().unwrap().iter();
    let mut told: Vec<_> = exceptions
        .map(|exception| {
            let text = |key: &str| exception[key].as_str().unwrap().to_owned();
            (
                text("path").rsplit('/').next().unwrap().to_owned(),
                text("reason"),
            )
        })
        .collect();
    told.sort();
    told
}

#[test]
fn s14e_names_that_are_one_place_on_the_target_are_not_restored_over_one_another() {
    if !can_mount() {
        return;
    }
    let cluster = Cluster::start();
    let source = cluster.place("source");
    for folder in ["Folder", "folder"] {
        fs::create_dir(source.join(folder)).unwrap();
        fs::write(source.join(folder).join(format!("in {folder}")), folder).unwrap();
    }
    for (name, content) in [
        ("README", "first"),
        ("readme", "second"),
        ("EMPTY", ""),
        ("empty", ""),
    ] {
        fs::write(source.join(name), content).unwrap();
    }
    fs::write(source.join("Link"), "links").unwrap();
    fs::hard_link(source.join("Link"), source.join("link")).unwrap();
    let point = backed_up(&cluster, &source);
    for (overwrite, again) in [("never", 0), ("always", 4), ("if-newer", 0)] {
        let target = OddTarget::new(&cluster, overwrite);
        target.odd.forgets_case();
        // The second time all of it is there.
        for files in [4, again] {
            let job = restore(&cluster, &point, &target.at, overwrite, 3);
            let told = exceptions(&cluster, &job);
            let names: Vec<_> = told.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(
                names,
                ["empty", "folder", "link", "readme"],
                "{overwrite}: {told:?}"
            );
            for ((_, reason), first) in told.iter().zip(["EMPTY", "Folder", "Link", "README"]) {
                let expected = format!("\"{first}\", which this restore has filled");
                assert!(reason.contains(&expected), "{overwrite}: {reason}");
            }
            let counts = (&job["attempts"][0]["files"], &job["restore"]["left_alone"]);
            assert_eq!(
                counts,
                (&files.into(), &(8 - files).into()),
                "{overwrite}: {job:#}"
            );
            let there = inside(&target.at, &source);
            assert_eq!(fs::read(there.join("README")).unwrap(), b"first", "{overwrite}");
            let mut names: Vec<_> = fs::read_dir(&there)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            assert_eq!(names, ["EMPTY", "Folder", "Link", "README"], "{overwrite}");
            let inside = fs::read_dir(there.join("Folder")).unwrap();
            assert_eq!(inside.count(), 1, "{overwrite}");
        }
    }
}

#[test]
fn s14e_a_target_without_links_gets_copies() {
    if !can_mount() {
        return;
    }
    let cluster = Cluster::start();
    let source = cluster.place("source");
    fs::write(source.join("file"), tree::noise(3 << 20, 1)).unwrap();
    // More of them than places that are remembered.
    for number in 0..12 {
        fs::hard_link(source.join("file"), source.join(format!("name {number:02}"))).unwrap();
    }
    let point = backed_up(&cluster, &source);
    // It has none; or this file has as many as it can.
    for error in [Errno::PERM, Errno::MLINK] {
        let target = OddTarget::new(&cluster, &format!("{error:?}"));
        target.odd.refuses_links(error);
        let job = restore(&cluster, &point, &target.at, "never", 0);
        assert_eq!(job["attempts"][0]["files"], 13, "{job:#}");
        assert!(target.odd.failed() >= 12, "links were tried");
        let other: Vec<_> = differences(&source, &inside(&target.at, &source))
            .into_iter()
            .filter(|line| !line.ends_with(": links"))
            .collect();
        assert_eq!(other, [""; 0], "{error}");
    }
    // Some links can be made: the others begin anew from a copy.
    let target = OddTarget::new(&cluster, "few");
    let links = At::anywhere().calls(&["link"]);
    target.odd.fails(links.after(5), Errno::MLINK);
    let job = restore(&cluster, &point, &target.at, "never", 0);
    assert_eq!(job["attempts"][0]["files"], 13, "{job:#}");
}

#[test]
fn s14e_a_target_that_fails_in_the_middle_ends_the_restore_and_one_bad_file_does_not() {
    if !can_mount() {
        return;
    }
    let cluster = Cluster::start();
    let source = cluster.place("source");
    const FILES: u64 = 96;
    for number in 0..FILES {
        fs::write(source.join(format!("{number:02}")), tree::noise(1 << 20, number)).unwrap();
    }
    fs::write(source.join("large"), tree::noise(3 << 20, FILES)).unwrap();
    let point = backed_up(&cluster, &source);
    let writes = || At::anywhere().calls(&["create", "mkdir", "write", "fsync"]);
    for (error, code) in [
        (Errno::IO, 1201),
        (Errno::ROFS, 1201),
        (Errno::NOTCONN, 1201),
        (Errno::STALE, 1201),
        (Errno::NOSPC, 1202),
        (Errno::DQUOT, 1202),
    ] {
        let target = OddTarget::new(&cluster, &format!("{error:?}"));
        target.odd.fails(writes().after(20), error);
        let job = restore(&cluster, &point, &target.at, "never", 1);
        assert_eq!(job["status_code"], code, "{error}: {job:#}");
        let read = job["attempts"][0]["bytes_read"].as_u64().unwrap();
        assert!(read < FILES << 19, "{error}: {read} bytes were read after it");
        assert_eq!(exceptions(&cluster, &job), [], "{error}: one cause, said once");
        target.odd.heals();
        let names = fs::read_dir(inside(&target.at, &source)).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        let is_ours = |name: &std::ffi::OsString| name.to_str().unwrap().starts_with('.');
        assert!(!names.iter().any(is_ours), "{error}: {names:?}");
    }
    one_bad_file(&cluster, &point, FILES);
}

fn one_bad_file(cluster: &Cluster, point: &str, files: u64) {
    let target = OddTarget::new(cluster, "one");
    target
        .odd
        .fails(At::anywhere().calls(&["write"]).from(2 << 20), Errno::FBIG);
    let job = restore(cluster, point, &target.at, "never", 3);
    let told = exceptions(cluster, &job);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].0 == "large" && told[0].1.contains("File too large"),
        "{told:?}"
    );
    assert_eq!(job["attempts"][0]["files"], files, "{job:#}");
}

/// Of several file systems below the target one goes: nothing more is read for it, and the others get what is theirs.
#[test]
fn s14e_a_file_system_below_the_target_that_fails_is_not_read_for() {
    if !can_mount() {
        return;
    }
    let cluster = Cluster::start();
    let source = cluster.place("source");
    for folder in ["mounted", "other"] {
        fs::create_dir(source.join(folder)).unwrap();
    }
    // What was asked for is sent: that are up to three batches of 256.
    let (files, size) = (2000, 16 << 10);
    for number in 0..files {
        let file = source.join(format!("mounted/{number:04}"));
        fs::write(file, tree::noise(size, number)).unwrap();
    }
    fs::write(source.join("other/file"), b"content").unwrap();
    let point = backed_up(&cluster, &source);
    for error in [Errno::IO, Errno::ROFS] {
        let target = cluster.place(&format!("target {error:?}"));
        let there = inside(&target, &source);
        let mounted = there.join("mounted");
        fs::create_dir_all(&mounted).unwrap();
        let odd = Odd::new();
        let backing = cluster.place(&format!("backing {error:?}"));
        let _mounted = mount(&backing, &mounted, odd.clone()).unwrap();
        let writes = At::anywhere().calls(&["create", "mkdir", "write", "fsync"]);
        odd.fails(writes.after(20), error);
        let job = restore(&cluster, &point, &target, "never", 3);
        let read = job["attempts"][0]["bytes_read"].as_u64().unwrap();
        assert!(
            read < files * size as u64 / 2,
            "{error}: {read} bytes were read after it"
        );
        assert_eq!(fs::read(there.join("other/file")).unwrap(), b"content", "{error}");
        let restored = job["attempts"][0]["files"].as_u64().unwrap();
        let excepted = job["attempts"][0]["exceptions"].as_u64().unwrap();
        assert_eq!(restored + excepted, files + 1, "{error}: {job:#}");
    }
}
