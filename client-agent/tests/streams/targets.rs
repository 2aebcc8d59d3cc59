//! Targets of restores that cannot take them (S-14e).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outlast_client_agent::attempt::Ends;
use outlast_kit::data_folder::HeldFolder;
use outlast_kit::files::create_folder;
use outlast_proto::v1::entry::Kind;
use outlast_proto::v1::restore_down::Body;
use outlast_proto::v1::{EntriesEnd, LeaveDirectory, NodeType, Overwrite};
use outlast_test_filesystems::{At, Disk, Odd, can_mount, mount};

use crate::media_agent::{MediaAgent, Script, file, restore_ticket};
use crate::restore::{entries, node, one_file, restore};

#[tokio::test]
async fn s14e_a_target_that_cannot_be_is_1201_at_once() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), b"").unwrap();
    let to = temp.path().join("file/to");
    let (outcome, told) = restore(&to, Overwrite::Never, one_file(b"file")).await;
    outcome.unwrap();
    assert_eq!(told.verdicts, []);
    let error = told.restored.unwrap().error.unwrap();
    assert_eq!(error.code, 1201);
    assert!(error.text.contains("Not a directory"), "{}", error.text);
}

/// As on a target that takes README and readme for one.
#[tokio::test]
async fn s14e_a_place_that_this_restore_has_filled_is_not_filled_again() {
    for overwrite in [Overwrite::Never, Overwrite::Always, Overwrite::IfNewer] {
        let temp = tempfile::tempdir().unwrap();
        let mut kinds = Vec::new();
        for number in 0..2 {
            let mut empty = node(number, b"empty", NodeType::File);
            empty.size = 0;
            empty.mode = 0o600 + u32::try_from(number).unwrap();
            kinds.push(Kind::Node(empty));
        }
        for number in 2..4 {
            kinds.push(Kind::Node(node(number, b"file", NodeType::File)));
        }
        for number in [4, 6] {
            kinds.push(Kind::Enter(node(number, b"folder", NodeType::Directory)));
            kinds.push(Kind::Node(node(
                number + 1,
                format!("in {number}").as_bytes(),
                NodeType::Fifo,
            )));
            kinds.push(Kind::Leave(LeaveDirectory {}));
        }
        let mut bodies = vec![entries(kinds)];
        bodies.extend(file(2, b"one"));
        bodies.extend(file(3, b"two"));
        bodies.push(Body::EntriesEnd(EntriesEnd {}));
        let (outcome, told) = restore(temp.path(), overwrite, bodies).await;
        outcome.unwrap();
        assert_eq!(
            fs::read(temp.path().join("file")).unwrap(),
            b"one",
            "{overwrite:?}"
        );
        assert_eq!(
            temp.path().join("empty").metadata().unwrap().mode() & 0o777,
            0o600,
            "{overwrite:?}"
        );
        let inside: Vec<_> = fs::read_dir(temp.path().join("folder")).unwrap().collect();
        assert_eq!(inside.len(), 1, "{overwrite:?}: {inside:?}");
        let mut names: Vec<_> = told
            .exceptions
            .iter()
            .map(|told| told.path.rsplit('/').next().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["empty", "file", "folder"], "{overwrite:?}");
        for told in &told.exceptions {
            assert!(
                told.reason.contains("which this restore has filled"),
                "{}",
                told.reason
            );
        }
        let end = told.restored.unwrap();
        assert_eq!(
            (end.files, end.left_alone, end.error),
            (3, 3, None),
            "{overwrite:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s14e_a_target_that_does_not_answer_is_1201_and_not_waited_for() {
    if !can_mount() {
        return;
    }
    // In the test before anything, in the middle of content, in the common sync, at a name.
    let tried = ["create", "write", "fsync", "rename"].map(|call| tokio::spawn(does_not_answer(call)));
    for tried in tried {
        tried.await.unwrap();
    }
}

async fn does_not_answer(call: &'static str) {
    let temp = tempfile::tempdir().unwrap();
    let [backing, to] = ["backing", "to"].map(|name| temp.path().join(name));
    for folder in [&backing, &to] {
        fs::create_dir(folder).unwrap();
    }
    let odd = Odd::new();
    let mounted = mount(&backing, &to, odd.clone()).unwrap();
    let at = At::anywhere().calls(&[call]);
    // The test before everything makes a file, and gives it no name.
    let hang = odd.hangs(if call == "create" {
        at
    } else {
        at.after(u64::from(call != "rename"))
    });
    let agent = MediaAgent::new(Script {
        restores: one_file(b"file"),
        target_patience: Some(Duration::from_secs(2)),
        ..Script::default()
    });
    let ticket = restore_ticket(&to, Overwrite::Never);
    let run = tokio::time::timeout(Duration::from_secs(120), agent.run(&ticket, Ends::default()));
    let outcome = run.await;
    outcome
        .unwrap_or_else(|_| panic!("{call}: it waits for the target"))
        .unwrap();
    assert_eq!(hang.held(), 1, "{call}");
    let told = agent.told();
    let error = told.restored.unwrap().error.unwrap();
    assert_eq!(error.code, 1201, "{call}");
    let said = format!("the target {} has not answered for 2 s", to.display());
    assert!(error.text.contains(&said), "{call}: {}", error.text);
    assert_eq!(
        told.waits_for,
        ["a call to the target of the restore"],
        "{call}: said once before"
    );
    // What it had begun goes when the target answers again.
    hang.release();
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_begun = |name: &std::ffi::OsString| name.to_str().unwrap().starts_with('.');
    let names = || {
        fs::read_dir(&backing)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
    };
    while names().any(|name| is_begun(&name)) {
        assert!(
            Instant::now() < deadline,
            "{call}: {:?}",
            names().collect::<Vec<_>>()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(mounted);
}

/// Its daemon would go on in memory, and be set back when it starts the next time.
#[tokio::test]
async fn t90_data_folders_of_daemons_that_run_are_not_restored_over() {
    let restored = |is_wanted: bool| {
        let mut bodies = vec![entries(vec![
            Kind::Enter(node(0, b"data", NodeType::Directory)),
            Kind::Node(node(1, b"vote", NodeType::File)),
            Kind::Leave(LeaveDirectory {}),
            Kind::Node(node(2, b"other", NodeType::File)),
        ])];
        bodies.extend(is_wanted.then(|| file(1, b"old")).into_iter().flatten());
        bodies.extend(file(2, b"old"));
        bodies.push(Body::EntriesEnd(EntriesEnd {}));
        bodies
    };
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("vote"), b"now").unwrap();
    let held = HeldFolder::take(&data, "primary primary-1").unwrap();
    let (outcome, told) = restore(temp.path(), Overwrite::Always, restored(false)).await;
    outcome.unwrap();
    assert_eq!(fs::read(data.join("vote")).unwrap(), b"now");
    assert_eq!(
        fs::read(temp.path().join("other")).unwrap(),
        b"old",
        "the rest is restored"
    );
    let [exception] = told.exceptions.as_slice() else {
        panic!("{:?}", told.exceptions)
    };
    assert!(
        exception
            .reason
            .contains("the data folder of the primary primary-1"),
        "{exception:?}"
    );
    // Nor is anything restored into it from another place.
    for to in [data.clone(), data.join("new/below")] {
        let (outcome, told) = restore(&to, Overwrite::Always, one_file(b"vote")).await;
        outcome.unwrap();
        let error = told.restored.unwrap().error.unwrap();
        assert_eq!(error.code, 1201);
        assert!(error.text.contains("primary primary-1"), "{}", error.text);
        assert!(!data.join("new").exists());
    }
    // When nobody runs in it any more it is a folder as any other.
    drop(held);
    let (outcome, _) = restore(temp.path(), Overwrite::Always, restored(true)).await;
    outcome.unwrap();
    assert_eq!(fs::read(data.join("vote")).unwrap(), b"old");
}

/// The kernel does not tell a FUSE server of `syncfs`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_what_was_restored_to_a_fuse_file_system_outlives_a_power_cut() {
    if !can_mount() {
        return;
    }
    for seed in 0..6 {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(folder.path(), seed).unwrap();
        // Made by the restore, and by the user before.
        for (to, users) in [("made/for/it", None), ("to", Some("to/users"))] {
            let to = disk.path().join(to);
            if let Some(users) = users {
                create_folder(&disk.path().join(users), 0o755).unwrap();
            }
            let (outcome, told) = restore(&to, Overwrite::Never, of_every_kind()).await;
            outcome.unwrap();
            assert!(told.exceptions.is_empty(), "{:?}", told.exceptions);
            let end = told.restored.unwrap();
            assert_eq!((end.files, end.error), (13, None));
            let before = everything(&to);
            assert_eq!(before.len(), 16);
            disk.lose_power().unwrap();
            assert_eq!(everything(&to), before, "seed {seed}");
        }
    }
}

/// Several files in each of two directories below one another, an empty one, and what has no content.
fn of_every_kind() -> Vec<Body> {
    let mut number = 0;
    let mut next = |name: &str, kind| {
        number += 1;
        node(number - 1, name.as_bytes(), kind)
    };
    let (mut kinds, mut contents) = (Vec::new(), Vec::new());
    for folder in ["users", "new"] {
        kinds.push(Kind::Enter(next(folder, NodeType::Directory)));
        for name in ["1", "2", "3", "4", "5"] {
            let file_node = next(name, NodeType::File);
            contents.extend(file(file_node.number, b"new"));
            kinds.push(Kind::Node(file_node));
        }
    }
    let mut link = next("link", NodeType::Symlink);
    link.link_target = b"elsewhere".to_vec().into();
    kinds.push(Kind::Node(link));
    kinds.push(Kind::Enter(next("empty", NodeType::Directory)));
    let leave = || Kind::Leave(LeaveDirectory {});
    kinds.extend([leave(), leave(), leave()]);
    for name in ["pipe", "other pipe"] {
        let mut pipe = next(name, NodeType::Fifo);
        (pipe.links, pipe.device_id, pipe.inode) = (2, 1, 1);
        kinds.push(Kind::Node(pipe));
    }
    let mut bodies = vec![entries(kinds)];
    bodies.extend(contents);
    bodies.push(Body::EntriesEnd(EntriesEnd {}));
    bodies
}

/// What is below a folder, by path, mode and content.
fn everything(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let content = match metadata.file_type() {
            kind if kind.is_file() => fs::read(&path).unwrap(),
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_vec(),
            kind if kind.is_dir() => {
                found.extend(everything(&path));
                Vec::new()
            }
            _ => Vec::new(),
        };
        found.insert(path, (metadata.mode(), content));
    }
    found
}
