//! Restores over what is there already and of single paths; and that none leads out of its target.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use super::cases::{acl, attribute, set_mode, touch};
use super::compare;
use crate::cluster::Cluster;
use crate::main_job::inside;

/// When everything in the restore point was modified.
pub(super) const THEN: i64 = 1_000_000_000;

/// What is restored, what it meets, and what is there afterwards with `never`, `always` and `if-newer`: what was `theirs`, the
/// restored one (`ours`), `both` in one directory, or theirs with an `exception`; `left alone` is one that says so, since it differs.
const MEETINGS: [(&str, &str, [&str; 3]); 29] = [
    ("file", "nothing", ["ours", "ours", "ours"]),
    ("file", "older file", ["left alone", "ours", "ours"]),
    ("file", "same file", ["left alone", "ours", "left alone"]),
    ("file", "newer file", ["left alone", "ours", "left alone"]),
    ("file", "older link", ["left alone", "ours", "ours"]),
    ("file", "newer link", ["left alone", "ours", "left alone"]),
    ("file", "older fifo", ["left alone", "ours", "ours"]),
    ("file", "older folder", ["exception", "exception", "exception"]),
    ("empty", "older file", ["left alone", "ours", "ours"]),
    ("empty", "older link", ["left alone", "ours", "ours"]),
    ("link", "nothing", ["ours", "ours", "ours"]),
    ("link", "older file", ["left alone", "ours", "ours"]),
    ("link", "newer file", ["left alone", "ours", "left alone"]),
    ("link", "older link", ["left alone", "ours", "ours"]),
    ("link", "older folder", ["exception", "exception", "exception"]),
    ("fifo", "nothing", ["ours", "ours", "ours"]),
    ("fifo", "older file", ["left alone", "ours", "ours"]),
    ("fifo", "older link", ["left alone", "ours", "ours"]),
    ("fifo", "newer fifo", ["theirs", "ours", "theirs"]),
    ("fifo", "older folder", ["exception", "exception", "exception"]),
    ("folder", "nothing", ["ours", "ours", "ours"]),
    ("folder", "older folder", ["both", "both", "both"]),
    ("folder", "newer folder", ["both", "both", "both"]),
    ("folder", "older file", ["exception", "ours", "ours"]),
    ("folder", "newer file", ["exception", "ours", "exception"]),
    ("folder", "older link", ["exception", "ours", "ours"]),
    ("folder", "newer link", ["exception", "ours", "exception"]),
    ("folder", "older fifo", ["exception", "ours", "ours"]),
    ("folder", "newer fifo", ["exception", "ours", "exception"]),
];

#[test]
fn what_is_there_is_kept_or_replaced_as_told() {
    let cluster = Cluster::start();
    let (source, outside) = (cluster.place("source"), cluster.place("outside"));
    fs::write(outside.join("inside"), b"outside").unwrap();
    fs::write(outside.join("file"), b"outside").unwrap();
    for (node, meets, _) in MEETINGS {
        make(
            &source.join(format!("{node} meets {meets}")),
            node,
            "ours",
            THEN,
            &outside,
        );
    }
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 0);
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    for (column, overwrite) in ["never", "always", "if-newer"].into_iter().enumerate() {
        let target = cluster.place(overwrite);
        let there = inside(&target, &source);
        fs::create_dir_all(&there).unwrap();
        for (node, meets, _) in MEETINGS {
            let Some((age, kind)) = meets.split_once(' ') else {
                continue;
            };
            let time = match age {
                "older" => THEN - 1,
                "newer" => THEN + 1,
                _ => THEN,
            };
            make(
                &there.join(format!("{node} meets {meets}")),
                kind,
                "theirs",
                time,
                &outside,
            );
        }
        let restored = restore(&cluster, point, &[], &target, &["--overwrite", overwrite], 3);
        let mut excepted = Vec::new();
        for (node, meets, expected) in MEETINGS {
            let name = format!("{node} meets {meets}");
            let found = look(&there.join(&name), node, meets);
            let expected = expected[column];
            let (whose, is_excepted) = match expected {
                "exception" | "left alone" => ("theirs", true),
                whose => (whose, false),
            };
            assert_eq!(found, whose, "{overwrite}: {name}");
            if is_excepted {
                excepted.push(name);
            }
        }
        excepted.sort();
        assert_eq!(exceptions(&cluster, &restored), excepted, "{overwrite}");
        assert_eq!(fs::read(outside.join("inside")).unwrap(), b"outside");
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"outside");
        assert_eq!(
            fs::read_dir(&outside).unwrap().count(),
            2,
            "{overwrite}: nothing outside of the target"
        );
    }
}

/// One thing of a kind, which tells whose it is by its content, target or mode.
fn make(path: &Path, kind: &str, whose: &str, time: i64, outside: &Path) {
    let mode = if whose == "ours" { 0o750 } else { 0o700 };
    match kind {
        "file" => fs::write(path, whose).unwrap(),
        "empty" => fs::write(path, b"").unwrap(),
        "link" if whose == "ours" => symlink(whose, path).unwrap(),
        // Leads to a folder where a folder is restored, to a file elsewhere.
        "link" if path.to_str().unwrap().contains("folder meets") => symlink(outside, path).unwrap(),
        "link" => symlink(outside.join("file"), path).unwrap(),
        "fifo" => mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(mode), 0).unwrap(),
        "folder" => {
            fs::create_dir(path).unwrap();
            let inside = if whose == "ours" { "inside" } else { "theirs" };
            fs::write(path.join(inside), whose).unwrap();
            set_mode(path, mode);
        }
        other => panic!("no kind {other}"),
    }
    touch(path, time, 0);
}

/// Whose the thing at `path` is.
fn look(path: &Path, node: &str, meets: &str) -> &'static str {
    let found = path.symlink_metadata().unwrap();
    let kind = found.file_type();
    let is_then = found.mtime() == THEN;
    if kind.is_dir() {
        let has = |name: &str, content: &[u8]| fs::read(path.join(name)).is_ok_and(|found| found == content);
        return match (has("inside", b"ours"), has("theirs", b"theirs")) {
            (true, true) => "both",
            (true, false) if is_then && found.mode() & 0o777 == 0o750 => "ours",
            (false, true) => "theirs",
            _ => "neither",
        };
    }
    let is_ours = match node {
        "file" => kind.is_file() && fs::read(path).unwrap() == b"ours",
        "empty" => kind.is_file() && found.len() == 0,
        "link" => kind.is_symlink() && fs::read_link(path).unwrap() == Path::new("ours"),
        "fifo" => kind.is_fifo() && found.mode() & 0o777 == 0o750,
        _ => false,
    };
    let is_theirs = match meets.split_once(' ').unwrap_or_default().1 {
        "file" => kind.is_file() && fs::read(path).unwrap() == b"theirs",
        "link" => kind.is_symlink() && fs::read_link(path).unwrap().is_absolute(),
        "fifo" => kind.is_fifo() && found.mode() & 0o777 == 0o700,
        _ => false,
    };
    match (is_ours && is_then, is_theirs) {
        (true, false) => "ours",
        (false, true) => "theirs",
        _ => "neither",
    }
}

pub(super) fn restore(
    cluster: &Cluster,
    point: &str,
    paths: &[&str],
    target: &Path,
    more: &[&str],
    code: i32,
) -> Value {
    let to = ["--to", target.to_str().unwrap(), "--wait"];
    let arguments = [&["-o", "json", "restore", point], paths, &to[..], more].concat();
    cluster.try_run(&arguments).expect(code).json()
}

/// The last names of the paths of a job's exceptions, sorted.
pub(super) fn exceptions(cluster: &Cluster, job: &Value) -> Vec<String> {
    let log = cluster.json(&["job", "log", job["id"].as_str().unwrap()]);
    let mut names: Vec<_> = log["exceptions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|exception| {
            exception["path"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn t90_directories_on_the_way_are_nobody_elses_business() {
    let cluster = Cluster::start();
    let above = cluster.place("above");
    let item = above.join("item");
    fs::create_dir_all(item.join("sub/deeper")).unwrap();
    fs::write(item.join("sub/deeper/file"), b"wanted").unwrap();
    fs::write(item.join("sub/other"), b"not wanted").unwrap();
    touch(&item, THEN, 0);
    cluster.apply_policy("home", &[&item], "").expect(0);
    let job = cluster.run_job("home", 0);
    let point = job["items"][0]["restore_point"].as_str().unwrap();

    // Directories above what is restored are there already, in their own way.
    let target = cluster.place("target");
    let there = inside(&target, &above);
    fs::create_dir_all(there.join("item/sub")).unwrap();
    let kept = [there.clone(), there.join("item"), there.join("item/sub")];
    kept.iter().for_each(|folder| set_mode(folder, 0o1777));
    let sub = item.join("sub/deeper");
    restore(
        &cluster,
        point,
        &[sub.to_str().unwrap()],
        &target,
        &["--overwrite", "always"],
        0,
    );
    assert_eq!(fs::read(there.join("item/sub/deeper/file")).unwrap(), b"wanted");
    assert!(!there.join("item/sub/other").exists());
    for folder in &kept {
        assert_eq!(
            folder.metadata().unwrap().mode() & 0o7777,
            0o1777,
            "{}",
            folder.display()
        );
    }
    restore(&cluster, point, &[], &target, &["--overwrite", "always"], 0);
    assert_eq!(there.metadata().unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(there.join("item").metadata().unwrap().mtime(), THEN);

    // A link on the way is not replaced, and not followed.
    let (target, elsewhere) = (cluster.place("with-link"), cluster.place("elsewhere"));
    let first: PathBuf = above.components().take(2).collect();
    let link = inside(&target, &first);
    symlink(&elsewhere, &link).unwrap();
    let restored = restore(&cluster, point, &[], &target, &["--overwrite", "always"], 1);
    let error = restored["attempts"][0]["error"]["text"].as_str().unwrap();
    assert!(
        error.contains("something that is no directory is in the way"),
        "{error}"
    );
    assert_eq!(fs::read_link(&link).unwrap(), elsewhere);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn t90_access_lists_of_the_target_do_not_open_restored_files() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    fs::create_dir(source.join("folder")).unwrap();
    for file in ["file", "empty", "folder/file"] {
        fs::write(source.join(file), if file == "empty" { "" } else { "secret" }).unwrap();
        set_mode(&source.join(file), 0o640);
    }
    mknodat(CWD, source.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    attribute(&source.join("file"), "user.colour", b"blue");
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 0);
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let target = cluster.place("target");
    let none = u32::MAX;
    let open = acl(&[
        (1, 7, none),
        (2, 7, 12345),
        (4, 7, none),
        (16, 7, none),
        (32, 7, none),
    ]);
    attribute(&target, "system.posix_acl_default", &open);
    restore(&cluster, point, &[], &target, &[], 0);
    let clean: [&str; 0] = [];
    assert_eq!(compare::differences(&source, &inside(&target, &source)), clean);
    // What was set on them since goes as well when they are overwritten.
    attribute(&inside(&target, &source), "system.posix_acl_default", &open);
    attribute(&inside(&target, &source).join("folder"), "user.colour", b"red");
    restore(&cluster, point, &[], &target, &["--overwrite", "always"], 0);
    assert_eq!(compare::differences(&source, &inside(&target, &source)), clean);
}

/// Paths asked for, what is restored for them, and the exit code.
type Selection = (&'static [&'static str], &'static [&'static str], i32);

const SELECTIONS: [Selection; 12] = [
    (
        &["new\nline/new\nline"],
        &["new\\nline", "new\\nline/new\\nline"],
        0,
    ),
    (&["caf\\xe9/caf\\xe9"], &["caf\\xe9", "caf\\xe9/caf\\xe9"], 0),
    (
        &["caf\\xe9"],
        &["caf\\xe9", "caf\\xe9/caf\\xe9", "caf\\xe9/other"],
        0,
    ),
    (&["\\xe9/other"], &["\\\\xe9", "\\\\xe9/other"], 0),
    (&["quote\"/quote\""], &["quote\\\"", "quote\\\"/quote\\\""], 0),
    (&["-rf/-rf", "link"], &["-rf", "-rf/-rf", "link"], 0),
    (&["second name"], &["second name"], 0),
    (
        &["second name", "plain/plain"],
        &["plain", "plain/plain", "second name"],
        0,
    ),
    (&["link", "no such"], &["link"], 3),
    (&["link", "plain/no such"], &["link"], 3),
    (&["link/below", "plain/other"], &["plain", "plain/other"], 3),
    (&["plain/no such"], &[], 1),
];

#[test]
fn t90_single_paths_are_restored_whatever_their_names_are() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    for name in [
        &b"new\nline"[..],
        b"caf\xe9",
        b"-rf",
        b"plain",
        b"\\xe9",
        b"quote\"",
    ] {
        let folder = source.join(OsStr::from_bytes(name));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
        fs::write(folder.join("other"), b"other").unwrap();
    }
    symlink("plain", source.join("link")).unwrap();
    fs::hard_link(source.join("plain/plain"), source.join("second name")).unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 0);
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let at = source.to_str().unwrap();
    for (number, (asked, wanted, code)) in SELECTIONS.into_iter().enumerate() {
        let target = cluster.place(&format!("target-{number}"));
        let paths: Vec<_> = asked.iter().map(|path| format!("{at}/{path}")).collect();
        let paths: Vec<_> = paths.iter().map(String::as_str).collect();
        restore(&cluster, point, &paths, &target, &[], code);
        if wanted.is_empty() {
            assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "{asked:?}");
            continue;
        }
        assert_eq!(listed(&inside(&target, &source)), wanted, "{asked:?}");
    }

    // A person names bytes that are not UTF-8 as they are listed.
    let mut folders = Vec::new();
    for file in cluster.json(&["restore-point", "ls", point]).as_array().unwrap() {
        if file["type"] == "dir" {
            let path = file["path"].as_str().unwrap();
            let inside = cluster.json(&["restore-point", "ls", point, path]);
            assert_eq!(inside.as_array().unwrap().len(), 2, "{file:#}");
            folders.push(path.strip_prefix(at).unwrap().to_owned());
        }
    }
    let expected = ["/-rf", "/\\xe9", "/caf\\xe9", "/new\nline", "/plain", "/quote\""];
    assert_eq!(folders, expected);
}

/// All paths below a folder, as [`compare`] writes them.
pub(super) fn listed(root: &Path) -> Vec<String> {
    let nothing = tempfile::tempdir().unwrap();
    let added = compare::differences(nothing.path(), root);
    added
        .iter()
        .filter_map(|line| line.strip_suffix(": added").map(str::to_owned))
        .collect()
}
