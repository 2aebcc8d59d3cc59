//! What was found damaged or missing counts as absent, for every handle, until there is a good copy.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use outlast_repository::{BlobKind, Repository, WriterOptions};

use crate::support::restic::{check, restic};
use crate::support::{TestRepository, data_id, noise};

/// One pack with so many blobs.
fn with_pack(count: u64) -> (TestRepository, Vec<Vec<u8>>) {
    let test = TestRepository::new();
    let blobs: Vec<Vec<u8>> = (0..count).map(|number| noise(number, 1000)).collect();
    add(&test.repository, &blobs);
    (test, blobs)
}

/// Adds the blobs; how many of them were new, and how many were stored anew.
fn add(repository: &Repository, blobs: &[Vec<u8>]) -> (usize, u64) {
    let options = WriterOptions {
        open_packs: 1,
        ..WriterOptions::default()
    };
    let writer = repository.writer(options).unwrap();
    let is_new = |blob: &&Vec<u8>| {
        let (kind, id) = data_id(blob);
        writer.add_blob(kind, id, blob).unwrap().new
    };
    let new = blobs.iter().filter(is_new).count();
    writer.flush().unwrap();
    (new, writer.anew().blobs)
}

fn pack(test: &TestRepository) -> PathBuf {
    let folders = fs::read_dir(test.directory.path().join("data")).unwrap();
    let mut files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    files.next().unwrap().unwrap().path()
}

fn flip(pack: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(pack).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// How many of the blobs count as there.
fn there(repository: &Repository, blobs: &[Vec<u8>]) -> usize {
    let is_there = |blob: &&Vec<u8>| repository.contains(BlobKind::Data, &data_id(blob).1);
    blobs.iter().filter(is_there).count()
}

fn readable(repository: &Repository, blobs: &[Vec<u8>]) -> usize {
    let reads = |blob: &&Vec<u8>| {
        let (kind, id) = data_id(blob);
        repository.read_blob(kind, &id).is_ok_and(|read| read == **blob)
    };
    blobs.iter().filter(reads).count()
}

#[test]
fn t90_s14b_a_blob_that_was_read_as_damaged_is_stored_anew_by_whomever() {
    let (test, blobs) = with_pack(20);
    let path = pack(&test);
    flip(&path, 10);
    assert_eq!(there(&test.repository, &blobs), 20, "nobody has read it");
    assert_eq!(readable(&test.repository, &blobs), 19);
    assert_eq!(there(&test.repository, &blobs), 19);
    assert_eq!(test.repository.damage_found(), 1);
    assert_eq!(there(&test.reopen(), &blobs), 20, "nobody has written it down");
    test.repository.remember_damage().unwrap();
    test.repository.remember_damage().unwrap();
    assert_eq!(
        fs::read_dir(test.directory.path().join("damage"))
            .unwrap()
            .count(),
        1
    );
    let other = test.reopen();
    assert_eq!((there(&other, &blobs), other.flawed().lost), (19, 1));
    assert_eq!(add(&other, &blobs), (1, 1));
    assert_eq!((there(&other, &blobs), other.flawed().lost), (20, 0));
    // The good copy is read first, and the bad one is no longer met.
    let last = test.reopen();
    assert_eq!((readable(&last, &blobs), last.damage_found()), (20, 1));
    assert_eq!(add(&last, &blobs), (0, 0));
    // Restic does not mind what it does not know; what is damaged it finds when it reads all of it.
    restic(test.directory.path(), &["--no-lock", "check"]);
}

#[test]
fn t90_s14b_a_pack_that_is_missing_or_cut_counts_as_absent_until_it_is_back() {
    let (test, blobs) = with_pack(20);
    let path = pack(&test);
    let good = fs::read(&path).unwrap();
    let repository = test.reopen();
    repository.look_for_packs().unwrap();
    assert_eq!((there(&repository, &blobs), repository.damage_found()), (20, 0));
    for cut in [None, Some(0), Some(good.len() - 1), Some(good.len() / 2)] {
        match cut {
            None => fs::remove_file(&path).unwrap(),
            Some(length) => fs::write(&path, &good[..length]).unwrap(),
        }
        repository.look_for_packs().unwrap();
        let flawed = repository.flawed();
        assert_eq!(there(&repository, &blobs), 0, "{cut:?}");
        assert_eq!(
            (flawed.absent_packs, flawed.damaged_packs, flawed.lost),
            (1, 0, 20)
        );
        fs::write(&path, &good).unwrap();
        repository.look_for_packs().unwrap();
        assert_eq!(
            (there(&repository, &blobs), repository.flawed().lost),
            (20, 0),
            "{cut:?}"
        );
    }
    assert_eq!(repository.damage_found(), 4);
    assert!(
        !test.directory.path().join("damage").exists(),
        "it is found again by looking"
    );
    // A read finds it as well, and then it is the whole pack.
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    let (kind, id) = data_id(&blobs[19]);
    repository.read_blob(kind, &id).unwrap_err();
    assert_eq!(there(&repository, &blobs), 0);
}

#[test]
fn t90_s14b_a_pack_with_much_damage_is_not_trusted_at_all() {
    let (test, blobs) = with_pack(20);
    let path = pack(&test);
    let stride = (fs::metadata(&path).unwrap().len() - 1000) / 20;
    for number in 0..8 {
        flip(&path, number * stride + stride / 2);
    }
    assert_eq!(readable(&test.repository, &blobs), 12);
    assert_eq!(there(&test.repository, &blobs), 12);
    flip(&path, 8 * stride + stride / 2);
    assert_eq!(readable(&test.repository, &blobs), 11);
    assert_eq!(there(&test.repository, &blobs), 0);
    test.repository.remember_damage().unwrap();
    let other = test.reopen();
    assert_eq!(there(&other, &blobs), 0);
    assert_eq!(other.flawed().damaged_packs, 1);
    assert_eq!(add(&other, &blobs), (20, 20));
    assert_eq!(readable(&other, &blobs), 20);
}

#[test]
fn a_list_of_damage_that_cannot_be_read_keeps_nobody_from_working() {
    let (test, blobs) = with_pack(3);
    let folder = test.directory.path().join("damage");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("0".repeat(64)), b"nonsense").unwrap();
    fs::write(folder.join("a note"), b"nonsense").unwrap();
    let repository = test.reopen();
    assert_eq!(there(&repository, &blobs), 3);
    check(test.directory.path());
}
