//! Three primaries in one process, each with a clock and a cluster version of its own.
#![allow(dead_code, reason = "not every test needs everything")]

#[path = "../../../tests/support/ports.rs"]
mod ports;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use outlast_kit::authority::Authority;
use outlast_kit::clock::{Clock, SharedClock, SystemClock};
use outlast_kit::identity::{Identity, Kind};
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tls::{ANY_PRIMARY, Credentials, TlsFiles};
use outlast_primary::{Config, MemberConfig, Nature, RunError, run_with};
use outlast_proto::v1::cluster_client::ClusterClient;
use outlast_proto::v1::{ClusterStatus, ClusterStatusRequest, Reconciler, TransferLeaderRequest};
use outlast_proto::words::{Timestamp, Timing};
use ports::free_ports;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// Generous: a test that hits it is broken or the machine is.
const PATIENCE: Duration = Duration::from_secs(120);
const ALL: [u64; 3] = [1, 2, 3];

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

struct Node {
    config: Config,
    ahead: Arc<AtomicI64>,
    client: ClusterClient<Channel>,
    shutdown: Shutdown,
    task: Option<JoinHandle<Result<(), RunError>>>,
}

pub(crate) struct Group {
    nodes: Vec<Node>,
    _folder: tempfile::TempDir,
}

pub(crate) fn name(node: u64) -> String {
    format!("node-{node}")
}

impl Group {
    /// Starts nodes 1 to 3, each speaking the cluster version that is given for it.
    pub(crate) async fn start(speak: [u32; 3]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (authority, ca) = Authority::create().unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca.cert).unwrap();
        let operator = Credentials::load(&issue(folder.path(), &authority, Kind::Operator, "admin")).unwrap();
        let mut listeners = Vec::new();
        for _ in ALL {
            listeners.push(TcpListener::bind(("127.0.0.1", free_ports())).await.unwrap());
        }
        let members = ALL
            .iter()
            .zip(&listeners)
            .map(|(node_id, listener)| MemberConfig {
                node_id: *node_id,
                name: name(*node_id),
                address: listener.local_addr().unwrap().to_string(),
            });
        let members: Vec<_> = members.collect();
        let nodes = members.iter().map(|member| Node {
            config: Config {
                name: member.name.clone(),
                node_id: member.node_id,
                data_dir: folder.path().join(&member.name),
                listen: member.address.parse().unwrap(),
                advertise: None,
                initial_members: members.clone(),
                timing: Timing::default(),
                host_id: None,
                reported_version: None,
                tls: issue(folder.path(), &authority, Kind::Primary, &member.name),
            },
            ahead: Arc::default(),
            client: ClusterClient::new(operator.channel(&member.address, ANY_PRIMARY).unwrap()),
            shutdown: Shutdown::new(),
            task: None,
        });
        let mut group = Self {
            nodes: nodes.collect(),
            _folder: folder,
        };
        for ((node, listener), speaks) in ALL.into_iter().zip(listeners).zip(speak) {
            group.start_on(node, listener, speaks);
        }
        group
    }

    fn node(&mut self, node: u64) -> &mut Node {
        &mut self.nodes[node as usize - 1]
    }

    fn start_on(&mut self, node: u64, listener: TcpListener, speaks: u32) {
        let node = self.node(node);
        let clock = OffClock {
            system: SystemClock::shared(),
            ahead: Arc::clone(&node.ahead),
        };
        let nature = Nature {
            clock: Arc::new(clock),
            cluster_version: speaks,
        };
        node.shutdown = Shutdown::new();
        let run = run_with(node.config.clone(), listener, nature, node.shutdown.clone());
        node.task = Some(tokio::spawn(run));
    }

    /// Starts a node again, as a program that speaks this cluster version.
    pub(crate) async fn start_node(&mut self, node: u64, speaks: u32) {
        let address = self.node(node).config.listen;
        let began = Instant::now();
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{address}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        self.start_on(node, listener, speaks);
    }

    pub(crate) async fn stop_node(&mut self, node: u64) {
        self.node(node).shutdown.begin();
        self.ended(node).await.unwrap();
    }

    /// Waits until a node has ended.
    pub(crate) async fn ended(&mut self, node: u64) -> Result<(), RunError> {
        let task = self.node(node).task.take().unwrap();
        tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap()
    }

    pub(crate) fn set_clock(&self, node: u64, seconds: i64) {
        let ahead = &self.nodes[node as usize - 1].ahead;
        ahead.store(seconds * 1_000_000, Ordering::Relaxed);
    }

    /// As a node sees its group.
    async fn status(&self, node: u64) -> Option<ClusterStatus> {
        let mut client = self.nodes[node as usize - 1].client.clone();
        let answer = client.status(ClusterStatusRequest {}).await;
        answer.ok().map(tonic::Response::into_inner)
    }

    /// What a node says of its reconcilers, once it fits.
    pub(crate) async fn reconcilers(
        &self,
        node: u64,
        fits: impl Fn(&[Reconciler]) -> bool,
    ) -> Vec<Reconciler> {
        let began = Instant::now();
        loop {
            let told = self.status(node).await.map(|status| status.reconcilers);
            let told = told.unwrap_or_default();
            if !told.is_empty() && fits(&told) {
                return told;
            }
            assert!(began.elapsed() < PATIENCE, "waited in vain: {told:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The leader, once all nodes name the same, and it fits.
    pub(crate) async fn leader(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        self.leader_of(&ALL, what, fits).await
    }

    /// The leader, once these nodes name the same, and it fits.
    pub(crate) async fn leader_of(&self, nodes: &[u64], what: &str, fits: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let mut named = Vec::new();
            for node in nodes {
                named.push(
                    self.status(*node)
                        .await
                        .map(|status| status.leader)
                        .unwrap_or_default(),
                );
            }
            let agreed = named.iter().all(|other| *other == named[0]);
            if agreed && !named[0].is_empty() && fits(&named[0]) {
                return named.swap_remove(0);
            }
            assert!(began.elapsed() < PATIENCE, "waited in vain for {what}: {named:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every node has this cluster version.
    pub(crate) async fn until_version(&self, version: u32) {
        let began = Instant::now();
        loop {
            let mut seen = Vec::new();
            for node in ALL {
                seen.push(self.status(node).await.map(|status| status.cluster_version));
            }
            if seen.iter().all(|seen| *seen == Some(version)) {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "waited in vain for version {version}: {seen:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Makes a node the leader, if only for a moment.
    pub(crate) async fn transfer(&self, to: u64) {
        let began = Instant::now();
        loop {
            let leader = self.leader("a leader", |_| true).await;
            let leader = self.nodes.iter().find(|node| node.config.name == leader);
            let mut client = leader.unwrap().client.clone();
            match client
                .transfer_leader(TransferLeaderRequest { to: name(to) })
                .await
            {
                Ok(done) if done.get_ref().leader == name(to) => return,
                // One that just took over may still have to settle.
                other => assert!(began.elapsed() < PATIENCE, "{other:?}"),
            }
        }
    }

    /// Makes a node the leader, and sees it lead a second later: it looks at the clocks as soon as it leads.
    pub(crate) async fn make_leader_for_good(&self, node: u64) {
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

    pub(crate) async fn stop(mut self) {
        self.nodes.iter().for_each(|node| node.shutdown.begin());
        for node in ALL {
            self.ended(node).await.unwrap();
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
