//! Nodes of a primary as on real hosts: processes of their own, with files written by the test and certificates made by
//! the command line. Used by the tests of groups. Where a test needs it each is in a network namespace of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::cluster::{Ran, outlast, wait_until};
use crate::network::Network;

/// A node of the primary or an agent, ended with the test.
pub(crate) struct Node {
    daemon: &'static str,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) config: PathBuf,
    pub(crate) data: PathBuf,
    /// Of the network that it is in.
    namespace: Option<String>,
    process: Option<Child>,
}

impl Node {
    pub(crate) fn start(&mut self) {
        self.launch();
        wait_until("the node to listen", || {
            std::net::TcpStream::connect(&self.address).is_ok()
        });
    }

    /// Starts it, without waiting for it to be up.
    pub(crate) fn launch(&mut self) {
        let log = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.config.with_extension("log"))
            .unwrap();
        let mut command = self.namespace.as_deref().map_or_else(outlast, outlast_in);
        command
            .args([self.daemon, "--config"])
            .arg(&self.config)
            .stdout(Stdio::null())
            .stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    /// Waits until the process has ended by itself; its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut process = self.process.take().unwrap();
        wait_until("the node to end by itself", || {
            process.try_wait().unwrap().is_some()
        });
        process.wait().unwrap().code()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| process.try_wait().unwrap().is_none())
    }

    /// What it said on stderr, in all its lives.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.config.with_extension("log")).unwrap_or_default()
    }

    /// As after a change of disks.
    pub(crate) fn lose_disk(&self) {
        std::fs::remove_dir_all(&self.data).unwrap();
    }

    /// Sends a signal, and does not wait for what comes of it.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        if let Some(process) = &self.process {
            let pid = rustix::process::Pid::from_child(process);
            rustix::process::kill_process(pid, signal).ok();
        }
    }

    pub(crate) fn end(&mut self, signal: rustix::process::Signal) {
        self.signal(signal);
        if let Some(mut process) = self.process.take() {
            wait_until("the node to end", || process.try_wait().unwrap().is_some());
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            if std::thread::panicking() {
                eprintln!("--- {}\n{}", self.name, self.said());
            }
            process.kill().ok();
            process.wait().ok();
        }
    }
}

/// Hosts in a folder.
pub(crate) struct Hosts {
    pub(crate) network: Option<Network>,
    folder: tempfile::TempDir,
}

/// Who gives commands, in a network.
pub(crate) const OPERATOR: &str = "operator";

impl Hosts {
    pub(crate) fn new() -> Self {
        Self::of(None)
    }

    /// Each is on a host of its own, cut off from this machine's network.
    pub(crate) fn in_network(network: Network) -> Self {
        Self::of(Some(network))
    }

    fn of(network: Option<Network>) -> Self {
        let hosts = Self {
            network,
            folder: tempfile::tempdir().unwrap(),
        };
        hosts.authority(&["create"]).expect(0);
        hosts.authority(&["issue", "operator", "admin"]).expect(0);
        hosts
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn authority(&self, args: &[&str]) -> Ran {
        let tls = self.path("tls");
        Ran::of(
            outlast()
                .arg("authority")
                .args(args)
                .arg("--folder")
                .arg(tls)
                .output()
                .unwrap(),
        )
    }

    /// A node that waits for init or join.
    pub(crate) fn node(&self, id: u64, name: &str) -> Node {
        self.node_at(id, name, &self.address(name), "")
    }

    /// Where a host listens.
    fn address(&self, name: &str) -> String {
        match &self.network {
            Some(network) => format!("{}:7400", network.address(name)),
            None => free_address(),
        }
    }

    /// What a host's file begins with; in a network it is what it is called, and nothing goes past that.
    fn host(&self, name: &str) -> String {
        match &self.network {
            Some(_) => format!("host_id = \"host-of-{name}\"\n"),
            None => String::new(),
        }
    }

    fn namespace(&self, name: &str) -> Option<String> {
        self.network.as_ref().map(|network| network.namespace(name))
    }

    /// Three nodes whose files name each other as the first members.
    pub(crate) fn first_three(&self) -> [Node; 3] {
        let names = ["one", "two", "three"];
        let addresses = names.map(|name| self.address(name));
        let mut members = String::new();
        for (id, (name, address)) in (1..).zip(names.iter().zip(&addresses)) {
            let member =
                format!("[[initial_members]]\nnode_id = {id}\nname = {name:?}\naddress = {address:?}\n");
            members.push_str(&member);
        }
        [1, 2, 3].map(|id| self.node_at(id as u64, names[id - 1], &addresses[id - 1], &members))
    }

    /// A media agent with a storage unit of its own.
    pub(crate) fn media_agent(&self, nodes: &[&Node], name: &str) -> Node {
        self.authority(&["issue", "media-agent", name]).expect(0);
        let (address, data, config) = (
            self.address(name),
            self.path(&format!("data-{name}")),
            self.path(&format!("{name}.toml")),
        );
        let (unit, password) = (self.path("unit"), self.path("password"));
        std::fs::create_dir_all(&unit).unwrap();
        std::fs::write(&password, "secret\n").unwrap();
        let primaries: Vec<_> = nodes.iter().map(|node| node.address.as_str()).collect();
        let socket = self.network.as_ref().map_or("", |_| "local_socket = false\n");
        let host = self.host(name);
        let text = format!(
            "{host}{socket}name = {name:?}\ndata_dir = {data:?}\nlisten = {address:?}\npool = \"default\"\nprimaries = {primaries:?}\n{}\
             [storage]\nunit = \"unit\"\npath = {unit:?}\npassword_file = {password:?}\n",
            tls(&self.path("tls"), name)
        );
        std::fs::write(&config, text).unwrap();
        Node {
            daemon: "media-agent",
            name: name.to_owned(),
            address,
            config,
            data,
            namespace: self.namespace(name),
            process: None,
        }
    }

    /// A client agent.
    pub(crate) fn client_agent(&self, nodes: &[&Node], name: &str) -> Node {
        self.authority(&["issue", "client-agent", name]).expect(0);
        let (data, config) = (
            self.path(&format!("data-{name}")),
            self.path(&format!("{name}.toml")),
        );
        let primaries: Vec<_> = nodes.iter().map(|node| node.address.as_str()).collect();
        let host = self.host(name);
        let text = format!(
            "{host}name = {name:?}\ndata_dir = {data:?}\nprimaries = {primaries:?}\n{}",
            tls(&self.path("tls"), name)
        );
        std::fs::write(&config, text).unwrap();
        Node {
            daemon: "client-agent",
            name: name.to_owned(),
            address: String::new(),
            config,
            data,
            namespace: self.namespace(name),
            process: None,
        }
    }

    /// A node at a certain address; `more` goes to the end of its file.
    pub(crate) fn node_at(&self, id: u64, name: &str, address: &str, more: &str) -> Node {
        if !self.path(&format!("tls/{name}.pem")).exists() {
            self.authority(&["issue", "primary", name]).expect(0);
        }
        let data = self.path(&format!("data-{name}"));
        let config = self.path(&format!("node-{id}.toml"));
        let host = self.host(name);
        let text = format!(
            "{host}name = {name:?}\nnode_id = {id}\ndata_dir = {data:?}\nlisten = {address:?}\n{}{more}",
            tls(&self.path("tls"), name)
        );
        std::fs::write(&config, text).unwrap();
        Node {
            daemon: "primary",
            name: name.to_owned(),
            address: address.to_owned(),
            data,
            config,
            namespace: self.namespace(name),
            process: None,
        }
    }

    /// Takes a node into the group under a number.
    pub(crate) fn join(&self, nodes: &[&Node], id: &str, node: &Node) -> Ran {
        let to = ["--node-id", id, "--name", &node.name, "--address", &node.address];
        self.run(nodes, &[&["cluster", "join"], &to[..]].concat())
    }

    /// The command line, knowing these nodes.
    pub(crate) fn run(&self, nodes: &[&Node], args: &[&str]) -> Ran {
        let context = self.path(&format!("context-{}.toml", nodes.len()));
        let addresses: Vec<_> = nodes.iter().map(|node| node.address.as_str()).collect();
        let mut text = format!("primaries = {addresses:?}\n");
        text.write_str(&tls(&self.path("tls"), "admin")).unwrap();
        std::fs::write(&context, text).unwrap();
        Ran::of(
            self.namespace(OPERATOR)
                .as_deref()
                .map_or_else(outlast, outlast_in)
                .args(["-o", "json", "--context"])
                .arg(context)
                .args(args)
                .output()
                .unwrap(),
        )
    }
}

/// The binary under test, in a network namespace.
fn outlast_in(namespace: &str) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{namespace}"))
        .arg(env!("CARGO_BIN_EXE_outlast"))
        .env_remove("OUTLAST_CONTEXT")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

fn tls(folder: &Path, name: &str) -> String {
    let file = |name: &str| folder.join(name);
    format!(
        "[tls]\nca = {:?}\ncert = {:?}\nkey = {:?}\n",
        file("ca.pem"),
        file(&format!("{name}.pem")),
        file(&format!("{name}-key.pem"))
    )
}

fn free_address() -> String {
    format!("127.0.0.1:{}", crate::ports::free_ports())
}
