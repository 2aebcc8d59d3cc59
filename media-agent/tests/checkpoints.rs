//! Checkpoints: made with and without a primary, whole in themselves, kept for the next attempt, gone with the job.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests; a script is read from top to bottom"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use outlast_kit::identity::Kind;
use outlast_media_agent::Timing;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{
    CheckpointRule, CurrentPath, Exceptions, FileException, ItemEnd, JobError, Offer, Offers, Ticket,
    backup_down, backup_up,
};
use serde_json::Value;
use support::client::{BackupStream, chunk};
use support::home::ITEM;
use support::source::{Source, dir, file, noise};
use support::world::{PATIENCE, World};

const MIB: usize = 1 << 20;

/// A backup with a checkpoint each second.
fn ticket(world: &World, attempt: u32, restart: bool) -> Ticket {
    let mut ticket = world.ticket(1, attempt, &[Path::new(ITEM)]);
    ticket.policy.as_mut().unwrap().checkpoint = Some(CheckpointRule {
        restart,
        interval_seconds: 1,
    });
    ticket
}

fn disk() -> Vec<u8> {
    noise(5, 4 * MIB)
}

fn source() -> Source {
    dir([
        ("disk", file(disk())),
        ("notes", dir([("a.txt", file("a note"))])),
    ])
}

const DISK: u64 = 1;

fn checkpoints(world: &World) -> Vec<Value> {
    let listed = world.restic(&[
        "--no-lock",
        "snapshots",
        "--json",
        "--host",
        "laptop.outlast-checkpoint",
    ]);
    serde_json::from_slice(&listed.stdout).unwrap()
}

fn ids(checkpoints: &[Value]) -> BTreeSet<String> {
    let id = |checkpoint: &Value| checkpoint["id"].as_str().unwrap().to_owned();
    checkpoints.iter().map(id).collect()
}

fn dump(world: &World, id: &str, path: &str) -> Vec<u8> {
    let dumped = world.restic(&["--no-lock", "dump", id, path]);
    assert!(
        dumped.status.success(),
        "{}",
        String::from_utf8_lossy(&dumped.stderr)
    );
    dumped.stdout
}

/// Says something now and then, until there is a checkpoint that is not in `known`.
async fn next_checkpoint(world: &World, stream: &mut BackupStream, known: &BTreeSet<String>) -> Value {
    let began = Instant::now();
    loop {
        let path = CurrentPath {
            path: "/srv/home/disk".into(),
            ..CurrentPath::default()
        };
        stream.send(backup_up::Body::Path(path)).await;
        let all = checkpoints(world);
        let is_new = |checkpoint: &&Value| !known.contains(checkpoint["id"].as_str().unwrap());
        if let Some(new) = all.iter().find(is_new) {
            return new.clone();
        }
        assert!(began.elapsed() < PATIENCE, "no checkpoint is made");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The checkpoint says what it is, and has so much of the disk.
fn assert_holds(world: &World, checkpoint: &Value, sent: usize) {
    let id = checkpoint["id"].as_str().unwrap();
    assert!(dump(world, id, "/item/disk") == disk()[..sent], "{sent} bytes");
    let mark: Value = serde_json::from_slice(&dump(world, id, "/.outlast-checkpoint.json")).unwrap();
    let under_way = &mark["files_under_way"][0];
    assert_eq!(
        (&under_way["path"], &under_way["offset"], &under_way["size"]),
        (&"disk".into(), &sent.into(), &(4 * MIB).into())
    );
    assert_eq!(under_way["mtime"], "2023-11-14T22:13:20.000000123Z");
    assert_eq!(mark["counters"]["bytes_read"], sent);
    assert_eq!(mark["exceptions"][0]["path"], "/srv/home/.cache");
    let tags = checkpoint["tags"].as_array().unwrap();
    let tags: Vec<&str> = tags.iter().filter_map(Value::as_str).collect();
    assert!(tags.contains(&"checkpoint") && tags.contains(&"job:1") && tags.contains(&"attempt:1"));
    let time = checkpoint["time"].as_str().unwrap();
    assert!(time.starts_with("2000-01-01T00:00:"), "{time}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_checkpoints_are_made_without_a_primary_and_go_with_the_job() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = ticket(&world, 1, true);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (_, contents) = stream.begin(0, &source(), "home").await;
    world.primary.be_away(true).await;
    let exceptions = vec![FileException {
        path: "/srv/home/.cache".into(),
        reason: "it cannot be read".into(),
    }];
    stream
        .send(backup_up::Body::Exceptions(Exceptions { exceptions }))
        .await;
    // Of the walk alone.
    let first = next_checkpoint(&world, &mut stream, &BTreeSet::new()).await;
    let mut known = ids(&[first]);
    for (number, piece) in (1..).zip(disk().chunks(MIB)) {
        let needed = stream.offer(&[(DISK, piece)]).await;
        stream.chunks(needed).await;
        let checkpoint = next_checkpoint(&world, &mut stream, &known).await;
        assert_holds(&world, &checkpoint, number * MIB);
        known.extend(ids(&[checkpoint]));
    }
    assert!(
        world
            .restic(&["--no-lock", "check", "--read-data"])
            .status
            .success()
    );
    let last = newest(&world);
    let kept = until_two_are_left(&world).await;
    assert!(
        kept.contains(&last) && kept.is_subset(&known),
        "of {known:?} are kept {kept:?}"
    );
    let disk = disk();
    stream.file_ends(&[(DISK, disk.as_slice())]).await;
    let note = [(3, contents[&3].as_slice())];
    let needed = stream.offer(&note).await;
    stream.chunks(needed).await;
    stream.file_ends(&note).await;
    stream.end_item(0).await;
    let over = stream.over().await;
    assert_eq!(over.code, 1, "{}", over.text);
    assert_eq!((world.snapshots(), checkpoints(&world).len()), (1, 0));
    world.primary.be_away(false).await;
    world.primary.end_of(1, 1).await;
    let events = world.primary.events(1, 1);
    let made = events.iter().filter_map(|event| match event {
        What::Checkpoint(made) => Some(hex(&made.snapshot)),
        _ => None,
    });
    let made: BTreeSet<String> = made.collect();
    assert!(
        made.is_superset(&known),
        "{known:?} were made, {made:?} were said"
    );
    world.assert_clean();
    agent.stop().await;
}

/// The one before the last but one goes when the last is journalled.
async fn until_two_are_left(world: &World) -> BTreeSet<String> {
    let began = Instant::now();
    loop {
        let kept = ids(&checkpoints(world));
        if kept.len() == 2 {
            return kept;
        }
        assert!(began.elapsed() < PATIENCE, "kept are {kept:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The newest.
fn newest(world: &World) -> String {
    let mut all = checkpoints(world);
    all.sort_by_key(|checkpoint| checkpoint["time"].as_str().unwrap().to_owned());
    all.last().unwrap()["id"].as_str().unwrap().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_without_checkpoint_restart_there_are_none() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = ticket(&world, 1, false);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    stream.begin(0, &source(), "home").await;
    for piece in disk().chunks(MIB) {
        let needed = stream.offer(&[(DISK, piece)]).await;
        stream.chunks(needed).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    assert_eq!(world.snapshots(), 0);
    agent.stop().await;
}

/// Offers the rest without having sent what was asked for, and without waiting for an answer.
async fn offer_more(stream: &mut BackupStream, number: u64) {
    let disk = disk();
    let offers = disk[MIB..].chunks(MIB).map(|piece| {
        let chunk = chunk(piece);
        Offer {
            node: DISK,
            id: chunk.id,
            length: chunk.length,
            ..Offer::default()
        }
    });
    let offers = offers.collect();
    stream
        .send(backup_up::Body::Offers(Offers { number, offers }))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_a_checkpoint_waits_for_what_was_asked_for_but_not_for_ever() {
    for patience in [PATIENCE, Duration::from_millis(200)] {
        let gives_up = patience < PATIENCE;
        let world = World::new().await;
        let timing = Timing {
            checkpoint_wait: patience,
            ..Timing::default()
        };
        let agent = world.agent_with("media-1", timing).await;
        let laptop = world.credentials(Kind::ClientAgent, "laptop");
        let ticket = ticket(&world, 1, true);
        let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
        stream.welcome().await;
        stream.begin(0, &source(), "home").await;
        let needed = stream.offer(&[(DISK, &disk()[..MIB])]).await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        // The first makes a checkpoint due, the second has to wait for it.
        stream
            .send(backup_up::Body::Path(CurrentPath {
                path: "/".into(),
                ..CurrentPath::default()
            }))
            .await;
        offer_more(&mut stream, 2).await;
        if gives_up {
            assert!(matches!(stream.receive().await, backup_down::Body::Needed(_)));
            assert_eq!(world.snapshots(), 0);
        } else {
            let answer = tokio::time::timeout(Duration::from_millis(1500), stream.receive()).await;
            assert!(answer.is_err(), "answered though chunks are missing: {answer:?}");
            stream.chunks(needed).await;
            assert!(matches!(stream.receive().await, backup_down::Body::Needed(_)));
            let checkpoint = newest(&world);
            assert!(dump(&world, &checkpoint, "/item/disk") == disk()[..MIB]);
        }
        drop(stream);
        agent.stop().await;
    }
}

/// What a client has said that nothing follows is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn f06_no_checkpoint_waits_for_chunks_of_an_item_that_failed() {
    let world = World::new().await;
    let timing = Timing {
        checkpoint_wait: 2 * PATIENCE,
        ..Timing::default()
    };
    let agent = world.agent_with("media-1", timing).await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = ticket(&world, 1, true);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    stream.begin(0, &source(), "home").await;
    stream.offer(&[(DISK, &disk()[..MIB])]).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    // Makes a checkpoint due.
    stream
        .send(backup_up::Body::Path(CurrentPath {
            path: "/".into(),
            ..CurrentPath::default()
        }))
        .await;
    let error = JobError {
        code: 13,
        text: "the disk went away".into(),
    };
    stream
        .send(backup_up::Body::ItemEnd(ItemEnd {
            item: 0,
            error: Some(error),
            excluded: 0,
        }))
        .await;
    assert_eq!(stream.over().await.code, 13);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_what_a_checkpoint_has_is_not_sent_again_after_a_restart() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let first = ticket(&world, 1, true);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&first)).await;
    stream.welcome().await;
    stream.begin(0, &source(), "home").await;
    let needed = stream.offer(&[(DISK, &disk()[..2 * MIB])]).await;
    stream.chunks(needed).await;
    next_checkpoint(&world, &mut stream, &BTreeSet::new()).await;
    let shown = |primary: &support::primary::Primary| {
        primary
            .progress()
            .iter()
            .any(|report| report.checkpoint_at.is_some())
    };
    world
        .primary
        .wait_for("presence that names the checkpoint", shown)
        .await;
    agent.stop().await;
    let end = world.primary.end_of(1, 1).await;
    assert!(matches!(end, What::Interrupted(_)), "{end:?}");
    assert_eq!(world.snapshots(), checkpoints(&world).len());
    assert_ne!(world.snapshots(), 0, "the checkpoints wait for the next attempt");

    let agent = world.agent("media-1").await;
    let second = ticket(&world, 2, true);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&second)).await;
    stream.welcome().await;
    let (wanted, sent, _) = stream.item(0, &source(), "home").await;
    assert_eq!((wanted, sent), (2, 2 + 1), "two of the disk's chunks were there");
    assert_eq!(stream.over().await.code, 0);
    assert_eq!(checkpoints(&world), Vec::<Value>::new());
    world.assert_clean();
    agent.stop().await;
}
