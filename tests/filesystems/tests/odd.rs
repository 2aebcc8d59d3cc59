//! Each oddity is what a program sees, where it was wanted and nowhere else.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::thread;

use outlast_test_filesystems::{At, Endless, Errno, Mounted, Odd, can_mount, mount};

struct Place {
    mounted: Mounted,
    odd: Odd,
    backing: PathBuf,
    _folder: tempfile::TempDir,
}

/// A folder with `a`, `b`, and `folder/file`; `None` where it cannot be mounted.
fn place() -> Option<Place> {
    if !can_mount() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (backing, at) = (folder.path().join("backing"), folder.path().join("mirror"));
    fs::create_dir_all(backing.join("folder")).unwrap();
    fs::create_dir(&at).unwrap();
    for name in ["a", "b", "folder/file"] {
        fs::write(backing.join(name), name).unwrap();
    }
    let odd = Odd::new();
    let mounted = mount(&backing, &at, odd.clone()).unwrap();
    Some(Place {
        mounted,
        odd,
        backing,
        _folder: folder,
    })
}

impl Place {
    fn at(&self, name: &str) -> PathBuf {
        self.mounted.path().join(name)
    }
}

fn names(folder: &Path) -> Vec<OsString> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    names
}

fn error<T>(result: std::io::Result<T>) -> Errno {
    let error = result.err().expect("it was to fail");
    Errno::from_raw_os_error(error.raw_os_error().unwrap())
}

#[test]
fn names_are_listed_twice() {
    let Some(place) = place() else { return };
    place.odd.repeats("a").repeats("folder/file").repeats("no such");
    assert_eq!(names(place.mounted.path()), ["a", "a", "b", "folder"]);
    assert_eq!(names(&place.at("folder")), ["file", "file"]);
    // Far apart too, in a listing of many pieces.
    for number in 0..1000 {
        File::create(place.backing.join(format!("folder/{number}"))).unwrap();
    }
    let last = fs::read_dir(place.at("folder")).unwrap().last();
    assert_eq!(last.unwrap().unwrap().file_name(), "file");
    assert_eq!(names(&place.at("folder")).len(), 1002);
}

#[test]
fn listings_go_on_for_ever() {
    let Some(place) = place() else { return };
    place.odd.lists_for_ever("folder", Endless::Again);
    fs::create_dir(place.backing.join("other")).unwrap();
    place.odd.lists_for_ever("other", Endless::New);
    for (folder, expected) in [("folder", 4), ("other", 10_000)] {
        let listing = fs::read_dir(place.at(folder)).unwrap().take(10_000);
        let names: std::collections::BTreeSet<_> = listing.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), expected, "{folder}");
    }
}

#[test]
fn sizes_are_not_those_of_the_content() {
    let Some(place) = place() else { return };
    place.odd.says("a", 0).says("folder/file", 1000);
    assert_eq!(place.at("a").metadata().unwrap().len(), 0);
    assert_eq!(fs::read(place.at("a")).unwrap(), b"a");
    assert_eq!(place.at("folder/file").metadata().unwrap().len(), 1000);
    assert_eq!(fs::read(place.at("folder/file")).unwrap(), b"folder/file");
    assert_eq!(place.at("b").metadata().unwrap().len(), 1);
}

#[test]
fn a_path_fails_and_no_other() {
    let Some(place) = place() else { return };
    place.odd.fails("a", Errno::IO);
    assert_eq!(error(place.at("a").symlink_metadata()), Errno::IO);
    assert_eq!(error(File::open(place.at("a"))), Errno::IO);
    assert_eq!(names(place.mounted.path()).len(), 3);
    assert_eq!(fs::read(place.at("b")).unwrap(), b"b");
    place
        .odd
        .fails(At::path("folder").calls(&["opendir"]), Errno::STALE);
    assert_eq!(error(fs::read_dir(place.at("folder"))), Errno::STALE);
    assert!(place.at("folder").metadata().is_ok());
    place.odd.fails(At::path("folder").and_below(), Errno::NOTCONN);
    assert_eq!(error(fs::read(place.at("folder/file"))), Errno::NOTCONN);
    assert!(place.odd.failed() >= 4);
    place.odd.heals();
    assert_eq!(fs::read(place.at("a")).unwrap(), b"a");
    assert_eq!(fs::read(place.at("folder/file")).unwrap(), b"folder/file");
}

#[test]
fn a_file_and_a_listing_fail_in_their_middle() {
    let Some(place) = place() else { return };
    fs::write(place.backing.join("large"), vec![1; 5 << 20]).unwrap();
    place.odd.fails(At::path("large").from(3 << 20), Errno::IO);
    let mut file = File::open(place.at("large")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 5 << 20);
    let mut buffer = vec![0; 64 << 10];
    let mut whole = 0;
    let failed = loop {
        match file.read(&mut buffer) {
            Ok(read) => whole += read,
            Err(error) => break error.raw_os_error(),
        }
    };
    assert_eq!((failed, whole), (Some(Errno::IO.raw_os_error()), 3 << 20));
    let file = File::options().write(true).open(place.at("large")).unwrap();
    file.write_all_at(b"x", (3 << 20) - 1).unwrap();
    assert_eq!(error(file.write_all_at(b"x", 3 << 20)), Errno::IO);

    for number in 0..1000 {
        File::create(place.backing.join(format!("folder/{number}"))).unwrap();
    }
    place.odd.fails(At::path("folder").from(500), Errno::IO);
    let (mut listed, mut failures) = (0, 0);
    for entry in fs::read_dir(place.at("folder")).unwrap() {
        match entry {
            Ok(_) => listed += 1,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
                failures += 1;
            }
        }
    }
    assert!((498..562).contains(&listed), "{listed}");
    assert_eq!(failures, 1);
}

#[test]
fn all_is_gone_from_an_instant_on() {
    let Some(place) = place() else { return };
    let file = File::open(place.at("a")).unwrap();
    place
        .odd
        .fails(At::anywhere().calls(&["read"]).after(2), Errno::IO);
    let mut byte = [0];
    let reads: Vec<_> = (0..4).map(|_| file.read_at(&mut byte, 0).is_ok()).collect();
    assert_eq!(reads, [true, true, false, false]);
    place.odd.fails(At::anywhere(), Errno::NOTCONN);
    assert_eq!(error(place.mounted.path().metadata()), Errno::NOTCONN);
    assert_eq!(error(place.at("b").symlink_metadata()), Errno::NOTCONN);
    assert_eq!(error(File::create(place.at("new"))), Errno::NOTCONN);
    assert_eq!(error(file.read_at(&mut byte, 0)), Errno::IO);
    // And it can be unmounted all the same.
    let at = place.mounted.path().to_owned();
    drop(file);
    drop(place);
    assert_eq!(error(at.metadata()), Errno::NOENT);
}

#[test]
fn what_hangs_is_released() {
    let Some(place) = place() else { return };
    let hang = place.odd.hangs(At::path("folder").calls(&["readdir"]));
    assert_eq!(hang.held(), 0);
    let folder = place.at("folder");
    let lister = thread::spawn(move || names(&folder));
    hang.wait();
    assert_eq!((hang.held(), lister.is_finished()), (1, false));
    // The rest goes on.
    assert_eq!(fs::read(place.at("a")).unwrap(), b"a");
    assert!(place.at("folder").metadata().is_ok());
    hang.release();
    assert_eq!(lister.join().unwrap(), ["file"]);
    assert_eq!(names(&place.at("folder")), ["file"]);

    // The end of the mount is one of it, too; what hung then is done or cut off.
    let hang = place.odd.hangs("b");
    let path = place.at("b");
    let reader = thread::spawn(move || fs::read(path));
    hang.wait();
    drop(place);
    let _ = reader.join().unwrap();
}

#[test]
fn case_does_not_count() {
    let Some(place) = place() else { return };
    place.odd.forgets_case();
    assert_eq!(fs::read(place.at("A")).unwrap(), b"a");
    assert_eq!(fs::read(place.at("FOLDER/File")).unwrap(), b"folder/file");
    let ino = |name: &str| place.at(name).metadata().unwrap().ino();
    assert_eq!(ino("Folder"), ino("folder"));
    let again = File::create_new(place.at("FILE"));
    assert!(again.is_ok());
    assert_eq!(
        File::create_new(place.at("file")).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        fs::create_dir(place.at("FOLDER")).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    fs::write(place.at("\u{c4}rger"), "one").unwrap();
    fs::write(place.at("\u{e4}RGER"), "two").unwrap();
    assert_eq!(fs::read(place.backing.join("\u{c4}rger")).unwrap(), b"two");
    fs::rename(place.at("B"), place.at("A")).unwrap();
    assert_eq!(fs::read(place.backing.join("a")).unwrap(), b"b");
    fs::remove_file(place.at("fIlE")).unwrap();
    assert_eq!(names(&place.backing), ["a", "folder", "\u{c4}rger"]);
}

#[test]
fn there_are_no_hard_links() {
    let Some(place) = place() else { return };
    let link = || fs::hard_link(place.at("a"), place.at("again"));
    place.odd.refuses_links(Errno::PERM);
    assert_eq!(error(link()), Errno::PERM);
    place.odd.refuses_links(Errno::MLINK);
    assert_eq!(error(link()), Errno::MLINK);
    assert_eq!(names(&place.backing), ["a", "b", "folder"]);
}
