//! A hostile client with a certificate of the cluster's own: each thing it does ends its own attempt with a code, and the
//! honest job beside it does not notice (DESIGN 5).

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::leader::Primaries;
use outlast_kit::session::{Session, hold};
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tls::{Credentials, TlsFiles, media_agent_server_name};
use outlast_proto::v1::data_client::DataClient;
use outlast_proto::v1::{
    AdmitAttempt, Admitted, AgentKind, AgentMessage, AttemptOver, AttemptRef, BackupUp, Chunk, Chunks,
    Entries, Entry, FileEnd, FileEnds, Hello, ItemBegin, ItemEnd, JobError, LeaveDirectory, Node, NodeType,
    Offer, Offers, StreamGoodbye, StreamHello, Ticket, agent_message, backup_down, backup_up, entry,
    primary_message,
};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::cluster::{Cluster, Ran, outlast, wait_until};
use crate::tree;

const MALLORY: &str = "mallory";
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn credentials(cluster: &Cluster, name: &str) -> Credentials {
    let file = |end: &str| cluster.data_dir().join("tls").join(format!("{name}{end}"));
    let files = TlsFiles {
        ca: cluster.data_dir().join("tls/ca.pem"),
        cert: file(".pem"),
        key: file("-key.pem"),
    };
    Credentials::load(&files).unwrap()
}

/// The addresses of the primaries, as an agent's own file has them.
pub(crate) fn primaries(cluster: &Cluster) -> Vec<String> {
    let text = std::fs::read_to_string(cluster.data_dir().join("client.toml")).unwrap();
    let context: toml::Table = text.parse().unwrap();
    let addresses = context["primaries"].as_array().unwrap().iter();
    addresses
        .map(|address| address.as_str().unwrap().to_owned())
        .collect()
}

/// A client agent by hand, enrolled like any other.
struct Mallory<'a> {
    cluster: &'a Cluster,
    credentials: Credentials,
    orders: mpsc::Receiver<AdmitAttempt>,
    session: Shutdown,
}

impl<'a> Mallory<'a> {
    fn enrol(cluster: &'a Cluster) -> Self {
        let tls = cluster.data_dir().join("tls");
        let issued = outlast()
            .args(["authority", "issue", "client-agent", MALLORY, "--folder"])
            .arg(tls)
            .output();
        Ran::of(issued.unwrap()).expect(0);
        let credentials = credentials(cluster, MALLORY);
        let primaries = Arc::new(Primaries::new(credentials.clone(), &primaries(cluster)).unwrap());
        let (to_test, orders) = mpsc::channel(16);
        let session = Shutdown::new();
        let hello = || Hello {
            kind: AgentKind::ClientAgent.into(),
            start_id: "mallory's".into(),
            version: "6.6.6".into(),
            host_id: "elsewhere".into(),
            carries_nonces: true,
            ..Hello::default()
        };
        let held = hold(primaries, session.clone(), hello, move |session| {
            obey(session, to_test.clone())
        });
        tokio::spawn(held);
        wait_until("the new client to be known", || {
            cluster.try_run(&["agent", "show", MALLORY]).code == 0
        });
        let policy = cluster.data_dir().join("mallory.toml");
        let text = "name = \"mallory\"\nclients = [\"mallory\"]\nitems = [\"/evil\"]\n";
        std::fs::write(&policy, text).unwrap();
        cluster.run(&["policy", "apply", "-f", policy.to_str().unwrap()]);
        Self {
            cluster,
            credentials,
            orders,
            session,
        }
    }

    /// A job of its own, admitted; its id and a stream up to the begin of its item.
    async fn job(&mut self) -> (String, Stream) {
        let job = self.cluster.json(&["job", "run", MALLORY]);
        let id = job["id"].as_str().unwrap().to_owned();
        let order = self.order(&id).await;
        let stream = self.stream(&id, &order, &self.credentials).await;
        (id, stream)
    }

    /// The order for this job. Those for the one before came as often as there were sessions meanwhile.
    async fn order(&mut self, job: &str) -> AdmitAttempt {
        let is_of = |order: &AdmitAttempt| {
            let ticket = order.ticket.clone().unwrap().ticket;
            Ticket::decode(ticket).unwrap().attempt.unwrap().job == job
        };
        let found = async {
            loop {
                let order = self.orders.recv().await.unwrap();
                if is_of(&order) {
                    return order;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }

    async fn stream(&self, job: &str, order: &AdmitAttempt, credentials: &Credentials) -> Stream {
        let shown = self.cluster.json(&["job", "show", job]);
        let media = shown["attempts"][0]["media_agent"].as_str().unwrap();
        let hello = StreamHello {
            ticket: order.ticket.clone(),
            start_id: "mallory's".into(),
            ..StreamHello::default()
        };
        Stream::open(credentials, (media, &order.data_addresses[0]), hello).await
    }

    /// Waits until its job is done; the code.
    fn end(&self, id: &str) -> u64 {
        let job = self.cluster.try_run(&["-o", "json", "job", "watch", id]).json();
        assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
        job["attempts"][0]["status_code"].as_u64().unwrap()
    }
}

/// Takes every order.
async fn obey(mut session: Session, orders: mpsc::Sender<AdmitAttempt>) {
    while let Ok(Some(message)) = session.down.message().await {
        let Some(primary_message::Body::Admit(order)) = message.body else {
            continue;
        };
        // Its own attempt is the only one there is; one of somebody else ends the session.
        let others = Admitted {
            attempt: Some(AttemptRef {
                job: "1".into(),
                attempt: 1,
                nonce: 0,
            }),
        };
        // Nobody wants one any more when the test is over.
        let _ = orders.send(order).await;
        let body = Some(agent_message::Body::Admitted(others));
        let _ = session.up.send(AgentMessage { body }).await;
    }
}

struct Stream {
    up: mpsc::Sender<BackupUp>,
    down: Streaming<outlast_proto::v1::BackupDown>,
    sequence: u64,
}

impl Stream {
    async fn open(credentials: &Credentials, (media, address): (&str, &str), hello: StreamHello) -> Self {
        let channel = credentials
            .channel(address, &media_agent_server_name(media))
            .unwrap();
        let (up, messages) = mpsc::channel(64);
        let body = Some(backup_up::Body::Hello(hello));
        up.send(BackupUp {
            body,
            ..BackupUp::default()
        })
        .await
        .unwrap();
        let down = DataClient::new(channel)
            .backup(ReceiverStream::new(messages))
            .await;
        Self {
            up,
            down: down.unwrap().into_inner(),
            sequence: 0,
        }
    }

    async fn send(&mut self, body: backup_up::Body) {
        self.sequence += 1;
        let message = BackupUp {
            sequence: self.sequence,
            received: 0,
            body: Some(body),
        };
        // Whoever is thrown out cannot finish.
        let _ = self.up.send(message).await;
    }

    /// The last word, after which there is nothing.
    async fn over(mut self) -> AttemptOver {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.down.message()).await;
            let message = message
                .expect("it is not thrown out")
                .unwrap()
                .expect("no last word");
            if let Some(backup_down::Body::Over(over)) = message.body {
                assert!(matches!(self.down.message().await, Ok(None)));
                return over;
            }
        }
    }
}

fn node(number: u64, name: &[u8], kind: NodeType, size: u64) -> Node {
    Node {
        number,
        name: name.to_vec().into(),
        r#type: kind.into(),
        size,
        links: 1,
        ..Node::default()
    }
}

/// The walk of a directory with these entries.
fn tree_of(nodes: Vec<Node>) -> backup_up::Body {
    let root = entry::Kind::Enter(node(0, b"evil", NodeType::Directory, 0));
    let nodes = nodes.into_iter().map(entry::Kind::Node);
    let end = entry::Kind::Leave(LeaveDirectory {});
    let kinds = std::iter::once(root).chain(nodes).chain([end]);
    let entries = kinds.map(|kind| Entry { kind: Some(kind) }).collect();
    backup_up::Body::Entries(Entries { entries })
}

fn begin() -> backup_up::Body {
    backup_up::Body::ItemBegin(ItemBegin {
        item: 0,
        ..Default::default()
    })
}

fn end(error: Option<JobError>) -> backup_up::Body {
    backup_up::Body::ItemEnd(ItemEnd {
        item: 0,
        error,
        excluded: 0,
    })
}

fn named(names: &[&[u8]]) -> Vec<backup_up::Body> {
    let files = names.iter().zip(1..);
    let files = files.map(|(name, number)| node(number, name, NodeType::File, 0));
    vec![begin(), tree_of(files.collect()), end(None)]
}

/// A file of one chunk of three bytes that has this id; what else is sent of it.
fn with_chunk(rest: Vec<backup_up::Body>) -> Vec<backup_up::Body> {
    let offer = Offer {
        node: 1,
        id: vec![7; 32].into(),
        length: 3,
        ..Offer::default()
    };
    let offers = Offers {
        number: 1,
        offers: vec![offer],
    };
    let mut bodies = vec![
        begin(),
        tree_of(vec![node(1, b"file", NodeType::File, 3)]),
        backup_up::Body::Offers(offers),
    ];
    bodies.extend(rest);
    bodies
}

fn chunk() -> backup_up::Body {
    let chunk = Chunk {
        id: vec![7; 32].into(),
        length: 3,
        compressed: false,
        data: vec![1, 2, 3].into(),
    };
    backup_up::Body::Chunks(Chunks { chunks: vec![chunk] })
}

fn file_end(size: u64) -> backup_up::Body {
    let end = FileEnd {
        node: 1,
        size,
        ..FileEnd::default()
    };
    backup_up::Body::FileEnds(FileEnds { ends: vec![end] })
}

/// What it sends, and the code for it.
fn deeds() -> Vec<(&'static str, Vec<backup_up::Body>, u64)> {
    let error = |code, text: String| vec![begin(), end(Some(JobError { code, text }))];
    let absurd = tree_of(vec![node(1, b"file", NodeType::File, u64::MAX)]);
    vec![
        ("a chunk whose hash is wrong", with_chunk(vec![chunk()]), 59),
        (
            "a chunk it never sends",
            with_chunk(vec![file_end(3), end(None)]),
            59,
        ),
        ("a chunk nobody asked for", vec![begin(), chunk()], 59),
        ("the same chunk twice", with_chunk(vec![chunk(), chunk()]), 59),
        ("up", named(&[b".."]), 59),
        ("a path for a name", named(&[b"../../etc/passwd"]), 59),
        ("an absolute path", named(&[b"/etc/passwd"]), 59),
        ("a name with NUL", named(&[b"a\0b"]), 59),
        ("names out of order", named(&[b"b", b"a"]), 59),
        ("the same name twice", named(&[b"a", b"a"]), 59),
        ("a name of megabytes", named(&[&vec![b'/'; 6 << 20]]), 59),
        (
            "a file larger than any",
            vec![begin(), absurd, file_end(u64::MAX)],
            59,
        ),
        ("an item that is none", vec![begin(), begin()], 59),
        ("an error without a code", error(70_000, "x".repeat(6 << 20)), 13),
        ("an error that is none", error(0, String::new()), 13),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_client_harms_only_its_own_jobs() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("big"), tree::noise(32 << 20, 9)).unwrap();
    cluster
        .apply_policy("honest", &[&source], "[limits]\nbandwidth = \"4MiB/s\"")
        .expect(0);
    let honest = cluster.json(&["job", "run", "honest"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        honest, "1",
        "it is the one whose admission is told by somebody else"
    );
    wait_until("data to flow", || {
        cluster.json(&["job", "show", &honest])["progress"]["bytes"]
            .as_u64()
            .unwrap_or(0)
            > 0
    });
    // Who connects and never says anything holds up nobody.
    let silent: Vec<_> = (0..300)
        .map(|n| TcpStream::connect(listener(&cluster, n)).unwrap())
        .collect();

    let mut mallory = Mallory::enrol(&cluster);
    for (deed, bodies, code) in deeds() {
        let (id, mut stream) = mallory.job().await;
        for body in bodies {
            stream.send(body).await;
        }
        let over = stream.over().await;
        assert_eq!(u64::from(over.code), code, "{deed}: {:.300}", over.text);
        assert!(!over.text.is_empty() && over.text.len() < 5000, "{deed}");
        assert_eq!(mallory.end(&id), code, "{deed}");
    }
    // With a ticket that is another's.
    let job = cluster.json(&["job", "run", MALLORY])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let order = mallory.order(&job).await;
    let as_another = mallory
        .stream(&job, &order, &credentials(&cluster, "client-1"))
        .await;
    assert_eq!(as_another.over().await.code, 59);
    let stream = mallory.stream(&job, &order, &mallory.credentials).await;
    // Goodbye in the middle of its work.
    let body = Some(backup_up::Body::Goodbye(StreamGoodbye::default()));
    let goodbye = BackupUp {
        body,
        ..BackupUp::default()
    };
    stream.up.send(goodbye).await.unwrap();
    assert_eq!(mallory.end(&job), 40);
    mallory.session.begin();
    drop(silent);

    let job = cluster.run(&["-o", "json", "job", "watch", &honest]).json();
    assert_eq!(job["status"], "successful", "{job:#}");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    assert_restored(
        &cluster,
        &source,
        job["items"][0]["restore_point"].as_str().unwrap(),
    );
    let points = cluster.json(&["restore-point", "list"]);
    assert_eq!(points.as_array().unwrap().len(), 1, "{points:#}");
}

fn assert_restored(cluster: &Cluster, source: &Path, point: &str) {
    cluster.check_repository();
    let target = cluster.place("target");
    cluster.restic(&["restore", point, "--target", target.to_str().unwrap()]);
    tree::assert_same(source, &target.join(source.strip_prefix("/").unwrap()));
}

/// Each of the cluster's listeners in turn.
fn listener(cluster: &Cluster, number: usize) -> String {
    let children = ["media-1", "media-2", "primary-1", "primary-2", "primary-3"];
    crate::stream::listen(cluster, children[number % children.len()])
}
