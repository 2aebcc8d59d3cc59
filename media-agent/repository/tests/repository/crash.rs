//! kill -9 in the middle of writing: everything acknowledged is there, nothing torn is referred to.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use outlast_repository::{
    BlobKind, LocalStorage, Node, Repository, Snapshot, SnapshotId, Timestamp, Tree, WriterOptions,
};

use crate::support::restic::check;
use crate::support::{TestRepository, data_id, noise, password};

const CHILD_DIRECTORY: &str = "OUTLAST_TEST_CHILD_DIRECTORY";
const CHILD_SEED: &str = "OUTLAST_TEST_CHILD_SEED";

/// Not a test: the process that is killed. It writes and takes checkpoints for ever and prints each.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else {
        return;
    };
    let seed: u64 = std::env::var(CHILD_SEED).unwrap().parse().unwrap();
    let storage = std::sync::Arc::new(LocalStorage::new(PathBuf::from(directory)));
    let repository = Repository::open(storage, &password()).unwrap();
    repository.reload_index().unwrap();
    let writer = repository
        .writer(WriterOptions {
            pack_size: 300_000,
            ..WriterOptions::default()
        })
        .unwrap();
    let mut content = Vec::new();
    for number in 0.. {
        let blob = noise(seed * 1_000_000 + number, 40_000);
        let (kind, id) = data_id(&blob);
        writer.add_blob(kind, id, &blob).unwrap();
        content.push(id);
        if number % 20 == 19 {
            let file = Node {
                name: b"file".to_vec(),
                content: Some(content.clone()),
                ..Node::default()
            };
            let (tree, _) = writer.add_tree(&Tree { nodes: vec![file] }).unwrap();
            writer.flush().unwrap();
            let snapshot = Snapshot::new(Timestamp::now(), tree, Vec::new(), String::new());
            let id = repository.save_snapshot(&snapshot).unwrap();
            writeln!(std::io::stdout(), "\ncheckpoint {id}").unwrap();
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_torn_is_used() {
    let test = TestRepository::new();
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let mut child = start_child(test.directory.path(), round);
        let lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let mut checkpoints = lines.filter_map(|line| line.strip_prefix("checkpoint ").map(str::to_owned));
        let wanted = 1 + round as usize % 3;
        let ids: Vec<SnapshotId> = checkpoints
            .by_ref()
            .take(wanted)
            .map(|id| id.parse().unwrap())
            .collect();
        assert_eq!(ids.len(), wanted, "the child ended by itself");
        if round % 2 == 0 {
            wait_for_temporary_file(test.directory.path(), &mut child);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(ids);

        check(test.directory.path());
        let repository = test.reopen();
        for id in &acknowledged {
            let snapshot = repository.snapshot(id).unwrap();
            for id in repository.load_tree(&snapshot.tree).unwrap().nodes[0]
                .content
                .as_ref()
                .unwrap()
            {
                repository.read_blob(BlobKind::Data, id).unwrap();
            }
        }
        assert_eq!(
            repository.remove_stale_temporaries().unwrap(),
            0,
            "they are not a day old"
        );
    }
}

#[test]
fn old_temporary_files_are_removed_and_others_are_not() {
    let test = TestRepository::new();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600);
    let make = |path: &str, old_file: bool| {
        let path = test.directory.path().join(path);
        let file = std::fs::File::create(&path).unwrap();
        if old_file {
            file.set_modified(old).unwrap();
        }
        path
    };
    let stale = [
        make("data/00/ab.outlast-tmp-1-2", true),
        make("index/ab.outlast-tmp-1-2", true),
    ];
    let kept = [
        make("data/00/cd.outlast-tmp-1-2", false),
        make("locks/ab-tmp-99", true),
    ];
    // The first writer does it, and only that.
    drop(test.repository.writer(WriterOptions::default()).unwrap());
    assert_eq!(test.repository.remove_stale_temporaries().unwrap(), 0);
    assert!(stale.iter().all(|path| !path.exists()) && kept.iter().all(|path| path.exists()));
    check(test.directory.path());
}

fn start_child(directory: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::child_that_writes_until_it_is_killed",
            "--nocapture",
        ])
        .env(CHILD_DIRECTORY, directory)
        .env(CHILD_SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Returns while, most likely, a pack is being written; the test is right either way.
fn wait_for_temporary_file(directory: &Path, child: &mut Child) {
    let is_temporary =
        |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().contains(".outlast-tmp-");
    while child.try_wait().unwrap().is_none() {
        for prefix in 0..=255u8 {
            let directory = directory.join(format!("data/{prefix:02x}"));
            if std::fs::read_dir(directory)
                .unwrap()
                .filter_map(Result::ok)
                .any(is_temporary)
            {
                return;
            }
        }
    }
    panic!("the child ended by itself");
}
