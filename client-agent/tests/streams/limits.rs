//! What no restore point can hold is an exception that names the path and the limit, and nothing else suffers (S-14d).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use outlast_client_agent::attempt::Ends;
use outlast_proto::v1::FileException;
use outlast_test_filesystems::fs::Stat;
use outlast_test_filesystems::{Entry, Layer, Node, can_mount, mount};

use crate::backup::DONE;
use crate::media_agent::{MediaAgent, Script, Stored, backup_ticket, nodes};

/// Backs up one item.
pub(crate) async fn backup(item: &Path) -> Stored {
    let script = Script {
        items: 1,
        forgets: true,
        ..Script::default()
    };
    let agent = MediaAgent::new(script);
    let outcome = agent
        .run(&backup_ticket(&[item.to_owned()], &[]), Ends::default())
        .await;
    assert_eq!(outcome.unwrap(), DONE);
    agent.told().items.remove(0)
}

fn names(stored: &Stored) -> Vec<String> {
    let name = |node: &outlast_proto::v1::Node| String::from_utf8_lossy(&node.name).into_owned();
    nodes(&stored.entries).into_iter().map(name).collect()
}

/// Name and reason.
pub(crate) fn excepted(found: &[FileException]) -> Vec<(&str, &str)> {
    let name = |found: &'_ FileException| found.path.rsplit('/').next().unwrap_or_default().len();
    found
        .iter()
        .map(|found| {
            (
                &found.path[found.path.len() - name(found)..],
                found.reason.as_str(),
            )
        })
        .collect()
}

/// As some union file systems do it: a name of two layers is listed twice. And a file that is longer than any can be.
struct Odd;

impl Layer for Odd {
    fn listing(&self, _: &Node, entries: &mut Vec<Entry>) {
        let twice: Vec<_> = entries
            .iter()
            .filter(|entry| entry.name == "b")
            .cloned()
            .collect();
        entries.extend(twice);
    }

    fn attributes(&self, _: &Node, stat: &mut Stat) {
        if stat.st_size == 16 << 20 {
            stat.st_size = 160 << 40;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_s14d_a_name_that_is_listed_twice_and_a_file_that_is_too_long() {
    if !can_mount() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let (backing, at) = (temp.path().join("backing"), temp.path().join("odd"));
    fs::create_dir_all(backing.join("folder")).unwrap();
    fs::create_dir(&at).unwrap();
    for name in ["a", "b", "c", "folder/b", "folder/d"] {
        fs::write(backing.join(name), name).unwrap();
    }
    fs::File::create(backing.join("huge"))
        .unwrap()
        .set_len(16 << 20)
        .unwrap();
    let mounted = mount(&backing, &at, Odd).unwrap();
    let stored = backup(mounted.path()).await;
    assert_eq!(names(&stored), ["odd", "a", "b", "c", "folder", "b", "d"]);
    let twice = "its directory lists this name more than once; what the name leads to is kept, once";
    let found = excepted(&stored.exceptions);
    let long = ("huge", "it is left out: it is longer than 16 TiB");
    assert_eq!(found, [("b", twice), ("b", twice), long]);
    assert_eq!(stored.end.unwrap().error, None);
}

/// A directory in which something is renamed so often while it is listed, and one name is missing each time.
struct Busy {
    times: usize,
    listed: AtomicUsize,
}

impl Layer for Busy {
    fn listing(&self, folder: &Node, entries: &mut Vec<Entry>) {
        if self.listed.fetch_add(1, Ordering::Relaxed) >= self.times {
            return;
        }
        entries.retain(|entry| entry.name != "missed");
        let path = folder.path().unwrap();
        let (from, to) = (path.join("other name"), path.join("another name"));
        fs::rename(&from, &to)
            .or_else(|_| fs::rename(&to, &from))
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_s02_a_directory_that_changes_while_it_is_listed() {
    if !can_mount() {
        return;
    }
    for (times, is_excepted) in [(0, false), (1, false), (2, false), (usize::MAX, true)] {
        let temp = tempfile::tempdir().unwrap();
        let (backing, at) = (temp.path().join("backing"), temp.path().join("busy"));
        fs::create_dir(&backing).unwrap();
        fs::create_dir(&at).unwrap();
        // Of more than one page, so that it comes in parts.
        for number in 0..200 {
            fs::write(
                backing.join(format!("a name of some length, number {number}")),
                b"",
            )
            .unwrap();
        }
        fs::write(backing.join("missed"), b"").unwrap();
        fs::write(backing.join("other name"), b"").unwrap();
        let layer = Busy {
            times,
            listed: AtomicUsize::new(0),
        };
        let mounted = mount(&backing, &at, layer).unwrap();
        let stored = backup(mounted.path()).await;
        let reason = "the directory changed each time it was listed; names in it may be missing";
        let told = excepted(&stored.exceptions).contains(&("busy", reason));
        assert_eq!(told, is_excepted, "{times}: {:?}", stored.exceptions);
        let is_there = names(&stored).contains(&"missed".to_owned());
        assert_eq!(is_there, !is_excepted, "{times}");
        assert!(names(&stored).len() > 200);
    }
}

/// More than the walk may run ahead, behind a file that takes its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_b07_what_the_walk_may_not_run_ahead_by_comes_later() {
    let temp = tempfile::tempdir().unwrap();
    fs::File::create(temp.path().join("a"))
        .unwrap()
        .set_len(300 << 20)
        .unwrap();
    fs::write(temp.path().join("b"), vec![7; 30 << 20]).unwrap();
    for number in 0..6000 {
        symlink("x".repeat(4000), temp.path().join(format!("link-{number:04}"))).unwrap();
        if number % 10 == 0 {
            fs::write(temp.path().join(format!("file-{number:04}")), b"content").unwrap();
        }
    }
    let stored = backup(temp.path()).await;
    assert_eq!(stored.exceptions, []);
    assert_eq!((stored.entries.len(), stored.ends.len()), (1 + 2 + 6600 + 1, 602));
}
