//! Calls that a signal interrupts are made again: it says nothing of the file.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use outlast_proto::v1::entry::Kind;
use outlast_proto::v1::restore_down::Body;
use outlast_proto::v1::{EntriesEnd, LeaveDirectory, NodeType, Overwrite};
use outlast_test_filesystems::{Call, Errno, Layer, can_mount, mount};
use parking_lot::Mutex;

use crate::limits::{backup, excepted};
use crate::media_agent::file;
use crate::restore::{entries, node, restore};

/// Interrupts each kind of call once at each place, but no `close`: that is not to be made again, and may have lost what was written.
#[derive(Default)]
struct Interrupting(Mutex<BTreeSet<(&'static str, PathBuf)>>);

impl Layer for Interrupting {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        if call.kind() == "flush" {
            return Ok(());
        }
        let is_first = self.0.lock().insert((call.kind(), call.path()?));
        if is_first { Err(Errno::INTR) } else { Ok(()) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_s02a_a_backup_through_interrupted_calls_misses_nothing() {
    if !can_mount() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let (backing, at) = (temp.path().join("backing"), temp.path().join("source"));
    fs::create_dir(&at).unwrap();
    fs::create_dir_all(backing.join("folder")).unwrap();
    fs::write(backing.join("folder/file"), b"content").unwrap();
    std::os::unix::fs::symlink("file", backing.join("folder/link")).unwrap();
    let mounted = mount(&backing, &at, Interrupting::default()).unwrap();
    let stored = backup(mounted.path()).await;
    let error = stored.end.unwrap().error;
    assert_eq!(error, None);
    assert!(excepted(&stored.exceptions).is_empty(), "{:?}", stored.exceptions);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_s14e_a_restore_through_interrupted_calls_makes_everything() {
    if !can_mount() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let (backing, at) = (temp.path().join("backing"), temp.path().join("target"));
    fs::create_dir(&backing).unwrap();
    fs::create_dir(&at).unwrap();
    let mounted = mount(&backing, &at, Interrupting::default()).unwrap();
    let mut inside = node(1, b"file", NodeType::File);
    (inside.mode, inside.size) = (0o640, 7);
    let mut bodies = vec![entries(vec![
        Kind::Enter(node(0, b"folder", NodeType::Directory)),
        Kind::Node(inside),
        Kind::Node(node(2, b"pipe", NodeType::Fifo)),
        Kind::Leave(LeaveDirectory {}),
    ])];
    bodies.extend(file(1, b"content"));
    bodies.push(Body::EntriesEnd(EntriesEnd {}));
    let (outcome, told) = restore(mounted.path(), Overwrite::Never, bodies).await;
    outcome.unwrap();
    assert_eq!(told.restored.unwrap().error, None);
    assert!(told.exceptions.is_empty(), "{:?}", told.exceptions);
    let made = backing.join("folder/file");
    assert_eq!(fs::read(&made).unwrap(), b"content");
    assert_eq!(made.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
    assert!(backing.join("folder/pipe").exists());
}
