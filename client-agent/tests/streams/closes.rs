//! Targets of restores that store files when they are closed, and say only then that they could not (S-02, S-14e).

use std::fs;

use outlast_proto::v1::entry::Kind;
use outlast_proto::v1::restore_down::Body;
use outlast_proto::v1::{EntriesEnd, NodeType, Overwrite};
use outlast_test_filesystems::{At, Errno, Odd, can_mount, mount};

use crate::media_agent::file;
use crate::restore::{entries, node, restore};

/// Two files, an empty one, and a long one that is written past the page cache.
fn files() -> Vec<Body> {
    let long = vec![5; (1 << 20) + 77];
    let mut kinds = Vec::new();
    for (number, size) in [(0, 3), (1, 0), (2, long.len()), (3, 3)] {
        let mut node = node(number, format!("file {number}").as_bytes(), NodeType::File);
        node.size = size as u64;
        kinds.push(Kind::Node(node));
    }
    let mut bodies = vec![entries(kinds)];
    bodies.extend(file(0, b"new"));
    bodies.extend(file(2, &long));
    bodies.extend(file(3, b"new"));
    bodies.push(Body::EntriesEnd(EntriesEnd {}));
    bodies
}

/// A folder that takes files and gives none back, as `chattr +a` makes one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_what_stays_under_a_temporary_name_is_told() {
    if !can_mount() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let [backing, to] = ["backing", "to"].map(|name| temp.path().join(name));
    for folder in [&backing, &to] {
        fs::create_dir(folder).unwrap();
    }
    let odd = Odd::new();
    // But for the test before everything, and one file.
    for (call, first) in [("rename", 1), ("unlink", 1)] {
        odd.fails(At::anywhere().calls(&[call]).after(first), Errno::PERM);
    }
    let _mounted = mount(&backing, &to, odd.clone()).unwrap();
    let (outcome, told) = restore(&to, Overwrite::Never, files()).await;
    outcome.unwrap();
    let names = |left: bool| {
        let entries = fs::read_dir(&backing)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name.starts_with(".outlast-restore-") == left);
        names.sort();
        names
    };
    assert_eq!(names(false).len(), 1);
    let mut told: Vec<_> = told
        .exceptions
        .iter()
        .filter(|told| told.reason.contains("it stays, for it could not be removed"))
        .map(|told| told.path.rsplit('/').next().unwrap().to_owned())
        .collect();
    told.sort();
    assert_eq!(told.len(), 3);
    assert_eq!(told, names(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_s02_a_file_that_cannot_be_stored_when_it_is_closed_is_an_exception() {
    if !can_mount() {
        return;
    }
    // Of single files, of the whole target, and of a target that is full. The test before everything is stored.
    for (error, stored, ends) in [
        (Errno::FBIG, 2, None),
        (Errno::IO, 1, Some(1201)),
        (Errno::DQUOT, 1, Some(1202)),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let [backing, to] = ["backing", "to"].map(|name| temp.path().join(name));
        for folder in [&backing, &to] {
            fs::create_dir(folder).unwrap();
        }
        let odd = Odd::new();
        odd.fails(At::anywhere().calls(&["fsync"]), Errno::NOSYS);
        odd.fails(At::anywhere().calls(&["flush"]).after(stored), error);
        let _mounted = mount(&backing, &to, odd.clone()).unwrap();
        let (outcome, told) = restore(&to, Overwrite::Never, files()).await;
        outcome.unwrap();
        let names: Vec<_> = fs::read_dir(&backing)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected: &[&str] = if ends.is_none() { &["file 0"] } else { &[] };
        assert_eq!(names, expected, "{error}");
        let restored = told.restored.unwrap();
        assert_eq!(restored.error.map(|error| error.code), ends, "{error}");
        if ends.is_none() {
            let mut told: Vec<_> = told
                .exceptions
                .iter()
                .map(|told| {
                    (
                        told.path.rsplit('/').next().unwrap().to_owned(),
                        told.reason.clone(),
                    )
                })
                .collect();
            told.sort();
            let unwritten = "its content could not be written: File too large (os error 27)";
            let unmade = "it could not be made: File too large (os error 27)";
            let expected = [("file 1", unmade), ("file 2", unwritten), ("file 3", unwritten)];
            assert_eq!(
                told,
                expected.map(|(name, reason)| (name.to_owned(), reason.to_owned()))
            );
        }
    }
}
