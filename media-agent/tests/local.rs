//! Clients of the same host: the way through the socket, who is sent there, and that nothing else is different there.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod support;

use std::path::Path;

use outlast_kit::identity::Kind;
use outlast_kit::tls::Credentials;
use outlast_kit::{host, local};
use outlast_media_agent::Timing;
use outlast_proto::v1::data_client::DataClient;
use outlast_proto::v1::{
    FenceAttempt, LocalRequest, LocalWay, StopAttempt, Stopped, backup_down, backup_up, primary_message,
};
use outlast_proto::words::StatusCode;
use tonic::transport::Channel;

use support::client::{BackupStream, client_over, data_client};
use support::restorer::restore_over;
use support::source::{Source, dir, file, noise};
use support::world::{RunningAgent, World};

const ITEM: &str = "/data/home";

fn home() -> Source {
    dir([("a", file(noise(1, 3_000_000))), ("b", file(b"the second"))])
}

fn request() -> LocalRequest {
    LocalRequest {
        kernel_id: host::kernel_id().unwrap(),
    }
}

async fn way(credentials: &Credentials, agent: &RunningAgent) -> Option<LocalWay> {
    let mut client = data_client(credentials, &agent.address).await;
    client.local(request()).await.unwrap().into_inner().way
}

async fn local_client(credentials: &Credentials, agent: &RunningAgent) -> DataClient<Channel> {
    let way = way(credentials, agent).await.unwrap();
    client_over(local::connect(&way).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_and_a_restore_go_through_the_socket() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    let client = local_client(&laptop, &agent).await;
    let mut stream = BackupStream::open_over(client, world.hello(&ticket)).await;
    stream.welcome().await;
    let (.., snapshot) = stream.item(0, &home(), "home").await;
    assert_eq!(stream.over().await.code, 0);
    world.primary.end_of(1, 1).await;
    world.assert_clean();
    let ticket = world.restore_ticket(2, &snapshot, &[]);
    let client = local_client(&laptop, &agent).await;
    let (restored, skipped, over) = restore_over(client, world.hello(&ticket)).await;
    assert_eq!((over.code, skipped.len()), (0, 0), "{}", over.text);
    assert_eq!(restored["/data/home/a"], noise(1, 3_000_000));
    agent.stop().await;
}

/// The identity is that of the certificate by which the way was asked for, whatever the ticket says.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_the_rights_of_who_asked_for_it_and_no_others() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let tower = world.credentials(Kind::ClientAgent, "tower");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    let mut client = local_client(&tower, &agent).await;
    let stream = BackupStream::open_over(client.clone(), world.hello(&ticket)).await;
    let over = stream.over().await;
    assert_eq!(
        over.code,
        u32::from(StatusCode::ACCESS_NOT_ALLOWED.0),
        "{}",
        over.text
    );
    assert!(over.text.contains("\"tower\""), "{}", over.text);
    // It begins with a certificate each time: one way leads to no further one.
    let refused = client.local(request()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_than_clients_of_this_host_are_sent_nowhere() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    for kernel_id in [String::new(), "0".repeat(32)] {
        let mut client = data_client(&laptop, &agent.address).await;
        let asked = client.local(LocalRequest { kernel_id }).await.unwrap();
        assert_eq!(asked.into_inner().way, None);
    }
    for kind in [Kind::Operator, Kind::MediaAgent, Kind::Primary] {
        let other = world.credentials(kind, "other");
        assert_eq!(way(&other, &agent).await, None, "{kind:?}");
    }
    assert!(way(&laptop, &agent).await.is_some());
    agent.stop().await;

    let mut config = world.config("media-1");
    config.local_socket = false;
    let agent = world.agent_of(config, Timing::default()).await;
    assert_eq!(way(&laptop, &agent).await, None);
    agent.stop().await;
}

/// Where no socket can be made the agent runs all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_socket_serves_over_tls() {
    let world = World::new().await;
    let config = world.config("media-1");
    std::fs::create_dir(&config.data_dir).unwrap();
    std::fs::write(config.data_dir.join("local"), b"in the way").unwrap();
    let agent = world.agent_of(config, Timing::default()).await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    assert_eq!(way(&laptop, &agent).await, None);
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    let mut stream = BackupStream::open(&laptop, &agent.address, world.hello(&ticket)).await;
    stream.welcome().await;
    stream.item(0, &home(), "home").await;
    assert_eq!(stream.over().await.code, 0);
    agent.stop().await;
}

/// Each stream over a connection of its own, to which the client comes through TLS again.
#[tokio::test(flavor = "multi_thread")]
async fn f10_a_stream_goes_on_through_the_socket() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let ticket = world.ticket(1, 1, &[Path::new(ITEM)]);
    let client = local_client(&laptop, &agent).await;
    let mut stream = BackupStream::open_over(client, world.hello(&ticket)).await;
    stream.welcome().await;
    let (wanted, contents) = stream.begin(0, &home(), "home").await;
    for node in &wanted {
        let client = local_client(&laptop, &agent).await;
        stream = stream.lose().reopen_over(client, world.hello(&ticket)).await;
        let files = [(*node, contents[node].as_slice())];
        let needed = stream.offer(&files).await;
        stream.chunks(needed).await;
        stream.file_ends(&files).await;
    }
    stream.end_item(0).await;
    let committed = stream.receive().await;
    assert!(matches!(committed, backup_down::Body::ItemCommitted(_)));
    assert_eq!(stream.over().await.code, 0);
    world.assert_clean();
    agent.stop().await;
}

/// What ends a stream over TLS ends one through the socket: an order of the primary, and what breaks the rules.
#[tokio::test(flavor = "multi_thread")]
async fn x01_streams_through_the_socket_end_as_others_do() {
    let world = World::new().await;
    let agent = world.agent("media-1").await;
    let laptop = world.credentials(Kind::ClientAgent, "laptop");
    let mut streams = Vec::new();
    for job in 1..=3 {
        let ticket = world.ticket(job, 1, &[Path::new(ITEM)]);
        let client = local_client(&laptop, &agent).await;
        let mut stream = BackupStream::open_over(client, world.hello(&ticket)).await;
        stream.welcome().await;
        stream.begin(0, &home(), "home").await;
        streams.push(stream);
    }
    let attempt = |job| world.ticket(job, 1, &[]).attempt;
    let fence = FenceAttempt {
        attempt: attempt(1),
        keep_snapshots: vec![],
        only_end: false,
    };
    let stop = StopAttempt {
        attempt: attempt(2),
        how: Stopped::Immediate.into(),
        cancel: true,
        fault: None,
    };
    world.primary.order(primary_message::Body::Fence(fence)).await;
    world.primary.order(primary_message::Body::Stop(stop)).await;
    let body = backup_up::Body::ItemBegin(outlast_proto::v1::ItemBegin {
        item: 7,
        ..Default::default()
    });
    streams[2].send(body).await;
    let mut codes = Vec::new();
    for stream in streams {
        codes.push(stream.over().await.code);
    }
    assert_eq!(codes, [1101, 150, 59]);
    world.assert_clean();
    agent.stop().await;
}
