//! A primary's group built by hand, as on real hosts: certificates, init, join, transfer, remove, rolling restart.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use crate::cluster::{PATIENCE, Ran, outlast, wait_until};
use crate::group::{Hosts, Node};

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

    // On a busy machine another one may take it from there.
    wait_until("the heir to lead", || {
        let leader = hosts
            .run(&all, &["cluster", "transfer-leader", "two"])
            .expect(0)
            .json();
        assert_eq!(leader["name"], "two");
        hosts.run(&all, &["cluster", "status"]).expect(0).json()["leader"] == "two"
    });
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
    // What it promised under its old number must not come back under another.
    three.lose_disk();
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
    let built_in = |seconds| json!({"seconds": seconds, "from": "default"});
    assert_eq!(
        defaults,
        json!({
            "resilience": true, "disruption_grace": 20, "reconnect_for": 300, "timing": "lan",
            "failover_after": 30, "stalled_after": 300, "no_communication_after": 900,
            "thresholds": {
                "failover_after": built_in(30), "stalled_after": built_in(300), "no_communication_after": built_in(900)
            }
        })
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

#[test]
fn a_connection_that_shows_no_certificate_is_closed() {
    let hosts = Hosts::new();
    let mut one = hosts.node(1, "one");
    one.start();
    hosts.run(&[&one], &["cluster", "init"]).expect(0);
    let mut media = hosts.media_agent(&[&one], "media");
    media.start();
    for node in [&one, &media] {
        let mut silent = std::net::TcpStream::connect(&node.address).unwrap();
        silent.set_read_timeout(Some(PATIENCE)).unwrap();
        // Nothing was sent, so there is nothing to answer: what comes is the end.
        match silent.read(&mut [0; 64]) {
            Ok(0) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            other => panic!("{}: {other:?}", node.name),
        }
    }
}

#[test]
fn t90_a_node_that_does_not_run_is_not_taken_in() {
    let hosts = Hosts::new();
    let (mut one, mut two, three) = (hosts.node(1, "one"), hosts.node(2, "two"), hosts.node(3, "three"));
    one.start();
    hosts.run(&[&one], &["cluster", "init"]).expect(0);
    let refused = hosts.join(&[&one], "3", &three).expect(5);
    assert!(refused.stderr.contains("does not answer"), "{}", refused.stderr);
    // Another one answers there.
    two.start();
    let refused = hosts.join(&[&one], "4", &two).expect(5);
    assert!(
        refused.stderr.contains("node 2 answers there"),
        "{}",
        refused.stderr
    );
    let members = hosts.run(&[&one], &["cluster", "members"]).expect(0).json();
    assert_eq!(names(&members), ["one"]);
    hosts.join(&[&one], "2", &two).expect(0);
}
