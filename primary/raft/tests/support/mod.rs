//! What the tests share: a toy machine, nodes with a runtime each, and waiting for conditions.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs::{self, OpenOptions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outlast_raft::{
    Applied, Connect, ConnectError, Machine, MachineError, NodeId, Peer, ProposeError, RaftNode, RaftOptions,
    StartError, Timing,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

pub const LIMIT: Duration = Duration::from_secs(120);

/// What was applied: the command at each index.
pub type Rows = BTreeMap<u64, Vec<u8>>;

/// Keeps every command under its index and answers with the index. The command `poison` it does not know.
#[derive(Clone, Default)]
pub struct Ledger(pub Arc<Mutex<Rows>>, Arc<AtomicBool>);

impl Ledger {
    /// The next command gets another row than on the other nodes, as a bit that flipped would make it.
    pub fn lie(&self) {
        self.1.store(true, Ordering::Relaxed);
    }
}

impl Machine for Ledger {
    fn restore(&mut self, rows: Vec<(Vec<u8>, Vec<u8>)>, _: u64) -> Result<(), MachineError> {
        let index = |key: Vec<u8>| u64::from_be_bytes(key.try_into().unwrap());
        *self.0.lock().unwrap() = rows.into_iter().map(|(key, value)| (index(key), value)).collect();
        Ok(())
    }

    fn apply(&mut self, index: u64, command: &[u8]) -> Result<Applied, MachineError> {
        if command == b"poison" {
            return Err(MachineError::UnknownEntry {
                index,
                what: "poison".into(),
            });
        }
        // Rows stay small whatever the command's size.
        let mut row = command[..command.len().min(64)].to_vec();
        if self.1.swap(false, Ordering::Relaxed) {
            row.push(b'!');
        }
        assert!(
            self.0.lock().unwrap().insert(index, row.clone()).is_none(),
            "index {index} applied twice"
        );
        let key = index.to_be_bytes().to_vec();
        Ok(Applied {
            reply: key.clone(),
            changes: vec![(key, Some(row))],
        })
    }
}

/// Plain TCP. The real ones do TLS and keep-alive; keep-alive is here too because the append stream needs it.
pub struct Plain;

impl Connect for Plain {
    fn channel(&self, peer: &Peer) -> Result<Channel, ConnectError> {
        let bad = |e: tonic::transport::Error| ConnectError {
            address: peer.address.clone(),
            reason: e.to_string(),
        };
        let endpoint = Endpoint::from_shared(format!("http://{}", peer.address)).map_err(bad)?;
        Ok(endpoint
            .connect_timeout(Duration::from_millis(500))
            .http2_keep_alive_interval(Duration::from_millis(500))
            .keep_alive_timeout(Duration::from_millis(500))
            .keep_alive_while_idle(true)
            .connect_lazy())
    }
}

/// Addresses given to nodes of this process: a port that is free at the moment may be that of a node that starts later.
static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());

/// An address of this process's own: two runs at once do not meet, and a restart finds its port free.
pub fn own_address(node: NodeId) -> SocketAddr {
    // Neither 0 nor 255 at the end, and no two processes the same.
    let pid = std::process::id();
    let [high, middle, low] = [128 + pid / 253 / 256 % 128, pid / 253 % 256, 1 + pid % 253].map(|n| n as u8);
    let ip = IpAddr::V4(Ipv4Addr::new(127, high, middle, low));
    loop {
        let listener = TcpListener::bind((ip, 0)).unwrap_or_else(|e| panic!("node {node} on {ip}: {e}"));
        let address = listener.local_addr().unwrap();
        if GIVEN.lock().unwrap().insert(address) {
            return address;
        }
    }
}

/// Where a node lives; outlasts its runs.
pub struct Home {
    pub id: NodeId,
    pub address: SocketAddr,
    pub dir: TempDir,
    pub timing: Timing,
}

impl Home {
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            address: own_address(id),
            dir: tempfile::tempdir().unwrap(),
            timing: Timing::Lan,
        }
    }

    /// A node so patient that its leader stays the leader however busy this machine is, and that waits longer for the next one.
    pub fn patient(id: NodeId) -> Self {
        Self {
            timing: Timing::Wan,
            ..Self::new(id)
        }
    }

    pub fn peer(&self) -> Peer {
        Peer {
            name: format!("node{}", self.id),
            address: self.address.to_string(),
        }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn options(&self) -> RaftOptions {
        RaftOptions {
            timing: self.timing,
            ..options(self.id, self.peer(), &self.data())
        }
    }
}

pub fn options(id: NodeId, me: Peer, data: &Path) -> RaftOptions {
    RaftOptions {
        cluster: "test".into(),
        ..RaftOptions::new(id, me, data.to_path_buf(), Arc::new(Plain))
    }
}

/// A running node with threads of its own, so that it can die like a process.
pub struct Node {
    pub id: NodeId,
    pub raft: RaftNode,
    pub ledger: Ledger,
    runtime: Runtime,
}

impl Node {
    pub fn start(home: &Home) -> Result<Self, StartError> {
        Self::start_with(home, home.options())
    }

    pub fn start_with(home: &Home, options: RaftOptions) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let ledger = Ledger::default();
        let raft = runtime.block_on(RaftNode::start(options, ledger.clone()))?;
        let incoming = runtime.block_on(async { TcpIncoming::bind(home.address).unwrap() });
        runtime.spawn(
            Server::builder()
                .add_service(raft.service())
                .serve_with_incoming(incoming),
        );
        Ok(Self {
            id: home.id,
            raft,
            ledger,
            runtime,
        })
    }

    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub fn propose(&self, command: &str) -> Result<u64, ProposeError> {
        let reply = self.run(self.raft.propose(command.as_bytes().to_vec()))?;
        Ok(u64::from_be_bytes(reply.try_into().unwrap()))
    }

    pub fn rows(&self) -> Rows {
        self.ledger.0.lock().unwrap().clone()
    }

    /// Every task is dropped where it stands.
    pub fn kill(self) {
        self.runtime.shutdown_timeout(Duration::from_secs(10));
    }

    pub fn stop(self) {
        self.run(self.raft.shutdown());
        self.kill();
    }

    pub fn leads(&self) -> bool {
        self.raft.leadership().borrow().is_me
    }
}

/// A node that was alone in its cluster, took some commands and stopped in good order.
pub fn used() -> (Home, Rows) {
    let home = Home::new(1);
    let nodes = [Node::start(&home).unwrap()];
    let members = BTreeMap::from([(1, home.peer())]);
    nodes[0].run(nodes[0].raft.initialize(members)).unwrap();
    for n in 0..200 {
        leader(&nodes).propose(&format!("command {n}")).unwrap();
    }
    let rows = nodes[0].rows();
    nodes.into_iter().for_each(Node::stop);
    (home, rows)
}

/// Copies a directory with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target)
        } else {
            fs::copy(&path, &target).map(drop).unwrap()
        }
    }
}

/// Changes these bytes of a file.
pub fn flip(path: &Path, at: u64, bytes: usize) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut content = vec![0; bytes];
    file.read_exact_at(&mut content, at).unwrap();
    content.iter_mut().for_each(|byte| *byte ^= 0xA5);
    file.write_all_at(&content, at).unwrap();
}

/// Polls until `probe` gives something.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn eventually_eq<T: PartialEq + Debug>(what: &str, want: &T, mut probe: impl FnMut() -> T) {
    let mut last = None;
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        let found = probe();
        if found == *want {
            return;
        }
        last = Some(found);
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what}: wanted {want:?}, last was {last:?}");
}

/// Nodes 1 to `count`, started and initialised.
pub fn cluster(count: NodeId) -> (Vec<Home>, Vec<Node>) {
    initialised((1..=count).map(Home::new).collect())
}

/// As [`cluster`], for what is done to one leader that has to stay it meanwhile.
pub fn patient_cluster(count: NodeId) -> (Vec<Home>, Vec<Node>) {
    initialised((1..=count).map(Home::patient).collect())
}

fn initialised(homes: Vec<Home>) -> (Vec<Home>, Vec<Node>) {
    let nodes: Vec<Node> = homes.iter().map(|home| Node::start(home).unwrap()).collect();
    let members: BTreeMap<NodeId, Peer> = homes.iter().map(|home| (home.id, home.peer())).collect();
    assert_eq!(nodes[0].run(nodes[0].raft.initialize(members.clone())), Ok(true));
    assert_eq!(nodes[0].run(nodes[0].raft.initialize(members)), Ok(false));
    (homes, nodes)
}

pub fn leader(nodes: &[Node]) -> &Node {
    eventually("a leader", || nodes.iter().find(|node| node.leads()))
}

/// Proposes until it is accepted, with a new text each time: what has an unknown outcome is not repeated.
pub fn propose_somewhere(nodes: &[Node], text: &str) -> (u64, String) {
    let mut attempt = 0;
    eventually("an acknowledgement", || {
        attempt += 1;
        let text = format!("{text}/{attempt}");
        let node = leader(nodes);
        node.propose(&text).ok().map(|index| (index, text))
    })
}

/// Every acknowledged command is at its index, and no command is there twice.
pub fn assert_holds(rows: &Rows, acked: &BTreeMap<u64, String>) {
    for (index, text) in acked {
        assert_eq!(
            rows.get(index).map(Vec::as_slice),
            Some(text.as_bytes()),
            "index {index}"
        );
    }
    let mut commands: Vec<_> = rows.values().collect();
    commands.sort();
    commands.dedup();
    assert_eq!(commands.len(), rows.len(), "a command was applied twice");
}
