//! Both sides against each other, and each against one that does not keep to the rules.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use outlast_proto::v1::LocalWay;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::StreamExt as _;
use tonic::transport::server::Connected as _;

use super::{LocalIncoming, LocalSocket, SOCKET, connect};
use crate::identity::{Identity, Kind};
use crate::listen::Limits;

const LONG: Duration = Duration::from_secs(3600);

fn laptop() -> Identity {
    Identity {
        kind: Kind::ClientAgent,
        name: "laptop".to_owned(),
    }
}

fn socket(folder: &Path, lifetime: Duration) -> (LocalSocket, LocalIncoming) {
    LocalSocket::open(folder, Limits::default(), lifetime).unwrap()
}

/// Lets in who comes, until `caller` is done.
async fn meanwhile<T>(incoming: &mut LocalIncoming, caller: impl Future<Output = T>) -> (Vec<Identity>, T) {
    let mut let_in = Vec::new();
    let mut kept = Vec::new();
    tokio::pin!(caller);
    loop {
        tokio::select! {
            biased;
            connection = incoming.next() => {
                let connection = connection.unwrap().unwrap();
                let_in.push(connection.connect_info().0);
                kept.push(connection);
            }
            done = &mut caller => return (let_in, done),
        }
    }
}

/// What a peer hears that says `bytes`, and no more.
async fn answer(folder: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(folder.join(SOCKET)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut heard = Vec::new();
    // Closed with unread bytes it is a reset.
    let _ = stream.read_to_end(&mut heard).await;
    heard
}

#[tokio::test]
async fn a_way_is_gone_once_and_as_whoever_it_was_handed_to() {
    let temp = tempfile::tempdir().unwrap();
    let deep = temp.path().join("d".repeat(150));
    std::fs::create_dir(&deep).unwrap();
    for folder in [temp.path().join("local"), deep.join("local")] {
        let (socket, mut incoming) = socket(&folder, LONG);
        let way = socket.hand_over(&laptop()).unwrap();
        assert_eq!(way.path, folder.join(SOCKET).as_os_str().as_encoded_bytes());
        let (let_in, channel) = meanwhile(&mut incoming, connect(&way)).await;
        channel.unwrap();
        assert_eq!(let_in, [laptop()]);
        let (let_in, again) = meanwhile(&mut incoming, connect(&way)).await;
        again.unwrap_err();
        assert_eq!(let_in, []);
    }
}

#[tokio::test]
async fn who_shows_no_token_hears_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (socket, mut incoming) = socket(temp.path(), LONG);
    let way = socket.hand_over(&laptop()).unwrap();
    for wrong in [
        &[0; 32][..],
        &[7; 4096],
        &way.proof,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n1234567890",
    ] {
        let (let_in, heard) = meanwhile(&mut incoming, answer(temp.path(), wrong)).await;
        assert_eq!((let_in, heard), (vec![], vec![]), "{wrong:?}");
    }
    // It is as good as before, and the answer is the proof.
    let said = [&way.token[..], b"more"].concat();
    let caller = async {
        let mut stream = UnixStream::connect(temp.path().join(SOCKET)).await.unwrap();
        stream.write_all(&said).await.unwrap();
        let mut heard = [0; 32];
        stream.read_exact(&mut heard).await.unwrap();
        heard
    };
    let (let_in, heard) = meanwhile(&mut incoming, caller).await;
    assert_eq!((let_in, &heard[..]), (vec![laptop()], &way.proof[..]));
}

#[tokio::test]
async fn a_token_that_is_too_old_is_none() {
    let temp = tempfile::tempdir().unwrap();
    let (socket, mut incoming) = socket(temp.path(), Duration::ZERO);
    let way = socket.hand_over(&laptop()).unwrap();
    let (let_in, heard) = meanwhile(&mut incoming, answer(temp.path(), &way.token)).await;
    assert_eq!((let_in, heard), (vec![], vec![]));
}

#[tokio::test]
async fn whoever_says_nothing_or_little_is_sent_away_and_holds_nobody_up() {
    let temp = tempfile::tempdir().unwrap();
    let limits = Limits {
        handshake: Duration::from_secs(3),
        silence: LONG,
        ..Limits::default()
    };
    let (socket, mut incoming) = LocalSocket::open(temp.path(), limits, LONG).unwrap();
    let ways = [(); 2].map(|()| socket.hand_over(&laptop()).unwrap());
    let caller = async {
        let (silent, slow) = (
            answer(temp.path(), b""),
            answer(temp.path(), &ways[0].token[..31]),
        );
        tokio::join!(silent, slow, connect(&ways[1])).2.unwrap();
    };
    let (let_in, ()) = meanwhile(&mut incoming, caller).await;
    assert_eq!(let_in, [laptop()]);
}

#[tokio::test]
async fn there_are_so_many_places_and_they_become_free_again() {
    let temp = tempfile::tempdir().unwrap();
    let limits = Limits {
        from_one_address: 2,
        ..Limits::default()
    };
    let (socket, mut incoming) = LocalSocket::open(temp.path(), limits, LONG).unwrap();
    let ways: Vec<_> = (0..3).map(|_| socket.hand_over(&laptop()).unwrap()).collect();
    let mut silent = UnixStream::connect(temp.path().join(SOCKET)).await.unwrap();
    let caller = async {
        let first = connect(&ways[0]).await.unwrap();
        connect(&ways[1]).await.unwrap_err();
        first
    };
    let (let_in, _first) = meanwhile(&mut incoming, caller).await;
    assert_eq!(let_in.len(), 1);
    silent.shutdown().await.unwrap();
    let mut heard = Vec::new();
    meanwhile(&mut incoming, silent.read_to_end(&mut heard))
        .await
        .1
        .unwrap();
    let (let_in, third) = meanwhile(&mut incoming, connect(&ways[2])).await;
    third.unwrap();
    assert_eq!(let_in.len(), 1);
}

#[tokio::test]
async fn what_an_earlier_process_left_is_replaced() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("local");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    // Nobody listens any more, and the file is still there.
    drop(std::os::unix::net::UnixListener::bind(folder.join(SOCKET)).unwrap());
    let (socket, mut incoming) = socket(&folder, LONG);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join(SOCKET))), (0o700, 0o600));
    let way = socket.hand_over(&laptop()).unwrap();
    let (let_in, channel) = meanwhile(&mut incoming, connect(&way)).await;
    channel.unwrap();
    assert_eq!(let_in, [laptop()]);
    // A link is no folder of ours.
    symlink(&folder, temp.path().join("link")).unwrap();
    assert!(LocalSocket::open(&temp.path().join("link"), Limits::default(), LONG).is_err());
}

/// Answers like one that is somebody else; how many bytes it was told.
async fn impostor(listener: UnixListener, proof: &[u8]) -> usize {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut heard = Vec::new();
    let _ = stream.write_all(proof).await;
    let _ = stream.read_to_end(&mut heard).await;
    heard.len()
}

#[tokio::test]
async fn a_client_goes_only_where_it_was_meant_to_go() {
    let temp = tempfile::tempdir().unwrap();
    let (socket, mut incoming) = socket(&temp.path().join("local"), LONG);
    let way = || socket.hand_over(&laptop()).unwrap();
    let to = |path: &Path| LocalWay {
        path: path.as_os_str().as_encoded_bytes().to_vec().into(),
        ..way()
    };
    let place = |name: &str| {
        let folder = temp.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        folder.join(SOCKET)
    };
    let (link, file, dead) = (place("link"), place("file"), place("dead"));
    let real = temp.path().join("local").join(SOCKET);
    let renamed = temp.path().join("local/docker.sock");
    symlink(&real, &link).unwrap();
    std::fs::hard_link(&real, &renamed).unwrap();
    std::fs::write(&file, b"").unwrap();
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let bad = |change: fn(&mut LocalWay)| {
        let mut way = way();
        change(&mut way);
        way
    };
    for (case, way) in [
        ("nothing there", to(&place("nothing"))),
        ("a link", to(&link)),
        ("a file", to(&file)),
        ("nobody listens", to(&dead)),
        ("another name", to(&renamed)),
        ("no absolute path", to(Path::new(SOCKET))),
        ("no path", bad(|way| way.path.clear())),
        ("another user", bad(|way| way.uid += 1)),
        ("no token", bad(|way| way.token.clear())),
        ("no proof", bad(|way| way.proof.truncate(31))),
        ("another proof", bad(|way| way.proof = vec![0; 32].into())),
    ] {
        let (_, went) = meanwhile(&mut incoming, connect(&way)).await;
        assert!(went.is_err(), "{case}");
    }
    // Whoever took the place gets the token, which is good for nothing without the real socket, and no more.
    let path = place("taken");
    let way = to(&path);
    let impostor = impostor(UnixListener::bind(path).unwrap(), &way.token);
    let (said, went) = tokio::join!(impostor, connect(&way));
    assert!(went.is_err());
    assert_eq!(said, 32);
}
