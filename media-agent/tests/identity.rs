//! S-12b: a group of primaries that was set back gives numbers out again. Numbers decide who is newer, the nonce decides whether it is
//! the same job at all.
#![allow(clippy::unwrap_used, reason = "tests; a script is read from top to bottom")]

mod support;

use std::path::Path;
use std::sync::Arc;

use outlast_kit::identity::Kind;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::primary_message::Body;
use outlast_proto::v1::{Content, FenceAttempt, ItemEnded, Origin, StartAttempt, StopAttempt, Ticket};
use outlast_repository::{LocalStorage, Password, Repository, SnapshotId};
use support::client::BackupStream;
use support::home::{ITEM, home, with_backup};
use support::restorer::restore;
use support::source::file;
use support::world::{NONCE, PASSWORD, PATIENCE, World};

/// As a ticket of a job with the same number.
fn with_nonce(mut ticket: Ticket, nonce: u64) -> Ticket {
    ticket.attempt.as_mut().unwrap().nonce = nonce;
    ticket
}

/// The items that an attempt ended.
fn items(world: &World, attempt: u32) -> Vec<ItemEnded> {
    let all = world.primary.events(1, attempt).into_iter();
    all.filter_map(|event| match event {
        What::ItemEnded(item) => Some(item),
        _ => None,
    })
    .collect()
}

async fn until_there_are(world: &World, snapshots: usize) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while world.snapshots() != snapshots {
        assert!(
            std::time::Instant::now() < deadline,
            "{} snapshots",
            world.snapshots()
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s12b_a_job_adopts_nothing_and_removes_nothing_of_another_of_its_number() {
    let (world, agent, _) = with_backup().await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    // One that runs, with a nonce of its own, one of before there were nonces, and the job itself.
    for (attempt, nonce, is_same) in [(2, 0xbeef, false), (3, 0, false), (4, NONCE, true)] {
        let ticket = with_nonce(world.ticket(1, attempt, &[Path::new(ITEM)]), nonce);
        let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
        stream.welcome().await;
        if !is_same {
            stream.item(0, &home(), "home").await;
        }
        assert_eq!(stream.over().await.code, 0, "attempt {attempt}");
        world.primary.end_of(1, attempt).await;
        let [item] = items(&world, attempt).try_into().unwrap();
        assert_eq!(item.adopted, is_same, "attempt {attempt}");
    }
    assert_eq!(world.snapshots(), 4);
    // A fence of a high number takes what carries its nonce, and no more.
    for (nonce, left) in [(0xbad, 4), (0xbeef, 3), (0, 2)] {
        let fence = FenceAttempt {
            attempt: with_nonce(world.ticket(1, 9, &[]), nonce).attempt,
            keep_snapshots: Vec::new(),
            only_end: false,
        };
        world.primary.order(Body::Fence(fence)).await;
        until_there_are(&world, left).await;
    }
    world.assert_clean();
    agent.stop().await;
}

/// What is over is the job of that nonce: the new one begins, although a higher attempt of its number has ended here.
#[tokio::test(flavor = "multi_thread")]
async fn t90_s12b_an_attempt_begins_although_another_job_of_its_number_is_over() {
    let (world, agent, _) = with_backup().await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let same = world.ticket(1, 1, &[Path::new(ITEM)]);
    let refused = BackupStream::open(&laptop, &agent.address, world.hello(&same)).await;
    assert_eq!(refused.over().await.code, 1101);
    let other = with_nonce(same, 0xbeef);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&other)).await;
    stream.welcome().await;
    stream.item(0, &home(), "home").await;
    assert_eq!(stream.over().await.code, 0);
    agent.stop().await;
}

/// The primaries were set back: what ended here, and was recorded there, is ordered again.
#[tokio::test(flavor = "multi_thread")]
async fn t90_s12b_what_the_primary_counts_as_open_and_the_agent_as_over_gets_an_end() {
    let (world, agent, _) = with_backup().await;
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    let count = |is_it: fn(&What) -> bool| world.primary.events(1, 1).iter().filter(|e| is_it(e)).count();
    let ended = |what: &What| matches!(what, What::Ended(_));
    // It had acknowledged the end: only then has it lost it.
    let acknowledged = async |events: usize| {
        let status = |p: &support::primary::Primary| p.events(1, 1).len() >= events;
        world.primary.wait_for("the events", status).await;
        let met = world.primary.sessions();
        world.primary.end_session().await;
        world.primary.wait_for("a session", |p| p.sessions() > met).await;
    };
    acknowledged(1).await;
    let order = StartAttempt {
        ticket: Some(world.sign(&ticket)),
    };
    world.primary.order(Body::Start(order)).await;
    let is_interrupted = |what: &What| matches!(what, What::Interrupted(_));
    let goes_on = |p: &support::primary::Primary| p.events(1, 1).iter().any(is_interrupted);
    world.primary.wait_for("the end, said again", goes_on).await;
    assert_eq!(count(ended), 1);

    // And cancel always works.
    let all = world.primary.events(1, 1).len();
    acknowledged(all).await;
    let order = StopAttempt {
        attempt: ticket.attempt.clone(),
        cancel: true,
        ..StopAttempt::default()
    };
    world.primary.order(Body::Stop(order)).await;
    let canceled = |p: &support::primary::Primary| {
        let is_canceled = |what: &What| matches!(what, What::Ended(ended) if ended.status_code == 150);
        p.events(1, 1).iter().any(is_canceled)
    };
    world.primary.wait_for("the cancelation", canceled).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_f04_a_fence_keeps_what_restic_gave_another_id() {
    kept_by_a_fence(false).await;
    // It names one that nobody has heard of.
    kept_by_a_fence(true).await;
}

/// As `restic rewrite` does, which names the snapshot that it found.
fn change_again(world: &World, kept: &[u8]) {
    let storage = Arc::new(LocalStorage::new(world.storage()));
    let repository = Repository::open(storage, &Password::new(PASSWORD.to_owned())).unwrap();
    repository.reload_index().unwrap();
    let was = SnapshotId::from_bytes(kept.try_into().unwrap());
    let (tagged, mut snapshot) = repository.follow_snapshot(&was, |_| false).unwrap();
    snapshot.original = Some(tagged);
    repository.save_snapshot(&snapshot).unwrap();
    repository.remove_snapshot(&tagged).unwrap();
}

async fn kept_by_a_fence(is_changed_again: bool) {
    let (world, agent, _) = with_backup().await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(2, 1, &[Path::new(ITEM), Path::new("/etc/hosts")]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (.., kept) = stream.item(0, &home(), "home").await;
    stream.item(1, &file("x"), "hosts").await;
    assert_eq!(stream.over().await.code, 0);
    world.primary.end_of(2, 1).await;
    let hex: String = kept.iter().map(|byte| format!("{byte:02x}")).collect();
    let which = if is_changed_again {
        &[hex.as_str()][..]
    } else {
        &[]
    };
    let tagged = world.restic(&[&["tag", "--add", "for ever"][..], which].concat());
    assert!(tagged.status.success(), "{tagged:?}");
    until_there_are(&world, 3).await;
    if is_changed_again {
        change_again(&world, &kept);
    }
    let fence = FenceAttempt {
        attempt: ticket.attempt.clone(),
        keep_snapshots: vec![kept.clone().into()],
        only_end: false,
    };
    world.primary.order(Body::Fence(fence)).await;
    until_there_are(&world, 2).await;
    // What is left of the job is the one to be kept: it is restored under the id that it had.
    let mut restore_ticket = world.restore_ticket(3, &kept, &[]);
    restore_ticket.restore.as_mut().unwrap().content = Some(Content {
        origin: Some(Origin {
            cluster_id: ticket.cluster_id,
            attempt: ticket.attempt,
            item: 0,
            client: ticket.client,
            path: ITEM.to_owned(),
        }),
        files: 5,
        bytes: 4_405_006,
        ..Content::default()
    });
    let (restored, _, over) = restore(&laptop, &agent.address, world.hello(&restore_ticket)).await;
    assert_eq!(over.code, 0, "{}", over.text);
    assert!(!restored.is_empty());
    world.assert_clean();
    agent.stop().await;
}
