//! Files with several names of which some are there already (S-14e): one inode in the end, or an exception.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use outlast_proto::v1::entry::Kind;
use outlast_proto::v1::restore_down::Body;
use outlast_proto::v1::{EntriesEnd, LeaveDirectory, Node, NodeType, Overwrite};
use outlast_test_filesystems::{Odd, can_mount, mount};
use rustix::io::Errno;

use crate::media_agent::{Told, file};
use crate::restore::{entries, node, restore};
use crate::trees::set_times;

/// The names of the file, in the order in which they are restored: in directories before and behind each other.
const NAMES: [&str; 3] = ["a/f", "f", "z/f"];

/// What is at each of the names before, and what is wanted, one inode and told then.
struct Row {
    overwrite: Overwrite,
    /// `-` nothing, `K` an equal file, `k` a link of it, `L` another equal one, `M` with another mode, `m` a link of that,
    /// `D` one of another size, `O` an older one, `N` a newer one.
    there: &'static str,
    /// The name whose content is asked for.
    wanted: Option<u64>,
    /// The same letter for names of one inode.
    inodes: &'static str,
    /// Which name is an exception, and what of.
    told: &'static [(usize, &'static str)],
}

const fn row(
    overwrite: Overwrite,
    there: &'static str,
    wanted: Option<u64>,
    inodes: &'static str,
    told: &'static [(usize, &'static str)],
) -> Row {
    Row {
        overwrite,
        there,
        wanted,
        inodes,
        told,
    }
}

use Overwrite::{Always, IfNewer, Never};

const OWN: &str = "a file of its own and no other name of \"";
const MODE: &str = "another mode";
const DIFFERS: &str = "a differing file is there";

#[rustfmt::skip]
const ROWS: [Row; 26] = [
    row(Never, "---", Some(0), "xxx", &[]),
    row(Never, "K--", None, "xxx", &[]),
    row(Never, "-K-", Some(0), "xxx", &[]),
    row(Never, "--K", Some(0), "xxx", &[]),
    row(Never, "K-k", None, "xxx", &[]),
    row(Never, "Kk-", None, "xxx", &[]),
    row(Never, "Kkk", None, "xxx", &[]),
    row(Never, "KL-", None, "xyy", &[(1, OWN)]),
    row(Never, "K-L", None, "xxy", &[(2, OWN)]),
    row(Never, "-KL", Some(0), "xxy", &[(2, OWN)]),
    row(Never, "D--", Some(1), "xyy", &[(0, DIFFERS)]),
    row(Never, "-D-", Some(0), "xyx", &[(1, DIFFERS)]),
    row(Never, "KD-", None, "xyx", &[(1, DIFFERS)]),
    row(Never, "DK-", None, "xyy", &[(0, DIFFERS)]),
    row(Never, "M--", Some(1), "xyy", &[(0, MODE)]),
    row(Never, "-M-", Some(0), "xyx", &[(1, MODE)]),
    row(Never, "--M", Some(0), "xxy", &[(2, MODE)]),
    row(Never, "MK-", None, "xyy", &[(0, MODE)]),
    row(Never, "KM-", None, "xyx", &[(1, MODE)]),
    row(Never, "Mmm", None, "xxx", &[]),
    row(IfNewer, "K--", None, "xxx", &[]),
    row(IfNewer, "OK-", Some(0), "xxx", &[]),
    row(IfNewer, "KO-", None, "xxx", &[]),
    row(IfNewer, "N-K", Some(1), "xyy", &[(0, DIFFERS)]),
    row(Always, "KL-", Some(0), "xxx", &[]),
    row(Always, "-MD", Some(0), "xxx", &[]),
];

fn named(number: u64, name: &str) -> Node {
    Node {
        links: 3,
        inode: 12,
        device_id: 2049,
        content_sha256: vec![1; 32].into(),
        ..node(number, name.as_bytes(), NodeType::File)
    }
}

fn restored(wanted: Option<u64>) -> Vec<Body> {
    let folder = |number, name: &str| Kind::Enter(node(number, name.as_bytes(), NodeType::Directory));
    let leave = || Kind::Leave(LeaveDirectory {});
    let mut bodies = vec![entries(vec![
        folder(0, "a"),
        Kind::Node(named(1, "f")),
        leave(),
        Kind::Node(named(2, "f")),
        folder(3, "z"),
        Kind::Node(named(4, "f")),
        leave(),
    ])];
    let number = wanted.map(|name| [1, 2, 4][usize::try_from(name).unwrap()]);
    bodies.extend(number.into_iter().flat_map(|number| file(number, b"new")));
    bodies.push(Body::EntriesEnd(EntriesEnd {}));
    bodies
}

/// What is there before, in directories that have their time.
fn make(to: &Path, there: &str) {
    for folder in ["a", "z"] {
        fs::create_dir_all(to.join(folder)).unwrap();
    }
    let paths = NAMES.map(|name| to.join(name));
    for (path, what) in paths.iter().zip(there.chars()) {
        let same_as = |first: char| {
            let at = there.find(first).unwrap();
            fs::hard_link(&paths[at], path).unwrap();
        };
        match what {
            '-' => {}
            'k' => same_as('K'),
            'm' => same_as('M'),
            _ => {
                fs::write(path, if what == 'D' { "differs" } else { "new" }).unwrap();
                let mode = if what == 'M' { 0o600 } else { 0o644 };
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
                let time = 1000 + i64::from(what == 'N') - i64::from(what == 'O');
                set_times(path, time, 0);
            }
        }
    }
    for folder in ["a", "z"] {
        set_times(&to.join(folder), 1000, 0);
    }
}

/// Path below `to` and reason.
fn told(to: &Path, told: &Told) -> Vec<(PathBuf, String)> {
    let exceptions = told.exceptions.iter();
    let mut found: Vec<_> = exceptions
        .map(|told| {
            let path = Path::new(&told.path).strip_prefix(to).unwrap().to_owned();
            (path, told.reason.clone())
        })
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn t90_names_that_are_there_are_names_of_one_file() {
    for row in &ROWS {
        let what = format!("{:?} {}", row.overwrite, row.there);
        let temp = tempfile::tempdir().unwrap();
        let to = temp.path();
        make(to, row.there);
        let before: Vec<_> = NAMES.map(|name| fs::metadata(to.join(name)).ok()).into();
        let (outcome, said) = restore(to, row.overwrite, restored(row.wanted)).await;
        outcome.unwrap_or_else(|error| panic!("{what}: {error}"));
        let found: Vec<_> = NAMES.map(|name| to.join(name).metadata().unwrap()).into();
        let letters: Vec<char> = row.inodes.chars().collect();
        for one in 0..3 {
            for other in 0..one {
                let is_one = found[one].ino() == found[other].ino();
                assert_eq!(is_one, letters[one] == letters[other], "{what}: {one} {other}");
            }
        }
        let told = told(to, &said);
        let names: Vec<_> = told.iter().map(|(path, _)| path.to_str().unwrap()).collect();
        let expected: Vec<_> = row.told.iter().map(|(at, _)| NAMES[*at]).collect();
        assert_eq!(names, expected, "{what}: {told:?}");
        for ((_, reason), (_, says)) in told.iter().zip(row.told) {
            assert!(reason.contains(says), "{what}: {reason}");
        }
        for (at, state) in row.there.chars().enumerate() {
            let stays = match state {
                '-' => false,
                'O' => row.overwrite == Never,
                _ => row.overwrite != Always,
            };
            let was = before[at].as_ref().map(|there| there.ino());
            assert!(!stays || was == Some(found[at].ino()), "{what}: {at} was touched");
        }
        for folder in ["a", "z"] {
            assert_eq!(
                fs::metadata(to.join(folder)).unwrap().mtime(),
                1000,
                "{what}: {folder}"
            );
            assert_eq!(
                fs::read_dir(to.join(folder)).unwrap().count(),
                1,
                "{what}: {folder}"
            );
        }
        assert_eq!(fs::read_dir(to).unwrap().count(), 3, "{what}");
    }
}

/// A copy is what it becomes where no link can be made, and then what an earlier attempt copied is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_copies_that_are_there_are_right_where_no_links_can_be() {
    if !can_mount() {
        return;
    }
    for (there, wanted) in [("KL-", None), ("-K-", Some(0)), ("KLK", None)] {
        let temp = tempfile::tempdir().unwrap();
        let [backing, to] = ["backing", "to"].map(|name| temp.path().join(name));
        for folder in [&backing, &to] {
            fs::create_dir(folder).unwrap();
        }
        make(&backing, there);
        let odd = Odd::new();
        odd.refuses_links(Errno::PERM);
        let _mounted = mount(&backing, &to, odd.clone()).unwrap();
        let (outcome, said) = restore(&to, Never, restored(wanted)).await;
        outcome.unwrap();
        assert_eq!(told(&to, &said), [], "{there}");
        for name in NAMES {
            assert_eq!(fs::read(to.join(name)).unwrap(), b"new", "{there} {name}");
        }
    }
}

/// What is one file there, and two in the restore point, is left alone, and not without a word.
#[tokio::test]
async fn t90_one_file_for_two_of_the_restore_point_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let to = temp.path();
    fs::write(to.join("one"), "new").unwrap();
    fs::set_permissions(to.join("one"), fs::Permissions::from_mode(0o644)).unwrap();
    set_times(&to.join("one"), 1000, 0);
    let others = ["other", "third"];
    others
        .iter()
        .for_each(|name| fs::hard_link(to.join("one"), to.join(name)).unwrap());
    let single = |number, name: &str, inode| Node {
        inode,
        ..node(number, name.as_bytes(), NodeType::File)
    };
    let several = |number, name: &str| Node {
        inode: 7,
        links: 2,
        ..node(number, name.as_bytes(), NodeType::File)
    };
    let bodies = vec![
        entries(vec![
            Kind::Node(single(0, "one", 1)),
            Kind::Node(single(1, "other", 2)),
            Kind::Node(several(2, "third")),
        ]),
        Body::EntriesEnd(EntriesEnd {}),
    ];
    let (outcome, said) = restore(to, Never, bodies).await;
    outcome.unwrap();
    let told = told(to, &said);
    let names: Vec<_> = told.iter().map(|(path, _)| path.to_str().unwrap()).collect();
    assert_eq!(names, others, "{told:?}");
    for (_, reason) in told {
        assert!(reason.contains("one file with \"one\""), "{reason}");
    }
    assert_eq!(said.restored.unwrap().left_alone, 3);
}

/// Its entries are added to; a time that it was to have stays, another one becomes that of the change.
#[tokio::test]
async fn t90_a_directory_that_has_its_time_keeps_it() {
    let temp = tempfile::tempdir().unwrap();
    let to = temp.path();
    let folders = ["as recorded", "another"];
    for (folder, time) in folders.iter().zip([1000, 5]) {
        fs::create_dir(to.join(folder)).unwrap();
        fs::set_permissions(to.join(folder), fs::Permissions::from_mode(0o711)).unwrap();
        set_times(&to.join(folder), time, 0);
    }
    let mut kinds = Vec::new();
    for (number, folder) in (0..).step_by(2).zip(folders) {
        kinds.push(Kind::Enter(node(number, folder.as_bytes(), NodeType::Directory)));
        kinds.push(Kind::Node(node(number + 1, b"pipe", NodeType::Fifo)));
        kinds.push(Kind::Leave(LeaveDirectory {}));
    }
    let bodies = vec![entries(kinds), Body::EntriesEnd(EntriesEnd {})];
    let (outcome, said) = restore(to, Never, bodies).await;
    outcome.unwrap();
    assert_eq!(told(to, &said), []);
    let found = folders.map(|folder| to.join(folder).metadata().unwrap());
    assert!(found.iter().all(|found| found.mode() & 0o777 == 0o711));
    assert_eq!(found[0].mtime(), 1000);
    assert!(found[1].mtime() > 1000, "{}", found[1].mtime());
}
