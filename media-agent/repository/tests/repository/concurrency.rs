//! Several threads, several handles, several processes' worth of writers.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use outlast_repository::{
    BlobId, BlobKind, Node, Repository, Snapshot, Timestamp, Tree, Writer, WriterOptions,
};

use crate::support::restic::check;
use crate::support::{TestRepository, data_id, noise};

fn small_packs() -> WriterOptions {
    WriterOptions {
        pack_size: 50_000,
        open_packs: 3,
        ..WriterOptions::default()
    }
}

/// A snapshot of one file with these chunks.
fn save(repository: &Repository, writer: &Writer, content: Vec<BlobId>) {
    let file = Node {
        name: b"file".to_vec(),
        content: Some(content),
        ..Node::default()
    };
    let (tree, _) = writer.add_tree(&Tree { nodes: vec![file] }).unwrap();
    writer.flush().unwrap();
    repository
        .save_snapshot(&Snapshot::new(Timestamp::now(), tree, Vec::new(), String::new()))
        .unwrap();
}

#[test]
fn of_equal_blobs_exactly_one_is_stored() {
    let test = TestRepository::new();
    let writer = test.repository.writer(small_packs()).unwrap();
    let blobs: Vec<Vec<u8>> = (0..400).map(|seed| noise(seed, 3000)).collect();
    let barrier = Barrier::new(8);
    let new = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                for blob in &blobs {
                    let (kind, id) = data_id(blob);
                    let added = writer.add_blob(kind, id, blob).unwrap();
                    assert_eq!(added.new, added.stored_bytes > 0);
                    new.fetch_add(usize::from(added.new), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(new.into_inner(), blobs.len());
    assert_eq!(writer.flush().unwrap().blobs, blobs.len() as u64);
    for blob in &blobs {
        assert!(
            !writer
                .add_blob(data_id(blob).0, data_id(blob).1, blob)
                .unwrap()
                .new
        );
    }
    assert_eq!(writer.finish().unwrap().blobs, 0);
}

#[test]
fn after_a_flush_everything_added_before_is_indexed() {
    let test = TestRepository::new();
    let writer = test.repository.writer(small_packs()).unwrap();
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        // Both threads add the same blobs, so that each often hears "not new" about one the other is storing.
        let threads: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for round in 0..60u64 {
                        let blobs: Vec<Vec<u8>> = (0..10).map(|n| noise(round * 10 + n, 2000)).collect();
                        for blob in &blobs {
                            writer.add_blob(data_id(blob).0, data_id(blob).1, blob).unwrap();
                        }
                        writer.flush().unwrap();
                        for blob in &blobs {
                            let (kind, id) = data_id(blob);
                            assert_eq!(test.repository.read_blob(kind, &id).unwrap(), *blob);
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while running.load(Ordering::Relaxed) {
                test.repository.reload_index().unwrap();
            }
        });
        let results: Vec<_> = threads
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        running.store(false, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok));
    });
    let blobs = test.repository.reload_index().unwrap().blobs;
    assert_eq!(blobs, 600);
    assert_eq!(test.reopen().reload_index().unwrap().blobs, 600);
}

#[test]
fn two_writers_on_two_handles_do_not_disturb_each_other() {
    let test = TestRepository::new();
    let handles = [test.reopen(), test.reopen()];
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        for (number, repository) in handles.iter().enumerate() {
            let barrier = &barrier;
            scope.spawn(move || {
                let writer = repository.writer(small_packs()).unwrap();
                barrier.wait();
                let mut content = Vec::new();
                for round in 0..300 {
                    // A third of the blobs is the same in both.
                    let seed = if round % 3 == 0 {
                        round
                    } else {
                        round + 1000 * (number as u64 + 1)
                    };
                    let blob = noise(seed, 5000);
                    let (kind, id) = data_id(&blob);
                    writer.add_blob(kind, id, &blob).unwrap();
                    content.push(id);
                    if round % 50 == 49 {
                        save(repository, &writer, content.clone());
                        repository.reload_index().unwrap();
                    }
                }
                writer.finish().unwrap();
            });
        }
    });
    check(test.directory.path());
    let other = test.reopen();
    let snapshots = other.snapshots().unwrap();
    assert_eq!(snapshots.len(), 12);
    for (_, snapshot) in snapshots {
        for id in other.load_tree(&snapshot.tree).unwrap().nodes[0]
            .content
            .as_ref()
            .unwrap()
        {
            other.read_blob(BlobKind::Data, id).unwrap();
        }
    }
}

#[test]
fn large_numbers_of_blobs_go_into_several_index_files() {
    let test = TestRepository::new();
    let writer = test
        .repository
        .writer(WriterOptions {
            pack_size: 1 << 20,
            ..WriterOptions::default()
        })
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..2u32 {
            let writer = &writer;
            scope.spawn(move || {
                for number in 0..60_000u32 {
                    let blob = (thread * 60_000 + number).to_le_bytes();
                    writer
                        .add_blob(data_id(&blob).0, data_id(&blob).1, &blob)
                        .unwrap();
                }
            });
        }
    });
    // Full index files are written without a flush, by other threads.
    let begun = Instant::now();
    while test.reopen().reload_index().unwrap().files == 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "no index file is written"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(writer.flush().unwrap().blobs, 120_000);
    let load = test.reopen().reload_index().unwrap();
    assert!(load.files >= 3 && load.blobs == 120_000, "{load:?}");
    save(&test.repository, &writer, Vec::new());
    writer.finish().unwrap();
    check(test.directory.path());
}
