//! What has no end is cut, and read no further when the attempt ends: files, and listings of directories.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use outlast_client_agent::attempt::{AttemptError, Ends, Outcome};
use outlast_test_filesystems::{
    Call, Endless, Entry, Errno, Layer, Mounted, Node, Odd, can_mount, fs::Stat, mount,
};
use tokio::task::JoinHandle;

use crate::backup::{DONE, backup};
use crate::limits::excepted;
use crate::media_agent::{MediaAgent, Script, backup_ticket, nodes};

/// What is odd, and how often that was met. Each time takes a while.
struct Counted {
    odd: Odd,
    kind: &'static str,
    calls: AtomicUsize,
    takes: Duration,
}

impl Layer for Counted {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        if call.kind() == self.kind {
            self.calls.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(self.takes);
        }
        Ok(())
    }

    fn attributes(&self, node: &Node, stat: &mut Stat) {
        self.odd.attributes(node, stat);
    }

    fn further(&self, node: &Node, place: u64) -> Option<Entry> {
        self.odd.further(node, place)
    }

    fn ending(&self) {
        self.odd.ending();
    }
}

impl Counted {
    fn mounted(temp: &Path, odd: Odd, kind: &'static str, takes: Duration) -> (Arc<Self>, Mounted) {
        let at = temp.join("odd");
        fs::create_dir(&at).unwrap();
        let calls = AtomicUsize::new(0);
        let counted = Arc::new(Self {
            odd,
            kind,
            calls,
            takes,
        });
        let mounted = mount(&temp.join("backing"), &at, Arc::clone(&counted)).unwrap();
        (counted, mounted)
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Ends the attempt, and waits until nobody calls any more.
    async fn come_to_rest(&self, ends: &Ends, runs: JoinHandle<Result<Outcome, AttemptError>>) {
        ends.now.begin();
        let outcome = tokio::time::timeout(Duration::from_secs(60), runs).await;
        assert_eq!(outcome.unwrap().unwrap().unwrap(), Outcome::Stopped);
        // The last call that was under way is over.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = self.calls();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(self.calls(), before, "nobody reads on");
    }
}

fn runs(agent: &MediaAgent, item: &Path) -> (Ends, JoinHandle<Result<Outcome, AttemptError>>) {
    let (ends, ticket) = (Ends::default(), backup_ticket(&[item.to_owned()], &[]));
    let (agent, its) = (agent.clone(), ends.clone());
    (ends, tokio::spawn(async move { agent.run(&ticket, its).await }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_x01_a_file_without_an_end_is_read_no_further_when_the_attempt_ends() {
    if !can_mount() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let zeros = temp.path().join("backing/zeros");
    fs::create_dir(temp.path().join("backing")).unwrap();
    let (kind, device) = (rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 5));
    let made = outlast_kit::calls::mknodat(rustix::fs::CWD, &zeros, kind, 0o600.into(), device);
    if made.is_err() || fs::File::open(&zeros).is_err() {
        return eprintln!("NOT RUN: only root can make devices, and not on each file system");
    }
    let odd = Odd::new();
    odd.says("zeros", 0);
    let (counted, mounted) = Counted::mounted(temp.path(), odd, "read", Duration::ZERO);
    let agent = MediaAgent::new(Script {
        items: 1,
        forgets: true,
        ..Script::default()
    });
    let (ends, runs) = runs(&agent, mounted.path());
    while counted.calls() < 100 {
        assert!(!runs.is_finished(), "it does not end by itself");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    counted.come_to_rest(&ends, runs).await;
}

/// Takes a minute: as long as it answers, nobody is told that it does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_x01_a_listing_without_an_end_is_left_when_the_attempt_ends() {
    if !can_mount() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("backing")).unwrap();
    let odd = Odd::new();
    odd.lists_for_ever("", Endless::New);
    let (counted, mounted) = Counted::mounted(temp.path(), odd, "readdir", Duration::from_millis(10));
    let agent = MediaAgent::new(Script {
        items: 1,
        ..Script::default()
    });
    let (began, (ends, runs)) = (Instant::now(), runs(&agent, mounted.path()));
    while counted.calls() < 10 || began.elapsed() < Duration::from_secs(65) {
        assert!(!runs.is_finished(), "it does not end by itself");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told: Vec<_> = agent
        .told()
        .paths
        .into_iter()
        .filter(|path| !path.waits_for.is_empty())
        .collect();
    assert_eq!(told, []);
    counted.come_to_rest(&ends, runs).await;
}

/// The list of a directory is bounded; what is beside it is kept. (That always new names are bounded is a test of `names`: it takes
/// millions of them.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_s14d_a_listing_without_an_end_is_an_exception() {
    if !can_mount() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let (backing, at) = (temp.path().join("backing"), temp.path().join("odd"));
    fs::create_dir_all(backing.join("endless")).unwrap();
    fs::create_dir(&at).unwrap();
    fs::write(backing.join("endless/a file"), b"content").unwrap();
    fs::write(backing.join("file"), b"content").unwrap();
    let odd = Odd::new();
    odd.lists_for_ever("endless", Endless::Again);
    let mounted = mount(&backing, &at, odd).unwrap();
    let (outcome, told) = backup(mounted.path(), &[], Script::default()).await;
    assert_eq!(outcome.unwrap(), DONE);
    let stored = &told.items[0];
    let reason = "the directory is not listed to its end: it lists the same names again and again; names in it may be missing";
    assert_eq!(excepted(&stored.exceptions), [("endless", reason)]);
    let nodes = nodes(&stored.entries);
    let names: Vec<_> = nodes.into_iter().map(|node| node.name.clone()).collect();
    assert_eq!(names, ["odd", "endless", "a file", "file"]);
    assert_eq!(stored.end.as_ref().unwrap().error, None);
}
