//! A network of hosts that a test makes, as root: a namespace for each, joined by a bridge in one of its own. Whole hosts are cut off, or one way between two of
//! them, and nothing of it closes a connection: packets are lost, as where a cable is pulled. It goes with its value.

use std::process::{Command, Output};

/// The programs that it takes, by their Debian packages.
const TOOLS: &str = "apt-get install iproute2 util-linux";

pub(crate) struct Network {
    id: String,
    hosts: Vec<String>,
}

fn ip(args: &[&str]) -> Output {
    let ran = Command::new("ip").args(args).output();
    ran.unwrap_or_else(|error| panic!("ip: {error}: {TOOLS}"))
}

impl Network {
    /// Whether this machine makes such networks; says so where not.
    pub(crate) fn can_be() -> bool {
        let probe = format!(
            "outlast-probe-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let can = rustix::process::geteuid().is_root()
            && ip(&["netns", "add", &probe]).status.success()
            && ip(&["-n", &probe, "link", "add", "bridge", "type", "bridge"])
                .status
                .success();
        ip(&["netns", "delete", &probe]);
        if !can {
            outlast_test_filesystems::not_run("a test of networks needs root, namespaces and bridges");
        }
        can
    }

    pub(crate) fn new(hosts: &[&str]) -> Self {
        static MADE: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = MADE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let network = Self {
            id: format!("outlast-test-{}-{number}", std::process::id()),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        };
        let switch = network.namespace("switch");
        let run = |args: &[&str]| {
            let ran = ip(args);
            assert!(
                ran.status.success(),
                "ip {args:?}: {}",
                String::from_utf8_lossy(&ran.stderr)
            );
        };
        run(&["netns", "add", &switch]);
        run(&["-n", &switch, "link", "add", "bridge", "type", "bridge"]);
        run(&["-n", &switch, "link", "set", "bridge", "up"]);
        for (number, host) in hosts.iter().enumerate() {
            let (space, port) = (network.namespace(host), format!("port{number}"));
            let address = format!("{}/24", network.address(host));
            run(&["netns", "add", &space]);
            run(&["-n", &space, "link", "set", "lo", "up"]);
            let pair = [
                "link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", &switch,
            ];
            run(&[&["-n", space.as_str()], &pair[..]].concat());
            run(&["-n", &switch, "link", "set", &port, "master", "bridge", "up"]);
            run(&["-n", &space, "address", "add", &address, "dev", "eth0"]);
            run(&["-n", &space, "link", "set", "eth0", "up"]);
        }
        network
    }

    pub(crate) fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.id)
    }

    pub(crate) fn address(&self, host: &str) -> String {
        let at = self.hosts.iter().position(|known| known == host);
        format!("10.79.0.{}", at.unwrap_or_else(|| panic!("no host {host}")) + 1)
    }

    /// A host sends no faster than that.
    pub(crate) fn slow(&self, host: &str, mebibytes: u32) {
        let space = self.namespace(host);
        let rate = format!("{}kbit", mebibytes * 8 * 1024);
        let shaped = [
            "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", &rate, "burst", "256kb", "latency", "400ms",
        ];
        let ran = Command::new("tc").args(["-n", &space]).args(shaped).output();
        let ran = ran.unwrap_or_else(|error| panic!("tc: {error}: {TOOLS}"));
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    /// What these and that host send to one another is lost, or is not any more.
    pub(crate) fn cut(&self, host: &str, others: &[&str], is_cut: bool) {
        for other in others {
            for (from, to) in [(host, *other), (*other, host)] {
                let to = format!("{}/32", self.address(to));
                let what = if is_cut { "add" } else { "delete" };
                let ran = ip(&["-n", &self.namespace(from), "route", what, "blackhole", &to]);
                assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
            }
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in self.hosts.iter().map(String::as_str).chain(["switch"]) {
            ip(&["netns", "delete", &self.namespace(host)]);
        }
    }
}
