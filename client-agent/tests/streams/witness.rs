//! What the client tells the leader of its streams and of what has ended (C-08).

use std::time::Duration;

use outlast_proto::v1::agent_message::Body as Up;
use outlast_proto::v1::primary_message::Body as Down;
use outlast_proto::v1::streams_seen::{Ended, Stream};
use outlast_proto::v1::{AttemptsClosed, StreamsSeen, Welcome};

use crate::media_agent::{MediaAgent, Script};
use crate::proxy::Proxy;
use crate::run::{Session, World, attempt, ticket};

/// The next report that `is_it` takes.
async fn hear(session: &mut Session, is_it: impl Fn(&StreamsSeen) -> bool) -> StreamsSeen {
    session
        .hear(|body| match body {
            Up::Streams(seen) => Some(seen).filter(|seen| is_it(seen)),
            _ => None,
        })
        .await
}

async fn hear_stream(session: &mut Session, is_it: impl Fn(&Stream) -> bool) -> Stream {
    let mut seen = hear(session, |seen| seen.streams.iter().any(&is_it)).await;
    assert_eq!(seen.streams.len(), 1, "{seen:?}");
    seen.streams.remove(0)
}

/// While it is broken the attempt runs, and the leader is told that its stream is: at once, whatever is left until the next presence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_c08_a_stream_counts_as_broken_until_it_is_back_and_the_leader_hears_it_all_the_time() {
    let world = World::new().await;
    let agent = MediaAgent::new(Script {
        items: 1,
        answers_from: Some((u64::MAX, Box::new(|| {}))),
        ..Script::default()
    });
    let proxy = Proxy::start();
    proxy.lead_to(&world.media_agent(&agent).await.to_string());
    let process = world.start();
    let mut session = world.session().await;
    session
        .say(Down::Welcome(Welcome {
            status_updates_ms: 24 * 3_600_000,
            ..Welcome::default()
        }))
        .await;
    assert_eq!(hear(&mut session, |_| true).await, StreamsSeen::default());
    session
        .admit(&ticket(&world.tree(), 1), proxy.address().parse().unwrap())
        .await;
    let first = hear_stream(&mut session, |stream| !stream.broken).await;
    assert_eq!(
        (first.attempt, first.media_agent.as_str()),
        (Some(attempt(1)), "media-1")
    );
    assert!(!first.unwelcomed);
    while agent.told().offers == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    proxy.close();
    let broken = hear_stream(&mut session, |stream| stream.broken).await;
    assert!(!broken.unwelcomed);
    // And again and again, for it is what the leader waits for.
    hear_stream(&mut session, |stream| stream.broken && stream.since_ms > 1200).await;
    proxy.open();
    let back = hear_stream(&mut session, |stream| !stream.broken).await;
    // It is open since now, and what was heard last was heard now.
    assert!(
        back.since_ms < 1000 && back.last_acknowledged_ms_ago < 1000,
        "{back:?}"
    );
    // Whatever it waits for, the end of the process ends it.
    proxy.close();
    process.end().await;
}

/// The age of a break grows from report to report, and is not that of the last try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c08_a_broken_stream_is_reported() {
    let world = World::new().await;
    let agent = MediaAgent::new(Script {
        items: 1,
        hangs_up: true,
        ..Script::default()
    });
    let address = world.media_agent(&agent).await;
    let process = world.start();
    let mut session = world.session().await;
    session.welcome(&[]).await;
    session.admit(&ticket(&world.tree(), 1), address).await;
    let broken = hear_stream(&mut session, |stream| stream.broken && !stream.unwelcomed).await;
    assert_eq!(broken.attempt, Some(attempt(1)));
    // It comes back and breaks at once, up to four times in a second.
    hear_stream(&mut session, |stream| stream.broken && stream.since_ms > 1500).await;
    process.end().await;
}

/// A media agent that never took the attempt up is no witness that it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c08_a_stream_that_was_never_welcomed_is_broken_and_says_so() {
    let world = World::new().await;
    let agent = MediaAgent::new(Script {
        drops_first: usize::MAX,
        ..Script::default()
    });
    let address = world.media_agent(&agent).await;
    let process = world.start();
    let mut session = world.session().await;
    session.welcome(&[]).await;
    session.admit(&ticket(&world.tree(), 1), address).await;
    while agent.told().streams < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stream = hear_stream(&mut session, |stream| stream.last_acknowledged_ms_ago > 500).await;
    assert!(stream.broken && stream.unwelcomed, "{stream:?}");
    assert!(stream.since_ms > 500, "{stream:?}");
    process.end().await;
}

/// What has ended is told with its code by this process and by the next, until the leader knows; and it does not begin again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c08_what_has_ended_is_told_with_its_code_also_after_a_restart() {
    let world = World::new().await;
    let agent = MediaAgent::new(Script {
        items: 1,
        ..Script::default()
    });
    let address = world.media_agent(&agent).await;
    let ended = vec![Ended {
        attempt: Some(attempt(1)),
        code: Some(0),
    }];
    let process = world.start();
    let mut session = world.session().await;
    session.welcome(&[]).await;
    session.admit(&ticket(&world.tree(), 1), address).await;
    let seen = hear(&mut session, |seen| !seen.ended.is_empty()).await;
    assert_eq!((&seen.ended, seen.streams.len()), (&ended, 0));
    // A session to another leader hears it, too.
    drop(session);
    let mut session = world.session().await;
    session.welcome(&[attempt(1)]).await;
    assert_eq!(hear(&mut session, |_| true).await.ended, ended);
    process.end().await;

    let process = world.start();
    let mut session = world.session().await;
    session.welcome(&[attempt(1)]).await;
    assert_eq!(hear(&mut session, |_| true).await.ended, ended);
    session.admit(&ticket(&world.tree(), 1), address).await;
    assert_eq!(session.admitted().await, attempt(1));
    let seen = hear(&mut session, |_| true).await;
    assert_eq!((&seen.ended, seen.streams.len()), (&ended, 0));
    assert_eq!(agent.told().streams, 1, "it is over");
    let attempts = vec![attempt(1)];
    session.say(Down::Closed(AttemptsClosed { attempts })).await;
    hear(&mut session, |seen| seen.ended.is_empty()).await;
    process.end().await;

    // That it was ordered once more has not made it forgotten; one that is not open any more is told to nobody.
    let process = world.start();
    let mut session = world.session().await;
    session.welcome(&[attempt(1)]).await;
    assert_eq!(hear(&mut session, |_| true).await.ended, ended);
    drop(session);
    let mut session = world.session().await;
    session.welcome(&[]).await;
    assert_eq!(hear(&mut session, |_| true).await, StreamsSeen::default());
    process.end().await;
}
