//! What an item is and what of it is no file: links, the backup's own repository, what mounts hide, views into the kernel.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use outlast_kit::data_folder::HeldFolder;
use sha2::Digest as _;

use crate::backup::{DONE, backup, paths};
use crate::media_agent::Script;

/// A repository within an item would hold itself, and double with each run.
#[tokio::test]
async fn t90_the_repository_of_the_backup_is_left_out_and_named() {
    let temp = tempfile::tempdir().unwrap();
    let (own, other) = (temp.path().join("own"), temp.path().join("other"));
    for folder in [&own, &other] {
        fs::create_dir_all(folder.join("data/00")).unwrap();
        fs::create_dir(folder.join("keys")).unwrap();
        fs::write(folder.join("data/00/pack"), b"pack").unwrap();
        fs::write(folder.join("config"), folder.as_os_str().as_bytes()).unwrap();
    }
    for (item, nodes, exceptions) in [
        // The folder stays, empty; another repository is data as any other.
        (temp.path(), 8, 1),
        (&own, 1, 1),
        (&own.join("data"), 1, 1),
        (&other, 6, 0),
    ] {
        let script = Script {
            repository: sha2::Sha256::digest(own.as_os_str().as_bytes()).to_vec(),
            ..Script::default()
        };
        let (outcome, told) = backup(item, &[], script).await;
        assert_eq!(outcome.unwrap(), DONE);
        assert_eq!(paths(&told.items[0].entries).len(), nodes, "{}", item.display());
        let found = &told.items[0].exceptions;
        assert_eq!(found.len(), exceptions, "{found:?}");
        assert!(
            found
                .iter()
                .all(|it| it.path.starts_with(own.to_str().unwrap()) && it.reason.contains("repository"))
        );
    }
}

/// What a service's unit hides (`InaccessiblePaths`) is not there to be read, and nobody but the walk can say so.
#[tokio::test]
async fn t90_what_a_mount_of_mode_0000_hides_is_an_exception() {
    let temp = tempfile::tempdir().unwrap();
    let cover = temp.path().join("cover");
    let root = temp.path().join("root");
    fs::create_dir(&cover).unwrap();
    fs::set_permissions(&cover, fs::Permissions::from_mode(0o000)).unwrap();
    for folder in ["hidden", "closed", "plain"] {
        fs::create_dir_all(root.join(folder)).unwrap();
        fs::write(root.join(folder).join("file"), b"x").unwrap();
    }
    // A directory that is only closed is no mount.
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let hidden = root.join("hidden");
    let mounted = std::process::Command::new("mount")
        .arg("--bind")
        .args([&cover, &hidden])
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return eprintln!("SKIPPED: only root can mount");
    }
    let of_tree = backup(&root, &[], Script::default()).await;
    let of_item = backup(&hidden, &[], Script::default()).await;
    assert!(
        std::process::Command::new("umount")
            .arg(&hidden)
            .status()
            .unwrap()
            .success()
    );
    for (outcome, told) in [of_tree, of_item] {
        assert_eq!(outcome.unwrap(), DONE);
        let found = &told.items[0].exceptions;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].path, hidden.to_str().unwrap());
        assert!(found[0].reason.contains("hidden by a mount"));
    }
}

/// Of `/proc` the directory is kept, also where it is the item itself; an item within it is walked.
#[tokio::test]
async fn t90_an_item_that_is_proc_is_kept_as_a_directory() {
    let (outcome, told) = backup(Path::new("/proc"), &[], Script::default()).await;
    assert_eq!(outcome.unwrap(), DONE);
    assert_eq!(paths(&told.items[0].entries).len(), 1);
    assert!(
        told.items[0].exceptions[0]
            .reason
            .contains("view into the kernel")
    );
    let (outcome, told) = backup(Path::new("/proc/sys/kernel/random"), &[], Script::default()).await;
    assert_eq!(outcome.unwrap(), DONE);
    assert!(paths(&told.items[0].entries).len() > 1);
}

/// What is read of it while it changes is of no use, and a restore of it would set its daemon back.
#[tokio::test]
async fn t90_data_folders_of_daemons_that_run_are_left_out_and_named() {
    let temp = tempfile::tempdir().unwrap();
    for folder in ["runs", "ended"] {
        fs::create_dir_all(temp.path().join(folder).join("journal")).unwrap();
        fs::write(temp.path().join(folder).join("journal/1"), b"journal").unwrap();
    }
    let runs = temp.path().join("runs");
    let take = |folder: &str| HeldFolder::take(&temp.path().join(folder), "media-agent media-1");
    let _held = take("runs").unwrap().unwrap();
    drop(take("ended").unwrap());
    for (item, nodes, exceptions) in [
        // The folder stays, empty.
        (temp.path(), 6, 1),
        (&runs, 1, 1),
        (&runs.join("journal"), 1, 1),
        (&temp.path().join("ended"), 4, 0),
    ] {
        let (outcome, told) = backup(item, &[], Script::default()).await;
        assert_eq!(outcome.unwrap(), DONE);
        let entries = paths(&told.items[0].entries);
        assert_eq!(entries.len(), nodes, "{}: {entries:?}", item.display());
        let found = &told.items[0].exceptions;
        assert_eq!(found.len(), exceptions, "{found:?}");
        assert!(found.iter().all(|it| it.path.starts_with(runs.to_str().unwrap())
            && it.reason.contains("the data folder of the media-agent media-1")));
    }
}
