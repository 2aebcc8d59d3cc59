//! F-10: a client's stream breaks, comes back and goes on; or does not come back.

mod support;

use std::path::Path;
use std::time::Duration;

use outlast_kit::identity::Kind;
use outlast_media_agent::Timing;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{StopAttempt, Stopped, StreamHello, backup_down, primary_message};

use support::client::BackupStream;
use support::source::{Source, dir, file};
use support::world::World;

const ITEM: &str = "/data/home";

fn home() -> Source {
    dir([("a", file(b"the first")), ("b", file(b"the second"))])
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_a_stream_goes_on_where_it_broke() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    let proxy = support::proxy::Proxy::start();
    proxy.lead_to(&agent.address);
    let open = async |stream: Option<BackupStream>| {
        let hello = world.hello(&ticket);
        match stream {
            Some(stream) => stream.reopen(&laptop, &proxy.address(), hello).await,
            None => BackupStream::open(&laptop, &proxy.address(), hello).await,
        }
    };
    let mut stream = open(None).await;
    stream.welcome().await;
    let (wanted, contents) = stream.begin(0, &home(), "home").await;
    proxy.cut();
    stream = open(Some(stream)).await;
    for (number, node) in wanted.iter().enumerate() {
        let files = [(*node, contents[node].as_slice())];
        let needed = stream.offer(&files).await;
        stream.chunks(needed).await;
        stream.file_ends(&files).await;
        if number == 0 {
            proxy.cut();
        }
        // A newer stream of the same process takes the place of the old one, which may still look open.
        stream = open(Some(stream)).await;
    }
    stream.end_item(0).await;
    assert!(matches!(
        stream.receive().await,
        backup_down::Body::ItemCommitted(_)
    ));
    world.primary.end_of(1, 1).await;
    // The last word is told again to whom it did not reach.
    proxy.cut();
    let mut hello = world.hello(&ticket);
    hello.peer_start_id = stream.peer_start().to_owned();
    let over = BackupStream::open(&laptop, &agent.address, hello)
        .await
        .over()
        .await;
    assert_eq!(over.code, 0, "{}", over.text);
    assert_eq!(world.snapshots(), 1);
    world.assert_clean();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_only_the_same_two_processes_go_on() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    stream.begin(0, &home(), "home").await;
    let start = stream.peer_start().to_owned();
    let hello = |client: &str, peer: &str, received| StreamHello {
        start_id: client.into(),
        peer_start_id: peer.into(),
        received,
        ..world.hello(&ticket)
    };
    // The first two are refused and do no harm; the others end the attempt.
    for (case, hello, code) in [
        ("another media agent", hello("client-start-1", "earlier", 2), 1110),
        ("from the beginning", hello("client-start-1", &start, 0), 59),
        ("another client", hello("client-start-2", &start, 2), 50),
    ] {
        let over = BackupStream::open(&laptop, &agent.address, hello)
            .await
            .over()
            .await;
        assert_eq!(over.code, code, "{case}: {}", over.text);
    }
    assert_eq!(stream.over().await.code, 50);
    let ticket = world.ticket(2, 1, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let liar = StreamHello {
        peer_start_id: start,
        received: 99,
        ..world.hello(&ticket)
    };
    let over = BackupStream::open(&laptop, &agent.address, liar)
        .await
        .over()
        .await;
    assert_eq!(over.code, 59, "{}", over.text);
    let What::Ended(ended) = world.primary.end_of(2, 1).await else {
        panic!()
    };
    assert_eq!(ended.status_code, 59, "{}", ended.text);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f18_a_client_that_does_not_come_back_ends_its_attempt() {
    let world = World::new().await;
    let timing = Timing {
        reconnect_for: Duration::from_secs(1),
        ..Timing::default()
    };
    let agent = world.agent_with("media-1", timing).await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let proxy = support::proxy::Proxy::start();
    proxy.lead_to(&agent.address);
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &proxy.address(), world.hello(&ticket)).await;
    stream.welcome().await;
    stream.begin(0, &home(), "home").await;
    proxy.close();
    let What::Ended(ended) = world.primary.end_of(1, 1).await else {
        panic!()
    };
    assert_eq!(ended.status_code, 40, "{}", ended.text);
    for word in ["\"laptop\"", "1 s"] {
        assert!(ended.text.contains(word), "{}", ended.text);
    }
    world.assert_clean();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x01_an_attempt_that_waits_for_its_client_ends_when_told_to() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let proxy = support::proxy::Proxy::start();
    proxy.lead_to(&agent.address);
    let mut streams = Vec::new();
    for job in [1, 2] {
        let ticket = world.ticket(job, 1, &[Path::new(ITEM)]);
        let mut stream = BackupStream::open(&laptop, &proxy.address(), world.hello(&ticket)).await;
        stream.welcome().await;
        stream.begin(0, &home(), "home").await;
        streams.push(stream);
    }
    proxy.close();
    let stop = StopAttempt {
        attempt: world.ticket(1, 1, &[]).attempt,
        how: Stopped::Immediate.into(),
        cancel: true,
        fault: None,
    };
    world.primary.order(primary_message::Body::Stop(stop)).await;
    let What::Ended(ended) = world.primary.end_of(1, 1).await else {
        panic!()
    };
    assert_eq!(ended.status_code, 150, "{}", ended.text);
    agent.stop().await;
    assert!(matches!(world.primary.end_of(2, 1).await, What::Interrupted(_)));
}

/// A connection that was lost may end like one that was closed: a client that goes for good says so.
#[tokio::test(flavor = "multi_thread")]
async fn t90_f10_an_end_without_goodbye_is_a_break() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    let (wanted, contents) = stream.begin(0, &home(), "home").await;
    let mut stream = stream
        .lose()
        .reopen(&laptop, &agent.address, world.hello(&ticket))
        .await;
    for node in &wanted {
        let files = [(*node, contents[node].as_slice())];
        let needed = stream.offer(&files).await;
        stream.chunks(needed).await;
        stream.file_ends(&files).await;
    }
    stream.end_item(0).await;
    assert_eq!(stream.over().await.code, 0);
    world.assert_clean();
    agent.stop().await;
}

/// Streams that come back and break again, and nothing gets through: that is one break, and it lasts too long.
#[tokio::test(flavor = "multi_thread")]
async fn t90_f10_streams_that_only_come_and_go_end_the_attempt() {
    let world = World::new().await;
    let timing = Timing {
        reconnect_for: Duration::from_secs(1),
        ..Timing::default()
    };
    let agent = world.agent_with("media-1", timing).await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    stream.begin(0, &home(), "home").await;
    let hello = StreamHello {
        peer_start_id: stream.peer_start().into(),
        received: stream.received(),
        ..world.hello(&ticket)
    };
    drop(stream);
    let over = loop {
        let mut next = BackupStream::open(&laptop, &agent.address, hello.clone()).await;
        match next.receive().await {
            backup_down::Body::Over(over) => break over,
            backup_down::Body::Welcome(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            other => panic!("{other:?} is new"),
        }
    };
    assert_eq!(over.code, 40, "{}", over.text);
    let What::Ended(ended) = world.primary.end_of(1, 1).await else {
        panic!()
    };
    assert_eq!(ended.status_code, 40, "{}", ended.text);
    agent.stop().await;
}
