//! What happens to open attempts and their journal when this side is stopped, killed, set back, or cannot reach its storage unit.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests; a script is read from top to bottom"
)]

mod support;

use std::path::Path;
use std::time::Duration;

use outlast_kit::identity::Kind;
use outlast_kit::shutdown::Shutdown;
use outlast_media_agent::{RunError, Timing};
use outlast_proto::v1::backup_up::Body as Up;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{CheckpointRule, CurrentPath};
use support::client::BackupStream;
use support::home::{ITEM, home, with_backup};
use support::source::file;
use support::world::{RunningAgent, World};

#[tokio::test(flavor = "multi_thread")]
async fn f16_shutdown_interrupts_what_runs_and_says_so() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    stream.begin(0, &home(), "home").await;
    let over = tokio::spawn(stream.over());
    agent.stop().await;
    assert_eq!(over.await.unwrap().code, 1110);
    let end = world.primary.end_of(1, 1).await;
    assert!(matches!(end, What::Interrupted(_)), "{end:?}");
    world.assert_clean();
}

/// As after kill -9: the data directory is as it was at that moment, the storage unit is what was left.
async fn crash(world: &World, agent: RunningAgent, copy: &Path) {
    agent.stop().await;
    let data = world.dir.path().join("data-media-1");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(copy, &data).unwrap();
    world.primary.be_deaf(false);
}

fn copy_data_dir(world: &World) -> std::path::PathBuf {
    let copy = world.dir.path().join("copy");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(world.dir.path().join("data-media-1"))
        .arg(&copy)
        .status()
        .unwrap();
    assert!(copied.success());
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn f14_an_open_attempt_is_surveyed_after_a_crash() {
    // How many of two items were in the repository when the process died, and what becomes of the attempt.
    for finished in 0..=2 {
        let world = World::new().await;
        let agent = world.agent("media-1").await;
        world.primary.be_deaf(true);
        let laptop = world.credentials(Kind::ClientAgent, "laptop");
        let ticket = world.ticket(1, 1, &[Path::new(ITEM), Path::new("/etc/hosts")]);
        let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
        stream.welcome().await;
        if finished == 0 {
            stream.begin(0, &home(), "home").await;
        }
        let copy = copy_data_dir(&world);
        if finished > 0 {
            stream.item(0, &home(), "home").await;
        }
        if finished > 1 {
            stream.item(1, &file("x"), "hosts").await;
            stream.over().await;
        } else {
            drop(stream);
        }
        crash(&world, agent, &copy).await;
        let agent = world.agent("media-1").await;
        let end = world.primary.end_of(1, 1).await;
        let adopted: Vec<u32> = world
            .primary
            .events(1, 1)
            .iter()
            .filter_map(|e| match e {
                What::ItemEnded(item) if item.adopted => Some(item.item),
                _ => None,
            })
            .collect();
        assert_eq!(adopted, (0..finished).collect::<Vec<u32>>());
        match end {
            What::Ended(ended) => assert_eq!((ended.status_code, finished), (0, 2)),
            What::Interrupted(_) => assert!(finished < 2),
            other => panic!("{other:?}"),
        }
        // F-08: the next attempt runs only what is missing.
        if finished == 1 {
            let ticket = world.ticket(1, 2, &[Path::new(ITEM), Path::new("/etc/hosts")]);
            let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
            stream.welcome().await;
            stream.item(1, &file("x"), "hosts").await;
            assert_eq!(stream.over().await.code, 0);
            let What::Ended(ended) = world.primary.end_of(1, 2).await else {
                panic!()
            };
            assert!(ended.counters.unwrap().bytes_carried_over > 4_000_000);
        }
        world.assert_clean();
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_checkpoints_of_a_crash_go_when_the_survey_finds_the_job_finished() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    world.primary.be_deaf(true);
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let mut ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    ticket.policy.as_mut().unwrap().checkpoint = Some(CheckpointRule {
        restart: true,
        interval_seconds: 1,
    });
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (wanted, contents) = stream.begin(0, &home(), "home").await;
    while world.snapshots() == 0 {
        stream.send(Up::Path(CurrentPath::default())).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let copy = copy_data_dir(&world);
    let snapshots = world.storage().join("snapshots");
    let checkpoint = std::fs::read_dir(&snapshots).unwrap().next().unwrap().unwrap();
    let content = std::fs::read(checkpoint.path()).unwrap();
    let files: Vec<_> = wanted.iter().map(|n| (*n, contents[n].as_slice())).collect();
    let needed = stream.offer(&files).await;
    stream.chunks(needed).await;
    stream.file_ends(&files).await;
    stream.end_item(0).await;
    assert_eq!(stream.over().await.code, 0);
    assert_eq!(world.snapshots(), 1);
    // It died before it had removed anything.
    std::fs::write(checkpoint.path(), content).unwrap();
    crash(&world, agent, &copy).await;
    let agent = world.agent("media-1").await;
    let end = world.primary.end_of(1, 1).await;
    assert!(matches!(end, What::Ended(_)), "{end:?}");
    assert_eq!(world.snapshots(), 1);
    assert!(!checkpoint.path().exists());
    world.assert_clean();
    agent.stop().await;
}

/// The disk lost events the primary had acknowledged; those the survey writes in their place must not pass for them.
#[tokio::test(flavor = "multi_thread")]
async fn t90_a_journal_that_was_set_back_is_left_behind_although_the_survey_wrote_to_it() {
    journal_set_back_and_written_to(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_a_journal_that_was_set_back_is_left_behind_although_it_went_on_before_a_restart() {
    journal_set_back_and_written_to(1).await;
}

/// Until the end of what was open is in the journal's files.
async fn wait_for_the_survey(world: &World) {
    let written = |needle: &[u8]| {
        let files = std::fs::read_dir(world.dir.path().join("data-media-1/journal")).unwrap();
        let mut files = files.filter_map(|entry| std::fs::read(entry.unwrap().path()).ok());
        files.any(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
    };
    let waited = async {
        while !written(b"was restarted") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited)
        .await
        .expect("the survey ends");
}

/// What the survey writes gets the numbers of what the primary has recorded before the disk was set back. That many processes
/// come and go before one meets a primary.
async fn journal_set_back_and_written_to(processes_between: usize) {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM), Path::new("/etc/hosts")]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let copy = copy_data_dir(&world);
    stream.item(0, &home(), "home").await;
    world
        .primary
        .wait_for("the second item", |p| p.events(1, 1).len() == 4)
        .await;
    let before = world.primary.last_hello().journal_id;
    world.primary.be_deaf(true);
    drop(stream);
    crash(&world, agent, &copy).await;
    // The survey is done before a primary answers: the first one tried says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let start = async |primaries: Vec<String>| {
        let mut config = world.config("media-1");
        config.primaries = primaries;
        let shutdown = Shutdown::new();
        let started = outlast_media_agent::start_with(config, shutdown.clone(), Timing::default());
        (started.await.unwrap(), shutdown)
    };
    for _ in 0..processes_between {
        let (agent, shutdown) = start(vec![silent.clone()]).await;
        wait_for_the_survey(&world).await;
        shutdown.begin();
        agent.wait().await;
    }
    let (agent, shutdown) = start(vec![silent, world.primary.address.clone()]).await;
    world
        .primary
        .wait_for("a new journal", |p| p.last_hello().journal_id != before)
        .await;
    shutdown.begin();
    agent.wait().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r05_events_of_an_outage_are_delivered_once_and_in_order_after_it() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    world.primary.be_deaf(true);
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    for job in 1..=3 {
        let ticket = world.ticket(job, 1, &[Path::new(ITEM)]);
        let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
        stream.welcome().await;
        stream.item(0, &home(), "home").await;
        assert_eq!(stream.over().await.code, 0);
    }
    agent.stop().await;
    world.primary.be_deaf(false);
    let agent = world.agent("media-1").await;
    for job in 1..=3 {
        world.primary.end_of(job, 1).await;
        assert_eq!(world.primary.events(job, 1).len(), 4);
    }
    agent.stop().await;
    let agent = world.agent("media-1").await;
    let hello = world.primary.last_hello();
    assert_eq!((hello.journal_first, hello.journal_last), (13, 12));
    assert_eq!(hello.pool, "default");
    assert_eq!(hello.data_addresses, std::slice::from_ref(&agent.address));
    agent.stop().await;
}

/// A journal with three events nobody has yet, and the file that says whose it is.
async fn with_undelivered() -> (World, std::path::PathBuf) {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    world.primary.be_deaf(true);
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    stream.item(0, &home(), "home").await;
    assert_eq!(stream.over().await.code, 0);
    agent.stop().await;
    world.primary.be_deaf(false);
    let file = world.dir.path().join("data-media-1/journal/cluster.json");
    (world, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn r05_a_journal_of_another_cluster_tells_nothing_and_takes_no_part() {
    let (world, file) = with_undelivered().await;
    let ours = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, ours.replace(support::world::CLUSTER, "elsewhere")).unwrap();
    let before = world.primary.last_hello().start_id;
    let agent = world.try_agent("media-1", Timing::default()).await.unwrap();
    let is_new = |primary: &support::primary::Primary| primary.last_hello().start_id != before;
    world.primary.wait_for("hello", is_new).await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let hello = world.hello(&world.ticket(2, 1, &[Path::new(ITEM)]));
    let over = BackupStream::open(&laptop, &agent.address, hello)
        .await
        .over()
        .await;
    assert_eq!(over.code, 59, "{}", over.text);
    assert!(over.text.contains("cluster"), "{}", over.text);
    agent.stop().await;
    assert_eq!(world.primary.events(1, 1), []);

    // Back where it belongs it has lost nothing.
    std::fs::write(&file, ours).unwrap();
    let agent = world.agent("media-1").await;
    world.primary.end_of(1, 1).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r05_a_journal_nobody_knows_the_cluster_of_keeps_the_agent_down() {
    let (world, file) = with_undelivered().await;
    // Where earlier versions had it.
    let before = world.dir.path().join("data-media-1/cluster.json");
    std::fs::rename(&file, &before).unwrap();
    world.agent("media-1").await.stop().await;
    assert!(file.exists() && !before.exists());
    for damage in ["gone", "{"] {
        std::fs::remove_file(&file).unwrap();
        if damage != "gone" {
            std::fs::write(&file, damage).unwrap();
        }
        let error = world.try_agent("media-1", Timing::default()).await.err().unwrap();
        let text = error.to_string();
        assert!(
            text.contains("cluster.json") && text.contains("move the folder away"),
            "{text}"
        );
        std::fs::write(&file, "").unwrap();
    }
    std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    world.agent("media-1").await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_a_storage_unit_that_is_away_fails_attempts_and_not_the_agent() {
    let (world, agent, _) = with_backup().await;
    agent.stop().await;
    let away = world.dir.path().join("away");
    std::fs::rename(world.storage(), &away).unwrap();
    std::fs::create_dir(world.storage()).unwrap();
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(2, 1, &[Path::new(ITEM)]);
    let over = BackupStream::open(&laptop, &agent.address, world.hello(&ticket))
        .await
        .over()
        .await;
    assert_eq!(over.code, 2106, "{}", over.text);
    assert!(over.text.contains("mounted"), "{}", over.text);
    let What::Ended(ended) = world.primary.end_of(2, 1).await else {
        panic!()
    };
    assert_eq!(ended.status_code, 2106);
    assert_eq!(world.primary.events(2, 1).len(), 1);
    // It comes back without a restart.
    std::fs::remove_dir(world.storage()).unwrap();
    std::fs::rename(&away, world.storage()).unwrap();
    let ticket = world.ticket(3, 1, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    stream.item(0, &home(), "home").await;
    assert_eq!(stream.over().await.code, 0);
    agent.stop().await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_keep_the_agent_down_with_a_sentence() {
    let (world, agent, _) = with_backup().await;
    let in_use = world.try_agent("media-1", Timing::default()).await.err().unwrap();
    assert!(matches!(in_use, RunError::DataDirInUse { .. }), "{in_use}");
    agent.stop().await;
    std::fs::write(world.dir.path().join("password"), "wrong\n").unwrap();
    let wrong = world.try_agent("media-1", Timing::default()).await.err().unwrap();
    assert!(matches!(wrong, RunError::StorageUnit { .. }), "{wrong}");
    assert!(wrong.to_string().contains("password"), "{wrong}");
    std::fs::write(world.dir.path().join("password"), "\n").unwrap();
    let empty = world.try_agent("media-1", Timing::default()).await.err().unwrap();
    assert!(matches!(empty, RunError::NoPassword { .. }), "{empty}");
    let mut other = world.config("media-2");
    other.name = "media-3".parse().unwrap();
    let other = other.check().unwrap_err();
    assert!(matches!(other, RunError::OtherIdentity { .. }), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_addresses_that_lead_nowhere_are_found_by_the_check() {
    let world = World::new().await;
    type Change = fn(&mut outlast_media_agent::Config);
    let table: [(Change, Option<&str>); 5] = [
        (
            |config| config.listen = "0.0.0.0:7500".parse().unwrap(),
            Some("advertise"),
        ),
        (
            |config| config.listen = "[::]:7500".parse().unwrap(),
            Some("advertise"),
        ),
        (
            |config| {
                config.listen = "0.0.0.0:7500".parse().unwrap();
                config.advertise = vec!["media-1.example.org:7500".into()];
            },
            None,
        ),
        (
            |config| config.advertise = vec!["media-1".into()],
            Some("host:port"),
        ),
        (
            |config| config.primaries.push("primary-1".into()),
            Some("host:port"),
        ),
    ];
    for (change, expected) in table {
        let mut config = world.config("media-1");
        change(&mut config);
        let said = config.check().err().map(|error| error.to_string());
        assert_eq!(said.is_some(), expected.is_some(), "{said:?}");
        assert!(
            said.unwrap_or_default().contains(expected.unwrap_or_default()),
            "{expected:?}"
        );
    }
}
