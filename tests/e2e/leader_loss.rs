//! a primary's end is no outage for those who submit, and no acknowledged submission is lost or doubled.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outlast_kit::leader::Primaries;
use outlast_kit::tls::{Credentials, TlsFiles};
use outlast_proto::v1::jobs_client::JobsClient;
use outlast_proto::v1::{GetJobRequest, ListJobsRequest, RunJobRequest};

use crate::cluster::{Cluster, wait_until};

const KILLS: usize = 20;
const CLIENTS: usize = 8;

/// What the clients saw.
#[derive(Default)]
struct Seen {
    /// Ids of acknowledged submissions.
    acknowledged: Vec<String>,
    /// When each was acknowledged.
    times: Vec<Instant>,
}

#[test]
fn r16_the_leader_is_killed_20_times_while_8_clients_submit_and_list() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    cluster.apply_policy("home", &[&source], "").expect(0);
    // The jobs wait: this is about submissions.
    cluster.kill(&["client-1"]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    // Connections are prepared inside a runtime.
    let _inside = runtime.enter();
    let (seen, over) = (
        Arc::new(Mutex::new(Seen::default())),
        Arc::new(AtomicBool::new(false)),
    );
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            runtime.spawn(submit_and_list(
                primaries(&cluster),
                number,
                Arc::clone(&seen),
                Arc::clone(&over),
            ))
        })
        .collect();

    let mut pauses = Vec::new();
    for _ in 0..KILLS {
        let leader = cluster.leader();
        let before = seen.lock().unwrap().times.len();
        wait_until("submissions to flow", || {
            seen.lock().unwrap().times.len() > before + CLIENTS
        });
        let killed = Instant::now();
        cluster.kill(&[&leader]);
        let next = || {
            seen.lock()
                .unwrap()
                .times
                .iter()
                .copied()
                .find(|time| *time > killed + Duration::from_millis(20))
        };
        wait_until("the next accepted submission", || next().is_some());
        pauses.push(next().unwrap() - killed);
        cluster.restart(&leader);
        wait_until("all primaries to be back", || {
            let status = cluster.try_run(&["--timeout", "1s", "-o", "json", "cluster", "status"]);
            status.code == 0
                && status.json()["members"].as_array().is_some_and(|members| {
                    members.len() == 3 && members.iter().all(|member| member["reachable"] != false)
                })
        });
    }
    over.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        for client in clients {
            client.await.unwrap()
        }
    });

    pauses.sort();
    println!(
        "leader killed {KILLS} times: next accepted submission after median {:?}, max {:?}",
        pauses[KILLS / 2],
        pauses[KILLS - 1]
    );
    nothing_lost_or_doubled(&cluster, &seen.lock().unwrap().acknowledged, &runtime);
}

fn primaries(cluster: &Cluster) -> Primaries {
    let text = std::fs::read_to_string(cluster.data_dir().join("client.toml")).unwrap();
    let context: toml::Table = text.parse().unwrap();
    let addresses: Vec<_> = context["primaries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|address| address.as_str().unwrap().to_owned())
        .collect();
    let file = |key: &str| cluster.data_dir().join(context["tls"][key].as_str().unwrap());
    let files = TlsFiles {
        ca: file("ca"),
        cert: file("cert"),
        key: file("key"),
    };
    Primaries::new(Credentials::load(&files).unwrap(), &addresses).unwrap()
}

async fn submit_and_list(primaries: Primaries, number: usize, seen: Arc<Mutex<Seen>>, over: Arc<AtomicBool>) {
    let patience = Duration::from_secs(30);
    for turn in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let request = RunJobRequest {
            request_id: format!("client-{number}-turn-{turn}"),
            policy: "home".into(),
            ..Default::default()
        };
        let run = |channel| {
            let request = request.clone();
            async move {
                JobsClient::new(channel)
                    .run(request)
                    .await
                    .map(tonic::Response::into_inner)
            }
        };
        let id = primaries.call(patience, run).await.unwrap().ids.remove(0);
        // What was acknowledged can be read at once, from whoever leads now.
        let get = |channel| {
            let request = GetJobRequest {
                id: id.clone(),
                stale: false,
            };
            async move { JobsClient::new(channel).get(request).await.map(drop) }
        };
        {
            let mut seen = seen.lock().unwrap();
            seen.acknowledged.push(id.clone());
            seen.times.push(Instant::now());
        }
        primaries
            .call(patience, get)
            .await
            .unwrap_or_else(|error| panic!("job {id} is lost: {error}"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn nothing_lost_or_doubled(cluster: &Cluster, acknowledged: &[String], runtime: &tokio::runtime::Runtime) {
    let primaries = primaries(cluster);
    let mut all: Vec<String> = Vec::new();
    let mut token = String::new();
    loop {
        let page = Some(outlast_proto::v1::Page {
            size: 1000,
            token: token.clone(),
        });
        let list = |channel| {
            let request = ListJobsRequest {
                page: page.clone(),
                ..Default::default()
            };
            async move {
                JobsClient::new(channel)
                    .list(request)
                    .await
                    .map(tonic::Response::into_inner)
            }
        };
        let answer = runtime
            .block_on(primaries.call(Duration::from_secs(30), list))
            .unwrap();
        all.extend(answer.jobs.into_iter().map(|job| job.id));
        token = answer.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let listed: BTreeSet<_> = all.iter().collect();
    let expected: BTreeSet<_> = acknowledged.iter().collect();
    assert_eq!(listed.len(), all.len(), "a job is listed twice");
    assert_eq!(expected.len(), acknowledged.len(), "two submissions got one job");
    // Every client waits for its answer before it submits again, so every job there is was acknowledged.
    assert_eq!(listed, expected);
    println!(
        "{} submissions acknowledged, none lost, none doubled",
        acknowledged.len()
    );
}

#[test]
fn r16_without_a_majority_submissions_fail_with_the_nodes_tried() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    cluster.apply_policy("home", &[&source], "").expect(0);
    cluster.kill(&["primary-2"]);
    cluster.run_job("home", 0);
    cluster.kill(&["primary-3"]);
    let refused = cluster
        .try_run(&["--timeout", "2s", "-o", "json", "job", "run", "home"])
        .expect(4);
    let error: serde_json::Value = serde_json::from_str(&refused.stderr).unwrap();
    let text = error["error"]["text"].as_str().unwrap();
    assert_eq!(
        text,
        "no leader: 1 of 3 primaries answer; --stale shows what it knows"
    );
    assert_eq!(error["error"]["tried"].as_array().unwrap().len(), 3);
    let stale = cluster.json(&["--stale", "job", "list"]);
    assert_eq!(stale.as_array().unwrap().len(), 1);
    cluster.restart("primary-2");
    cluster.run_job("home", 0);
}
