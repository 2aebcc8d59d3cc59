//! an attempt and primaries of other versions than the one that dispatched it.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests; a script is read from top to bottom"
)]

mod support;

use std::path::Path;

use outlast_kit::identity::Kind;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{AttemptOver, MarkLost, Ticket};
use support::client::BackupStream;
use support::home::{ITEM, home};
use support::world::{PATIENCE, RunningAgent, World};

/// A ticket that a primary of version 0.1.0 dispatched.
fn ticket(world: &World, job: u64) -> Ticket {
    Ticket {
        primary_version: "0.1.0".into(),
        ..world.ticket(job, 1, &[Path::new(ITEM)])
    }
}

/// Ends the session and waits for the next one, with a primary of this version.
async fn meet(world: &World, version: &str) {
    let before = world.primary.sessions();
    world.primary.be_version(version);
    world.primary.end_session().await;
    world
        .primary
        .wait_for("the next session", |p| p.sessions() > before)
        .await;
}

async fn begin(world: &World, agent: &RunningAgent, ticket: &Ticket) -> BackupStream {
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(ticket)).await;
    stream.welcome().await;
    stream.begin(0, &home(), "home").await;
    stream
}

fn lost(world: &World, job: u64) -> Vec<MarkLost> {
    let events = world.primary.events(job, 1).into_iter();
    events
        .filter_map(|what| match what {
            What::MarkLost(lost) => Some(lost),
            _ => None,
        })
        .collect()
}

/// The last word. An attempt that should end and does not confirms for ever.
async fn over(stream: BackupStream) -> AttemptOver {
    let over = tokio::time::timeout(PATIENCE, stream.over()).await;
    over.expect("the attempt goes on")
}

fn code(end: &What) -> u32 {
    match end {
        What::Ended(ended) => ended.status_code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_another_version_takes_the_mark_away_and_r03_holds_from_then_on() {
    let world = World::new().await;
    world.primary.be_version("0.1.0");
    world.primary.grant(1);
    let agent = world.agent("media-1").await;
    let stream = begin(&world, &agent, &ticket(&world, 1)).await;
    meet(&world, "0.2.0").await;
    world
        .primary
        .wait_for("the lost mark", |_| !lost(&world, 1).is_empty())
        .await;
    let expected = MarkLost {
        from: "0.1.0".into(),
        to: "0.2.0".into(),
    };
    assert_eq!(lost(&world, 1), [expected]);
    // Without a primary for longer than the grace it fails; its client is told.
    world.primary.be_away(true).await;
    let over = over(stream).await;
    assert_eq!(over.code, 40, "{}", over.text);
    assert!(over.text.contains("not resilient"), "{}", over.text);
    world.primary.be_away(false).await;
    assert_eq!(code(&world.primary.end_of(1, 1).await), 40);
    assert_eq!(lost(&world, 1).len(), 1);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_a_patch_release_takes_nothing_away() {
    let world = World::new().await;
    world.primary.be_version("0.1.0");
    world.primary.grant(1);
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    // Of the three attempts only the last has not lost its mark when the primaries go away.
    let mut unmarked = ticket(&world, 2);
    unmarked.resilient = false;
    let unmarked = begin(&world, &agent, &unmarked).await;
    let other = Ticket {
        primary_version: "0.2.0".into(),
        ..ticket(&world, 3)
    };
    let other = begin(&world, &agent, &other).await;
    let ticket = ticket(&world, 1);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    meet(&world, "0.1.1").await;
    world.primary.be_away(true).await;
    // Those that are not resilient end, so the grace is over; this one does its work and ends well.
    for stream in [unmarked, other] {
        assert_eq!(over(stream).await.code, 40);
    }
    stream.item(0, &home(), "home").await;
    assert_eq!(over(stream).await.code, 0);
    world.primary.be_away(false).await;
    assert_eq!(code(&world.primary.end_of(1, 1).await), 0);
    assert_eq!(lost(&world, 1), []);
    assert_eq!(lost(&world, 3).len(), 1);
    world.assert_clean();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_what_ended_before_the_other_version_was_met_keeps_its_mark() {
    let world = World::new().await;
    world.primary.be_version("0.1.0");
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let first = ticket(&world, 1);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&first)).await;
    stream.welcome().await;
    let open = begin(&world, &agent, &ticket(&world, 2)).await;
    world.primary.be_away(true).await;
    stream.item(0, &home(), "home").await;
    assert_eq!(over(stream).await.code, 0);
    world.primary.be_version("0.2.0");
    world.primary.be_away(false).await;
    assert_eq!(code(&world.primary.end_of(1, 1).await), 0);
    world
        .primary
        .wait_for("the lost mark of the other", |_| !lost(&world, 2).is_empty())
        .await;
    // Delivered in order: what the first had lost would have come before.
    assert_eq!(lost(&world, 1), []);
    drop(open);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_the_version_that_dispatched_the_attempt_counts() {
    let world = World::new().await;
    world.primary.be_version("0.2.0");
    let agent = world.agent("media-1").await;
    // Dispatched by 0.1.0, begun when 0.2.0 was there; by nobody knows whom, and then 0.3.0 came.
    let early = begin(&world, &agent, &ticket(&world, 1)).await;
    let old = begin(&world, &agent, &world.ticket(2, 1, &[Path::new(ITEM)])).await;
    world
        .primary
        .wait_for("the lost mark", |_| !lost(&world, 1).is_empty())
        .await;
    assert_eq!(lost(&world, 2), []);
    meet(&world, "0.3.0").await;
    world
        .primary
        .wait_for("the other lost mark", |_| !lost(&world, 2).is_empty())
        .await;
    let said = [1, 2].map(|job| {
        let lost = lost(&world, job);
        assert_eq!(lost.len(), 1, "job {job}");
        (lost[0].from.clone(), lost[0].to.clone())
    });
    let expected =
        [("0.1.0", "0.2.0"), ("0.2.0", "0.3.0")].map(|(from, to)| (from.to_owned(), to.to_owned()));
    assert_eq!(said, expected);
    drop((early, old));
    agent.stop().await;
}
