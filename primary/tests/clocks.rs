//! DESIGN 3: a leader whose clock is off those of the others hands leadership over. Three nodes in one process, each with its own clock.
#![allow(clippy::unwrap_used, reason = "tests; a script is read from top to bottom")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use outlast_kit::authority::Authority;
use outlast_kit::clock::{Clock, SharedClock, SystemClock};
use outlast_kit::identity::{Identity, Kind};
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tls::{ANY_PRIMARY, Credentials, TlsFiles};
use outlast_primary::{Config, MemberConfig, RunError, run_with};
use outlast_proto::v1::cluster_client::ClusterClient;
use outlast_proto::v1::{ClusterStatus, ClusterStatusRequest, TransferLeaderRequest};
use outlast_proto::words::{Timestamp, Timing};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// Generous: a test that hits it is broken or the machine is.
const PATIENCE: Duration = Duration::from_secs(120);
const NODES: u64 = 3;
const S: i64 = 1_000_000;

/// The system's clock, so many microseconds off.
struct OffClock {
    system: SharedClock,
    ahead: Arc<AtomicI64>,
}

impl Clock for OffClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.system.now().0 + self.ahead.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }
}

struct Group {
    /// By how much the clocks are ahead, from node 1 on.
    ahead: Vec<Arc<AtomicI64>>,
    clients: Vec<ClusterClient<Channel>>,
    nodes: Vec<JoinHandle<Result<(), RunError>>>,
    shutdown: Shutdown,
    _folder: tempfile::TempDir,
}

fn name(node: u64) -> String {
    format!("node-{node}")
}

impl Group {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (authority, ca) = Authority::create().unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca.cert).unwrap();
        let operator = Credentials::load(&issue(folder.path(), &authority, Kind::Operator, "admin")).unwrap();
        let mut listeners = Vec::new();
        for _ in 0..NODES {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let members: Vec<_> = (1..)
            .zip(&listeners)
            .map(|(node_id, listener)| MemberConfig {
                node_id,
                name: name(node_id),
                address: listener.local_addr().unwrap().to_string(),
            })
            .collect();
        let shutdown = Shutdown::new();
        let (mut ahead, mut clients, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
        for (member, listener) in members.iter().zip(listeners) {
            let config = Config {
                name: member.name.clone(),
                node_id: member.node_id,
                data_dir: folder.path().join(&member.name),
                listen: listener.local_addr().unwrap(),
                advertise: None,
                initial_members: members.clone(),
                timing: Timing::default(),
                host_id: None,
                reported_version: None,
                tls: issue(folder.path(), &authority, Kind::Primary, &member.name),
            };
            let mine: Arc<AtomicI64> = Arc::default();
            let clock = OffClock {
                system: SystemClock::shared(),
                ahead: Arc::clone(&mine),
            };
            ahead.push(mine);
            nodes.push(tokio::spawn(run_with(
                config,
                listener,
                Arc::new(clock),
                shutdown.clone(),
            )));
            let channel = operator.channel(&member.address, ANY_PRIMARY).unwrap();
            clients.push(ClusterClient::new(channel));
        }
        Self {
            ahead,
            clients,
            nodes,
            shutdown,
            _folder: folder,
        }
    }

    fn set_clock(&self, node: u64, seconds: i64) {
        self.ahead[node as usize - 1].store(seconds * S, Ordering::Relaxed);
    }

    /// Of a node as it sees itself.
    async fn status(&self, node: u64) -> Option<ClusterStatus> {
        let mut client = self.clients[node as usize - 1].clone();
        let answer = client.status(ClusterStatusRequest {}).await;
        answer.ok().map(tonic::Response::into_inner)
    }

    /// The leader, once all nodes name the same, and it fits.
    async fn leader(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let mut named = Vec::new();
            for node in 1..=NODES {
                named.extend(self.status(node).await.map(|status| status.leader));
            }
            if let [first, others @ ..] = named.as_slice()
                && others.len() + 1 == NODES as usize
                && others.iter().all(|other| other == first)
                && !first.is_empty()
                && fits(first)
            {
                return first.clone();
            }
            assert!(began.elapsed() < PATIENCE, "waited in vain for {what}: {named:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Makes a node the leader; one that just took over may still have to settle.
    async fn transfer(&self, to: u64) {
        let began = Instant::now();
        loop {
            let leader = self.leader("a leader", |_| true).await;
            let node = (1..=NODES).find(|node| name(*node) == leader).unwrap();
            let mut client = self.clients[node as usize - 1].clone();
            match client
                .transfer_leader(TransferLeaderRequest { to: name(to) })
                .await
            {
                Ok(done) if done.get_ref().leader == name(to) => return,
                other => assert!(began.elapsed() < PATIENCE, "{other:?}"),
            }
        }
    }

    /// Makes a node the leader, and sees it lead a second later: it looks at the clocks as soon as it leads.
    async fn make_leader_for_good(&self, node: u64) {
        let began = Instant::now();
        loop {
            self.transfer(node).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            if self.leader("a leader", |_| true).await == name(node) {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{} does not keep leadership",
                name(node)
            );
        }
    }

    async fn stop(self) {
        self.shutdown.begin();
        for node in self.nodes {
            node.await.unwrap().unwrap();
        }
    }
}

fn issue(folder: &Path, authority: &Authority, kind: Kind, name: &str) -> TlsFiles {
    let identity = Identity {
        kind,
        name: name.to_owned(),
    };
    let pem = authority.issue(&identity).unwrap();
    let file = |end: &str| folder.join(format!("{name}.{end}"));
    std::fs::write(file("pem"), pem.cert).unwrap();
    std::fs::write(file("key"), pem.key).unwrap();
    TlsFiles {
        ca: folder.join("ca.pem"),
        cert: file("pem"),
        key: file("key"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_clock_is_off_hands_over_and_one_of_few_seconds_does_not() {
    let group = Group::start().await;
    // Within what is tolerated.
    group.set_clock(2, -50);
    group.make_leader_for_good(2).await;
    // In the middle of its term.
    group.set_clock(2, -7200);
    group.leader("another leader", |leader| leader != name(2)).await;
    // Whoever is made the leader with a wrong clock gives it up at once.
    group.transfer(2).await;
    group
        .leader("another leader again", |leader| leader != name(2))
        .await;
    group.set_clock(2, 0);
    group.make_leader_for_good(2).await;
    group.stop().await;
}
