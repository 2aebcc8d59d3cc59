//! a primary's end is no outage for those who submit, and no acknowledged submission is lost or doubled.

use std::time::{Duration, Instant};

use outlast_kit::tls::ANY_PRIMARY;
use outlast_proto::v1::agent_session_client::AgentSessionClient;
use outlast_proto::v1::{AgentKind, AgentMessage, Hello, agent_message};
use rustix::process::Signal;
use tonic::{Code, Status};

use crate::cluster::{Cluster, wait_until};
use crate::hostile::{credentials, primaries};
use crate::submitters::Submitters;

const KILLS: usize = 20;
const CLIENTS: usize = 8;

#[test]
fn r16_the_leader_is_killed_20_times_while_8_clients_submit_and_list() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    cluster.apply_policy("home", &[&source], "").expect(0);
    // The jobs wait: this is about submissions.
    cluster.kill(&["client-1"]);
    let submitters = Submitters::start(&cluster, "home", CLIENTS);

    let mut pauses = Vec::new();
    for _ in 0..KILLS {
        let leader = cluster.leader();
        submitters.wait_for_more();
        let killed = Instant::now();
        cluster.kill(&[&leader]);
        let next = || {
            let times = submitters.times();
            times
                .into_iter()
                .find(|time| *time > killed + Duration::from_millis(20))
        };
        wait_until("the next accepted submission", || next().is_some());
        pauses.push(next().unwrap() - killed);
        cluster.restart(&leader);
        cluster.wait_for_all_primaries();
    }
    let submitters = submitters.stop();

    pauses.sort();
    println!(
        "leader killed {KILLS} times: next accepted submission after median {:?}, max {:?}",
        pauses[KILLS / 2],
        pauses[KILLS - 1]
    );
    submitters.assert_nothing_lost_or_doubled(&cluster);
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

/// What a primary says to an agent's hello.
async fn greet(cluster: &Cluster, agent: &str, address: &str) -> Result<(), Status> {
    let channel = credentials(cluster, agent).channel(address, ANY_PRIMARY).unwrap();
    let hello = Hello {
        kind: AgentKind::MediaAgent.into(),
        start_id: "always the same".into(),
        journal_id: "a journal".into(),
        pool: "default".into(),
        storage_unit: "storage".into(),
        ..Hello::default()
    };
    let body = Some(agent_message::Body::Hello(hello));
    let up = tokio_stream::once(AgentMessage { body });
    AgentSessionClient::new(channel).session(up).await.map(drop)
}

/// DESIGN 3, C-05: what a leader without its majority knows may be long past. By it a media agent would take its journal for one
/// that was set back and interrupt its work, and a client would forget tickets.
#[tokio::test(flavor = "multi_thread")]
async fn t90_a_leader_that_cannot_know_whether_it_leads_welcomes_nobody() {
    let cluster = Cluster::start();
    let agents = cluster.json(&["agent", "list"]);
    let is_media = |agent: &&serde_json::Value| agent["kind"] == "media_agent";
    let media = agents.as_array().unwrap().iter().find(is_media).unwrap()["name"].clone();
    let media = media.as_str().unwrap();
    cluster.kill(&[media]);
    let all = ["primary-1", "primary-2", "primary-3"];
    // Once it has welcomed the agent, the state says of that what it says of itself: nothing is to be committed for its welcome.
    let (leader, address) = loop {
        let leader = cluster.leader();
        let place = all.iter().position(|name| *name == leader).unwrap();
        let address = primaries(&cluster).swap_remove(place);
        match greet(&cluster, media, &address).await {
            Ok(()) => break (leader, address),
            // Another one leads meanwhile.
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
    };

    let others: Vec<_> = all.into_iter().filter(|name| *name != leader).collect();
    cluster.signal(&others, Signal::STOP);
    let greeted = greet(&cluster, media, &address).await;
    cluster.signal(&others, Signal::CONT);
    assert_eq!(greeted.unwrap_err().code(), Code::Unavailable);

    cluster.restart(media);
    wait_until("the agent to be back", || {
        let agents = cluster.json(&["agent", "list"]);
        let mut agents = agents.as_array().unwrap().iter();
        agents.any(|agent| agent["name"] == media && agent["connected"] == true)
    });
}
