//! What bad input gets (DESIGN 5): a code, the end of its connection, and nobody else notices.

mod support;

use std::path::Path;
use std::time::Duration;

use outlast_kit::identity::Kind;
use outlast_media_agent::Timing;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{
    BackupUp, CurrentPath, Entries, Entry, ExtendedAttribute, FileTime, ItemBegin, ItemEnd, ItemEnded,
    JobError, Node, NodeType, RestoreEnd, StreamHello, Verdicts, backup_down, backup_up, entry, restore_up,
};

use outlast_repository::{
    LocalStorage, Node as StoredNode, NodeKind, Password, Repository, Snapshot, Timestamp, Tree,
    WriterOptions,
};

use support::client::BackupStream;
use support::restorer::RestoreStream;
use support::source::{Source, dir, file, noise, walk};
use support::world::{RunningAgent, World};

const ITEM: &str = "/data/home";
/// More than an agent's message to the leader may have, and less than a client's to the media agent.
const LONG: usize = 5 << 20;

fn home() -> Source {
    dir([("a", file(noise(1, 5000))), ("b", file(b"the second"))])
}

/// An honest attempt that is under way while others misbehave, and then ends as it should.
struct Bystander(BackupStream);

const BYSTANDER: u64 = 1000;

impl Bystander {
    async fn new(world: &World, agent: &RunningAgent) -> Self {
        let tower = world.credentials(Kind::ClientAgent, "tower");
        let mut ticket = world.ticket(BYSTANDER, 1, &[Path::new(ITEM)]);
        ticket.client = "tower".into();
        let mut stream = BackupStream::open(&tower, &agent.address, world.hello(&ticket)).await;
        stream.welcome().await;
        Self(stream)
    }

    async fn assert_well(mut self, world: &World) {
        self.0.item(0, &home(), "home").await;
        assert_eq!(self.0.over().await.code, 0);
        assert_eq!(code_of(&world.primary.end_of(BYSTANDER, 1).await), 0);
        world.assert_clean();
    }
}

fn code_of(what: &What) -> u32 {
    match what {
        What::Ended(ended) => ended.status_code,
        other => panic!("{other:?} is no end"),
    }
}

async fn begun(world: &World, agent: &RunningAgent, job: u64) -> BackupStream {
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(job, 1, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    stream.receive().await;
    stream
        .send(backup_up::Body::ItemBegin(ItemBegin {
            item: 0,
            ..Default::default()
        }))
        .await;
    stream
}

fn entries(nodes: Vec<Node>) -> backup_up::Body {
    let (walked, _) = walk("home", &dir([]));
    let (first, last) = (walked[0].clone(), walked[1].clone());
    let nodes = nodes.into_iter().map(|node| Entry {
        kind: Some(entry::Kind::Node(node)),
    });
    let entries = std::iter::once(first).chain(nodes).chain([last]).collect();
    backup_up::Body::Entries(Entries { entries })
}

fn node(number: u64, name: impl Into<Vec<u8>>, kind: NodeType) -> Node {
    Node {
        number,
        name: name.into().into(),
        r#type: kind.into(),
        ..Node::default()
    }
}

/// Each of these went on to the journal and from there to the leader, whose limit for a message it passed: then that session,
/// and with it every job of the media agent, stood still for good.
#[tokio::test(flavor = "multi_thread")]
async fn t90_what_a_client_says_reaches_the_leader_shortened() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let bystander = Bystander::new(&world, &agent).await;
    let long = || "x".repeat(LONG);
    let failed = |code, text| {
        let error = Some(JobError { code, text });
        backup_up::Body::ItemEnd(ItemEnd {
            item: 0,
            error,
            excluded: 0,
        })
    };
    let rows = [
        (
            "name",
            entries(vec![node(1, "/".repeat(LONG), NodeType::File)]),
            59,
        ),
        ("text of an error", failed(13, long()), 13),
        ("code of an error", failed(70_000, "oh".to_owned()), 13),
        ("an error that is none", failed(0, "oh".to_owned()), 13),
        (
            "an error that is an administrator's",
            failed(150, "oh".to_owned()),
            13,
        ),
    ];
    for (job, (case, body, code)) in (1..).zip(rows) {
        let mut stream = begun(&world, &agent, job).await;
        stream.send(body).await;
        let over = stream.over().await;
        assert_eq!(over.code, code, "{case}: {:.200}", over.text);
        assert!(over.text.len() < 5000, "{case}: {} bytes", over.text.len());
        assert_eq!(code_of(&world.primary.end_of(job, 1).await), code, "{case}");
        // The leader refuses a number that can be no code, and the session with it.
        for event in world.primary.events(job, 1) {
            if let What::ItemEnded(ItemEnded { error, .. }) = event {
                assert_eq!(error.unwrap().code, code, "{case}");
            }
        }
    }
    let mut stream = begun(&world, &agent, 20).await;
    stream
        .send(backup_up::Body::Path(CurrentPath {
            path: long(),
            ..CurrentPath::default()
        }))
        .await;
    let shown = |progress: &outlast_proto::v1::AttemptProgress| progress.path.starts_with("xxx");
    world
        .primary
        .wait_for("the path", |primary| primary.progress().iter().any(shown))
        .await;
    stream.end_item(0).await;
    assert_eq!(stream.over().await.code, 59);
    assert_eq!(
        world.primary.sessions(),
        1,
        "the session with the leader never broke"
    );
    bystander.assert_well(&world).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_what_a_client_says_of_a_restore_or_in_its_hello_reaches_the_leader_shortened() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let long = || "x".repeat(LONG);
    let (_, _, snapshot) = bystander_backup(&world, &agent).await;
    let bystander = Bystander::new(&world, &agent).await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.restore_ticket(21, &snapshot, &[]);
    let mut stream = RestoreStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    let error = Some(JobError {
        code: 70_000,
        text: long(),
    });
    let (through, _) = stream.entries().await;
    stream.send(wants(through, &[])).await;
    stream
        .send(restore_up::Body::End(RestoreEnd {
            error,
            ..RestoreEnd::default()
        }))
        .await;
    assert_eq!(stream.over().await.code, 13);
    assert_eq!(code_of(&world.primary.end_of(21, 1).await), 13);
    // In the hello.
    let hello = StreamHello {
        start_id: long(),
        ..world.hello(&world.ticket(22, 1, &[Path::new(ITEM)]))
    };
    let over = BackupStream::open(&laptop, &agent.address, hello)
        .await
        .over()
        .await;
    assert_eq!(over.code, 59, "{:.200}", over.text);
    assert!(world.primary.events(22, 1).is_empty());
    assert_eq!(
        world.primary.sessions(),
        1,
        "the session with the leader never broke"
    );
    bystander.assert_well(&world).await;
    agent.stop().await;
}

async fn bystander_backup(world: &World, agent: &RunningAgent) -> (usize, usize, Vec<u8>) {
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(900, 1, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let item = stream.item(0, &home(), "home").await;
    assert_eq!(stream.over().await.code, 0);
    item
}

/// Numbers no file system has are stored as the nearest that can be written: restic reads all of it.
#[tokio::test(flavor = "multi_thread")]
async fn absurd_numbers_harm_nobody() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let bystander = Bystander::new(&world, &agent).await;
    let time = |seconds, nanos| Some(FileTime { seconds, nanos });
    let absurd = |number, kind| Node {
        mode: u32::MAX,
        uid: u32::MAX,
        gid: u32::MAX,
        user: "\u{0}\n\"".into(),
        group: "g".repeat(100_000),
        size: u64::MAX,
        modified: time(i64::MIN, u32::MAX),
        accessed: time(i64::MAX, u32::MAX),
        changed: time(-1, 1),
        inode: u64::MAX,
        device_id: u64::MAX,
        links: u64::MAX,
        device: u64::MAX,
        link_target: vec![0, 255, b'/', b'\n'].into(),
        xattrs: vec![ExtendedAttribute {
            name: vec![0, 255].into(),
            value: vec![7; 100_000].into(),
        }],
        ..node(number, format!("n{number}"), kind)
    };
    let kinds = [
        NodeType::Symlink,
        NodeType::Fifo,
        NodeType::Socket,
        NodeType::CharacterDevice,
        NodeType::BlockDevice,
    ];
    let mut stream = begun(&world, &agent, 1).await;
    stream
        .send(entries(
            (1..).zip(kinds).map(|(n, kind)| absurd(n, kind)).collect(),
        ))
        .await;
    stream.receive().await;
    stream.end_item(0).await;
    let over = stream.over().await;
    assert_eq!(over.code, 0, "{}", over.text);
    assert_eq!(code_of(&world.primary.end_of(1, 1).await), 0);
    // A file that says it is larger than any, and is not; and one that claims to be before it was read.
    for (job, size) in [(2, u64::MAX), (3, u64::MAX - 1)] {
        let mut stream = begun(&world, &agent, job).await;
        stream.send(entries(vec![absurd(1, NodeType::File)])).await;
        stream.receive().await;
        let end = outlast_proto::v1::FileEnd {
            node: 1,
            size,
            ..Default::default()
        };
        let ends = outlast_proto::v1::FileEnds { ends: vec![end] };
        stream.send(backup_up::Body::FileEnds(ends)).await;
        assert_eq!(stream.over().await.code, 59, "{size}");
    }
    assert_eq!(world.snapshots(), 1);
    let snapshots = world.restic(&["ls", "latest"]);
    assert!(
        snapshots.status.success(),
        "{}",
        String::from_utf8_lossy(&snapshots.stderr)
    );
    bystander.assert_well(&world).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_restores_out_of_turn_ends_its_attempt() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let (_, _, snapshot) = bystander_backup(&world, &agent).await;
    let bystander = Bystander::new(&world, &agent).await;
    type Lie = fn(u64, &[u64]) -> Vec<restore_up::Body>;
    let rows: [(&str, Lie); 6] = [
        ("a node that is none", |through, _| vec![wants(through, &[99])]),
        ("a directory", |through, _| vec![wants(through, &[0])]),
        ("falling", |through, files| {
            vec![wants(through, &[files[1], files[0]])]
        }),
        ("twice the same", |through, files| {
            vec![wants(through, &[files[0], files[0]])]
        }),
        ("other entries", |through, _| vec![wants(through + 1, &[])]),
        ("hello again", |_, _| {
            vec![restore_up::Body::Hello(StreamHello::default())]
        }),
    ];
    for (job, (case, lie)) in (1..).zip(rows) {
        let ticket = world.restore_ticket(job, &snapshot, &[]);
        let mut stream = RestoreStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
        let (through, files) = stream.entries().await;
        for body in lie(through, &files) {
            stream.send(body).await;
        }
        let over = stream.over().await;
        assert_eq!(over.code, 59, "{case}: {}", over.text);
        assert_eq!(code_of(&world.primary.end_of(job, 1).await), 59, "{case}");
    }
    bystander.assert_well(&world).await;
    agent.stop().await;
}

fn wants(through: u64, wanted: &[u64]) -> restore_up::Body {
    restore_up::Body::Verdicts(Verdicts {
        through,
        wanted: wanted.to_vec(),
        begun: Vec::new(),
    })
}

/// Nobody can stand still for ever: before the hello 59, after it 41. Confirmations are signs of life.
#[tokio::test(flavor = "multi_thread")]
async fn t90_a_client_that_stalls_ends_its_attempt() {
    let world = World::new().await;
    let timing = Timing {
        hello_wait: Duration::from_secs(2),
        client_silence: Duration::from_secs(4),
        ..Timing::default()
    };
    let agent = world.agent_with("media-1", timing).await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let silent = BackupStream::connect(&laptop, &agent.address).await;
    assert_eq!(silent.over().await.code, 59);
    let stalled = begun(&world, &agent, 1).await;
    let mut slow = begun(&world, &agent, 2).await;
    let alive = async {
        loop {
            slow.confirm().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let over = tokio::select! {
        over = stalled.over() => over,
        () = alive => unreachable!(),
    };
    assert_eq!(over.code, 41, "{}", over.text);
    assert!(
        over.text.contains("laptop") && over.text.contains("4 s"),
        "{}",
        over.text
    );
    assert_eq!(code_of(&world.primary.end_of(1, 1).await), 41);
    slow.send(entries(vec![])).await;
    slow.receive().await;
    slow.end_item(0).await;
    assert_eq!(slow.over().await.code, 0);
    world.assert_clean();
    agent.stop().await;
}

/// More streams than a client needs wait for one another; those of other clients do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_streams_holds_up_only_its_own_connection() {
    let world = World::new().await;
    let timing = Timing {
        // The bystander's hello comes within it, however busy the machine is.
        hello_wait: Duration::from_secs(2),
        ..Timing::default()
    };
    let agent = world.agent_with("media-1", timing).await;
    let bystander = Bystander::new(&world, &agent).await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let client = support::client::data_client(&laptop, &agent.address).await;
    let flood: Vec<_> = (0..150)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let says_nothing = tokio_stream::pending::<BackupUp>();
                // Each is refused, or the connection with it when it is too much.
                let mut down = client.backup(says_nothing).await?.into_inner();
                down.message().await
            })
        })
        .collect();
    bystander.assert_well(&world).await;
    for stream in flood {
        if let Ok(Some(answer)) = stream.await.unwrap() {
            let is_refused = |body| matches!(body, backup_down::Body::Over(over) if over.code == 59);
            assert!(answer.body.is_some_and(is_refused));
        }
    }
    agent.stop().await;
}

/// A snapshot from elsewhere, made by hand: names that would lead out of the target are exceptions, the rest is restored.
#[tokio::test(flavor = "multi_thread")]
async fn f17_names_that_lead_elsewhere_do_not_leave_the_repository() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    bystander_backup(&world, &agent).await;
    let storage = std::sync::Arc::new(LocalStorage::new(world.storage()));
    let password = Password::new(support::world::PASSWORD.to_owned());
    let repository = Repository::open(storage, &password).unwrap();
    let writer = repository.writer(WriterOptions::default()).unwrap();
    let inner = StoredNode {
        name: b"inner".to_vec(),
        kind: NodeKind::File,
        content: Some(Vec::new()),
        ..StoredNode::default()
    };
    let mut nodes = vec![inner];
    let (below, _) = writer.add_tree(&Tree { nodes: nodes.clone() }).unwrap();
    let odd: [&[u8]; 7] = [b"", b".", b"..", b"../out", b"/etc/passwd", b"a/b", b"a\0b"];
    for name in odd {
        let file = StoredNode {
            name: name.to_vec(),
            ..nodes[0].clone()
        };
        let folder = StoredNode {
            kind: NodeKind::Dir,
            content: None,
            subtree: Some(below),
            ..file.clone()
        };
        nodes.extend([file, folder]);
    }
    let (tree, _) = writer.add_tree(&Tree { nodes }).unwrap();
    writer.finish().unwrap();
    let snapshot = Snapshot::new(Timestamp::now(), tree, vec!["/".to_owned()], "laptop".to_owned());
    let snapshot = repository.save_snapshot(&snapshot).unwrap();
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.restore_ticket(2, snapshot.as_bytes(), &[]);
    let (restored, _, over) = support::restorer::restore(&laptop, &agent.address, world.hello(&ticket)).await;
    assert_eq!(over.code, 1, "{}", over.text);
    assert_eq!(restored.into_keys().collect::<Vec<_>>(), ["//inner"]);
    let found = world.primary.end_of(2, 1).await;
    assert_eq!(code_of(&found), 1);
    let exceptions = world.primary.events(2, 1).into_iter().map(|event| match event {
        What::Exceptions(found) => found.exceptions.len(),
        _ => 0,
    });
    assert_eq!(exceptions.sum::<usize>(), 2 * odd.len());
    agent.stop().await;
}
