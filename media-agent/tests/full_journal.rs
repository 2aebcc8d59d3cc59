//! The disk of the journal is full while the storage unit has room: the attempt waits and says why, and what is finished is never
//! forgotten, however the attempt ends.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use outlast_kit::identity::Kind;
use outlast_proto::v1::backup_up::Body as Up;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::primary_message::Body;
use outlast_proto::v1::{Exceptions, FenceAttempt, FileException, StopAttempt, Stopped, Ticket};
use support::client::BackupStream;
use support::home::{ITEM, home};
use support::world::{RunningAgent, World};

/// The data folder of an agent on a small file system of its own.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(at: PathBuf) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(&at));
        Self(at)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("something else")
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        for size in [4096, 64, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// The data folder of an agent on a disk that can die.
struct MortalDisk {
    at: PathBuf,
    image: PathBuf,
}

impl MortalDisk {
    fn new(at: PathBuf, image: PathBuf) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        let disk = Self { at, image };
        disk.mount();
        disk
    }

    fn mount(&self) {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.image)
            .arg(&self.at));
    }

    /// From now on every access fails with EIO.
    fn die(&self) {
        run(Command::new("xfs_io")
            .args(["-x", "-c", "shutdown"])
            .arg(&self.at));
    }

    fn come_back(&self) {
        run(Command::new("umount").arg("--lazy").arg(&self.at));
        self.mount();
    }
}

impl Drop for MortalDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

/// These tests need root, mkfs.ext4 and xfs_io.
fn run(command: &mut Command) {
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{command:?}: {said}");
}

/// More than what is left of the block that the journal ends in.
fn exceptions() -> Up {
    let exceptions = (0..50).map(|n| FileException {
        path: format!("{ITEM}/{n}/{}", "x".repeat(300)),
        reason: "it was locked".into(),
    });
    let exceptions = exceptions.collect();
    Up::Exceptions(Exceptions { exceptions })
}

async fn wait_until_shown(world: &World, who: &str) {
    let is_shown = |primary: &support::primary::Primary| {
        let waits = |text: &str| {
            text.starts_with(&format!("{who} waits for room"))
                && text.contains("data-media-1/journal")
                && text.contains("not in the storage unit")
        };
        primary.progress().iter().any(|progress| waits(&progress.waiting))
    };
    world.primary.wait_for("what it waits for", is_shown).await;
}

/// The item ends after `then` has happened to the journal's disk.
async fn end_an_item(world: &World, agent: &RunningAgent, then: impl FnOnce()) -> (BackupStream, Ticket) {
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (wanted, contents) = stream.begin(0, &home(), "home").await;
    then();
    let files: Vec<_> = wanted.iter().map(|n| (*n, contents[n].as_slice())).collect();
    let needed = stream.offer(&files).await;
    stream.chunks(needed).await;
    stream.file_ends(&files).await;
    stream.send(exceptions()).await;
    stream.end_item(0).await;
    (stream, ticket)
}

/// An attempt whose item is finished in the storage unit and finds no room in the journal.
async fn with_a_finished_item() -> (World, RunningAgent, SmallDisk, BackupStream, Ticket) {
    let world = World::new().await;
    let disk = SmallDisk::new(world.dir.path().join("data-media-1"));
    let agent = world.agent("media-1").await;
    let (stream, ticket) = end_an_item(&world, &agent, || disk.fill()).await;
    wait_until_shown(&world, "the attempt").await;
    assert_eq!(world.snapshots(), 1);
    (world, agent, disk, stream, ticket)
}

/// The snapshots of the items that were journalled as finished.
fn finished(world: &World) -> Vec<String> {
    let events = world.primary.events(1, 1).into_iter();
    let ended = events.filter_map(|what| match what {
        What::ItemEnded(ended) if !ended.snapshot.is_empty() => Some(ended.snapshot),
        _ => None,
    });
    ended
        .map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect()
}

fn in_the_storage_unit(world: &World) -> Vec<String> {
    let listed = std::fs::read_dir(world.storage().join("snapshots")).unwrap();
    listed
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

async fn end_code(world: &World) -> u32 {
    match world.primary.end_of(1, 1).await {
        What::Ended(ended) => ended.status_code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s12_an_item_that_ends_while_the_journals_disk_is_full_waits_for_room() {
    let (world, agent, disk, stream, _) = with_a_finished_item().await;
    disk.make_room();
    assert_eq!(stream.over().await.code, 1);
    assert_eq!(end_code(&world).await, 1);
    assert_eq!(finished(&world), in_the_storage_unit(&world));
    world
        .primary
        .wait_for("it to be over", |p| p.progress().is_empty())
        .await;
    world.assert_clean();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_x01_a_stop_while_the_journals_disk_is_full_keeps_what_is_finished() {
    let (world, agent, disk, stream, ticket) = with_a_finished_item().await;
    let order = StopAttempt {
        attempt: ticket.attempt,
        how: Stopped::Immediate.into(),
        cancel: false,
        fault: None,
    };
    world.primary.order(Body::Stop(order)).await;
    wait_until_shown(&world, "the end of the attempt").await;
    disk.make_room();
    assert_eq!(stream.over().await.code, 150);
    assert_eq!(end_code(&world).await, 150);
    assert_eq!(finished(&world), in_the_storage_unit(&world));
    world.assert_clean();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_f14_an_agent_that_ends_while_its_journals_disk_is_full_adopts_what_is_finished() {
    let (world, agent, disk, stream, _) = with_a_finished_item().await;
    agent.stop().await;
    drop(stream);
    assert_eq!(finished(&world), Vec::<String>::new());
    disk.make_room();
    let agent = world.agent("media-1").await;
    assert_eq!(end_code(&world).await, 1);
    assert_eq!(finished(&world), in_the_storage_unit(&world));
    world.assert_clean();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_f04_a_fence_while_the_journals_disk_is_full_is_kept_and_removes_what_nobody_took() {
    let (world, agent, disk, stream, ticket) = with_a_finished_item().await;
    let order = FenceAttempt {
        attempt: ticket.attempt.clone(),
        keep_snapshots: Vec::new(),
        only_end: false,
    };
    world.primary.order(Body::Fence(order)).await;
    assert_eq!(stream.over().await.code, 1101);
    disk.make_room();
    let removed = async {
        while world.snapshots() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(support::world::PATIENCE, removed)
        .await
        .unwrap();
    assert_eq!(finished(&world), Vec::<String>::new());
    agent.stop().await;
    // The fence is durable.
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let again = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    assert_eq!(again.over().await.code, 1101);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_an_attempt_waits_with_its_mark_while_the_journals_disk_is_full() {
    let world = World::new().await;
    let disk = SmallDisk::new(world.dir.path().join("data-media-1"));
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let mut ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    ticket.policy.as_mut().unwrap().exclude = vec!["x".repeat(8192)];
    disk.fill();
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    wait_until_shown(&world, "the attempt").await;
    disk.make_room();
    stream.welcome().await;
    stream.item(0, &home(), "home").await;
    assert_eq!(stream.over().await.code, 0);
    assert_eq!(end_code(&world).await, 0);
    agent.stop().await;
}

/// Nobody knows what such a disk has kept: the agent ends rather than say what it cannot keep, and says it when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn t90_s12_an_attempt_whose_journals_disk_dies_gets_a_true_end_when_it_is_back() {
    let world = World::new().await;
    let image = world.dir.path().join("image");
    let disk = MortalDisk::new(world.dir.path().join("data-media-1"), image);
    let agent = world.agent("media-1").await;
    let (stream, _) = end_an_item(&world, &agent, || disk.die()).await;
    agent.ends_by_itself().await;
    drop(stream);
    assert_eq!(finished(&world), Vec::<String>::new());
    assert_eq!(world.snapshots(), 1);
    disk.come_back();
    let agent = world.agent("media-1").await;
    assert_eq!(end_code(&world).await, 1);
    assert_eq!(finished(&world), in_the_storage_unit(&world));
    world.assert_clean();
    agent.stop().await;
}

/// The first word of an attempt that the journal should take is lost with its disk: nobody is told anything, and the attempt begins when
/// the agent is back, for the primary and its client know of no end.
#[tokio::test(flavor = "multi_thread")]
async fn t90_s12_an_end_that_is_not_journalled_is_told_to_nobody() {
    let world = World::new().await;
    let image = world.dir.path().join("image");
    let disk = MortalDisk::new(world.dir.path().join("data-media-1"), image);
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    disk.die();
    let stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.ends_without_a_word().await;
    agent.ends_by_itself().await;
    disk.come_back();
    let agent = world.agent("media-1").await;
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    stream.item(0, &home(), "home").await;
    assert_eq!(stream.over().await.code, 0);
    assert_eq!(end_code(&world).await, 0);
    world.assert_clean();
    agent.stop().await;
}
