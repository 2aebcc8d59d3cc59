//! Checkpoint restart: what the attempt before left is not read again, and what cannot be used of it costs time only (F-05, F-07).
#![allow(clippy::unwrap_used, reason = "tests; a script is read from top to bottom")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outlast_kit::identity::Kind;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{
    CheckpointRule, CurrentPath, Exceptions, FileException, ItemEnded, Ticket, backup_up,
};
use outlast_repository::{
    BlobId, BlobKind, LocalStorage, Node, Password, Repository, Snapshot, SnapshotId, WriterOptions,
};
use serde_json::Value;
use support::client::BackupStream;
use support::home::ITEM;
use support::source::{Source, dir, file, noise};
use support::world::{PASSWORD, PATIENCE, RunningAgent, World};

const MIB: usize = 1 << 20;
const FIRST: u64 = 2;
const DISK: u64 = 3;

fn ticket(world: &World, job: u64, attempt: u32) -> Ticket {
    let mut ticket = world.ticket(job, attempt, &[Path::new(ITEM)]);
    ticket.policy.as_mut().unwrap().checkpoint = Some(CheckpointRule {
        restart: true,
        interval_seconds: 1,
    });
    ticket
}

fn first(job: u64) -> Vec<u8> {
    noise(job + 100, MIB)
}

fn disk() -> Vec<u8> {
    noise(5, 4 * MIB)
}

/// A file that is done before the checkpoint, one in its middle, one after it.
fn source(job: u64) -> Source {
    dir([
        ("a", dir([("first", file(first(job)))])),
        ("disk", file(disk())),
        ("z", file("late")),
    ])
}

fn repository(world: &World) -> Repository {
    let storage = Arc::new(LocalStorage::new(world.storage()));
    let repository = Repository::open(storage, &Password::new(PASSWORD.to_owned())).unwrap();
    repository.reload_index().unwrap();
    repository
}

/// Those of a job.
fn checkpoints(repository: &Repository, job: u64) -> Vec<(SnapshotId, Snapshot)> {
    let all = repository.snapshots().unwrap().into_iter();
    let of_job = format!("job:{job}");
    all.filter(|(_, snapshot)| {
        snapshot.hostname.ends_with(".outlast-checkpoint") && snapshot.tags.contains(&of_job)
    })
    .collect()
}

/// The entries of a checkpoint's root tree, and its mark.
fn opened(repository: &Repository, checkpoint: &Snapshot) -> (Vec<Node>, Value) {
    let nodes = repository.open_tree(&checkpoint.tree).unwrap();
    let nodes: Vec<Node> = nodes.map(Result::unwrap).collect();
    let chunk = nodes[0].content.as_ref().unwrap()[0];
    let text = repository.read_blob(BlobKind::Data, &chunk).unwrap();
    (nodes, serde_json::from_slice(&text).unwrap())
}

/// An attempt 1 that has read one file and half of another when its media agent ends.
async fn interrupted(world: &World, job: u64, says: Vec<FileException>) {
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let hello = world.hello(&ticket(world, job, 1));
    let mut stream = BackupStream::open(&laptop, &agent.address, hello).await;
    stream.welcome().await;
    stream.begin(0, &source(job), "home").await;
    let files = [(FIRST, &first(job)[..])];
    let needed = stream.offer(&files).await;
    stream.chunks(needed).await;
    stream.file_ends(&files).await;
    let exceptions = Exceptions { exceptions: says };
    stream.send(backup_up::Body::Exceptions(exceptions)).await;
    let needed = stream.offer(&[(DISK, &disk()[..2 * MIB])]).await;
    stream.chunks(needed).await;
    let began = Instant::now();
    let has_all = |(_, snapshot): &(SnapshotId, Snapshot)| {
        let repository = repository(world);
        opened(&repository, snapshot).1["counters"]["bytes_read"] == 3 * MIB
    };
    while !checkpoints(&repository(world), job).iter().any(has_all) {
        let path = CurrentPath::default();
        stream.send(backup_up::Body::Path(path)).await;
        assert!(began.elapsed() < PATIENCE, "no checkpoint has it all");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    agent.stop().await;
    let end = world.primary.end_of(job, 1).await;
    assert!(matches!(end, What::Interrupted(_)), "{end:?}");
}

/// A whole attempt: how many files were wanted, how its item ended, and its details.
async fn run(world: &World, agent: &RunningAgent, ticket: &Ticket, job: u64) -> (usize, ItemEnded, String) {
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(ticket)).await;
    stream.welcome().await;
    let (wanted, ..) = stream.item(0, &source(job), "home").await;
    let over = stream.over().await;
    assert_eq!(over.code, 0, "{}", over.text);
    let attempt = ticket.attempt.as_ref().unwrap();
    let number = attempt.job.parse().unwrap();
    world.primary.end_of(number, attempt.attempt).await;
    let (mut ended, mut details) = (None, String::new());
    for event in world.primary.events(number, attempt.attempt) {
        match event {
            What::ItemEnded(item) => ended = Some(item),
            What::Detail(said) => details += &format!("{}\n", said.text),
            _ => {}
        }
    }
    (wanted, ended.unwrap(), details)
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_the_next_attempt_reads_only_what_the_checkpoint_lacks() {
    let world = World::new().await;
    interrupted(&world, 1, vec![]).await;
    let agent = world.agent("media-1").await;
    let (wanted, ended, details) = run(&world, &agent, &ticket(&world, 1, 2), 1).await;
    assert_eq!(wanted, 2, "what was read wholly is not read again");
    assert!(
        details.contains("goes on from checkpoint") && details.contains("that attempt 1 made"),
        "{details}"
    );
    let counters = ended.counters.unwrap();
    assert_eq!(
        (counters.bytes_carried_over, counters.bytes_read, counters.bytes),
        (MIB as u64, 4 * MIB as u64 + 4, 5 * MIB as u64 + 4)
    );
    assert!(checkpoints(&repository(&world), 1).is_empty());
    // From zero, with nothing to be compared with.
    let (wanted, undisturbed, details) = run(&world, &agent, &ticket(&world, 7, 1), 1).await;
    assert_eq!((wanted, details.as_str()), (3, ""));
    assert_eq!(ended.tree, undisturbed.tree);
    world.assert_clean();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s02_a_file_with_an_exception_before_the_checkpoint_is_read_again() {
    let world = World::new().await;
    let exception = FileException {
        path: format!("{ITEM}/a/first"),
        reason: "it changed while it was read".into(),
    };
    interrupted(&world, 1, vec![exception]).await;
    let agent = world.agent("media-1").await;
    let (wanted, ended, _) = run(&world, &agent, &ticket(&world, 1, 2), 1).await;
    let counters = ended.counters.unwrap();
    assert_eq!(
        (wanted, counters.bytes_carried_over, counters.exceptions),
        (3, 0, 0)
    );
    agent.stop().await;
}

type Forge = fn(&mut Snapshot, &mut String);

fn put(snapshot: &mut Snapshot, key: &str, with: &str) {
    let tag =
        (snapshot.tags.iter_mut()).find(|tag| tag.starts_with(key) && tag[key.len()..].starts_with(':'));
    *tag.unwrap() = format!("{key}:{with}");
}

/// Puts others in the place of a job's checkpoints.
fn forge(world: &World, job: u64, forge: Forge) {
    let repository = repository(world);
    for (id, mut snapshot) in checkpoints(&repository, job) {
        let (nodes, mark) = opened(&repository, &snapshot);
        let mut mark = mark.to_string();
        forge(&mut snapshot, &mut mark);
        let writer = repository.writer(WriterOptions::default()).unwrap();
        let chunk = BlobId::of(mark.as_bytes());
        writer.add_blob(BlobKind::Data, chunk, mark.as_bytes()).unwrap();
        let mut tree = writer.new_tree();
        tree.push(&Node {
            content: Some(vec![chunk]),
            ..nodes[0].clone()
        })
        .unwrap();
        tree.push(&nodes[1]).unwrap();
        snapshot.tree = writer.add_encoded_tree(tree).unwrap().0;
        writer.flush().unwrap();
        repository.save_snapshot(&snapshot).unwrap();
        repository.remove_snapshot(&id).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_f07_a_checkpoint_that_is_not_the_jobs_own_or_not_whole_costs_time_only() {
    let rows: [(&str, Forge, &str); 8] = [
        ("as it was", |_, _| {}, "goes on from checkpoint"),
        (
            "another job of the number",
            |s, _| put(s, "nonce", "0000000000000bad"),
            "begins anew",
        ),
        ("another cluster", |s, _| put(s, "cluster", "x"), "begins anew"),
        (
            "another client",
            |s, _| {
                put(s, "client", "tower");
                s.hostname = "tower.outlast-checkpoint".into();
            },
            "begins anew",
        ),
        (
            "another path",
            |s, _| s.paths = vec!["/srv".into()],
            "begins anew",
        ),
        ("a later attempt", |s, _| put(s, "attempt", "3"), "begins anew"),
        (
            "half a mark",
            |_, mark| mark.truncate(mark.len() / 2),
            "checkpoint unreadable",
        ),
        (
            "a mark of later",
            |_, mark| *mark = mark.replace("\"version\":2", "\"version\":9"),
            "has version 9",
        ),
    ];
    let world = World::new().await;
    for (job, (case, change, said)) in (1..).zip(rows) {
        interrupted(&world, job, vec![]).await;
        forge(&world, job, change);
        let agent = world.agent("media-1").await;
        let (wanted, ended, details) = run(&world, &agent, &ticket(&world, job, 2), job).await;
        let is_used = said.starts_with("goes on");
        assert_eq!(wanted, if is_used { 2 } else { 3 }, "{case}: {details}");
        assert!(details.contains(said), "{case}: {details}");
        let (_, undisturbed, _) = run(&world, &agent, &ticket(&world, job + 50, 1), job).await;
        assert_eq!(ended.tree, undisturbed.tree, "{case}");
        agent.stop().await;
    }
}
