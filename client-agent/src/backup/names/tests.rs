//! How a directory is listed, folded and listed again.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;

use super::{Buffer, Cut, Kept, Listed, Names, Next, Pass};

fn folder(names: &BTreeSet<String>) -> (tempfile::TempDir, OwnedFd) {
    let temp = tempfile::tempdir().unwrap();
    for name in names {
        File::create(temp.path().join(name)).unwrap();
    }
    let folder = File::open(temp.path()).unwrap().into();
    (temp, folder)
}

/// All names, listed within `most` bytes; they are let go of after each `fold_after`.
fn all(folder: &OwnedFd, most: usize, fold_after: usize) -> (Vec<String>, usize) {
    let (mut names, mut buffer) = (Names::default(), Buffer::default());
    let (mut found, mut passes) = (Vec::new(), 0);
    loop {
        match names.next() {
            Next::Name { name, is_repeated } => {
                assert!(!is_repeated);
                found.push(String::from_utf8(name).unwrap());
                if found.len().is_multiple_of(fold_after) {
                    names.fold();
                }
            }
            Next::List => {
                passes += 1;
                let around = (&mut buffer, &mut (|| true) as _);
                let listed = names.list_within(folder, around, (most, usize::MAX));
                assert_eq!(listed, Listed::default());
                assert!(names.memory() <= most);
            }
            Next::End => return (found, passes),
        }
    }
}

#[test]
fn t90_s14d_a_long_list_is_read_in_passes() {
    let names: BTreeSet<_> = (0..2000)
        .map(|number: u32| format!("{:x}", number.wrapping_mul(0x9e37_79b9)))
        .collect();
    let sorted: Vec<_> = names.iter().cloned().collect();
    let (_temp, folder) = folder(&names);
    for (most, fold_after, fewest, most_passes) in [
        (1 << 20, usize::MAX, 1, 1),
        (4000, usize::MAX, 8, 20),
        (200, usize::MAX, 150, 400),
        (1 << 20, 100, 20, 21),
        (4000, 77, 26, 50),
    ] {
        let (found, passes) = all(&folder, most, fold_after);
        assert_eq!(found, sorted, "{most} bytes");
        assert!(
            (fewest..=most_passes).contains(&passes),
            "{passes} passes within {most} bytes"
        );
    }
}

#[test]
fn t90_s14d_a_name_that_is_listed_twice_is_given_once() {
    for most in [1 << 20, 100, 60] {
        let mut pass = Pass::after(Some(b"a".to_vec()), most);
        for name in ["d", "b", "a", "c", "b", "e", "c", "c", "f", "e", "e", "e"] {
            pass.add(name.as_bytes()).unwrap();
        }
        let (kept, is_whole) = pass.finish();
        let mut names = Names {
            kept,
            is_whole: true,
            ..Names::default()
        };
        let mut found = Vec::new();
        while let Next::Name { name, is_repeated } = names.next() {
            found.push((String::from_utf8(name).unwrap(), is_repeated));
        }
        let expected = [("b", true), ("c", true), ("d", false), ("e", true), ("f", false)];
        let expected = expected.map(|(name, is_repeated)| (name.to_owned(), is_repeated));
        let whole = if is_whole { found.len() } else { found.len().max(1) };
        assert_eq!(found[..], expected[..whole], "within {most} bytes");
        assert_eq!(is_whole, whole == 5, "within {most} bytes");
    }
}

#[test]
fn t90_s14d_a_list_without_an_end_is_cut() {
    // Within 10,000 bytes, and 1,000,000 names: different ones, and what the list is cut for after how many names.
    for (different, cut, fewest, most) in [
        (1, Cut::Circle, 60_000, 70_000),
        (100, Cut::Circle, 60_000, 70_000),
        (5000, Cut::Long, 1_000_001, 1_000_001),
        (usize::MAX, Cut::Long, 1_000_001, 1_000_001),
    ] {
        let mut pass = Pass::after(None, 10_000);
        pass.most_listed = 1_000_000;
        let mut names = (0..).map(|number: usize| format!("{:x}", number % different));
        let found = names.find_map(|name| pass.add(name.as_bytes()).err());
        assert_eq!(found, Some(cut), "{different} names");
        assert!(
            (fewest..=most).contains(&pass.listed),
            "{} of {different}",
            pass.listed
        );
        assert!(pass.kept.memory() <= 10_000);
    }
    // A union of some layers is no circle.
    let mut pass = Pass::after(None, 10_000);
    for name in (0..40_000).map(|number| format!("{:x}", number % 4000)) {
        pass.add(name.as_bytes()).unwrap();
    }
}

#[test]
fn t90_x01_a_list_is_read_no_further_when_its_walk_is_to_end() {
    let names = (0..10_000).map(|number| format!("{number:0200}")).collect();
    let (_temp, folder) = folder(&names);
    let (mut names, mut buffer, mut calls) = (Names::default(), Buffer::default(), 0);
    let listed = names.list(&folder, &mut buffer, &mut || {
        calls += 1;
        calls <= 2
    });
    assert_eq!((listed.cut, calls), (Some(Cut::Stop), 3));
}

#[test]
fn what_was_listed_twice_is_no_repetition() {
    let mut pass = Pass::after(None, 1000);
    pass.add(b"a").unwrap();
    pass.is_second = true;
    pass.add(b"b").unwrap();
    pass.add(b"a").unwrap();
    let (kept, _): (Kept, _) = pass.finish();
    assert_eq!(kept.spans.len(), 2);
}

#[test]
fn t90_s14d_a_directory_that_changed_after_its_stat_is_listed_as_it_is_now() {
    let names: BTreeSet<_> = ["a", "lock"].map(str::to_owned).into();
    let (temp, folder) = folder(&names);
    let mut names = Names::of(outlast_kit::calls::fstat(&folder).unwrap());
    assert!(names.may_have(b"config"), "it was not listed");
    File::create(temp.path().join("b")).unwrap();
    let listed = names.list(&folder, &mut Buffer::default(), &mut || true);
    assert_eq!(listed, Listed::default());
    assert!(names.may_have(b"Lock") && names.may_have(b"b") && !names.may_have(b"config"));
    let mut found = Vec::new();
    while let Next::Name { name, is_repeated } = names.next() {
        assert!(!is_repeated);
        found.push(String::from_utf8(name).unwrap());
    }
    assert_eq!(found, ["a", "b", "lock"]);
}
