//! The life of attempts: who may start, how they end, what happens when either side goes away.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests; a script is read from top to bottom"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use outlast_kit::identity::Kind;
use outlast_media_agent::Timing;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::primary_message::Body;
use outlast_proto::v1::{
    DryRunQuestion, FenceAttempt, FileException, JobError, ListFilesQuestion, Question, RepositoryAnswer,
    RepositoryQuestion, RestoreEnd, RestoreProgress, StartAttempt, StopAttempt, Stopped, StreamGoodbye,
    Verdicts, answer, backup_up, question, restore_up,
};
use support::client::{BackupStream, data_client};
use support::home::{ITEM, home, with_backup};
use support::restorer::{RestoreStream, restore, restore_saying};
use support::source::{Source, dir, file};
use support::world::{World, in_seconds};

fn expected(below: &[&str]) -> BTreeMap<String, Vec<u8>> {
    fn collect(path: &str, source: &Source, out: &mut BTreeMap<String, Vec<u8>>) {
        match source {
            Source::File(content) => drop(out.insert(path.to_owned(), content.clone())),
            Source::Link(_) => {}
            Source::Dir(children) => {
                for (name, child) in children {
                    collect(&format!("{path}/{}", String::from_utf8_lossy(name)), child, out);
                }
            }
        }
    }
    let mut all = BTreeMap::new();
    collect(ITEM, &home(), &mut all);
    all.retain(|path, _| below.is_empty() || below.iter().any(|b| path.starts_with(b)));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_gives_the_same_bytes_back() {
    let (world, agent, snapshot) = with_backup().await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let rows: [(&[&str], u32); 5] = [
        (&[], 0),
        (&["/srv/home/notes"], 0),
        (&["/srv/home/notes/a.txt", "/srv/home/twin.bin"], 0),
        (&["/srv/home/notes", "/srv/home/nothing"], 1),
        (&["/srv/home/nothing"], 71),
    ];
    for (job, (paths, code)) in (10..).zip(rows) {
        let ticket = world.restore_ticket(job, &snapshot, paths);
        let (restored, skipped, over) = restore(&laptop, &agent.address, world.hello(&ticket)).await;
        assert_eq!((over.code, skipped.len()), (code, 0), "{paths:?}: {}", over.text);
        assert!(restored == expected(paths), "{paths:?}: {:?}", restored.keys());
        let What::Ended(ended) = world.primary.end_of(job, 1).await else {
            panic!()
        };
        assert_eq!(ended.status_code, code);
        assert_eq!(ended.counters.unwrap().files, restored.len() as u64);
    }
    world.assert_clean();
    agent.stop().await;
}

/// The client's last word may come before it was asked for; what it said of its target is in the job's details, once.
#[tokio::test(flavor = "multi_thread")]
async fn s14e_a_target_that_fails_ends_the_restore_at_once_and_one_that_is_silent_is_told_of() {
    let (world, agent, snapshot) = with_backup().await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.restore_ticket(10, &snapshot, &[]);
    let mut stream = RestoreStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    let (through, wanted) = stream.entries().await;
    assert!(!wanted.is_empty());
    stream
        .send(restore_up::Body::Verdicts(Verdicts {
            through,
            wanted,
            begun: Vec::new(),
        }))
        .await;
    for _ in 0..2 {
        let silent = RestoreProgress {
            path: "/target/file".into(),
            waits_for: "a call".into(),
            seconds: 60,
            patience_seconds: 300,
            ..RestoreProgress::default()
        };
        stream.send(restore_up::Body::Progress(silent)).await;
    }
    let end = RestoreEnd {
        files: 1,
        left_alone: 2,
        error: Some(JobError {
            code: 1202,
            text: "no room".into(),
        }),
        ..RestoreEnd::default()
    };
    stream.send(restore_up::Body::End(end)).await;
    let over = stream.over().await;
    assert_eq!((over.code, over.text.as_str()), (1202, "no room"));
    let What::Ended(ended) = world.primary.end_of(10, 1).await else {
        panic!()
    };
    let counters = ended.counters.unwrap();
    assert_eq!(
        (ended.status_code, counters.files, counters.left_alone),
        (1202, 1, 2)
    );
    let events = world.primary.events(10, 1);
    let told: Vec<_> = events
        .iter()
        .filter_map(|what| match what {
            What::Detail(detail) => Some(detail.text.as_str()),
            _ => None,
        })
        .filter(|text| text.contains("answered"))
        .collect();
    let expected = "/target/file: the client's file system has not answered for 60 s (a call); if it does not for 300 s, the restore fails";
    assert_eq!(told, [expected]);
    world.assert_clean();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s02_damaged_data_is_named_once_and_never_restored() {
    let (world, agent, snapshot) = with_backup().await;
    let packs = std::process::Command::new("find")
        .arg(world.storage().join("data"))
        .args(["-type", "f"])
        .output()
        .unwrap();
    let packs = String::from_utf8(packs.stdout).unwrap();
    let largest = packs
        .lines()
        .max_by_key(|p| std::fs::metadata(p).unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::process::Command::new("chmod")
        .args(["600", largest])
        .status()
        .unwrap();
    std::fs::write(largest, bytes).unwrap();
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.restore_ticket(2, &snapshot, &[]);
    // A client of before says again what it was told; what else it has met counts, whatever the path ends with.
    let unread = "the media agent could not read its content";
    let said = [
        ("/tmp/srv/home/big.bin", unread),
        ("/tmp/srv/home/twin.bin", unread),
        ("/tmp/srv/home/srv/home/big.bin", unread),
        ("/tmp/srv/home/twin.bin", "its place cannot be examined"),
    ]
    .map(|(path, reason)| FileException {
        path: path.to_owned(),
        reason: reason.to_owned(),
    });
    let client = data_client(&laptop, &agent.address).await;
    let (restored, skipped, over) = restore_saying(client, world.hello(&ticket), said.to_vec()).await;
    assert_eq!(over.code, 1);
    assert_eq!(skipped, ["/srv/home/big.bin", "/srv/home/twin.bin"]);
    let mut rest = expected(&[]);
    rest.retain(|path, _| !skipped.contains(path));
    assert!(restored == rest);
    world.primary.end_of(2, 1).await;
    let named: Vec<String> = world
        .primary
        .events(2, 1)
        .iter()
        .filter_map(|e| match e {
            What::Exceptions(found) => Some(found.exceptions.iter().map(|e| e.path.clone())),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(named[..2], skipped);
    assert_eq!(named[2..], [said[2].path.as_str(), said[3].path.as_str()]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_streams_without_right_are_refused() {
    let (world, agent, _) = with_backup().await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let tower = world.credentials(Kind::ClientAgent, "tower");
    let operator = world.credentials(Kind::Operator, "laptop");
    let good = world.ticket(5, 2, &[Path::new(ITEM)]);
    let mut unsigned = world.hello(&good);
    let signature = unsigned.ticket.as_mut().unwrap();
    signature.signature = vec![1; 64].into();
    let changed = |change: &dyn Fn(&mut outlast_proto::v1::Ticket)| {
        let mut ticket = good.clone();
        change(&mut ticket);
        world.hello(&ticket)
    };
    let rows = [
        ("unsigned", &laptop, unsigned, 59),
        ("other client", &tower, world.hello(&good), 59),
        ("no client agent", &operator, world.hello(&good), 59),
        (
            "other agent",
            &laptop,
            changed(&|t| t.media_agent = "media-2".into()),
            59,
        ),
        (
            "other unit",
            &laptop,
            changed(&|t| t.storage_unit = "unit-2".into()),
            59,
        ),
        (
            "other cluster",
            &laptop,
            changed(&|t| t.cluster_id = "elsewhere".into()),
            59,
        ),
        (
            "expired",
            &laptop,
            changed(&|t| t.expires_at = Some(in_seconds(-10))),
            59,
        ),
        (
            "dispatched to another journal",
            &laptop,
            changed(&|t| t.journal_id = "the one before".into()),
            1101,
        ),
        ("no attempt", &laptop, changed(&|t| t.attempt = None), 59),
        ("no kind", &laptop, changed(&|t| t.kind = 0), 59),
        ("no ticket", &laptop, Default::default(), 59),
        (
            "over",
            &laptop,
            world.hello(&world.ticket(1, 1, &[Path::new(ITEM)])),
            1101,
        ),
    ];
    for (case, credentials, hello, code) in rows {
        let over = BackupStream::open(credentials, &agent.address, hello)
            .await
            .over()
            .await;
        assert_eq!(over.code, code, "{case}: {}", over.text);
        assert!(!over.text.is_empty());
    }
    assert!(world.primary.events(5, 2).is_empty());
    // Attempt 3 runs: 2 may not come any more, and a second stream of 3 does no harm.
    let third = world.ticket(5, 3, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&third)).await;
    stream.welcome().await;
    let (wanted, _) = stream.begin(0, &dir([]), "home").await;
    assert!(wanted.is_empty());
    for (case, hello, code) in [
        ("lower", world.hello(&good), 1101),
        ("second", world.hello(&third), 59),
    ] {
        let over = BackupStream::open(&laptop, &agent.address, hello)
            .await
            .over()
            .await;
        assert_eq!(over.code, code, "{case}: {}", over.text);
    }
    stream.end_item(0).await;
    assert_eq!(stream.over().await.code, 0);
    world.primary.end_of(5, 3).await;
    world.assert_clean();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f09_s11a_a_client_that_goes_away_or_comes_anew_ends_its_attempt() {
    let (world, agent, _) = with_backup().await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    for (job, is_shutdown, code) in [(2, false, 40), (4, true, 50)] {
        let ticket = world.ticket(job, 1, &[Path::new(ITEM)]);
        let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
        stream.welcome().await;
        stream.begin(0, &home(), "home").await;
        let goodbye = StreamGoodbye { is_shutdown };
        stream.send_as(0, backup_up::Body::Goodbye(goodbye)).await;
        let What::Ended(ended) = world.primary.end_of(job, 1).await else {
            panic!()
        };
        assert_eq!(ended.status_code, code, "{}", ended.text);
    }

    let ticket = world.ticket(3, 1, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    stream.begin(0, &home(), "home").await;
    let mut anew = world.hello(&ticket);
    anew.start_id = "client-start-2".into();
    let over = BackupStream::open(&laptop, &agent.address, anew)
        .await
        .over()
        .await;
    assert_eq!(over.code, 50, "{}", over.text);
    assert_eq!(stream.over().await.code, 50);
    let What::Ended(ended) = world.primary.end_of(3, 1).await else {
        panic!()
    };
    assert_eq!(ended.status_code, 50);
    assert_eq!(world.snapshots(), 1);
    world.assert_clean();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_start_stop_and_fence() {
    let world = World::new().await;
    let timing = Timing {
        client_wait: Duration::from_millis(300),
        ..Timing::default()
    };
    let agent = world.agent_with("media-1", timing).await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let start = |ticket| {
        let ticket = Some(world.sign(ticket));
        Body::Start(StartAttempt { ticket })
    };
    // Nobody comes: 58, once, however often it is ordered.
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    for _ in 0..3 {
        world.primary.order(start(&ticket)).await;
    }
    let What::Ended(ended) = world.primary.end_of(1, 1).await else {
        panic!()
    };
    assert_eq!(ended.status_code, 58, "{}", ended.text);
    assert!(ended.text.contains("laptop"));
    world.primary.order(start(&ticket)).await;
    // A ticket that does not count.
    let mut other = world.ticket(2, 1, &[Path::new(ITEM)]);
    other.storage_unit = "unit-2".into();
    world.primary.order(start(&other)).await;
    let What::Ended(ended) = world.primary.end_of(2, 1).await else {
        panic!()
    };
    assert_eq!(ended.status_code, 59, "{}", ended.text);
    // Stopped while it runs, before it runs, and gracefully after the first item.
    let items = [Path::new(ITEM), Path::new("/etc/hosts")];
    for (job, how, code, snapshots) in [(3, Stopped::Immediate, 150, 0), (4, Stopped::Graceful, 0, 1)] {
        let ticket = world.ticket(job, 1, &items);
        let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
        stream.welcome().await;
        stream.begin(0, &dir([]), "home").await;
        let attempt = ticket.attempt.clone();
        let cancel = false;
        let order = StopAttempt {
            attempt,
            how: how.into(),
            cancel,
            fault: None,
        };
        world.primary.order(Body::Stop(order)).await;
        if how == Stopped::Graceful {
            // Answered in order: the stop was taken in before.
            assert_eq!(ask(&world, &[0; 32], "").await, Err(71));
            stream.end_item(0).await;
        }
        assert_eq!(stream.over().await.code, code);
        let What::Ended(ended) = world.primary.end_of(job, 1).await else {
            panic!()
        };
        assert_eq!(
            (ended.status_code, ended.stopped()),
            (code, how),
            "{}",
            ended.text
        );
        assert_eq!(world.snapshots(), snapshots);
    }
    // Fenced: no result, and only what is to be kept is left.
    let ticket = world.ticket(5, 2, &items);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (.., kept) = stream.item(0, &home(), "home").await;
    stream.item(1, &file("x"), "hosts").await;
    stream.over().await;
    world.primary.end_of(5, 2).await;
    let third = world.ticket(5, 3, &[Path::new("/opt")]);
    let mut running = BackupStream::open(&laptop, &agent.address, world.hello(&third)).await;
    running.welcome().await;
    running.begin(0, &dir([]), "opt").await;
    assert_eq!(world.snapshots(), 3);
    world
        .primary
        .order(Body::Fence(FenceAttempt {
            attempt: third.attempt.clone(),
            keep_snapshots: vec![kept.into()],
            only_end: false,
        }))
        .await;
    assert_eq!(running.over().await.code, 1101);
    let deadline = std::time::Instant::now() + support::world::PATIENCE;
    while world.snapshots() > 2 {
        assert!(std::time::Instant::now() < deadline, "the fenced snapshot stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let over = BackupStream::open(&laptop, &agent.address, world.hello(&third))
        .await
        .over()
        .await;
    assert_eq!(over.code, 1101);
    assert!(
        !world
            .primary
            .events(5, 3)
            .iter()
            .any(|e| matches!(e, What::Ended(_) | What::Interrupted(_)))
    );
    world.assert_clean();
    agent.stop().await;
}

/// Asks and gives what was answered, up to the last.
async fn answers(world: &World, body: Option<question::Body>) -> Vec<answer::Body> {
    let id = world.primary.answers().len() as u64 + 1;
    world.primary.order(Body::Question(Question { id, body })).await;
    world
        .primary
        .wait_for("an answer", |p| p.answers().iter().any(|a| a.id == id && a.last))
        .await;
    let all = world.primary.answers().into_iter().filter(|a| a.id == id);
    all.map(|answer| answer.body.unwrap()).collect()
}

/// Asks for a listing and gives the paths, or the code of the error.
async fn ask(world: &World, snapshot: &[u8], path: &str) -> Result<Vec<String>, u32> {
    let asked = ListFilesQuestion {
        snapshot: snapshot.to_vec().into(),
        path: path.into(),
        content: None,
    };
    let mut paths = Vec::new();
    for answer in answers(world, Some(question::Body::ListFiles(asked))).await {
        match answer {
            answer::Body::Files(files) => paths.extend(files.files.into_iter().map(|f| f.path)),
            answer::Body::Error(error) => return Err(error.code),
            other => panic!("{other:?}"),
        }
    }
    Ok(paths)
}

/// What a dry run leaves out is what this media agent's backups say in `BeginItem`.
#[tokio::test(flavor = "multi_thread")]
async fn t90_it_says_which_repository_it_writes_to() {
    let (world, agent, _) = with_backup().await;
    let asked = question::Body::Repository(RepositoryQuestion {});
    let found = answers(&world, Some(asked)).await;
    let config = std::fs::read(world.storage().join("config")).unwrap();
    let config_sha256 = outlast_repository::BlobId::of(&config).as_bytes().to_vec().into();
    assert_eq!(
        found,
        [answer::Body::Repository(RepositoryAnswer { config_sha256 })]
    );
    // What is not for it, or of a newer version, is refused with a word.
    for body in [Some(question::Body::DryRun(DryRunQuestion::default())), None] {
        let refused = answers(&world, body).await;
        assert!(
            matches!(&refused[..], [answer::Body::Error(error)] if error.code == 59),
            "{refused:?}"
        );
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered_from_the_repository() {
    let (world, agent, snapshot) = with_backup().await;
    let notes = ["/srv/home/notes/a.txt", "/srv/home/notes/ä.txt"].map(str::to_owned);
    assert_eq!(
        ask(&world, &snapshot, "/srv/home/notes").await,
        Ok(notes.to_vec())
    );
    assert_eq!(ask(&world, &snapshot, "").await.unwrap().len(), 4);
    assert_eq!(ask(&world, &snapshot, "/").await, Ok(vec!["/srv".into()]));
    assert_eq!(
        ask(&world, &snapshot, "/srv/home/empty").await,
        Ok(vec!["/srv/home/empty".into()])
    );
    for path in ["/srv/home/none", "relative", "/srv/../srv"] {
        assert_eq!(ask(&world, &snapshot, path).await, Err(71), "{path}");
    }
    assert_eq!(ask(&world, &[9; 32], "").await, Err(71));
    agent.stop().await;
}
