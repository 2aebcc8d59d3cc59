//! Data directories that must not be started on: each gives its own error, and none is taken for a good one.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use outlast_raft::{LossKind, StartError};
use support::{Home, Node, eventually_eq, flip, leader, used};

fn error(home: &Home) -> StartError {
    match Node::start(home) {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

fn assert_lost(home: &Home, want: LossKind) {
    let error = error(home);
    assert!(
        matches!(&error, StartError::LostState { what, .. } if *what == want),
        "{error}"
    );
    assert!(error.to_string().contains("new node number"), "{error}");
}

/// The log's only file.
fn log_file(home: &Home) -> PathBuf {
    let names = fs::read_dir(home.data().join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut chunks: Vec<_> = names.filter(|path| !path.ends_with("LOCK")).collect();
    assert_eq!(chunks.len(), 1, "{chunks:?}");
    chunks.remove(0)
}

#[test]
fn a_directory_in_use_is_refused() {
    let home = Home::new(1);
    let node = Node::start(&home).unwrap();
    let error = error(&home);
    assert!(
        matches!(&error, StartError::InUse { dir } if *dir == home.data()),
        "{error}"
    );
    node.stop();
    Node::start(&home).unwrap().stop();
}

#[test]
fn another_nodes_directory_is_refused() {
    let (home, _) = used();
    let mut options = home.options();
    options.node_id = 2;
    let error = Node::start_with(&home, options).err().unwrap();
    assert!(
        matches!(
            error,
            StartError::WrongIdentity {
                found: 1,
                expected: 2,
                ..
            }
        ),
        "{error}"
    );
    let mut options = home.options();
    options.cluster = "another".into();
    let error = Node::start_with(&home, options).err().unwrap();
    assert!(matches!(error, StartError::WrongIdentity { .. }), "{error}");
}

#[test]
fn lost_parts_are_noticed() {
    let (home, rows) = used();
    let aside = home.dir.path().join("aside");
    for (part, want) in [
        ("identity", LossKind::Identity),
        ("mark", LossKind::Mark),
        ("log", LossKind::Log),
    ] {
        let path = home.data().join(part);
        fs::rename(&path, &aside).unwrap();
        assert_lost(&home, want);
        fs::rename(&aside, &path).unwrap();
    }
    // The log's directory is there, but empty.
    let chunk = log_file(&home);
    fs::rename(&chunk, &aside).unwrap();
    assert_lost(&home, LossKind::Log);
    fs::remove_dir_all(home.data().join("log")).unwrap();
    fs::create_dir(home.data().join("log")).unwrap();
    fs::rename(&aside, &chunk).unwrap();
    // With everything back in its place it starts again.
    let node = Node::start(&home).unwrap();
    eventually_eq("rows", &rows, || node.rows());
}

#[test]
fn a_node_that_never_promised_anything_may_lose_all() {
    let home = Home::new(1);
    Node::start(&home).unwrap().stop();
    fs::remove_dir_all(home.data().join("log")).unwrap();
    fs::remove_dir_all(home.data().join("state")).unwrap();
    Node::start(&home).unwrap().stop();
}

#[test]
fn a_log_cut_short_is_lost_and_not_a_torn_tail() {
    let (home, _) = used();
    let chunk = log_file(&home);
    let good = fs::read(&chunk).unwrap();
    // At record borders and within records, from nearly nothing to nearly all.
    for cut in (1..=60).chain((61..good.len()).step_by(997)) {
        fs::write(&chunk, &good[..good.len() - cut]).unwrap();
        let error = error(&home);
        assert!(
            matches!(
                error,
                StartError::LostState { .. } | StartError::DamagedLog { .. }
            ),
            "cut {cut}: {error}"
        );
        fs::write(&chunk, &good).unwrap();
        // It may have begun another file.
        let log = home.data().join("log");
        for entry in fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()) {
            if entry != chunk {
                fs::remove_file(entry).unwrap();
            }
        }
    }
    Node::start(&home).unwrap().stop();
}

#[test]
fn a_flipped_byte_anywhere_in_the_log_is_damage() {
    let (home, _) = used();
    let chunk = log_file(&home);
    let good = fs::read(&chunk).unwrap();
    let spots = (0..200)
        .chain((200..good.len()).step_by(331))
        .chain(good.len() - 60..good.len());
    for at in spots {
        flip(&chunk, at as u64, 1);
        let error = error(&home);
        assert!(
            matches!(
                error,
                StartError::DamagedLog { .. } | StartError::LostState { .. }
            ),
            "byte {at}: {error}"
        );
        assert!(error.to_string().contains("new node number"), "{error}");
        fs::write(&chunk, &good).unwrap();
    }
    // Zeros to the end look like an interrupted write to the log's crate.
    fs::write(
        &chunk,
        [&good[..good.len() / 2], &vec![0; good.len() / 2][..]].concat(),
    )
    .unwrap();
    let error = error(&home);
    assert!(matches!(error, StartError::DamagedLog { .. }), "{error}");
}

#[test]
fn an_interrupted_write_behind_the_mark_is_cut_off() {
    for tail in [&[0, 0, 0, 1, 0, 0][..], &[0; 300]] {
        let (home, rows) = used();
        let mut file = OpenOptions::new().append(true).open(log_file(&home)).unwrap();
        file.write_all(tail).unwrap();
        let nodes = [Node::start(&home).unwrap()];
        eventually_eq("rows", &rows, || nodes[0].rows());
        leader(&nodes).propose("goes on").unwrap();
        let rows = nodes[0].rows();
        nodes.into_iter().for_each(Node::kill);
        let node = Node::start(&home).unwrap();
        eventually_eq("rows", &rows, || node.rows());
    }
}

#[test]
fn t90_pages_that_never_were_written_behind_the_mark_are_cut_off() {
    // A power cut leaves whichever pages the disk came to: here the first one is missing and the next one is not.
    for (zeros, then) in [(5_000, 700), (600, 20_000), (512 * 3, 1)] {
        let (home, rows) = used();
        let mut file = OpenOptions::new().append(true).open(log_file(&home)).unwrap();
        file.write_all(&vec![0; zeros]).unwrap();
        file.write_all(&vec![0x5A; then]).unwrap();
        let nodes = [Node::start(&home).unwrap()];
        eventually_eq("rows", &rows, || nodes[0].rows());
        leader(&nodes).propose("goes on").unwrap();
        let rows = nodes[0].rows();
        nodes.into_iter().for_each(Node::kill);
        let node = Node::start(&home).unwrap();
        eventually_eq("rows", &rows, || node.rows());
    }
    // Bytes that somebody wrote are no such page.
    let (home, _) = used();
    let mut file = OpenOptions::new().append(true).open(log_file(&home)).unwrap();
    file.write_all(&vec![0x5A; 5_000]).unwrap();
    let error = error(&home);
    assert!(matches!(error, StartError::DamagedLog { .. }), "{error}");
}

/// A small file system in memory over a directory, until it is dropped.
struct Small(PathBuf);

impl Small {
    fn over(dir: &Path) -> Self {
        let options = ["-t", "tmpfs", "-o", "size=16m", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(dir).status();
        assert!(mounted.unwrap().success());
        Self(dir.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn t90_a_full_disk_is_not_taken_for_a_damaged_log() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: mounting a file system needs root");
        return;
    }
    for tail in [&[][..], &[0, 0, 0, 1, 0, 0][..]] {
        let (home, rows) = used();
        let mut file = OpenOptions::new().append(true).open(log_file(&home)).unwrap();
        file.write_all(tail).unwrap();
        let kept = home.dir.path().join("kept");
        support::copy(&home.data(), &kept);
        let small = Small::over(&home.data());
        support::copy(&kept, &home.data());
        let fill = home.data().join("fill");
        fs::write(&fill, vec![7; 16 << 20]).unwrap_err();

        let error = error(&home);
        assert!(!error.to_string().contains("damaged"), "{error}");
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let said: Vec<_> = causes.map(ToString::to_string).collect();
        assert!(said.concat().contains("No space left on device"), "{said:?}");

        fs::remove_file(fill).unwrap();
        let node = Node::start(&home).unwrap();
        eventually_eq("rows", &rows, || node.rows());
        node.stop();
        drop(small);
    }
}

#[test]
fn t90_what_is_read_at_start_is_promised_from_then_on() {
    let (home, _) = used();
    let log = log_file(&home);
    let mark = home.data().join("mark");
    // As after a kill between the write of entries and their sync: the mark does not reach to the end.
    let lagging = fs::read(&mark).unwrap();
    let nodes = [Node::start(&home).unwrap()];
    leader(&nodes).propose("one more").unwrap();
    nodes.into_iter().for_each(Node::stop);
    fs::write(&mark, &lagging).unwrap();
    Node::start(&home).unwrap().kill();
    // The node may have told its leader of it: it may not be cut off any more.
    let good = fs::read(&log).unwrap();
    fs::write(&log, &good[..good.len() - 1]).unwrap();
    let error = error(&home);
    assert!(
        matches!(
            error,
            StartError::LostState { .. } | StartError::DamagedLog { .. }
        ),
        "{error}"
    );
}

#[test]
fn t90_nobody_else_reads_what_the_cluster_knows() {
    let home = Home::new(1);
    fs::create_dir_all(home.data()).unwrap();
    fs::set_permissions(home.data(), fs::Permissions::from_mode(0o755)).unwrap();
    let node = Node::start(&home).unwrap();
    assert_eq!(
        fs::metadata(home.data()).unwrap().permissions().mode() & 0o777,
        0o700
    );
    node.stop();
}
