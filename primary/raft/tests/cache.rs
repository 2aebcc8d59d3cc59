//! The applied rows are a cache (docs/adr/0007): whatever becomes of them, and of one snapshot, the node starts and has
//! them all.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use outlast_raft::{LossKind, StartError};
use support::{Home, Node, Rows, copy, eventually, eventually_eq, flip, leader, used};

/// A home that can be put back into the state it was in.
struct Copy {
    home: Home,
    rows: Rows,
    kept: PathBuf,
}

impl Copy {
    fn of((home, rows): (Home, Rows)) -> Self {
        let kept = home.dir.path().join("kept");
        copy(&home.data(), &kept);
        Self { home, rows, kept }
    }

    fn restore(&self) {
        fs::remove_dir_all(self.home.data()).unwrap();
        copy(&self.kept, &self.home.data());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.data().join(name)
    }

    /// It starts, has all rows, takes another command, and starts again with that.
    fn assert_whole(&self, what: &str) {
        let nodes = [Node::start(&self.home).unwrap_or_else(|e| panic!("{what}: {e}"))];
        eventually_eq(&format!("rows: {what}"), &self.rows, || nodes[0].rows());
        leader(&nodes).propose("one more").unwrap();
        let rows = nodes[0].rows();
        nodes.into_iter().for_each(Node::kill);
        let node = Node::start(&self.home).unwrap_or_else(|e| panic!("{what}, again: {e}"));
        eventually_eq(&format!("rows at the second start: {what}"), &rows, || {
            node.rows()
        });
        node.stop();
        self.restore();
    }

    fn snapshots(&self) -> Vec<PathBuf> {
        let mut found = files(&self.path("snapshot"));
        found.sort();
        found.reverse();
        found
    }
}

/// A node that made snapshots and whose log no longer begins at the beginning.
fn purged() -> Copy {
    let home = Home::new(1);
    let mut options = home.options();
    (options.snapshot_every, options.keep_log) = (50, 0);
    let nodes = [Node::start_with(&home, options).unwrap()];
    let members = BTreeMap::from([(1, home.peer())]);
    nodes[0].run(nodes[0].raft.initialize(members)).unwrap();
    for n in 0..320 {
        leader(&nodes).propose(&format!("command {n}")).unwrap();
    }
    eventually("a purge", || nodes[0].raft.status().purged.filter(|at| *at > 200));
    let rows = nodes[0].rows();
    nodes.into_iter().for_each(Node::stop);
    let copy = Copy::of((home, rows));
    assert_eq!(copy.snapshots().len(), 2);
    copy
}

/// All files beneath a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn t90_whatever_becomes_of_the_rows_all_of_them_are_there() {
    for copy in [Copy::of(used()), purged()] {
        let state = copy.path("state");
        for path in files(&state) {
            let name = path.strip_prefix(copy.home.data()).unwrap().display().to_string();
            let good = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            copy.assert_whole(&format!("{name} missing"));
            for keep in [0, 1, good.len() / 3, good.len() - 1] {
                fs::write(&path, &good[..keep]).unwrap();
                copy.assert_whole(&format!("{name} cut to {keep}"));
            }
            for fill in [0, 0x5A] {
                fs::write(&path, vec![fill; good.len()]).unwrap();
                copy.assert_whole(&format!("{name} filled with {fill}"));
            }
            // Where nothing was written yet a flipped bit is nobody's.
            let used = good.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            for at in (0..used).step_by((used / 24).max(1)) {
                flip(&path, at as u64, 1);
                copy.assert_whole(&format!("{name}, byte {at}"));
            }
            if good.len() > 8_192 {
                flip(&path, 4_096, 4_096);
                copy.assert_whole(&format!("{name}, a page"));
            }
        }
        fs::remove_dir_all(&state).unwrap();
        copy.assert_whole("no folder");
        fs::remove_dir_all(&state).unwrap();
        fs::create_dir(&state).unwrap();
        copy.assert_whole("an empty folder");
        fs::remove_dir_all(&state).unwrap();
        fs::write(&state, "a file").unwrap();
        copy.assert_whole("a file in place of the folder");
    }
}

#[test]
fn t90_what_was_found_is_kept_once() {
    let copy = Copy::of(used());
    for name in ["first", "second"] {
        fs::write(copy.path("state/db"), name).unwrap();
        fs::write(copy.path("state").join(name), "").unwrap();
        Node::start(&copy.home).unwrap().stop();
        assert!(copy.path("state.damaged").join(name).exists());
    }
    assert!(!copy.path("state.damaged/first").exists());
    let names = fs::read_dir(copy.home.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(
        names,
        [
            "identity",
            "lock",
            "log",
            "mark",
            "snapshot",
            "state",
            "state.damaged"
        ]
    );
}

#[test]
fn t90_rows_whose_opening_killed_the_process_are_not_opened_again() {
    let copy = Copy::of(used());
    fs::write(copy.path("state.opening"), "").unwrap();
    copy.assert_whole("it ended while it was opening them");
    fs::write(copy.path("state.opening"), "").unwrap();
    Node::start(&copy.home).unwrap().stop();
    assert!(!copy.path("state.opening").exists());
    assert!(copy.path("state.damaged").exists());
}

#[test]
fn t90_rows_of_another_node_or_another_history_are_not_believed() {
    let copy = Copy::of(used());
    // Another node's.
    let other = Home::new(2);
    Node::start(&other).unwrap().stop();
    fs::remove_dir_all(copy.path("state")).unwrap();
    support::copy(&other.data().join("state"), &copy.path("state"));
    copy.assert_whole("another node's rows");
    // This node's, of a later time than the log: as if the end of the log, never synced and so never promised, were gone.
    let nodes = [Node::start(&copy.home).unwrap()];
    for n in 0..10 {
        leader(&nodes).propose(&format!("later {n}")).unwrap();
    }
    nodes.into_iter().for_each(Node::stop);
    let later = copy.home.dir.path().join("later");
    support::copy(&copy.path("state"), &later);
    copy.restore();
    fs::remove_dir_all(copy.path("state")).unwrap();
    fs::rename(&later, copy.path("state")).unwrap();
    copy.assert_whole("rows behind the log");
}

#[test]
fn t90_one_of_two_snapshots_is_enough() {
    let copy = purged();
    let [newest, older] = copy.snapshots().try_into().unwrap();
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("missing", |path| fs::remove_file(path).unwrap()),
        ("empty", |path| fs::write(path, "").unwrap()),
        ("flipped", |path| flip(path, 40, 1)),
        ("of a version that never was", |path| flip(path, 12, 1)),
    ];
    for (what, damage) in damages {
        // The rows are good: no snapshot is needed.
        damage(&newest);
        damage(&older);
        copy.assert_whole(&format!("both snapshots {what}"));
        for (snapshot, name) in [(&newest, "newest"), (&older, "older")] {
            damage(snapshot);
            fs::remove_dir_all(copy.path("state")).unwrap();
            copy.assert_whole(&format!("no rows, {name} snapshot {what}"));
        }
        // Neither the rows nor a snapshot: the log begins too late.
        damage(&newest);
        damage(&older);
        fs::write(copy.path("state/db"), "nothing").unwrap();
        let error = Node::start(&copy.home).err().unwrap();
        assert!(
            matches!(
                &error,
                StartError::LostState {
                    what: LossKind::State,
                    ..
                }
            ),
            "{what}: {error}"
        );
        for word in [
            "the log begins behind",
            "the rows cannot be used",
            "new node number",
        ] {
            assert!(error.to_string().contains(word), "{what}: {error}");
        }
        // Nothing was touched: somebody may still have a copy of a snapshot.
        assert_eq!(fs::read(copy.path("state/db")).unwrap(), b"nothing");
        copy.restore();
    }
}
