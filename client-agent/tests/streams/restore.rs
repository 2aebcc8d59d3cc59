//! Restores against a scripted media agent.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use outlast_client_agent::attempt::{AttemptError, Ends, MadeFolders, Outcome, Violation};
use outlast_proto::v1::entry::Kind;
use outlast_proto::v1::restore_down::Body;
use outlast_proto::v1::{
    AttemptOver, Entries, EntriesEnd, Entry, FileData, FileEnd, FileEnds, FileTime, LeaveDirectory, Node,
    NodeType, Overwrite, WholeFiles,
};

use crate::media_agent::{MediaAgent, Script, Told, backup_ticket, file, restore_ticket, whole_file};
use crate::trees::{describe, make, set_times};

pub(crate) async fn restore(
    to: &Path,
    overwrite: Overwrite,
    restores: Vec<Body>,
) -> (Result<Outcome, AttemptError>, Told) {
    let agent = MediaAgent::new(Script {
        restores,
        ..Script::default()
    });
    let ticket = restore_ticket(to, overwrite);
    let outcome = tokio::time::timeout(Duration::from_secs(120), agent.run(&ticket, Ends::default())).await;
    (outcome.expect("the restore hangs"), agent.told())
}

pub(crate) fn entries(kinds: Vec<Kind>) -> Body {
    let entries = kinds.into_iter().map(|kind| Entry { kind: Some(kind) }).collect();
    Body::Entries(Entries { entries })
}

pub(crate) fn node(number: u64, name: &[u8], kind: NodeType) -> Node {
    Node {
        number,
        name: name.to_vec().into(),
        r#type: kind.into(),
        mode: if kind == NodeType::Directory { 0o755 } else { 0o644 },
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        modified: Some(FileTime {
            seconds: 1000,
            nanos: 0,
        }),
        links: 1,
        size: if kind == NodeType::File { 3 } else { 0 },
        ..Node::default()
    }
}

fn leave() -> Kind {
    Kind::Leave(LeaveDirectory {})
}

fn end() -> Body {
    Body::EntriesEnd(EntriesEnd {})
}

/// A restore of one file `name` with content `new`.
pub(crate) fn one_file(name: &[u8]) -> Vec<Body> {
    let mut bodies = vec![entries(vec![Kind::Node(node(0, name, NodeType::File))])];
    bodies.extend(file(0, b"new"));
    bodies.push(end());
    bodies
}

/// The media agent went away while a directory was open; the next attempt of the job goes on in what is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_directories_of_an_interrupted_attempt_get_their_modes_and_times() {
    let to = tempfile::tempdir().unwrap();
    let users = to.path().join("users");
    fs::create_dir(&users).unwrap();
    let opened = |number, name: &[u8]| Kind::Enter(node(number, name, NodeType::Directory));
    let over = Body::Over(AttemptOver {
        code: 1110,
        text: String::new(),
    });
    let broken = vec![
        entries(vec![opened(0, b"users"), leave(), opened(1, b"ours")]),
        over,
    ];
    let whole = entries(vec![opened(0, b"users"), leave(), opened(1, b"ours"), leave()]);
    let made = MadeFolders::default();
    for restores in [broken, vec![whole, end()]] {
        let agent = MediaAgent::new(Script {
            restores,
            ..Script::default()
        });
        let ticket = restore_ticket(to.path(), Overwrite::Never);
        let outcome = agent.run_after(made.clone(), &ticket, Ends::default()).await;
        assert!(matches!(outcome, Ok(Outcome::Over { .. })), "{outcome:?}");
    }
    let time = |path: &Path| fs::metadata(path).unwrap().mtime();
    let ours = to.path().join("ours");
    assert_eq!(time(&ours), 1000);
    assert_eq!(fs::metadata(&ours).unwrap().mode() & 0o7777, 0o755);
    assert_ne!(time(&users), 1000, "what was there before the job stays as it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f17_a_backup_comes_back_as_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("tree"), temp.path().join("to"));
    make(&from);
    let agent = MediaAgent::new(Script {
        items: 1,
        ..Script::default()
    });
    agent
        .run(&backup_ticket(std::slice::from_ref(&from), &[]), Ends::default())
        .await
        .unwrap();
    let bodies = agent.told().as_restore(0);
    let before = describe(&from);
    let (outcome, told) = restore(&to, Overwrite::Never, bodies.clone()).await;
    assert!(matches!(outcome.unwrap(), Outcome::Over { code: 0, .. }));
    assert_eq!(told.exceptions, []);
    let after = describe(&to.join("tree"));
    assert_eq!(
        after.keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );
    for (path, expected) in &before {
        let is_equal = after[path] == *expected;
        let show = |d: &crate::trees::Described| format!("{:.300}", format!("{d:?}"));
        assert!(
            is_equal,
            "{}: {} is not {}",
            path.display(),
            show(&after[path]),
            show(expected)
        );
    }
    let sparse = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(to.join("tree/sparse")).unwrap());
    assert!(sparse * 512 < 4 << 20, "{sparse} blocks");
    let end = told.restored.unwrap();
    let folders = fs_count(&before, 'd');
    assert_eq!(
        (end.directories, end.files),
        (folders, before.len() as u64 - folders)
    );
    assert_eq!(end.error, None);
    // Again over the same tree: hard links and directories that are there are no obstacle.
    let (outcome, told) = restore(&to, Overwrite::Always, bodies).await;
    assert!(matches!(outcome.unwrap(), Outcome::Over { code: 0, .. }));
    assert_eq!(told.exceptions, []);
    assert!(describe(&to.join("tree")) == before);
}

fn fs_count(
    described: &std::collections::BTreeMap<std::path::PathBuf, crate::trees::Described>,
    kind: char,
) -> u64 {
    described
        .values()
        .filter(|d| format!("{d:?}").contains(&format!("kind: '{kind}'")))
        .count() as u64
}

#[tokio::test]
async fn existing_files_are_kept_or_replaced_as_ordered() {
    for (overwrite, there_since, content) in [
        (Overwrite::Never, 1, "old"),
        (Overwrite::Never, 1000, "old"),
        (Overwrite::Never, 2000, "old"),
        (Overwrite::Always, 2000, "new"),
        (Overwrite::IfNewer, 999, "new"),
        (Overwrite::IfNewer, 1000, "old"),
        (Overwrite::IfNewer, 2000, "old"),
    ] {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), b"old").unwrap();
        set_times(&temp.path().join("file"), there_since, 0);
        let (outcome, told) = restore(temp.path(), overwrite, one_file(b"file")).await;
        outcome.unwrap();
        let case = format!("{overwrite:?} over a file of {there_since}");
        // One of that size and time counts as the same.
        let differs = content == "old" && there_since != 1000;
        assert_eq!(told.exceptions.len(), usize::from(differs), "{case}");
        let end = told.restored.unwrap();
        assert_eq!(
            end.error.map(|error| error.code),
            // Whoever asks for what is newer has it.
            (differs && overwrite == Overwrite::Never).then_some(1201),
            "{case}"
        );
        assert_eq!(end.left_alone, u64::from(content == "old"), "{case}");
        assert_eq!(
            fs::read_to_string(temp.path().join("file")).unwrap(),
            content,
            "{case}"
        );
        assert_eq!(told.verdicts.len(), usize::from(content == "new"), "{case}");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "{case}");
    }
}

#[tokio::test]
async fn names_that_lead_out_of_the_target_end_the_attempt() {
    let temp = tempfile::tempdir().unwrap();
    let to = temp.path().join("to");
    for name in [&b""[..], b".", b"..", b"../out", b"/out", b"a/b", b"a\0b"] {
        for kind in [NodeType::File, NodeType::Symlink, NodeType::Directory] {
            let bad = node(0, name, kind);
            let kinds = match kind {
                NodeType::Directory => vec![Kind::Enter(bad), leave()],
                _ => vec![Kind::Node(bad)],
            };
            let mut bodies = vec![entries(kinds)];
            bodies.extend(file(0, b"bad"));
            bodies.push(end());
            let (outcome, _) = restore(&to, Overwrite::Always, bodies).await;
            let error = outcome.unwrap_err();
            assert!(
                matches!(error, AttemptError::Violation(Violation::BadName { .. })),
                "{name:?}: {error}"
            );
        }
    }
    let outside: Vec<_> = fs::read_dir(temp.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(outside, ["to"]);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
}

#[tokio::test]
async fn links_in_the_target_are_not_followed() {
    for overwrite in [Overwrite::Never, Overwrite::Always] {
        // One link was there before, the other comes with the restore itself.
        for comes_along in [false, true] {
            let temp = tempfile::tempdir().unwrap();
            let (to, out) = (temp.path().join("to"), temp.path().join("out"));
            fs::create_dir(&to).unwrap();
            fs::create_dir(&out).unwrap();
            let mut link = node(0, b"link", NodeType::Symlink);
            link.link_target = b"../out".to_vec().into();
            let mut kinds = Vec::new();
            if comes_along {
                kinds.push(Kind::Node(link));
            } else {
                std::os::unix::fs::symlink("../out", to.join("link")).unwrap();
            }
            let first = kinds.len() as u64;
            kinds.extend([
                Kind::Enter(node(first, b"link", NodeType::Directory)),
                Kind::Node(node(first + 1, b"file", NodeType::File)),
                leave(),
            ]);
            let mut bodies = vec![entries(kinds)];
            bodies.extend(file(first + 1, b"new"));
            bodies.push(end());
            let (outcome, _) = restore(&to, overwrite, bodies).await;
            outcome.unwrap();
            assert_eq!(
                fs::read_dir(&out).unwrap().count(),
                0,
                "{overwrite:?}, {comes_along}"
            );
            let changed = fs::metadata(&out).unwrap().modified().unwrap();
            assert_ne!(changed, std::time::UNIX_EPOCH + Duration::from_secs(1000));
        }
    }
}

#[tokio::test]
async fn what_is_in_the_way_is_an_exception() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("file")).unwrap();
    fs::write(temp.path().join("folder"), b"old").unwrap();
    let bodies = vec![
        entries(vec![
            Kind::Node(node(0, b"file", NodeType::File)),
            Kind::Enter(node(1, b"folder", NodeType::Directory)),
            Kind::Node(node(2, b"below", NodeType::File)),
            leave(),
        ]),
        end(),
    ];
    let (outcome, told) = restore(temp.path(), Overwrite::Never, bodies).await;
    outcome.unwrap();
    let paths: Vec<_> = told
        .exceptions
        .iter()
        .map(|exception| exception.path.as_str())
        .collect();
    let expected = ["file", "folder"].map(|name| temp.path().join(name).to_str().unwrap().to_owned());
    assert_eq!(paths, expected);
    assert_eq!(told.verdicts, []);
    assert_eq!(fs::read(temp.path().join("folder")).unwrap(), b"old");
}

fn data_of(node: u64, offset: u64, data: &[u8]) -> Body {
    Body::Data(FileData {
        node,
        offset,
        data: data.to_vec().into(),
        zeros: 0,
    })
}

#[tokio::test]
async fn f17_a_file_that_does_not_come_whole_does_not_get_its_name() {
    let piece = |offset, data| data_of(0, offset, data);
    let file_end = |size, skipped| {
        let node = 0;
        let changed = None;
        Body::FileEnds(FileEnds {
            ends: vec![FileEnd {
                node,
                size,
                skipped,
                changed,
                ..FileEnd::default()
            }],
        })
    };
    // What the media agent could not read it has named itself.
    for (what, named, bodies) in [
        ("too short", 1, vec![piece(0, b"ne"), file_end(3, false)]),
        ("too long", 1, vec![piece(0, b"newer"), file_end(3, false)]),
        ("given up", 0, vec![piece(0, b"ne"), file_end(0, true)]),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let mut all = vec![entries(vec![Kind::Node(node(0, b"file", NodeType::File))])];
        all.extend(bodies);
        all.push(end());
        let (outcome, told) = restore(temp.path(), Overwrite::Never, all).await;
        outcome.unwrap();
        assert_eq!(told.exceptions.len(), named, "{what}");
        assert!(
            told.restored.unwrap().error.is_some(),
            "{what}: nothing was restored"
        );
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "{what}");
    }
}

#[tokio::test]
async fn f17_pieces_out_of_turn_end_the_restore() {
    for (what, body) in [
        ("a gap", data_of(0, 1, b"new")),
        ("another file", data_of(1000, 0, b"new")),
        (
            "more zeros than the file is long",
            Body::Data(FileData {
                zeros: u64::MAX,
                ..FileData::default()
            }),
        ),
        (
            "all of it after a piece",
            Body::WholeFiles(WholeFiles {
                files: vec![whole_file(0, b"new"), whole_file(0, b"new")],
            }),
        ),
        ("an early end", end()),
        ("a second root", entries(vec![leave()])),
        (
            "a number left out",
            entries(vec![Kind::Node(node(2, b"other", NodeType::File))]),
        ),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let first = entries(vec![Kind::Node(node(0, b"file", NodeType::File))]);
        let (outcome, _) = restore(
            temp.path(),
            Overwrite::Never,
            vec![first, data_of(0, 0, b""), body],
        )
        .await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, AttemptError::Violation(_)), "{what}: {error}");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "{what}");
    }
}

#[tokio::test]
async fn a_stopped_restore_leaves_nothing_half_done() {
    let temp = tempfile::tempdir().unwrap();
    let first = entries(vec![Kind::Node(node(0, b"file", NodeType::File))]);
    let data = Body::Data(FileData {
        node: 0,
        data: b"ne".to_vec().into(),
        ..FileData::default()
    });
    let agent = MediaAgent::new(Script {
        restores: vec![first, data],
        ..Script::default()
    });
    let ends = Ends::default();
    let ended = ends.clone();
    let is_there = || fs::read_dir(temp.path()).unwrap().count() > 0;
    let end = async {
        while !is_there() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        ended.now.begin();
    };
    let ticket = restore_ticket(temp.path(), Overwrite::Never);
    let run = tokio::time::timeout(Duration::from_secs(60), agent.run(&ticket, ends));
    let (outcome, ()) = tokio::join!(run, end);
    assert_eq!(outcome.expect("it hangs").unwrap(), Outcome::Stopped);
    assert!(!is_there());
}
