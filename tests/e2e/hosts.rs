//! A primary's group built by hand, as on real hosts: certificates, init, join, transfer, remove, rolling restart.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::cluster::{Ran, outlast, wait_until};

/// A node of the primary, ended with the test.
struct Node {
    name: String,
    address: String,
    config: PathBuf,
    process: Option<Child>,
}

impl Node {
    fn start(&mut self) {
        let log = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.config.with_extension("log"))
            .unwrap();
        let mut command = outlast();
        command
            .args(["primary", "--config"])
            .arg(&self.config)
            .stdout(Stdio::null())
            .stderr(log);
        self.process = Some(command.spawn().unwrap());
        wait_until("the node to listen", || {
            std::net::TcpStream::connect(&self.address).is_ok()
        });
    }

    fn end(&mut self, signal: rustix::process::Signal) {
        if let Some(mut process) = self.process.take() {
            let pid = rustix::process::Pid::from_child(&process);
            rustix::process::kill_process(pid, signal).ok();
            wait_until("the node to end", || process.try_wait().unwrap().is_some());
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            if std::thread::panicking() {
                let log = std::fs::read_to_string(self.config.with_extension("log")).unwrap_or_default();
                eprintln!("--- {}\n{log}", self.name);
            }
            process.kill().ok();
            process.wait().ok();
        }
    }
}

/// Hosts in a folder.
struct Hosts {
    folder: tempfile::TempDir,
}

impl Hosts {
    fn new() -> Self {
        let hosts = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        hosts.authority(&["create"]).expect(0);
        hosts.authority(&["issue", "operator", "admin"]).expect(0);
        hosts
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn authority(&self, args: &[&str]) -> Ran {
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
    fn node(&self, id: u64, name: &str) -> Node {
        if !self.path(&format!("tls/{name}.pem")).exists() {
            self.authority(&["issue", "primary", name]).expect(0);
        }
        let (address, data) = (free_address(), self.path(&format!("data-{id}")));
        let config = self.path(&format!("node-{id}.toml"));
        let text = format!(
            "name = {name:?}\nnode_id = {id}\ndata_dir = {data:?}\nlisten = {address:?}\n{}",
            tls(&self.path("tls"), name)
        );
        std::fs::write(&config, text).unwrap();
        Node {
            name: name.to_owned(),
            address,
            config,
            process: None,
        }
    }

    /// Takes a node into the group under a number.
    fn join(&self, nodes: &[&Node], id: &str, node: &Node) -> Ran {
        let to = ["--node-id", id, "--name", &node.name, "--address", &node.address];
        self.run(nodes, &[&["cluster", "join"], &to[..]].concat())
    }

    /// The command line, knowing these nodes.
    fn run(&self, nodes: &[&Node], args: &[&str]) -> Ran {
        let context = self.path(&format!("context-{}.toml", nodes.len()));
        let addresses: Vec<_> = nodes.iter().map(|node| node.address.as_str()).collect();
        let mut text = format!("primaries = {addresses:?}\n");
        text.write_str(&tls(&self.path("tls"), "admin")).unwrap();
        std::fs::write(&context, text).unwrap();
        Ran::of(
            outlast()
                .args(["-o", "json", "--context"])
                .arg(context)
                .args(args)
                .output()
                .unwrap(),
        )
    }
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

/// Below the range of ports given out for outgoing connections, so that it stays free until the node takes it.
fn free_address() -> String {
    loop {
        let port = 10_240 + (uuid::Uuid::new_v4().as_u128() % 22_000) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return format!("127.0.0.1:{port}");
        }
    }
}

fn names(members: &Value) -> Vec<&str> {
    let mut names: Vec<_> = members
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn a_group_is_founded_grows_hands_over_and_shrinks() {
    let hosts = Hosts::new();
    let (mut one, mut two, mut three) = (hosts.node(1, "one"), hosts.node(2, "two"), hosts.node(3, "three"));
    one.start();
    let cluster = hosts.run(&[&one], &["cluster", "init"]).expect(0).json();
    assert!(cluster["cluster_id"].as_str().unwrap().len() > 30);
    hosts.run(&[&one], &["cluster", "init"]).expect(5);
    two.start();
    three.start();
    for (node, id) in [(&two, "2"), (&three, "3")] {
        hosts.join(&[&one], id, node).expect(0);
    }
    let all = [&one, &two, &three];
    let members = hosts.run(&all, &["cluster", "members"]).expect(0).json();
    assert_eq!(names(&members), ["one", "three", "two"]);

    let leader = hosts
        .run(&all, &["cluster", "transfer-leader", "two"])
        .expect(0)
        .json();
    assert_eq!(leader["name"], "two");
    assert_eq!(
        hosts.run(&all, &["cluster", "status"]).expect(0).json()["leader"],
        "two"
    );
    hosts
        .run(&all, &["cluster", "transfer-leader", "nobody"])
        .expect(6);

    // A number is one node's for ever: neither another node nor the same one after it left gets it.
    let known = hosts.run(&[&one, &two], &["cluster", "status"]).expect(0);
    assert_eq!(known.json()["members"].as_array().unwrap().len(), 3);
    let join = |id: &str, node: &Node| hosts.join(&[&one, &two], id, node);
    let refused = join("3", &one).expect(5);
    assert!(refused.stderr.contains("node number 3"), "{}", refused.stderr);
    hosts
        .run(&[&one, &two], &["cluster", "remove", "three"])
        .expect(0);
    let refused = join("3", &three).expect(5);
    assert!(refused.stderr.contains("not used twice"), "{}", refused.stderr);
    three.end(rustix::process::Signal::TERM);
    let mut again = hosts.node(4, "three");
    again.start();
    join("4", &again).expect(0);
    let members = hosts
        .run(&[&one, &two, &again], &["cluster", "members"])
        .expect(0)
        .json();
    let ids: Vec<_> = members
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member["node_id"].clone())
        .collect();
    assert_eq!(ids, [json!(1), json!(2), json!(4)]);
}

#[test]
fn settings_are_checked_replicated_and_kept_over_a_rolling_restart() {
    let hosts = Hosts::new();
    let mut nodes = [hosts.node(1, "one"), hosts.node(2, "two"), hosts.node(3, "three")];
    nodes.iter_mut().for_each(Node::start);
    hosts.run(&[&nodes[0]], &["cluster", "init"]).expect(0);
    for (node, id) in [(&nodes[1], "2"), (&nodes[2], "3")] {
        hosts.join(&[&nodes[0]], id, node).expect(0);
    }
    let set = |nodes: &[Node; 3], args: &[&str]| {
        hosts.run(
            &[&nodes[0], &nodes[1], &nodes[2]],
            &[&["cluster", "set"], args].concat(),
        )
    };
    let defaults = set(&nodes, &[]).expect(0).json();
    assert_eq!(
        defaults,
        json!({"resilience": true, "disruption_grace": 20, "reconnect_for": 300, "timing": "lan"})
    );
    set(&nodes, &["--timing", "moon"]).expect(2);
    set(&nodes, &["--resilience", "maybe"]).expect(2);
    for round in 0..3 {
        let grace = (10 + round).to_string();
        let changed = set(&nodes, &["--disruption-grace", &grace, "--resilience", "off"])
            .expect(0)
            .json();
        assert_eq!(
            (&changed["disruption_grace"], &changed["resilience"]),
            (&json!(10 + round), &json!(false))
        );
        // One after the other, each handing leadership over: somebody always answers.
        nodes[round].end(rustix::process::Signal::TERM);
        assert_eq!(
            set(&nodes, &[]).expect(0).json(),
            changed,
            "while node {round} is down"
        );
        nodes[round].start();
        assert_eq!(
            set(&nodes, &[]).expect(0).json(),
            changed,
            "after node {round} is back"
        );
    }
}

#[test]
fn certificates_are_made_once_and_for_names_that_can_be() {
    let hosts = Hosts::new();
    let refused = hosts.authority(&["create"]).expect(5);
    assert!(refused.stderr.contains("ca"), "{}", refused.stderr);
    hosts.authority(&["issue", "operator", "admin"]).expect(5);
    hosts.authority(&["issue", "operator", "../admin"]).expect(2);
    hosts.authority(&["issue", "king", "arthur"]).expect(2);
    let nowhere = outlast()
        .args(["authority", "issue", "operator", "x", "--folder", "/no/such"])
        .output()
        .unwrap();
    assert!(Ran::of(nowhere).expect(1).stderr.contains("/no/such"));
}

#[test]
fn the_files_of_deploy_pass_their_own_check() {
    let hosts = Hosts::new();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let password = hosts.path("password");
    std::fs::write(&password, "secret\n").unwrap();
    for (daemon, name) in [
        ("primary", "primary-1"),
        ("media-agent", "media-1"),
        ("client-agent", "laptop"),
    ] {
        hosts.authority(&["issue", daemon, name]).expect(0);
        // Exactly those files; only the places that are this test's own come from the environment.
        let tls = |file: &str| hosts.path("tls").join(file);
        let section = daemon.to_uppercase().replace('-', "_");
        let mut check = outlast();
        check
            .args([daemon, "--check", "--config"])
            .arg(deploy.join(format!("{daemon}.toml")))
            .env("OUTLAST_TLS__CA", tls("ca.pem"))
            .env("OUTLAST_TLS__CERT", tls(&format!("{name}.pem")))
            .env("OUTLAST_TLS__KEY", tls(&format!("{name}-key.pem")))
            .env(format!("OUTLAST_{section}__DATA_DIR"), hosts.path("state"));
        if daemon == "media-agent" {
            check.env("OUTLAST_STORAGE__PASSWORD_FILE", &password);
        }
        let checked = Ran::of(check.output().unwrap()).expect(0);
        assert!(checked.stderr.contains("is in order"), "{}", checked.stderr);
    }
}
