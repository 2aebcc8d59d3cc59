//! Nodes that contradict what comes with them, or that nothing can be: told, with both.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use outlast_proto::v1::entry::Kind;
use outlast_proto::v1::restore_down::Body;
use outlast_proto::v1::{EntriesEnd, FileData, Node, NodeType, Overwrite};

use crate::backup::DONE;
use crate::media_agent::{Told, file};
use crate::restore::{entries, node, restore};

/// The exceptions by the names of their files.
fn told_of(told: &Told) -> Vec<(String, &str)> {
    let named = told.exceptions.iter().map(|told| {
        let name = Path::new(&told.path).file_name().unwrap();
        (name.to_str().unwrap().to_owned(), told.reason.as_str())
    });
    named.collect()
}

#[tokio::test]
async fn t90_a_size_that_is_not_that_of_the_content_is_told() {
    let temp = tempfile::tempdir().unwrap();
    // What the node says, and what comes.
    let rows = [
        ("good", 6),
        ("half", i64::MAX as u64),
        ("less", 5),
        ("most", u64::MAX),
        ("zeros", 1),
    ];
    let named = |(number, (name, size)): (u64, &(&str, u64))| {
        Kind::Node(Node {
            size: *size,
            has_holes: true,
            ..node(number, name.as_bytes(), NodeType::File)
        })
    };
    let mut bodies = vec![entries((0..).zip(&rows).map(named).collect())];
    for number in 0..4 {
        bodies.extend(file(number, b"123456"));
    }
    // More zeros than the node says that the file is long.
    let mut zeros = file(4, &vec![0; 1 << 20]);
    zeros[0] = Body::Data(FileData {
        node: 4,
        zeros: 1 << 20,
        ..FileData::default()
    });
    bodies.extend(zeros);
    bodies.push(Body::EntriesEnd(EntriesEnd {}));
    let (outcome, told) = restore(temp.path(), Overwrite::Never, bodies).await;
    assert_eq!(outcome.unwrap(), DONE);
    for (name, _) in rows {
        let content = fs::read(temp.path().join(name)).unwrap();
        let expected = if name == "zeros" {
            vec![0; 1 << 20]
        } else {
            b"123456".to_vec()
        };
        assert!(content == expected, "{name}: the content counts");
    }
    let expected = rows[1..].iter().map(|(name, said)| {
        let came = if *name == "zeros" { 1 << 20 } else { 6 };
        format!("{name}: the restore point says that it has {said} bytes, and its content has {came}; that content is restored")
    });
    let found = told_of(&told)
        .into_iter()
        .map(|(name, reason)| format!("{name}: {reason}"));
    assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn t90_owners_and_devices_that_nothing_can_have_are_told() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: owners are given, and devices made, by root");
    }
    let temp = tempfile::tempdir().unwrap();
    let empty = |number: u64, name: &str, uid, gid| {
        Kind::Node(Node {
            size: 0,
            mode: 0o6755,
            uid,
            gid,
            ..node(number, name.as_bytes(), NodeType::File)
        })
    };
    let device = |number: u64, name: &str, device| {
        Kind::Node(Node {
            device,
            ..node(number, name.as_bytes(), NodeType::CharacterDevice)
        })
    };
    let bodies = vec![
        entries(vec![
            empty(0, "gid", 7, u32::MAX),
            empty(1, "given", u32::MAX - 1, 7),
            empty(2, "uid", u32::MAX, 7),
            device(3, "v-half", 1 << 63),
            device(4, "v-low", 1 << 32 | 0x103),
            device(5, "v-null", 0x103),
        ]),
        Body::EntriesEnd(EntriesEnd {}),
    ];
    let (outcome, told) = restore(temp.path(), Overwrite::Never, bodies).await;
    assert_eq!(outcome.unwrap(), DONE);
    let found = |name: &str| fs::metadata(temp.path().join(name)).ok();
    let owner = |name: &str| found(name).map(|found| (found.uid(), found.gid(), found.mode() & 0o7777));
    assert_eq!(owner("given"), Some((u32::MAX - 1, 7, 0o6755)));
    // What one has in common with a file of root is no reason to run as root.
    assert_eq!(owner("uid"), Some((0, 7, 0o755)));
    assert_eq!(owner("gid"), Some((7, 0, 0o755)));
    assert_eq!(found("v-null").unwrap().rdev(), 0x103);
    assert!(found("v-half").is_none() && found("v-low").is_none());
    let expected = [
        ("gid", "its group, 4294967295,"),
        ("uid", "its owner, 4294967295,"),
        ("v-half", "the device 9223372036854775808,"),
        ("v-low", "the device 4294967555,"),
    ];
    let mut told = told_of(&told);
    told.sort();
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for ((name, reason), (expected, why)) in told.iter().zip(expected) {
        assert!(name == expected && reason.contains(why), "{name}: {reason}");
    }
}
