//! How restores end (S-14e, S-10, X-09): targets that cannot take them, nothing to restore, what was left alone, and by whom.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::cluster::{Cluster, PATIENCE, wait_until};
use crate::main_job::inside;
use crate::mounts::{Mount, is_root};
use crate::tree;

/// A restore point of `source` in a cluster.
fn backed_up(cluster: &Cluster, source: &Path) -> String {
    cluster.apply_policy("home", &[source], "").expect(0);
    let job = cluster.run_job("home", 0);
    job["items"][0]["restore_point"].as_str().unwrap().to_owned()
}

/// `restore --wait` with that exit code: the job as it is then.
fn restore(cluster: &Cluster, point: &str, target: &Path, more: &[&str], code: i32) -> Value {
    let to = target.to_str().unwrap();
    let arguments = [&["-o", "json", "restore", point], more, &["--to", to, "--wait"]].concat();
    cluster.try_run(&arguments).expect(code).json()
}

/// The text of a job's one error, which has this code.
fn error(job: &Value, code: u32) -> &str {
    assert_eq!(
        (&job["status"], &job["status_code"]),
        (&json!("failed"), &json!(code)),
        "{job:#}"
    );
    let error = &job["attempts"][0]["error"];
    assert_eq!(error["code"], code, "{job:#}");
    error["text"].as_str().unwrap()
}

fn left_alone(job: &Value) -> u64 {
    job["restore"]["left_alone"]
        .as_u64()
        .unwrap_or_else(|| panic!("{job:#}"))
}

/// Path and reason of each of a job's exceptions.
fn exceptions(cluster: &Cluster, job: &Value) -> Vec<(String, String)> {
    let log = cluster.json(&["job", "log", job["id"].as_str().unwrap()]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let exceptions = log["exceptions"].as_array().unwrap();
    exceptions
        .iter()
        .map(|exception| (text(&exception["path"]), text(&exception["reason"])))
        .collect()
}

/// Nothing of a restore's own is left anywhere below.
fn assert_no_leftovers(target: &Path) {
    let found = Command::new("find")
        .arg(target)
        .args(["-name", ".outlast-restore-*"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

/// Four folders of ten files of 100 KiB.
fn four_mebibytes(cluster: &Cluster) -> PathBuf {
    let source = cluster.place("source");
    for number in 0..40 {
        let folder = source.join(format!("folder-{}", number / 10));
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(format!("file-{number:02}")),
            tree::noise(100 << 10, number),
        )
        .unwrap();
    }
    source
}

#[test]
fn s14e_a_target_that_is_full_fails_at_once() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::start();
    let source = four_mebibytes(&cluster);
    let point = backed_up(&cluster, &source);
    let small = cluster.place("small");
    let _mounted = Mount::tmpfs(&small, "1m");
    let job = restore(&cluster, &point, &small, &[], 1);
    let text = error(&job, 1202);
    for said in [
        small.to_str().unwrap(),
        "No space left on device",
        "free",
        "files are finished",
    ] {
        assert!(text.contains(said), "{said:?} is not in {text}");
    }
    assert_no_leftovers(&small);
    let there = inside(&small, &source);
    let finished: Vec<_> = walk(&there).into_iter().filter(|path| path.is_file()).collect();
    assert!(!finished.is_empty(), "what was finished stays");
    for file in &finished {
        let original = source.join(file.strip_prefix(&there).unwrap());
        assert_eq!(
            fs::read(file).unwrap(),
            fs::read(&original).unwrap(),
            "{}",
            file.display()
        );
    }
    assert_eq!(job["attempts"][0]["files"], finished.len(), "{job:#}");
    assert_eq!(exceptions(&cluster, &job), [], "one cause, said once");
    for folder in walk(&there).iter().filter(|path| path.is_dir()) {
        assert_eq!(
            folder.metadata().unwrap().mode() & 0o777,
            0o755,
            "{}",
            folder.display()
        );
    }
    // Full before anything is read.
    fs::write(small.join("filler"), b"").unwrap();
    let _ = fs::write(small.join("filler"), vec![1; 1 << 20]);
    let job = restore(&cluster, &point, &small.join("deeper"), &[], 1);
    error(&job, 1202);
    assert_eq!(job["attempts"][0]["bytes_read"], 0, "{job:#}");
}

#[test]
fn s14e_a_target_that_cannot_be_written_fails_before_anything_is_read() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::start();
    let point = backed_up(&cluster, &four_mebibytes(&cluster));
    let read_only = cluster.place("read-only");
    let _mounted = Mount::tmpfs(&read_only, "16m");
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&read_only)
        .status();
    assert!(remounted.unwrap().success());
    let bound = cluster.place("bound");
    let _bound = Mount::read_only(&bound, &cluster.place("writable"));
    let below_a_file = cluster.place("files").join("file/below");
    fs::write(below_a_file.parent().unwrap(), b"").unwrap();
    for (target, reason) in [
        (&read_only, "Read-only file system"),
        (&read_only.join("new"), "Read-only file system"),
        (&bound, "Read-only file system"),
        (&below_a_file, "Not a directory"),
    ] {
        let job = restore(&cluster, &point, target, &[], 1);
        let text = error(&job, 1201);
        assert!(
            text.contains(reason) && text.contains(target.to_str().unwrap()),
            "{text}"
        );
        assert_eq!(job["attempts"][0]["bytes_read"], 0, "{job:#}");
    }
}

/// Everything below a folder.
fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                waiting.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

#[test]
fn s14e_paths_that_are_not_there_fail_with_71_and_some_are_exceptions() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    fs::write(source.join("file"), b"content").unwrap();
    let point = backed_up(&cluster, &source);
    let target = cluster.place("targets").join("target");
    let [one, two, file] =
        ["no such", "neither", "file"].map(|name| source.join(name).to_str().unwrap().to_owned());
    let job = restore(&cluster, &point, &target, &[&one, &two], 1);
    let text = error(&job, 71);
    assert!(text.contains(&one) && text.contains(&two), "{text}");
    assert!(!target.exists(), "nothing is made for nothing");
    let job = restore(&cluster, &point, &target, &[&one, &file], 3);
    let told = exceptions(&cluster, &job);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].0.ends_with("no such") && told[0].1.contains("not in this restore point"),
        "{told:?}"
    );
    assert_eq!(
        fs::read(inside(&target, &source).join("file")).unwrap(),
        b"content"
    );
}

#[test]
fn s14e_a_restore_says_what_was_asked_for_and_by_whom() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    fs::write(source.join("file"), b"content").unwrap();
    let point = backed_up(&cluster, &source);
    let target = cluster.place("target");
    let (to, path) = (target.to_str().unwrap(), source.join("file"));
    let path = path.to_str().unwrap();
    let job = restore(&cluster, &point, &target, &[path], 0);
    let expected = json!({
        "restore_point": point, "paths": [path], "to": to, "overwrite": "never", "left_alone": 0,
    });
    assert_eq!(job["restore"], expected, "{job:#}");
    assert_eq!(job["by"], json!({"kind": "operator", "name": "dev"}), "{job:#}");
    let id = job["id"].as_str().unwrap();
    let log = cluster.json(&["job", "log", id]);
    assert_eq!(log["job_information"]["restore"], expected, "{log:#}");
    assert_eq!(log["job_information"]["by"], job["by"], "{log:#}");
    for report in ["log", "show"] {
        let report = cluster.run(&["job", report, id]).stdout;
        for said in [
            "Left alone",
            "Overwrite",
            "By",
            "operator \"dev\"",
            to,
            path,
            &point,
        ] {
            assert!(report.contains(said), "{said:?} is not in\n{report}");
        }
    }
    // A backup is not one.
    let backup = cluster.json(&["job", "show", "1"]);
    assert_eq!(
        (&backup["restore"], &backup["by"]),
        (&Value::Null, &job["by"]),
        "{backup:#}"
    );
}

#[test]
fn s14e_what_is_left_alone_is_counted_and_what_differs_is_named() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    fs::create_dir(source.join("folder")).unwrap();
    for name in ["same", "other size", "other time", "folder/file"] {
        fs::write(source.join(name), name).unwrap();
    }
    std::os::unix::fs::symlink("one", source.join("link")).unwrap();
    let point = backed_up(&cluster, &source);
    let target = cluster.place("target");
    let job = restore(&cluster, &point, &target, &[], 0);
    assert_eq!(left_alone(&job), 0, "{job:#}");
    // All of it is there and equal.
    let job = restore(&cluster, &point, &target, &[], 0);
    assert_eq!(
        (left_alone(&job), &job["attempts"][0]["files"]),
        (5, &json!(0)),
        "{job:#}"
    );

    let there = inside(&target, &source);
    fs::write(there.join("other size"), b"longer than it was").unwrap();
    // Nothing that was chosen is there as it was.
    let chosen = source.join("other size");
    let job = restore(&cluster, &point, &target, &[chosen.to_str().unwrap()], 1);
    let text = error(&job, 1201);
    for said in [
        "nothing was restored, 1 left alone",
        "a differing file is there",
        "other size",
    ] {
        assert!(text.contains(said), "{said:?} is not in {text}");
    }
    assert_eq!(
        (left_alone(&job), exceptions(&cluster, &job).len()),
        (1, 1),
        "{job:#}"
    );

    let file = fs::File::options()
        .write(true)
        .open(there.join("other time"))
        .unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    fs::remove_file(there.join("link")).unwrap();
    std::os::unix::fs::symlink("two", there.join("link")).unwrap();
    let job = restore(&cluster, &point, &target, &[], 3);
    assert_eq!(left_alone(&job), 5, "{job:#}");
    assert_eq!(job["status"], "completed_with_exceptions", "{job:#}");
    let told = exceptions(&cluster, &job);
    let names: Vec<_> = told
        .iter()
        .map(|(path, _)| path.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names, ["link", "other size", "other time"]);
    for (path, reason) in &told {
        assert!(reason.starts_with("left alone: a differing"), "{path}: {reason}");
    }

    // A newer file stays and is named, an older one is replaced.
    let job = restore(&cluster, &point, &target, &["--overwrite", "if-newer"], 3);
    let told = exceptions(&cluster, &job);
    let names: Vec<_> = told
        .iter()
        .map(|(path, _)| path.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names, ["link", "other size"]);
    for (path, reason) in &told {
        assert!(reason.contains("which is not older"), "{path}: {reason}");
    }
    assert_eq!(fs::read(there.join("other size")).unwrap(), b"longer than it was");
    assert_eq!(fs::read(there.join("other time")).unwrap(), b"other time");
    assert_eq!(fs::read_link(there.join("link")).unwrap(), Path::new("two"));
    assert_eq!(left_alone(&job), 4, "{job:#}");
    assert_eq!(job["restore"]["overwrite"], "if-newer", "{job:#}");
}

/// The temporary names in a folder.
fn begun(folder: &Path) -> usize {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    names
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .unwrap()
                .starts_with(".outlast-restore-")
        })
        .count()
}

#[test]
fn x09_a_canceled_restore_leaves_no_closed_directories() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    let folders = ["a", "a/b", "a/b/c"];
    for (number, folder) in folders.into_iter().enumerate() {
        fs::create_dir(source.join(folder)).unwrap();
        let mode = 0o751 + u32::try_from(number).unwrap();
        fs::set_permissions(source.join(folder), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(source.join("a/b/c/big"), tree::noise(96 << 20, 3)).unwrap();
    let point = backed_up(&cluster, &source);
    let target = cluster.place("target");
    let job = cluster.json(&["restore", &point, "--to", target.to_str().unwrap()]);
    let id = job["id"].as_str().unwrap().to_owned();
    // The client is held in the middle of the file until the job is canceled.
    let there = inside(&target, &source);
    let deepest = there.join("a/b/c");
    let deadline = Instant::now() + PATIENCE;
    while begun(&deepest) == 0 {
        assert!(
            Instant::now() < deadline && !deepest.join("big").exists(),
            "the restore was not caught"
        );
    }
    cluster.signal(&["client-1"], Signal::STOP);
    assert_eq!(
        (begun(&deepest), deepest.join("big").exists()),
        (1, false),
        "it was too fast"
    );
    for folder in folders {
        assert_eq!(
            there.join(folder).metadata().unwrap().mode() & 0o7777,
            0o700,
            "{folder}: open for the time"
        );
    }
    cluster.run(&["job", "cancel", &id]);
    wait_until("the media agent to have ended it", || {
        cluster.json(&["job", "show", &id])["state"] == "done"
    });
    cluster.signal(&["client-1"], Signal::CONT);
    let job = cluster.json(&["job", "show", &id]);
    assert_eq!(job["status"], "canceled", "{job:#}");
    wait_until("the client to put things right", || {
        folders.iter().all(|folder| {
            let [ours, theirs] =
                [there.join(folder), source.join(folder)].map(|path| path.metadata().unwrap());
            ours.mode() == theirs.mode() && ours.mtime() == theirs.mtime()
        })
    });
    wait_until("what was begun to be gone", || begun(&deepest) == 0);
    assert!(!deepest.join("big").exists());
}
