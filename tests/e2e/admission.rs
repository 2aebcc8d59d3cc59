//! A client that cannot take up an attempt says so: it waits with the reason, or gets an end (F-04a). Nobody's job stays active
//! for ever because an order was refused and nobody heard.

use std::sync::Arc;
use std::time::Duration;

use outlast_kit::leader::Primaries;
use outlast_kit::session::{Session, hold};
use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::primary_message::Body;
use outlast_proto::v1::{AdmissionRefused, AgentKind, AgentMessage, Hello, JobError, Ticket, agent_message};
use prost::Message as _;
use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::hostile::{credentials, primaries};
use crate::mounts::Mount;
use crate::tree;

fn job(cluster: &Cluster, id: &str) -> Value {
    cluster.json(&["job", "show", id])
}

fn submit(cluster: &Cluster) -> String {
    let source = cluster.place("source");
    tree::make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    let submitted = cluster.json(&["job", "run", "home"]);
    submitted["id"].as_str().unwrap().to_owned()
}

#[test]
fn t90_f04a_a_ticket_that_cannot_be_kept_is_waited_for_and_shown() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting a file system needs root");
        return;
    }
    let cluster = Cluster::start();
    let tickets = cluster.data_dir().join("state/client-1/tickets");
    assert!(tickets.is_dir(), "{}", cluster.logs());
    let full = Mount::tmpfs(&tickets, "64k");
    std::fs::write(tickets.join("fill"), vec![7; 64 << 10]).unwrap();

    let id = submit(&cluster);
    wait_until("the reason to be shown", || {
        let job = job(&cluster, &id);
        let reason = job["waiting"]["reason"].as_str().unwrap_or_default().to_owned();
        job["waiting"]["for"] == "local"
            && reason.contains("tickets")
            && reason.contains("No space left on device")
    });
    std::fs::remove_file(tickets.join("fill")).unwrap();
    wait_until("the job to end", || job(&cluster, &id)["state"] == "done");
    let job = job(&cluster, &id);
    assert_eq!(job["status"], "successful", "{job:#}");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    drop(full);
    cluster.check_repository();
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_f04a_an_attempt_that_its_client_refuses_ends_and_says_why() {
    let cluster = Cluster::start();
    cluster.kill(&["client-1"]);
    let hello = || Hello {
        kind: AgentKind::ClientAgent.into(),
        start_id: "another version".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        host_id: "elsewhere".into(),
        carries_nonces: true,
        ..Hello::default()
    };
    let serve = |mut session: Session| async move {
        while let Ok(Some(message)) = session.down.message().await {
            let Some(Body::Admit(order)) = message.body else {
                continue;
            };
            let ticket = Ticket::decode(order.ticket.unwrap().ticket).unwrap();
            let refused = AdmissionRefused {
                attempt: ticket.attempt,
                error: Some(JobError {
                    code: 59,
                    text: "a kind of job that this version does not know".into(),
                }),
            };
            let body = Some(agent_message::Body::AdmissionRefused(refused));
            let _ = session.up.send(AgentMessage { body }).await;
        }
    };
    let over = Shutdown::new();
    let asked = Primaries::new(credentials(&cluster, "client-1"), &primaries(&cluster)).unwrap();
    let held = tokio::spawn(hold(Arc::new(asked), over.clone(), hello, serve));
    let ended = tokio::task::spawn_blocking(move || {
        let id = submit(&cluster);
        wait_until("the job to end", || job(&cluster, &id)["state"] == "done");
        job(&cluster, &id)
    });
    let job = tokio::time::timeout(Duration::from_secs(180), ended)
        .await
        .unwrap()
        .unwrap();
    over.begin();
    held.await.unwrap();
    assert_eq!(
        (&job["status"], &job["status_code"]),
        (&"failed".into(), &59.into()),
        "{job:#}"
    );
    let shown = job.to_string();
    assert!(
        shown.contains("a kind of job that this version does not know"),
        "{job:#}"
    );
}
