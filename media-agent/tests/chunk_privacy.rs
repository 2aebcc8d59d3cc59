//! Chunk questions are answered from what the client sent or its own snapshots reach (DESIGN 4).
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests; a script is read from top to bottom"
)]

mod support;

use std::path::{Path, PathBuf};

use outlast_kit::identity::Kind;
use outlast_media_agent::Timing;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{
    AttemptOver, Chunk, Counters, ItemEnd, JobError, Offer, Offers, Ticket, backup_down, backup_up,
};
use support::client::{BackupStream, chunk};
use support::source::{Source, dir, file, noise};
use support::world::{RunningAgent, World};

const ITEM: &str = "/srv/home";
const SECRET: usize = 900_000;

fn secret() -> Vec<u8> {
    noise(5, SECRET)
}

fn home() -> Source {
    dir([("notes", file("nothing of interest")), ("secret", file(secret()))])
}

/// As if every file had been touched: the parent snapshot spares nothing.
fn moved_home() -> Source {
    dir([("new", home())])
}

fn ticket(world: &World, job: u64, client: &str) -> Ticket {
    Ticket {
        client: client.into(),
        ..world.ticket(job, 1, &[Path::new(ITEM)])
    }
}

async fn open(world: &World, agent: &RunningAgent, ticket: &Ticket) -> BackupStream {
    let credentials = world.credentials(Kind::ClientAgent, &ticket.client);
    let mut stream = BackupStream::open(&credentials, &agent.address, world.hello(ticket)).await;
    stream.welcome().await;
    stream
}

struct Outcome {
    wanted: usize,
    sent: usize,
    snapshot: Vec<u8>,
    counters: Counters,
}

async fn back_up(world: &World, agent: &RunningAgent, ticket: &Ticket, source: &Source) -> Outcome {
    let mut stream = open(world, agent, ticket).await;
    let (wanted, sent, snapshot) = stream.item(0, source, "home").await;
    assert_eq!(stream.over().await.code, 0);
    let job = ticket.attempt.as_ref().unwrap().job.parse().unwrap();
    let What::Ended(ended) = world.primary.end_of(job, 1).await else {
        panic!()
    };
    Outcome {
        wanted,
        sent,
        snapshot,
        counters: ended.counters.unwrap(),
    }
}

/// Bytes of all packs.
fn stored(world: &World) -> u64 {
    fn size(path: PathBuf) -> u64 {
        let data = std::fs::metadata(&path).unwrap();
        if !data.is_dir() {
            return data.len();
        }
        let entries = std::fs::read_dir(path).unwrap();
        entries.map(|entry| size(entry.unwrap().path())).sum()
    }
    size(world.storage().join("data"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_chunk_is_asked_for_and_found_to_be_there() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let first = back_up(&world, &agent, &ticket(&world, 1, "laptop"), &home()).await;
    assert_eq!((first.sent, first.counters.bytes_new), (2, SECRET as u64 + 19));
    let before = stored(&world);
    let other = back_up(&world, &agent, &ticket(&world, 2, "tower"), &home()).await;
    assert_eq!((other.wanted, other.sent), (2, 2));
    assert_eq!(
        (other.counters.bytes_new, other.counters.bytes_read),
        (0, SECRET as u64 + 19)
    );
    assert!(stored(&world) - before < 10_000);
    assert!(other.counters.bytes_stored < 10_000);
    // Now it is its own.
    let again = back_up(&world, &agent, &ticket(&world, 3, "tower"), &moved_home()).await;
    assert_eq!((again.wanted, again.sent), (2, 0));
    world.assert_clean();
    let out = world.dir.path().join("out");
    world.restic_restore(&other.snapshot, &out);
    assert!(std::fs::read(out.join("srv/home/secret")).unwrap() == secret());
    agent.stop().await;
}

/// Tower knows the hash of laptop's chunk and not its bytes. Whatever it tries, it is answered as if the chunk were
/// nowhere, and ends with 59.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_only_the_hash_gets_nothing() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    back_up(&world, &agent, &ticket(&world, 1, "laptop"), &home()).await;
    let good = chunk(&secret());
    let wrong_bytes = Chunk {
        data: noise(6, SECRET).into(),
        ..good.clone()
    };
    let shorter = Chunk {
        length: good.length - 1,
        data: noise(6, SECRET - 1).into(),
        ..good.clone()
    };
    let rows = [
        ("wrong bytes", good.length, Some(wrong_bytes)),
        ("never sent", good.length, None),
        ("named twice, never sent", good.length, None),
        // The right length must not be found out either.
        ("another length", good.length - 1, Some(shorter)),
    ];
    for (job, (case, length, sent)) in (2..).zip(rows) {
        let over = name_it(&world, &agent, (job, case), (&good, length), sent).await;
        assert_eq!(over.code, 59, "{case}: {}", over.text);
        world.primary.end_of(job, 1).await;
    }
    assert_eq!(world.snapshots(), 1);
    // What failed before is no proof later.
    let over = name_it(&world, &agent, (9, "later"), (&good, good.length), None).await;
    assert_eq!(over.code, 59);
    world.assert_clean();
    agent.stop().await;
}

/// An item that fails takes back what it was asked for: having been asked is no proof for the next item.
#[tokio::test(flavor = "multi_thread")]
async fn having_been_asked_is_no_proof() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    back_up(&world, &agent, &ticket(&world, 1, "laptop"), &home()).await;
    let tower = Ticket {
        client: "tower".into(),
        ..world.ticket(2, 1, &[Path::new(ITEM), Path::new("/other/home")])
    };
    let mut stream = open(&world, &agent, &tower).await;
    let content = secret();
    let source = dir([("f", file(content.clone()))]);
    let files = [(1, content.as_slice())];
    stream.begin(0, &source, "home").await;
    assert_eq!(stream.offer(&files).await.len(), 1);
    let error = Some(JobError {
        code: 13,
        text: "it cannot be read any more".into(),
    });
    stream
        .send(backup_up::Body::ItemEnd(ItemEnd {
            item: 0,
            error,
            excluded: 0,
        }))
        .await;
    assert!(matches!(
        stream.receive().await,
        backup_down::Body::ItemCommitted(_)
    ));
    stream.begin(1, &source, "home").await;
    let needed = stream.offer(&files).await;
    assert_eq!(needed.len(), 1);
    stream.chunks(needed).await;
    stream.file_ends(&files).await;
    stream.end_item(1).await;
    assert_eq!(stream.over().await.code, 13);
    world.primary.end_of(2, 1).await;
    assert_eq!(world.snapshots(), 2);
    world.assert_clean();
    agent.stop().await;
}

async fn name_it(
    world: &World,
    agent: &RunningAgent,
    (job, case): (u64, &str),
    (named, length): (&Chunk, u32),
    sent: Option<Chunk>,
) -> AttemptOver {
    let mut stream = open(world, agent, &ticket(world, job, "tower")).await;
    let source = dir([("guess", file(vec![0; length as usize]))]);
    stream.begin(0, &source, "home").await;
    let offer = Offer {
        node: 1,
        id: named.id.clone(),
        length,
        ..Offer::default()
    };
    let times = if case.contains("twice") { 2 } else { 1 };
    let offers = vec![offer; times];
    let size = u64::from(length) * times as u64;
    stream
        .send(backup_up::Body::Offers(Offers { number: 1, offers }))
        .await;
    match stream.receive().await {
        backup_down::Body::Needed(needed) => assert_eq!(needed.indexes, [0], "{case}"),
        other => panic!("{case}: {other:?} is no answer to offers"),
    }
    match sent {
        Some(chunk) => stream.chunks(vec![chunk]).await,
        None => {
            let content = vec![0; usize::try_from(size).unwrap()];
            stream.file_ends(&[(1, &content)]).await;
            stream.end_item(0).await;
        }
    }
    stream.over().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_not_asked_again_whatever_becomes_of_the_cache() {
    let world = World::new().await;
    let mut agent = world.agent("media-1").await;
    back_up(&world, &agent, &ticket(&world, 1, "laptop"), &home()).await;
    let cache = world.dir.path().join("data-media-1/known-chunks/laptop.chunks");
    let cases = [
        "the same process",
        "restarted",
        "no cache file",
        "damaged",
        "empty",
        "of another client",
    ];
    for (job, case) in (2..).zip(cases) {
        if case != "the same process" {
            agent.stop().await;
            let good = std::fs::read(&cache).unwrap();
            match case {
                "no cache file" => std::fs::remove_file(&cache).unwrap(),
                "damaged" => std::fs::write(&cache, &good[..good.len() / 2]).unwrap(),
                "empty" => std::fs::write(&cache, []).unwrap(),
                "of another client" => {
                    // Written by a backup of tower, which has other chunks.
                    std::fs::copy(cache.with_file_name("tower.chunks"), &cache).unwrap();
                }
                _ => {}
            }
            agent = world.agent("media-1").await;
        }
        if case == "empty" {
            let other = dir([("own", file("of tower"))]);
            back_up(&world, &agent, &ticket(&world, 100, "tower"), &other).await;
        }
        let again = back_up(&world, &agent, &ticket(&world, job, "laptop"), &moved_home()).await;
        assert_eq!(
            (again.wanted, again.sent, again.counters.bytes_new),
            (2, 0, 0),
            "{case}"
        );
    }
    // What tower may name has not grown.
    let foreign = back_up(&world, &agent, &ticket(&world, 101, "tower"), &home()).await;
    assert_eq!(foreign.sent, 2);
    world.assert_clean();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parent_snapshot_of_another_client_is_ignored() {
    for share_chunks in [false, true] {
        let world = World::new().await;
        let mut config = world.config("media-1");
        config.storage.share_chunks = share_chunks;
        let agent = world.agent_of(config, Timing::default()).await;
        let first = back_up(&world, &agent, &ticket(&world, 1, "laptop"), &home()).await;
        let mut foreign = ticket(&world, 2, "tower");
        foreign.items[0].parent_snapshot = first.snapshot.clone().into();
        let other = back_up(&world, &agent, &foreign, &home()).await;
        assert_eq!((other.wanted, other.sent), (2, if share_chunks { 0 } else { 2 }));
        let mut own = ticket(&world, 3, "laptop");
        own.items[0].parent_snapshot = first.snapshot.into();
        assert_eq!(back_up(&world, &agent, &own, &home()).await.wanted, 0);
        world.assert_clean();
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_share_chunks_are_not_asked() {
    let world = World::new().await;
    let mut config = world.config("media-1");
    config.storage.share_chunks = true;
    let agent = world.agent_of(config, Timing::default()).await;
    back_up(&world, &agent, &ticket(&world, 1, "laptop"), &home()).await;
    let other = back_up(&world, &agent, &ticket(&world, 2, "tower"), &home()).await;
    assert_eq!((other.wanted, other.sent, other.counters.bytes_new), (2, 0, 0));
    assert!(!world.dir.path().join("data-media-1/known-chunks").exists());
    world.assert_clean();
    agent.stop().await;
}
