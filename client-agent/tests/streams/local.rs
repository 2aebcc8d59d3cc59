//! A media agent on the same host: data goes through its socket, and over TLS wherever that cannot be.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outlast_kit::identity::Identity;
use outlast_kit::listen::Limits;
use outlast_kit::local::{LocalIncoming, LocalSocket};
use outlast_proto::v1::LocalWay;
use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::Server;

use crate::media_agent::{MediaAgent, Script, Told, Way};
use crate::run::{World, attempt, ticket};
use crate::trees::noise;

const SOCKET: &str = "outlast.sock";

fn socket(world: &World) -> (LocalSocket, LocalIncoming) {
    LocalSocket::open(
        &world.temp.path().join("local"),
        Limits::default(),
        Duration::from_secs(30),
    )
    .unwrap()
}

fn item(world: &World) -> PathBuf {
    let item = world.temp.path().join("item");
    std::fs::create_dir(&item).unwrap();
    for number in 0..8 {
        std::fs::write(item.join(number.to_string()), noise(number, 1 << 20)).unwrap();
    }
    item
}

/// One backup by a whole agent; what the media agent was told.
async fn back_up(world: &World, way: Box<Way>, callers: LocalIncoming) -> Told {
    let agent = MediaAgent::new(Script {
        items: 1,
        way: Some(way),
        ..Script::default()
    });
    let serving = Server::builder()
        .add_service(agent.server())
        .serve_with_incoming(callers);
    let serving = tokio::spawn(serving);
    let address = world.media_agent(&agent).await;
    let process = world.start();
    let mut session = world.session().await;
    session.welcome(&[]).await;
    session.admit(&ticket(&item(world), 1), address).await;
    session.done(&attempt(1)).await;
    process.end().await;
    serving.abort();
    let told = agent.told();
    assert_eq!(told.items.len(), 1);
    let end = told.items[0].end.as_ref();
    assert_eq!(end.map(|end| end.error.is_none()), Some(true));
    let files = crate::media_agent::nodes(&told.items[0].entries);
    for node in files.into_iter().filter(|node| node.size == 1 << 20) {
        let number = std::str::from_utf8(&node.name).unwrap().parse().unwrap();
        assert!(told.content(0, node.number) == noise(number, 1 << 20), "{number}");
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_goes_through_the_socket_of_the_media_agent() {
    let world = World::new().await;
    let (socket, callers) = socket(&world);
    let way = move |client: &Identity| {
        assert_eq!(client.name, "client");
        socket.hand_over(client)
    };
    let told = back_up(&world, Box::new(way), callers).await;
    assert_eq!((told.streams, told.local_streams), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_goes_over_tls_where_there_is_no_way_through_a_socket() {
    type Change = fn(LocalWay, &Path) -> Option<LocalWay>;
    let rows: [(&str, Change); 4] = [
        ("no way", |_, _| None),
        ("no socket", |way, folder| {
            let path = folder.join("nowhere").join(SOCKET);
            let path = path.into_os_string().into_encoded_bytes().into();
            Some(LocalWay { path, ..way })
        }),
        ("a token that is none", |way, _| {
            let token = vec![0; 32].into();
            Some(LocalWay { token, ..way })
        }),
        ("another one answers", |way, _| {
            let proof = vec![0; 32].into();
            Some(LocalWay { proof, ..way })
        }),
    ];
    for (case, change) in rows {
        let world = World::new().await;
        let (socket, callers) = socket(&world);
        let folder = world.temp.path().to_owned();
        let way = move |client: &Identity| change(socket.hand_over(client).unwrap(), &folder);
        let told = back_up(&world, Box::new(way), callers).await;
        assert_eq!((told.streams, told.local_streams), (1, 0), "{case}");
    }
}

/// Leads on to another socket; each connection in turn is cut after so many bytes of the client.
async fn lead(listener: UnixListener, to: PathBuf, mut plan: VecDeque<u64>) {
    while let Ok((from, _)) = listener.accept().await {
        let to = UnixStream::connect(&to).await.unwrap();
        let most = plan.pop_front().unwrap_or(u64::MAX);
        tokio::spawn(async move {
            let (from, mut back) = from.into_split();
            let (mut answers, mut up) = to.into_split();
            let mut said = from.take(most);
            tokio::select! {
                _ = tokio::io::copy(&mut said, &mut up) => {}
                _ = tokio::io::copy(&mut answers, &mut back) => {}
            }
        });
    }
}

/// Every break is mended over a new connection, for which the client asks over TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f10_a_backup_goes_on_through_the_socket_over_every_break() {
    let world = World::new().await;
    let (socket, callers) = socket(&world);
    let folder = world.temp.path().join("lead");
    std::fs::create_dir(&folder).unwrap();
    let listener = UnixListener::bind(folder.join(SOCKET)).unwrap();
    let plan = VecDeque::from([1_500_000, 20_000, 2_500_000, 40_000]);
    let cuts = plan.len();
    tokio::spawn(lead(listener, world.temp.path().join("local").join(SOCKET), plan));
    let path = folder.join(SOCKET).into_os_string().into_encoded_bytes();
    let way = move |client: &Identity| {
        let path = path.clone().into();
        socket.hand_over(client).map(|way| LocalWay { path, ..way })
    };
    let told = back_up(&world, Box::new(way), callers).await;
    assert!(told.streams > cuts, "{}", told.streams);
    assert_eq!(told.local_streams, told.streams);
}
