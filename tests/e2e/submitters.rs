//! Clients that submit jobs without pause, read each back at once, and remember what was acknowledged and when.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outlast_kit::leader::Primaries;
use outlast_kit::tls::{Credentials, TlsFiles};
use outlast_proto::v1::jobs_client::JobsClient;
use outlast_proto::v1::{GetJobRequest, ListJobsRequest, RunJobRequest};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, wait_until};

/// A submission refused longer fails the test. The command line tries for 10 s by default; a busy machine may elect a leader for longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the clients saw.
#[derive(Default)]
struct Seen {
    /// Ids of acknowledged submissions.
    acknowledged: Vec<String>,
    /// When each was acknowledged.
    times: Vec<Instant>,
}

/// The clients.
pub(crate) struct Submitters {
    runtime: Runtime,
    policy: String,
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Submitters {
    pub(crate) fn start(cluster: &Cluster, policy: &str, clients: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (seen, over) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let start = |number| {
            // Connections are prepared inside a runtime.
            let _inside = runtime.enter();
            let work = submit_and_list(
                primaries(cluster),
                policy.to_owned(),
                number,
                Arc::clone(&seen),
                Arc::clone(&over),
            );
            runtime.spawn(work)
        };
        let clients = (0..clients).map(start).collect();
        Self {
            runtime,
            policy: policy.to_owned(),
            seen,
            over,
            clients,
        }
    }

    /// When submissions were acknowledged, in order.
    pub(crate) fn times(&self) -> Vec<Instant> {
        self.seen.lock().unwrap().times.clone()
    }

    /// Waits until each client has gone on.
    pub(crate) fn wait_for_more(&self) {
        let before = self.times().len();
        wait_until("submissions to flow", || {
            self.times().len() > before + self.clients.len()
        });
    }

    /// Lets the clients finish what they are at; fails if one of them failed.
    pub(crate) fn stop(mut self) -> Self {
        self.over.store(true, Ordering::Relaxed);
        for client in std::mem::take(&mut self.clients) {
            self.runtime.block_on(client).unwrap();
        }
        self
    }

    /// The jobs of the policy are those that were acknowledged, each once. To be asked when they are stopped.
    pub(crate) fn assert_nothing_lost_or_doubled(&self, cluster: &Cluster) {
        let seen = self.seen.lock().unwrap();
        let _inside = self.runtime.enter();
        let all = self.runtime.block_on(all_jobs(&primaries(cluster), &self.policy));
        let listed: BTreeSet<_> = all.iter().collect();
        let expected: BTreeSet<_> = seen.acknowledged.iter().collect();
        assert_eq!(listed.len(), all.len(), "a job is listed twice");
        assert_eq!(
            expected.len(),
            seen.acknowledged.len(),
            "two submissions got one job"
        );
        // Every client waits for its answer before it submits again, so every job there is was acknowledged.
        assert_eq!(listed, expected);
        println!(
            "{} submissions acknowledged, none lost, none doubled",
            expected.len()
        );
    }
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

async fn submit_and_list(
    primaries: Primaries,
    policy: String,
    number: usize,
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
) {
    for turn in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let request = RunJobRequest {
            request_id: format!("client-{number}-turn-{turn}"),
            policy: policy.clone(),
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
        let id = primaries.call(PATIENCE, run).await.unwrap().ids.remove(0);
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
            .call(PATIENCE, get)
            .await
            .unwrap_or_else(|error| panic!("job {id} is lost: {error}"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn all_jobs(primaries: &Primaries, policy: &str) -> Vec<String> {
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
                policy: policy.to_owned(),
                ..Default::default()
            };
            async move {
                JobsClient::new(channel)
                    .list(request)
                    .await
                    .map(tonic::Response::into_inner)
            }
        };
        let answer = primaries.call(Duration::from_secs(30), list).await.unwrap();
        all.extend(answer.jobs.into_iter().map(|job| job.id));
        token = answer.next_page_token;
        if token.is_empty() {
            return all;
        }
    }
}
