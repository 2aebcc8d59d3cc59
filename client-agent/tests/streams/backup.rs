//! Backups against a scripted media agent.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outlast_client_agent::attempt::{AttemptError, Ends, Outcome};
use outlast_proto::v1::entry::Kind;
use outlast_proto::v1::{Entry, NodeType};

use crate::media_agent::{MediaAgent, Script, Stored, Told, backup_ticket, nodes};
use crate::trees::{describe, make, noise, set_times};

pub(crate) const DONE: Outcome = Outcome::Over {
    code: 0,
    text: String::new(),
};

/// Backs up one item with `script`.
pub(crate) async fn backup(
    item: &Path,
    exclude: &[&str],
    script: Script,
) -> (Result<Outcome, AttemptError>, Told) {
    let agent = MediaAgent::new(Script { items: 1, ..script });
    let ticket = backup_ticket(&[item.to_owned()], exclude);
    let outcome = tokio::time::timeout(Duration::from_secs(120), agent.run(&ticket, Ends::default())).await;
    (outcome.expect("the backup hangs"), agent.told())
}

/// Relative paths of all nodes, in the order of the walk; checks that names are sorted.
pub(crate) fn paths(entries: &[Entry]) -> Vec<PathBuf> {
    let (mut paths, mut path) = (Vec::new(), Vec::new());
    let mut last_names: Vec<Vec<u8>> = vec![Vec::new()];
    for entry in entries {
        match entry.kind.as_ref().unwrap() {
            Kind::Enter(node) | Kind::Node(node) => {
                let last = last_names.last_mut().unwrap();
                assert!(
                    last.as_slice() < node.name.as_ref() || path.is_empty(),
                    "sorted by bytes"
                );
                *last = node.name.to_vec();
                path.push(std::ffi::OsStr::from_bytes(&node.name).to_owned());
                paths.push(path.iter().skip(1).collect());
                if matches!(entry.kind, Some(Kind::Enter(_))) {
                    last_names.push(Vec::new());
                } else {
                    path.pop();
                }
            }
            Kind::Leave(_) => {
                path.pop();
                last_names.pop();
            }
        }
    }
    assert!(path.is_empty(), "what is entered is left");
    paths
}

fn file<'a>(stored: &'a Stored, name: &str) -> &'a outlast_proto::v1::Node {
    nodes(&stored.entries)
        .into_iter()
        .find(|node| node.name == name.as_bytes())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_arrives_whole() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("tree");
    make(&root);
    let (outcome, told) = backup(&root, &[], Script::default()).await;
    assert_eq!(outcome.unwrap(), DONE);
    assert_eq!(told.start_id, "start");
    let stored = &told.items[0];
    assert_eq!(stored.exceptions, []);
    assert_eq!(stored.end.as_ref().unwrap().error, None);
    let described = describe(&root);
    let walked = paths(&stored.entries);
    assert_eq!(walked.iter().collect::<BTreeSet<_>>(), described.keys().collect());
    assert_eq!(walked.len(), described.len());
    for (path, node) in walked.iter().zip(nodes(&stored.entries)) {
        if node.r#type() == NodeType::File {
            let expected = &described[path].content;
            assert!(told.content(0, node.number) == *expected, "{}", path.display());
            assert_eq!(node.size, expected.len() as u64);
            if node.size > 0 {
                let end = &stored.ends[&node.number];
                assert_eq!((end.size, end.skipped, &end.changed), (node.size, false, &None));
            }
        }
    }
    assert_eq!(nodes(&stored.entries)[0].name, &b"tree"[..]);
    let middle = file(stored, "middle");
    assert_eq!(middle.mode, 0o4751);
    let modified = middle.modified.unwrap();
    assert_eq!((modified.seconds, modified.nanos), (-1_234_567, 999_999_999));
    assert_eq!(file(stored, "dangling").link_target, &b"nowhere/at all"[..]);
    assert_eq!(file(stored, "linked").links, 2);
    assert!(
        stored.content[&file(stored, "big").number].len() > 10,
        "cut into chunks"
    );
    // 700 small files and more: one round trip each would be as many offers.
    assert!(told.offers < 350, "{} offers", told.offers);
}

#[tokio::test]
async fn deep_trees_are_walked_and_read_to_the_end() {
    let temp = tempfile::tempdir().unwrap();
    // Deeper than directories are kept open, and longer than the kernel takes a path in one piece.
    let name = "d".repeat(40);
    let mut folder: std::os::fd::OwnedFd = fs::File::open(temp.path()).unwrap().into();
    let mode = rustix::fs::Mode::RWXU;
    for _ in 0..150 {
        outlast_kit::calls::mkdirat(&folder, &name, mode).unwrap();
        for (file, content) in [("a", b"1st."), ("z", b"last")] {
            let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
            let file = outlast_kit::calls::openat(&folder, file, flags, mode).unwrap();
            rustix::io::write(&file, content).unwrap();
        }
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        folder = outlast_kit::calls::openat(&folder, &name, flags, mode).unwrap();
    }
    let (outcome, told) = backup(temp.path(), &[], Script::default()).await;
    assert_eq!(outcome.unwrap(), DONE);
    assert_eq!(told.items[0].exceptions, []);
    assert_eq!(paths(&told.items[0].entries).len(), 1 + 3 * 150);
    for node in nodes(&told.items[0].entries)
        .into_iter()
        .filter(|node| node.size > 0)
    {
        let content: &[u8] = if node.name == b"z"[..] { b"last" } else { b"1st." };
        assert_eq!(told.content(0, node.number), content);
    }
}

#[tokio::test]
async fn holes_are_cut_as_the_zeros_they_read_as() {
    let temp = tempfile::tempdir().unwrap();
    for name in ["whole", "with-holes"] {
        let path = temp.path().join(name);
        let file = fs::File::create(&path).unwrap();
        if name == "whole" {
            file.write_all_at(&vec![0; 45 << 20], 0).unwrap();
        }
        file.set_len(45 << 20).unwrap();
        file.write_all_at(&noise(3, 700_001), 1 << 20).unwrap();
        file.write_all_at(&noise(4, 5_001), 30 << 20).unwrap();
    }
    let (outcome, told) = backup(temp.path(), &[], Script::default()).await;
    assert_eq!(outcome.unwrap(), DONE);
    let stored = &told.items[0];
    let [whole, with_holes] = ["whole", "with-holes"].map(|name| file(stored, name).number);
    assert_eq!(stored.content[&whole], stored.content[&with_holes]);
    assert_eq!(stored.ends[&with_holes].size, 45 << 20);
    assert!(told.content(0, with_holes) == fs::read(temp.path().join("whole")).unwrap());
}

/// Read and hashed, this file would take an hour.
#[tokio::test]
async fn a_hole_is_not_read() {
    let temp = tempfile::tempdir().unwrap();
    let file = fs::File::create(temp.path().join("huge")).unwrap();
    let size = 1 << 40;
    file.set_len(size).unwrap();
    let (outcome, told) = backup(temp.path(), &[], Script::default()).await;
    assert_eq!(outcome.unwrap(), DONE);
    let stored = &told.items[0];
    let number = stored.ends.keys().next().unwrap();
    assert_eq!(stored.ends[number].size, size);
    assert_eq!(stored.content[number].len(), (size >> 23) as usize);
}

#[tokio::test]
async fn s02_excluded_and_unchanged_files_are_not_read() {
    let temp = tempfile::tempdir().unwrap();
    for folder in ["keep", "cache/deep"] {
        fs::create_dir_all(temp.path().join(folder)).unwrap();
        fs::write(temp.path().join(folder).join("file"), b"content").unwrap();
        fs::write(temp.path().join(folder).join("x.tmp"), b"content").unwrap();
    }
    let script = Script {
        wants_nothing: true,
        ..Script::default()
    };
    let (outcome, told) = backup(temp.path(), &["cache/", "*.tmp"], script).await;
    assert_eq!(outcome.unwrap(), DONE);
    assert_eq!(
        paths(&told.items[0].entries),
        ["", "keep", "keep/file"].map(PathBuf::from)
    );
    assert_eq!(
        (told.offers, told.chunks.len(), told.items[0].ends.len()),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn chunks_that_are_known_or_double_are_not_sent() {
    let temp = tempfile::tempdir().unwrap();
    let (known, double) = (noise(1, 1000), noise(2, 1000));
    for (name, content) in [("a", &known), ("b", &double), ("c", &double)] {
        fs::write(temp.path().join(name), content).unwrap();
    }
    let id = <sha2::Sha256 as sha2::Digest>::digest(&known).into();
    let script = Script {
        has: [id].into(),
        ..Script::default()
    };
    let (outcome, told) = backup(temp.path(), &[], script).await;
    assert_eq!(outcome.unwrap(), DONE);
    assert_eq!(told.chunks.values().collect::<Vec<_>>(), [&double]);
    assert_eq!(told.content(0, 3), double);
}

#[tokio::test]
async fn s02a_items_are_independent() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("folder")).unwrap();
    fs::write(temp.path().join("folder/file"), b"content").unwrap();
    std::os::unix::fs::symlink("folder", temp.path().join("link")).unwrap();
    let items = ["folder/file", "none", "link", "folder"].map(|name| temp.path().join(name));
    let agent = MediaAgent::new(Script {
        items: 4,
        ..Script::default()
    });
    let outcome = agent.run(&backup_ticket(&items, &[]), Ends::default()).await;
    assert_eq!(outcome.unwrap(), DONE);
    let told = agent.told();
    let codes: Vec<_> = told
        .items
        .iter()
        .map(|item| item.end.clone().unwrap().error.map(|e| e.code))
        .collect();
    assert_eq!(codes, [None, Some(71), None, None]);
    assert_eq!(told.content(0, 0), b"content");
    assert_eq!(told.items[1].entries, []);
    // A link is followed, and called what the policy calls it.
    assert_eq!(nodes(&told.items[2].entries)[0].r#type(), NodeType::Directory);
    assert_eq!(nodes(&told.items[2].entries)[0].name, &b"link"[..]);
    assert_eq!(told.content(2, 1), b"content");
    assert_eq!(paths(&told.items[3].entries).len(), 2);
    assert_eq!(told.content(3, 1), b"content");
}

#[tokio::test]
async fn s02_files_that_change_between_walk_and_read() {
    let temp = tempfile::tempdir().unwrap();
    for name in ["gone", "grown", "linked", "same"] {
        fs::write(temp.path().join(name), b"before").unwrap();
    }
    let root = temp.path().to_owned();
    let script = Script {
        before_verdicts: Some(Box::new(move || {
            fs::remove_file(root.join("gone")).unwrap();
            fs::write(root.join("grown"), b"before and after").unwrap();
            set_times(&root.join("grown"), 5, 6);
            fs::remove_file(root.join("linked")).unwrap();
            std::os::unix::fs::symlink("same", root.join("linked")).unwrap();
        })),
        ..Script::default()
    };
    let (outcome, told) = backup(temp.path(), &[], script).await;
    assert_eq!(outcome.unwrap(), DONE);
    let stored = &told.items[0];
    let excepted: Vec<_> = stored
        .exceptions
        .iter()
        .map(|e| e.path.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(excepted, ["gone", "linked"]);
    for (name, skipped, content) in [
        ("gone", true, ""),
        ("grown", false, "before and after"),
        ("same", false, "before"),
    ] {
        let number = file(stored, name).number;
        assert_eq!(stored.ends[&number].skipped, skipped, "{name}");
        assert_eq!(told.content(0, number), content.as_bytes(), "{name}");
    }
    let changed = stored.ends[&file(stored, "grown").number]
        .changed
        .clone()
        .unwrap();
    assert_eq!((changed.size, changed.modified.unwrap().seconds), (16, 5));
    assert_eq!(changed.name, &b"grown"[..]);
}

#[tokio::test]
async fn s14c_a_file_that_was_read_too_soon_after_it_changed_is_marked() {
    let temp = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        fs::write(temp.path().join(name), b"content").unwrap();
        // The time of its content does not count, whatever it is.
        set_times(&temp.path().join(name), 1000, 0);
    };
    write("old");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    write("young");
    let (outcome, told) = backup(temp.path(), &[], Script::default()).await;
    assert_eq!(outcome.unwrap(), DONE);
    let stored = &told.items[0];
    assert!(stored.marks_young);
    for (name, young) in [("old", false), ("young", true)] {
        let end = &stored.ends[&file(stored, name).number];
        assert_eq!((end.young, &end.changed), (young, &None), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s02_a_file_that_changes_while_it_is_read_is_an_exception() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log");
    let size = 100 << 20;
    fs::File::create(&path).unwrap().set_len(size).unwrap();
    set_times(&path, 1000, 0);
    let grows = path.clone();
    // Without an answer the client holds at most 64 MiB: it is in the middle of the file.
    let script = Script {
        answers_from: Some((
            30 << 20,
            Box::new(move || {
                let file = fs::OpenOptions::new().append(true).open(&grows).unwrap();
                std::io::Write::write_all(&mut &file, b"one more line").unwrap();
            }),
        )),
        ..Script::default()
    };
    let (outcome, told) = backup(temp.path(), &[], script).await;
    assert_eq!(outcome.unwrap(), DONE);
    let stored = &told.items[0];
    assert_eq!(stored.exceptions.len(), 1, "{:?}", stored.exceptions);
    assert!(stored.exceptions[0].path.ends_with("/log"));
    assert!(stored.exceptions[0].reason.contains("changed"));
    let end = &stored.ends[&file(stored, "log").number];
    // The stat from before reading is kept, so that the next backup reads the file again.
    assert_eq!((end.size, end.skipped, &end.changed), (size, false, &None));
    assert_eq!(told.content(0, end.node).len() as u64, size);
}

#[tokio::test]
async fn s02_what_cannot_be_read_is_an_exception() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    for name in ["closed", "open"] {
        fs::create_dir(temp.path().join(name)).unwrap();
        fs::write(temp.path().join(name).join("file"), b"content").unwrap();
    }
    fs::write(temp.path().join("secret"), b"content").unwrap();
    let mode = |name: &str, mode| {
        fs::set_permissions(
            temp.path().join(name),
            std::os::unix::fs::PermissionsExt::from_mode(mode),
        )
        .unwrap();
    };
    mode("closed", 0);
    mode("secret", 0);
    let (outcome, told) = backup(temp.path(), &[], Script::default()).await;
    mode("closed", 0o700);
    assert_eq!(outcome.unwrap(), DONE);
    assert_eq!(
        told.items[0].exceptions.len(),
        2,
        "{:?}",
        told.items[0].exceptions
    );
    assert_eq!(paths(&told.items[0].entries).len(), 5);
}

/// `OUTLAST_MEASURE=PATH cargo test --release -p outlast-client-agent --test streams measure -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; needs a path"]
async fn measure() {
    let Some(path) = std::env::var_os("OUTLAST_MEASURE") else {
        return;
    };
    let start = std::time::Instant::now();
    let script = Script {
        forgets: true,
        ..Script::default()
    };
    let (outcome, told) = backup(Path::new(&path), &[], script).await;
    assert_eq!(outcome.unwrap(), DONE);
    let bytes: u64 = told.items[0].ends.values().map(|end| end.size).sum();
    let seconds = start.elapsed().as_secs_f64();
    let (files, offers) = (told.items[0].ends.len(), told.offers);
    println!(
        "{files} files, {bytes} bytes, {offers} offers in {seconds:.2} s: {:.0} MB/s",
        bytes as f64 / 1e6 / seconds
    );
}
