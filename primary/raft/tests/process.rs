//! A node in a process of its own: killed in the middle of its writes, and with a disk that is full.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use outlast_raft::{Peer, ProposeError, RaftNode, StopReason};
use support::{Home, Ledger, Node, assert_holds, eventually};

const DATA: &str = "OUTLAST_TEST_DATA";
const SIZE: &str = "OUTLAST_TEST_SIZE";

/// The child's side: writes as fast as it can and says what was acknowledged, until it is killed or fails.
#[test]
#[ignore = "started by the other tests of this file"]
fn child() {
    let Some(data) = std::env::var_os(DATA) else {
        return;
    };
    let size: usize = std::env::var(SIZE).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let me = Peer {
            name: "node1".into(),
            address: "127.0.0.1:1".into(),
        };
        let options = support::options(1, me.clone(), std::path::Path::new(&data));
        let node = RaftNode::start(options, Ledger::default()).await.unwrap();
        node.initialize(BTreeMap::from([(1, me)])).await.unwrap();
        let writers = (0..8).map(|writer| write(&node, writer, size));
        futures::future::join_all(writers).await;
        if let StopReason::Failed { reason } = node.stopped().await {
            say(&format!("failed {reason}"));
        }
    });
}

async fn write(node: &RaftNode, writer: usize, size: usize) {
    for n in 0.. {
        let mut command = format!("{}/{writer}/{n}", std::process::id());
        let text = command.clone();
        command.extend(std::iter::repeat_n(' ', size.saturating_sub(command.len())));
        match node.propose(command.into_bytes()).await {
            Ok(reply) => say(&format!(
                "acked {} {text}",
                u64::from_be_bytes(reply.try_into().unwrap())
            )),
            Err(ProposeError::NotLeader { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(_) => return,
        }
    }
}

fn say(line: &str) {
    // One write per line: a killed process leaves no half ones behind that look whole.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn spawn(home: &Home, size: usize, limit_kib: Option<u64>) -> Child {
    // The limit makes writes fail like those on a full disk. Its signal is ignored, or the process would die of it.
    let limit = limit_kib.map_or(String::new(), |kib| format!("trap '' XFSZ; ulimit -f {kib}; "));
    Command::new("bash")
        .arg("-c")
        .arg(format!("{limit}exec \"$0\" child --exact --ignored --nocapture"))
        .arg(std::env::current_exe().unwrap())
        .env(DATA, home.data())
        .env(SIZE, size.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn acked(line: &str) -> Option<(u64, String)> {
    // The test harness puts its own words before the first line.
    let (_, rest) = line.split_once("acked ")?;
    let (index, text) = rest.split_once(' ')?;
    Some((index.parse().ok()?, text.to_string()))
}

/// The ledger keeps the first 64 bytes of each command, padding included.
fn trimmed(node: &Node) -> BTreeMap<u64, Vec<u8>> {
    node.rows()
        .into_iter()
        .map(|(index, row)| (index, row.trim_ascii_end().to_vec()))
        .collect()
}

fn assert_restarts_with(home: &Home, all: &BTreeMap<u64, String>) {
    let node = eventually("the directory is free", || Node::start(home).ok());
    let last = all.keys().next_back().copied();
    eventually("everything acknowledged is applied", || {
        (node.rows().keys().next_back().copied() >= last).then_some(())
    });
    assert_holds(&trimmed(&node), all);
    node.stop();
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let home = Home::new(1);
    let mut all = BTreeMap::new();
    for round in 0..5 {
        let mut process = spawn(&home, 100, None);
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok) {
            all.extend(acked(&line));
            if all.len() > (round + 1) * 150 {
                process.kill().unwrap();
            }
        }
        process.wait().unwrap();
        assert!(
            all.len() > (round + 1) * 150,
            "round {round}: it ended by itself after {}",
            all.len()
        );
    }
    assert_restarts_with(&home, &all);
}

#[test]
fn a_full_disk_stops_the_node_and_loses_nothing() {
    let home = Home::new(1);
    let mut process = spawn(&home, 64 * 1024, Some(6 * 1024));
    let (mut all, mut failed) = (BTreeMap::new(), None);
    for line in BufReader::new(process.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
    {
        all.extend(acked(&line));
        if let Some((_, reason)) = line.split_once("failed ") {
            failed = Some(reason.to_string());
        }
    }
    process.wait().unwrap();
    assert!(all.len() > 20, "{} acknowledged", all.len());
    let failed = failed.expect("the node stopped with an error");
    assert!(
        failed.contains("File too large") || failed.contains("writer has stopped"),
        "{failed}"
    );
    assert_restarts_with(&home, &all);
}
