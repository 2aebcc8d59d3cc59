//! What a power cut leaves of the journal: everything that was believed or acknowledged before.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use outlast_test_filesystems::{Disk, can_mount};

use super::{admitted, ended, file, five_commits, id, open};

/// Runs `check` on disks that forget differently.
fn on_disks(check: impl Fn(&mut Disk)) {
    if !can_mount() {
        return;
    }
    for seed in 0..6 {
        let folder = tempfile::tempdir().unwrap();
        check(&mut Disk::new(folder.path(), seed).unwrap());
    }
}

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

#[test]
fn t90_a_new_journal_outlives_a_power_cut_with_the_folders_it_is_in() {
    on_disks(|disk| {
        let dir = disk.path().join("lib/agent/journal");
        let mut store = open(&dir).unwrap();
        store.append(admitted(id(1, 1))).unwrap();
        let (journal, last) = (store.journal_id(), store.last());
        drop(store);
        disk.lose_power().unwrap();
        let store = open(&dir).unwrap();
        assert_eq!((store.journal_id(), store.last()), (journal, last));
    });
}

#[test]
fn t90_what_a_killed_process_did_not_sync_counts_only_once_it_is_synced() {
    let made = tempfile::tempdir().unwrap();
    let lengths = five_commits(made.path());
    let whole = std::fs::read(file(made.path(), 1)).unwrap();
    on_disks(|disk| {
        let dir = disk.path().to_owned();
        let path = file(&dir, 1);
        // Killed between write and sync.
        let mut journal = File::create(&path).unwrap();
        let (synced, written) = whole.split_at(usize::try_from(lengths[4]).unwrap());
        journal.write_all(synced).unwrap();
        sync(&path);
        sync(&dir);
        journal.write_all(written).unwrap();
        drop(journal);
        let believed = open(&dir).unwrap().last();
        assert_eq!(believed, 5);
        disk.lose_power().unwrap();
        assert_eq!(open(&dir).unwrap().last(), believed);
    });
}

#[test]
fn t90_a_journal_whose_name_a_killed_process_did_not_sync_counts_only_once_it_is_synced() {
    let made = tempfile::tempdir().unwrap();
    five_commits(made.path());
    let whole = std::fs::read(file(made.path(), 1)).unwrap();
    on_disks(|disk| {
        let dir = disk.path().join("journal");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(file(&dir, 1), &whole).unwrap();
        sync(&file(&dir, 1));
        let believed = open(&dir).unwrap().journal_id();
        disk.lose_power().unwrap();
        assert_eq!(open(&dir).unwrap().journal_id(), believed);
    });
}

/// The unsynced end can have holes, of any shape.
#[test]
fn t90_an_end_with_holes_is_cut_and_no_acknowledged_event_with_it() {
    let made = tempfile::tempdir().unwrap();
    let lengths = five_commits(made.path());
    let whole = std::fs::read(file(made.path(), 1)).unwrap();
    on_disks(|disk| {
        let dir = disk.path().to_owned();
        let path = file(&dir, 1);
        let mut journal = File::create(&path).unwrap();
        let (synced, written) = whole.split_at(usize::try_from(lengths[4]).unwrap());
        journal.write_all(synced).unwrap();
        sync(&path);
        sync(&dir);
        journal.write_all(written).unwrap();
        journal.write_all(&[0x55; 40_000]).unwrap();
        drop(journal);
        disk.lose_power().unwrap();
        let mut store = open(&dir).unwrap();
        assert!((4..=5).contains(&store.last()));
        let next = store.last() + 1;
        store.append(ended(id(2, 1))).unwrap();
        drop(store);
        disk.lose_power().unwrap();
        assert_eq!(open(&dir).unwrap().last(), next);
    });
}
