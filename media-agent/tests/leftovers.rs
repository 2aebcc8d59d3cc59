//! What could not be removed from the storage unit, because it was read-only for a while, is removed later by the same process.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outlast_kit::identity::Kind;
use outlast_media_agent::Timing;
use outlast_proto::v1::{CheckpointRule, CurrentPath, Ticket, backup_up};
use outlast_test_filesystems::{At, Errno, Mounted, Odd, can_mount, mount};
use support::client::BackupStream;
use support::home::{ITEM, home};
use support::world::{PATIENCE, RunningAgent, World};

/// A world whose storage unit lies on a file system that does as it is told.
struct OddWorld {
    world: World,
    agent: RunningAgent,
    odd: Odd,
    backing: PathBuf,
    _mounted: Mounted,
}

impl OddWorld {
    async fn new(tidy: Duration) -> Self {
        let world = World::new().await;
        let backing = world.dir.path().join("backing");
        for folder in [&backing, &world.storage()] {
            std::fs::create_dir(folder).unwrap();
        }
        let odd = Odd::new();
        let mounted = mount(&backing, &world.storage(), odd.clone()).unwrap();
        let timing = Timing {
            tidy,
            ..Timing::default()
        };
        let agent = world.agent_with("media-1", timing).await;
        Self {
            world,
            agent,
            odd,
            backing,
            _mounted: mounted,
        }
    }

    async fn begin(&self, ticket: &Ticket) -> BackupStream {
        let laptop = self.world.credentials(Kind::ClientAgent, "laptop");
        let hello = self.world.hello(ticket);
        let mut stream = BackupStream::open(&laptop, &self.agent.address, hello).await;
        stream.welcome().await;
        stream
    }

    /// Nothing can be removed any more, as if it were mounted read-only.
    fn removes_nothing(&self, below: &str) {
        let at = At::path(below).and_below().calls(&["unlink"]);
        self.odd.fails(at, Errno::ROFS);
    }

    fn count(&self, kind: &str) -> usize {
        std::fs::read_dir(self.backing.join(kind)).unwrap().count()
    }

    async fn wait_for(&self, kind: &str, count: usize) {
        let begun = Instant::now();
        while self.count(kind) != count {
            assert!(
                begun.elapsed() < PATIENCE,
                "{} files in {kind}, not {count}",
                self.count(kind)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_a_lock_that_could_not_be_removed_is_removed_later() {
    if !can_mount() {
        return;
    }
    // By the task, and by the next attempt.
    for (tidy, next) in [
        (Duration::from_millis(100), false),
        (Duration::from_secs(3600), true),
    ] {
        let odd = OddWorld::new(tidy).await;
        let mut stream = odd.begin(&odd.world.ticket(1, 1, &[Path::new(ITEM)])).await;
        odd.removes_nothing("locks");
        stream.item(0, &home(), "home").await;
        assert_eq!(stream.over().await.code, 0);
        odd.world.primary.end_of(1, 1).await;
        assert_eq!(odd.count("locks"), 1, "it could not be removed");
        odd.odd.heals();
        if next {
            let mut stream = odd.begin(&odd.world.ticket(2, 1, &[Path::new(ITEM)])).await;
            stream.item(0, &home(), "home").await;
            assert_eq!(stream.over().await.code, 0);
        }
        odd.wait_for("locks", 0).await;
        odd.agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_checkpoints_that_could_not_be_removed_are_removed_later() {
    if !can_mount() {
        return;
    }
    let odd = OddWorld::new(Duration::from_millis(100)).await;
    let mut ticket = odd.world.ticket(1, 1, &[Path::new(ITEM)]);
    ticket.policy.as_mut().unwrap().checkpoint = Some(CheckpointRule {
        restart: true,
        interval_seconds: 1,
    });
    let mut stream = odd.begin(&ticket).await;
    let (wanted, contents) = stream.begin(0, &home(), "home").await;
    let files: Vec<_> = wanted
        .iter()
        .map(|node| (*node, contents[node].as_slice()))
        .collect();
    let needed = stream.offer(&files).await;
    stream.chunks(needed).await;
    let begun = Instant::now();
    while odd.count("snapshots") == 0 {
        assert!(begun.elapsed() < PATIENCE, "no checkpoint is made");
        let path = CurrentPath {
            path: ITEM.into(),
            ..CurrentPath::default()
        };
        stream.send(backup_up::Body::Path(path)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    odd.removes_nothing("snapshots");
    stream.file_ends(&files).await;
    stream.end_item(0).await;
    assert_eq!(stream.over().await.code, 0);
    odd.world.primary.end_of(1, 1).await;
    assert!(odd.count("snapshots") > 1, "the checkpoint could not be removed");
    odd.odd.heals();
    odd.wait_for("snapshots", 1).await;
    odd.wait_for("locks", 0).await;
    odd.agent.stop().await;
}
