//! A long file of which the media agent has the beginning (F-06).

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use crate::backup::{DONE, backup};
use crate::media_agent::{Script, Told};
use crate::trees::noise;

const MIB: usize = 1 << 20;

/// Noise, a hole that begins and ends anywhere, and noise again.
fn make(file: &Path) {
    let disk = File::create(file).unwrap();
    disk.write_all_at(&noise(11, 13 * MIB + 77), 0).unwrap();
    disk.write_all_at(&noise(12, 12 * MIB), 40 * MIB as u64 + 5)
        .unwrap();
}

async fn run(file: &Path, script: Script) -> Told {
    let (outcome, told) = backup(file, &[], script).await;
    assert_eq!(outcome.unwrap(), DONE);
    assert_eq!(told.items[0].exceptions, []);
    told
}

/// Where each chunk of the file ends.
fn ends(told: &Told) -> Vec<u64> {
    let lengths = told.items[0].content[&0]
        .iter()
        .map(|id| told.chunks[id].len() as u64);
    let add = |end: &mut u64, length| {
        *end += length;
        Some(*end)
    };
    lengths.scan(0, add).collect()
}

#[tokio::test]
async fn f06_a_file_goes_on_with_the_cuts_that_it_would_have_had() {
    let temp = tempfile::tempdir().unwrap();
    let disk = temp.path().join("disk");
    make(&disk);
    let young = run(&disk, Script::default()).await;
    assert_eq!(young.items[0].begun[&0], (0, false), "it has just changed");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let whole = run(&disk, Script::default()).await;
    assert_eq!(whole.items[0].begun[&0], (0, true));
    let (content, ends) = (&whole.items[0].content[&0], ends(&whole));
    assert!(content.len() > 15, "{} chunks", content.len());
    let size = *ends.last().unwrap();
    for (number, offset) in (1..).zip(ends).take(content.len() - 1).step_by(3) {
        let begun = Some(offset);
        let rest = run(
            &disk,
            Script {
                begun,
                ..Script::default()
            },
        )
        .await;
        assert_eq!(rest.items[0].begun[&0], (offset, true));
        assert!(
            rest.items[0].content[&0] == content[number..],
            "from chunk {number}"
        );
        let end = &rest.items[0].ends[&0];
        assert_eq!((end.size, end.young, end.changed.is_some()), (size, false, false));
    }
}

#[tokio::test]
async fn t90_f06_a_file_that_is_not_what_the_walk_saw_is_read_from_its_beginning() {
    let temp = tempfile::tempdir().unwrap();
    let disk = temp.path().join("disk");
    make(&disk);
    let path = disk.clone();
    let script = Script {
        begun: Some(8 * MIB as u64),
        // Its length stays, and its beginning is another.
        before_verdicts: Some(Box::new(move || {
            let disk = File::options().write(true).open(&path).unwrap();
            disk.write_all_at(b"another", 0).unwrap();
        })),
        ..Script::default()
    };
    let told = run(&disk, script).await;
    assert_eq!(told.items[0].begun[&0].0, 0);
    assert!(told.content(0, 0) == fs::read(&disk).unwrap());
    assert!(told.items[0].ends[&0].changed.is_some());
}

#[tokio::test]
async fn f06_a_short_file_and_one_that_is_no_longer_than_that_are_read_whole() {
    let temp = tempfile::tempdir().unwrap();
    for (size, offset) in [(MIB, 512 << 10), (9 * MIB, 9 * MIB), (9 * MIB, 10 * MIB)] {
        let file = temp.path().join("file");
        fs::write(&file, noise(13, size)).unwrap();
        let begun = Some(offset as u64);
        let told = run(
            &file,
            Script {
                begun,
                ..Script::default()
            },
        )
        .await;
        assert_eq!(told.items[0].begun[&0].0, 0);
        assert!(
            told.content(0, 0) == fs::read(&file).unwrap(),
            "{size} from {offset}"
        );
    }
}
