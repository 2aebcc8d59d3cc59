//! What is wrong with one file is an exception; what is wrong with its file system, the host or the item's root fails the item (S-02a).
//! And a file system that does not answer is named.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outlast_client_agent::attempt::Ends;
use outlast_test_filesystems::{Call, Errno, Layer, Mounted, can_mount, mount};
use parking_lot::{Condvar, Mutex};

use crate::backup::DONE;
use crate::limits::{backup, excepted};
use crate::media_agent::{MediaAgent, Script, backup_ticket};

/// Refuses operations as `refuses` says: their kind, the name they are made on, how many of the kind were made before.
struct Refusing<R> {
    refuses: R,
    made: [AtomicUsize; 3],
}

const KINDS: [&str; 3] = ["open", "read", "readdir"];

impl<R: Fn(&str, &Path, usize) -> Option<Errno> + Send + Sync + 'static> Layer for Refusing<R> {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        let at = KINDS.iter().position(|kind| *kind == call.kind());
        let made = at.map_or(0, |at| self.made[at].fetch_add(1, Ordering::Relaxed));
        let path = call.path()?;
        (self.refuses)(call.kind(), &path, made).map_or(Ok(()), Err)
    }
}

/// Thirty files in three folders, seen through the layer.
fn refusing(
    temp: &Path,
    refuses: impl Fn(&str, &Path, usize) -> Option<Errno> + Send + Sync + 'static,
) -> Mounted {
    let (backing, at) = (temp.join("backing"), temp.join("source"));
    fs::create_dir(&at).unwrap();
    for folder in ["a", "b", "c"] {
        fs::create_dir_all(backing.join(folder)).unwrap();
        for file in 0..10 {
            fs::write(backing.join(folder).join(file.to_string()), b"content").unwrap();
        }
    }
    let layer = Refusing {
        refuses,
        made: Default::default(),
    };
    mount(&backing, &at, layer).unwrap()
}

type Refuses = fn(&str, &Path, usize) -> Option<Errno>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_s02a_next_to_nothing_done_is_not_done_with_exceptions() {
    if !can_mount() {
        return;
    }
    // What is refused; the code the item ends with, what its text says, how many exceptions there are at least.
    let rows: [(&str, Refuses, Option<u32>, &str, usize); 7] = [
        (
            "one file",
            |kind, path, _| (kind == "read" && path.ends_with("b/3")).then_some(Errno::IO),
            None,
            "",
            1,
        ),
        (
            "one folder",
            |kind, path, _| (kind == "readdir" && path.ends_with("b")).then_some(Errno::IO),
            None,
            "",
            1,
        ),
        (
            "no descriptors for a moment",
            |kind, _, made| (kind == "open" && (5..10).contains(&made)).then_some(Errno::MFILE),
            None,
            "",
            0,
        ),
        (
            "no descriptors",
            |kind, _, made| (kind == "open" && made >= 5).then_some(Errno::MFILE),
            Some(13),
            "LimitNOFILE",
            0,
        ),
        (
            "the disk dies",
            |kind, _, made| (kind == "read" && made >= 10).then_some(Errno::IO),
            Some(13),
            "Input/output error",
            1,
        ),
        (
            "the root cannot be listed",
            |kind, path, _| (kind == "readdir" && path.ends_with("backing")).then_some(Errno::IO),
            Some(13),
            "it cannot be listed to its end",
            0,
        ),
        (
            "the server has forgotten one file",
            |_, path, _| path.ends_with("c/0").then_some(Errno::STALE),
            None,
            "",
            1,
        ),
    ];
    for (case, refuses, code, text, exceptions) in rows {
        let temp = tempfile::tempdir().unwrap();
        let mounted = refusing(temp.path(), refuses);
        let stored = backup(mounted.path()).await;
        let error = stored.end.unwrap().error;
        assert_eq!(error.as_ref().map(|error| error.code), code, "{case}: {error:?}");
        let said = error.map(|error| error.text).unwrap_or_default();
        assert!(said.contains(text), "{case}: {said}");
        let found = excepted(&stored.exceptions);
        assert!(found.len() >= exceptions, "{case}: {found:?}");
        assert!(code.is_some() || found.len() == exceptions, "{case}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_s02a_a_file_system_that_goes_in_mid_job_fails_the_item() {
    if !can_mount() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let reads = AtomicUsize::new(0);
    // After five files everything is gone, the root too.
    let mounted = refusing(temp.path(), move |kind, _, _| {
        let made = reads.fetch_add(usize::from(kind == "read"), Ordering::Relaxed);
        (made >= 5).then_some(Errno::NOTCONN)
    });
    let stored = backup(mounted.path()).await;
    let error = stored.end.unwrap().error.unwrap();
    assert_eq!(error.code, 13);
    assert!(error.text.contains("it can no longer be read"), "{}", error.text);
    assert!(stored.exceptions.len() < 10);
}

/// Holds up what is read of one file.
#[derive(Default)]
struct Hanging {
    is_let_go: Mutex<bool>,
    changed: Condvar,
}

impl Layer for Hanging {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        if call.kind() == "read" && call.path()?.ends_with("b/3") {
            let mut is_let_go = self.is_let_go.lock();
            while !*is_let_go {
                self.changed.wait(&mut is_let_go);
            }
        }
        Ok(())
    }

    fn ending(&self) {
        *self.is_let_go.lock() = true;
        self.changed.notify_all();
    }
}

/// Takes a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_l02_a_file_system_that_does_not_answer_is_named() {
    if !can_mount() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let (backing, at) = (temp.path().join("backing"), temp.path().join("source"));
    for folder in ["a", "b", "c"] {
        fs::create_dir_all(backing.join(folder)).unwrap();
        for file in 0..10 {
            fs::write(backing.join(folder).join(file.to_string()), b"content").unwrap();
        }
    }
    fs::create_dir(&at).unwrap();
    let hanging = Arc::new(Hanging::default());
    let mounted = mount(&backing, &at, Arc::clone(&hanging)).unwrap();
    let script = Script {
        items: 1,
        ..Script::default()
    };
    let agent = MediaAgent::new(script);
    let ticket = backup_ticket(&[mounted.path().to_owned()], &[]);
    let runs = {
        let agent = agent.clone();
        tokio::spawn(async move { agent.run(&ticket, Ends::default()).await })
    };
    let hung = mounted.path().join("b/3");
    let is_told = |agent: &MediaAgent| agent.told().paths.iter().any(|path| !path.waits_for.is_empty());
    for _ in 0..1200 {
        if is_told(&agent) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    hanging.ending();
    assert_eq!(runs.await.unwrap().unwrap(), DONE);
    let paths = agent.told().paths;
    let shown = paths.iter().position(|path| Path::new(&path.path) == hung);
    let told: Vec<_> = paths.iter().filter(|path| !path.waits_for.is_empty()).collect();
    assert_eq!(told.len(), 1, "{paths:?}");
    assert_eq!(
        (Path::new(&told[0].path), told[0].waits_for.as_str()),
        (hung.as_path(), "read")
    );
    assert!(told[0].seconds >= 60 && shown.is_some());
}
