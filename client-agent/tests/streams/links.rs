//! Files with several names, and what only looks like one.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use outlast_proto::v1::entry::Kind;
use outlast_proto::v1::restore_down::Body;
use outlast_proto::v1::{EntriesEnd, Node, NodeType, Overwrite};

use crate::backup::{DONE, backup};
use crate::media_agent::{Script, Told, file, nodes};
use crate::restore::{entries, node, restore};

/// More than a walk runs ahead of its answers.
const MANY: usize = 17_000;

/// Makes a file at `path` that has the number `inode`. It is made in the folder of the file that had it: others have other numbers.
fn make_with(inode: u64, folder: &Path, path: &Path, content: &str) {
    let mut tried = Vec::new();
    for number in 0..2000 {
        let next = folder.join(format!("tried-{number}"));
        fs::write(&next, content).unwrap();
        if next.metadata().unwrap().ino() == inode {
            fs::rename(next, path).unwrap();
            break;
        }
        tried.push(next);
    }
    tried.iter().for_each(|tried| fs::remove_file(tried).unwrap());
}

/// A file with two names, another, and one with one name; a directory that takes the walk long; one for what comes later.
fn before(top: &Path) {
    for folder in ["m", "zz"] {
        fs::create_dir_all(top.join(folder)).unwrap();
    }
    for (one, other) in [("a1", "a2"), ("d1", "d2")] {
        fs::write(top.join(one), format!("{one} content")).unwrap();
        fs::hard_link(top.join(one), top.join(other)).unwrap();
    }
    fs::write(top.join("alone"), "alone content").unwrap();
    for number in 0..MANY {
        fs::write(top.join(format!("m/{number}")), "").unwrap();
    }
}

/// The numbers of those with several names go to one with several and to one with one; that of the one with one name to one with several.
fn meanwhile(top: &Path) {
    let zz = top.join("zz");
    let rows = [
        (&["a1", "a2"][..], "b1", "BBBB other 1"),
        (&["d1", "d2"], "e", "EEEE other 1"),
        (&["alone"], "s1", "SSSS content 1"),
    ];
    for (old, new, content) in rows {
        let number = top.join(old[0]).metadata().unwrap().ino();
        old.iter().for_each(|old| fs::remove_file(top.join(old)).unwrap());
        make_with(number, top, &zz.join(new), content);
        if !zz.join(new).exists() {
            return println!("numbers of inodes are not given out again here, as they are on ext4");
        }
    }
    fs::hard_link(zz.join("b1"), zz.join("c1")).unwrap();
    fs::hard_link(zz.join("s1"), zz.join("s2")).unwrap();
}

fn walked(told: &Told, name: &str) -> Node {
    let found = nodes(&told.items[0].entries).into_iter();
    let found: Vec<_> = found.filter(|node| node.name == name.as_bytes()).collect();
    assert_eq!(found.len(), 1, "{name}");
    found[0].clone()
}

/// What was walked with its content. What went away was not read any more; it comes back as it was.
fn as_restore(told: &Told) -> Vec<Body> {
    let number = |name: &str| walked(told, name).number;
    let unsent = ["a1", "a2", "d1", "d2", "alone", "c1", "s2"].map(number);
    let mut bodies = told.as_restore(0);
    for body in &mut bodies {
        if let Body::WholeFiles(whole) = body {
            whole.files.retain(|file| !unsent.contains(&file.node));
        }
    }
    let first = bodies.iter().position(|body| !matches!(body, Body::Entries(_)));
    for name in ["d1", "alone", "a1"] {
        let content = file(number(name), format!("{name} content").as_bytes());
        let at = first.unwrap();
        bodies.splice(at..at, content);
    }
    bodies
}

/// While a directory between them is walked, files go away and their numbers are given to others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_a_number_that_is_given_out_again_makes_no_link() {
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("top"), temp.path().join("to"));
    before(&from);
    let top = from.clone();
    let script = Script {
        before_verdicts: Some(Box::new(move || meanwhile(&top))),
        ..Script::default()
    };
    let (outcome, told) = backup(&from, &[], script).await;
    assert_eq!(outcome.unwrap(), DONE);
    assert!(
        from.join("zz/c1").exists(),
        "where temporary files lie numbers of inodes are given out again: ext4, xfs"
    );
    // What restic goes by, whether it asks how many names there are or not: one number and device, one file.
    let mut files: HashMap<(u64, u64), Vec<&str>> = HashMap::new();
    for name in ["a1", "a2", "b1", "c1", "d1", "d2", "e", "alone", "s1", "s2"] {
        let node = walked(&told, name);
        files.entry((node.inode, node.device_id)).or_default().push(name);
    }
    let mut files: Vec<_> = files.into_values().collect();
    files.sort();
    let expected: [&[&str]; 6] = [
        &["a1", "a2"],
        &["alone"],
        &["b1", "c1"],
        &["d1", "d2"],
        &["e"],
        &["s1", "s2"],
    ];
    assert_eq!(files, expected);
    let (outcome, told) = restore(&to, Overwrite::Never, as_restore(&told)).await;
    assert_eq!(outcome.unwrap(), DONE);
    assert_eq!(told.exceptions, []);
    let restored = |name: &str| {
        let path = to.join("top").join(name);
        (fs::read_to_string(&path).unwrap(), path.metadata().unwrap().ino())
    };
    for (names, content) in [
        (["a1", "a2"], "a1 content"),
        (["d1", "d2"], "d1 content"),
        (["zz/b1", "zz/c1"], "BBBB other 1"),
        (["zz/s1", "zz/s2"], "SSSS content 1"),
    ] {
        let [one, other] = names.map(restored);
        assert_eq!(one.0, content, "{names:?}");
        assert_eq!(one, other, "{names:?} are links");
    }
    assert_eq!(restored("zz/e").0, "EEEE other 1");
    assert_eq!(restored("alone").0, "alone content");
}

/// A tree that says so all the same: of before this, of restic's, or made for it.
#[tokio::test]
async fn t90_nodes_of_one_number_and_other_content_are_two_files() {
    let temp = tempfile::tempdir().unwrap();
    let named = |number: u64, name: &str, size: usize, content: u8| Node {
        links: 2,
        inode: 12,
        device_id: 2049,
        size: size as u64,
        content_sha256: vec![content; 32].into(),
        ..node(number, name.as_bytes(), NodeType::File)
    };
    let all = vec![
        named(0, "a1", 4, 1),
        named(1, "a2", 4, 1),
        // Of another content, of another length, and empty.
        named(2, "b1", 4, 2),
        named(3, "b2", 4, 2),
        named(4, "c1", 5, 3),
        named(5, "d1", 0, 0),
        named(6, "d2", 0, 0),
    ];
    let mut bodies = vec![entries(all.into_iter().map(Kind::Node).collect())];
    for (number, content) in [(0, &b"AAAA"[..]), (2, b"BBBB"), (4, b"CCCCC")] {
        bodies.extend(file(number, content));
    }
    bodies.push(Body::EntriesEnd(EntriesEnd {}));
    let (outcome, told) = restore(temp.path(), Overwrite::Never, bodies).await;
    assert_eq!(outcome.unwrap(), DONE);
    let path = |name: &str| -> PathBuf { temp.path().join(name) };
    let mut inodes = HashMap::new();
    for (name, content) in [
        ("a1", "AAAA"),
        ("a2", "AAAA"),
        ("b1", "BBBB"),
        ("b2", "BBBB"),
        ("c1", "CCCCC"),
        ("d1", ""),
        ("d2", ""),
    ] {
        assert_eq!(fs::read_to_string(path(name)).unwrap(), content, "{name}");
        let inode = path(name).metadata().unwrap().ino();
        assert_eq!(*inodes.entry(content).or_insert(inode), inode, "{name} is a link");
    }
    let told: Vec<_> = told
        .exceptions
        .iter()
        .map(|told| {
            let name = Path::new(&told.path).file_name().unwrap().to_str().unwrap();
            let what = told.reason.split(" with another ").nth(1).unwrap();
            (name, what.split(';').next().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("b1", "content"),
            ("c1", "size (5 bytes, not 4)"),
            ("d1", "size (0 bytes, not 4)")
        ]
    );
}
