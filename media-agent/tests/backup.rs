//! Backups over the real data service, judged by plain restic.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests; a script is read from top to bottom"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use outlast_kit::identity::Kind;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{Exceptions, FileException, ItemEnd, JobError, backup_up};
use support::client::{BackupStream, chunk};
use support::source::{Source, dir, file, noise};
use support::world::World;

const ITEM: &str = "/srv/data/home";

fn home() -> Source {
    dir([
        ("big.bin", file(noise(1, 3_500_000))),
        ("empty", file([])),
        (
            "letters",
            dir([("a.txt", file("hello\n".repeat(1000))), ("b.txt", file("other"))]),
        ),
        ("link", Source::Link("letters/a.txt")),
        ("twin.bin", file(noise(1, 3_500_000))),
        ("zz", dir([])),
    ])
}

fn code_of(what: &What) -> u32 {
    match what {
        What::Ended(ended) => ended.status_code,
        other => panic!("{other:?} is no end"),
    }
}

fn assert_same(dir: &Path, source: &Source) {
    match source {
        Source::File(content) => assert!(std::fs::read(dir).unwrap() == *content, "{}", dir.display()),
        Source::Link(target) => assert_eq!(std::fs::read_link(dir).unwrap(), Path::new(target)),
        Source::Dir(children) => {
            let found = std::fs::read_dir(dir).unwrap().count();
            assert_eq!(found, children.len(), "{}", dir.display());
            for (name, child) in children {
                assert_same(&dir.join(String::from_utf8_lossy(name).as_ref()), child);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_a_backup_is_whole_and_the_next_one_sends_nothing() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM), Path::new("/etc/hosts")]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (wanted, sent, first) = stream.item(0, &home(), "home").await;
    // The twin's chunks were needed once.
    assert_eq!((wanted, sent), (4, 4 + 2));
    let (_, _, hosts) = stream.item(1, &file("127.0.0.1 localhost\n"), "hosts").await;
    let over = stream.over().await;
    assert_eq!((over.code, over.text.as_str()), (0, ""));
    assert_eq!(code_of(&world.primary.end_of(1, 1).await), 0);
    let events = world.primary.events(1, 1);
    let kinds: Vec<&str> = events.iter().map(kind).collect();
    assert_eq!(
        kinds,
        [
            "marked",
            "item_started",
            "item_ended",
            "item_started",
            "item_ended",
            "ended"
        ]
    );
    let What::Ended(ended) = events.last().unwrap() else {
        unreachable!()
    };
    let counters = ended.counters.unwrap();
    assert_eq!((counters.files, counters.directories), (6 + 1, 3));
    assert_eq!(counters.bytes, 2 * 3_500_000 + 6000 + 5 + 20);
    assert_eq!(counters.bytes_new, 3_500_000 + 6000 + 5 + 20);
    assert!(counters.bytes_stored > 3_500_000 && counters.bytes_read == counters.bytes);
    world.assert_clean();
    let out = world.dir.path().join("out");
    world.restic_restore(&first, &out);
    assert_same(&out.join("srv/data/home"), &home());
    world.restic_restore(&hosts, &out);
    assert_same(&out.join("etc/hosts"), &file("127.0.0.1 localhost\n"));

    let mut ticket = world.ticket(2, 1, &[Path::new(ITEM)]);
    ticket.items[0].parent_snapshot = first.into();
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (wanted, sent, second) = stream.item(0, &home(), "home").await;
    assert_eq!((wanted, sent), (0, 0));
    assert_eq!(stream.over().await.code, 0);
    let What::Ended(ended) = world.primary.end_of(2, 1).await else {
        panic!()
    };
    let counters = ended.counters.unwrap();
    assert_eq!(
        (counters.bytes_new, counters.bytes_stored, counters.bytes_read),
        (0, 0, 0)
    );
    assert_eq!(counters.bytes, 2 * 3_500_000 + 6000 + 5);
    let again = world.dir.path().join("again");
    world.restic_restore(&second, &again);
    assert_same(&again.join("srv/data/home"), &home());
    world.assert_clean();
    agent.stop().await;
}

fn kind(what: &What) -> &'static str {
    match what {
        What::Marked(_) => "marked",
        What::ItemStarted(_) => "item_started",
        What::ItemEnded(_) => "item_ended",
        What::Exceptions(_) => "exceptions",
        What::Ended(_) => "ended",
        What::Interrupted(_) => "interrupted",
        What::Checkpoint(_) | What::Detail(_) | What::MarkLost(_) | What::Surveyed(_) => "other",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s02a_a_failed_item_leaves_the_others_alone() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new("/gone"), Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    stream.receive().await;
    stream
        .send(backup_up::Body::ItemBegin(outlast_proto::v1::ItemBegin {
            item: 0,
            ..Default::default()
        }))
        .await;
    let error = Some(JobError {
        code: 71,
        text: "\"/gone\" does not exist".into(),
    });
    stream
        .send(backup_up::Body::ItemEnd(ItemEnd {
            item: 0,
            error,
            excluded: 0,
        }))
        .await;
    stream.receive().await;
    let (wanted, contents) = stream.begin(1, &home(), "home").await;
    let files: Vec<_> = wanted.iter().map(|n| (*n, contents[n].as_slice())).collect();
    let needed = stream.offer(&files).await;
    stream.chunks(needed).await;
    stream.file_ends(&files).await;
    let exceptions = vec![FileException {
        path: "/srv/data/home/busy".into(),
        reason: "it changed while it was read".into(),
    }];
    stream
        .send(backup_up::Body::Exceptions(Exceptions { exceptions }))
        .await;
    stream.end_item(1).await;
    let over = stream.over().await;
    assert_eq!((over.code, over.text.as_str()), (71, "\"/gone\" does not exist"));
    assert_eq!(code_of(&world.primary.end_of(1, 1).await), 71);
    let ends: BTreeMap<u32, i32> = world
        .primary
        .events(1, 1)
        .iter()
        .filter_map(|e| match e {
            What::ItemEnded(item) => Some((item.item, item.outcome)),
            _ => None,
        })
        .collect();
    use outlast_proto::v1::ItemOutcome::{DoneWithExceptions, Failed};
    assert_eq!(
        ends,
        BTreeMap::from([(0, Failed.into()), (1, DoneWithExceptions.into())])
    );
    assert_eq!(world.snapshots(), 1);
    world.assert_clean();
    agent.stop().await;
}

/// What a client does wrong; each ends its own attempt with 59, and the repository stays clean.
#[tokio::test(flavor = "multi_thread")]
async fn f04_every_violation_ends_the_attempt_and_harms_nothing() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    // A healthy attempt is under way all the time.
    let bystander = world.ticket(1000, 1, &[Path::new(ITEM)]);
    let mut healthy = BackupStream::open(&laptop, &agent.address, world.hello(&bystander)).await;
    healthy.welcome().await;
    let cases = [
        "wrong hash",
        "bomb",
        "not needed",
        "twice",
        "never sent",
        "wrong length",
        "out of order",
        "wrong item",
        "bad name",
        "too large",
        "no file end",
        "hello again",
    ];
    for (job, case) in (1..).zip(cases) {
        let ticket = world.ticket(job, 1, &[Path::new(ITEM)]);
        let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
        stream.welcome().await;
        misbehave(&mut stream, case).await;
        let over = stream.over().await;
        assert_eq!(over.code, 59, "{case}: {}", over.text);
        assert_eq!(code_of(&world.primary.end_of(job, 1).await), 59, "{case}");
    }
    assert_eq!(world.snapshots(), 0);
    healthy.item(0, &home(), "home").await;
    assert_eq!(healthy.over().await.code, 0);
    world.primary.end_of(1000, 1).await;
    world.assert_clean();
    agent.stop().await;
}

async fn misbehave(stream: &mut BackupStream, case: &str) {
    let content = noise(77, 5000);
    let source = if case == "bad name" {
        Source::Dir(BTreeMap::from([(b"a/b".to_vec(), file("x"))]))
    } else {
        dir([("f", file(content.clone()))])
    };
    if case == "bad name" {
        stream.receive().await;
        stream
            .send(backup_up::Body::ItemBegin(outlast_proto::v1::ItemBegin {
                item: 0,
                ..Default::default()
            }))
            .await;
        let (entries, _) = support::source::walk("home", &source);
        return stream
            .send(backup_up::Body::Entries(outlast_proto::v1::Entries { entries }))
            .await;
    }
    stream.begin(0, &source, "home").await;
    let files = [(1, content.as_slice())];
    let needed = stream.offer(&files).await;
    let good = needed[0].clone();
    let mut bad = good.clone();
    match case {
        "wrong hash" => {
            bad.data = noise(78, 5000).into();
            stream.chunks(vec![bad]).await;
        }
        "bomb" => {
            bad.data = zstd::bulk::compress(&vec![0; 50 << 20], 1).unwrap().into();
            bad.compressed = true;
            stream.chunks(vec![bad]).await;
        }
        "not needed" => stream.chunks(vec![chunk(b"surprise")]).await,
        "twice" => stream.chunks(vec![good.clone(), good]).await,
        "never sent" => {
            stream.file_ends(&files).await;
            stream.end_item(0).await;
        }
        "wrong length" => {
            bad.length = 4999;
            stream.chunks(vec![bad]).await;
        }
        "out of order" => {
            stream
                .send_as(99, backup_up::Body::Path(Default::default()))
                .await
        }
        "wrong item" => stream.end_item(3).await,
        "too large" => {
            bad.data = vec![0; 9 << 20].into();
            stream.chunks(vec![bad]).await;
        }
        "no file end" => {
            stream.chunks(vec![good]).await;
            stream.end_item(0).await;
        }
        "hello again" => stream.send(backup_up::Body::Hello(Default::default())).await,
        other => panic!("{other} is no case"),
    }
}

/// This host's clock is hours behind the primary's.
#[tokio::test(flavor = "multi_thread")]
async fn t90_b09_no_snapshot_is_older_than_its_attempt() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let begun = support::world::in_seconds(7200);
    let mut ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    ticket.begun_at = Some(begun);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (.., id) = stream.item(0, &home(), "home").await;
    assert_eq!(stream.over().await.code, 0);
    agent.stop().await;
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let snapshot = world.restic(&["cat", "snapshot", &id]);
    let snapshot: serde_json::Value = serde_json::from_slice(&snapshot.stdout).unwrap();
    let time = outlast_repository::Timestamp::new(begun.seconds, 0).to_string();
    assert_eq!(snapshot["time"], time);
}
