//! A media agent that lies about its journal: refused with a code, and nothing has changed (R-05, S-12).

use std::sync::Arc;
use std::time::Duration;

use outlast_kit::leader::Primaries;
use outlast_kit::session::{Session, hold};
use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::primary_message::Body;
use outlast_proto::v1::{
    AgentKind, AgentMessage, AttemptEnded, AttemptRef, DetailSaid, Hello, JournalEvent, JournalEvents,
    agent_message,
};
use serde_json::Value;
use tokio::sync::mpsc;
use tonic::Code;

use crate::cluster::Cluster;
use crate::hostile::{credentials, primaries};
use crate::tree;

const JOURNAL: &str = "forged";

/// What the leader answered: its acknowledgement, or the code with which it ended the session.
type Answer = Result<u64, Code>;

fn event(sequence: u64, job: &str, what: What) -> JournalEvent {
    JournalEvent {
        sequence,
        at: None,
        attempt: Some(AttemptRef {
            job: job.to_owned(),
            attempt: 1,
            nonce: 0,
        }),
        what: Some(what),
        writer: 7,
    }
}

fn detail(sequence: u64) -> JournalEvent {
    event(sequence, "1", What::Detail(DetailSaid::default()))
}

fn failed(sequence: u64, job: &str) -> JournalEvent {
    let ended = AttemptEnded {
        status_code: 84,
        ..AttemptEnded::default()
    };
    event(sequence, job, What::Ended(ended))
}

/// Opens a session as this media agent and says this of a journal.
async fn say(cluster: &Cluster, media: &str, journal: &str, events: Vec<JournalEvent>) -> Answer {
    let primaries = Primaries::new(credentials(cluster, media), &primaries(cluster)).unwrap();
    let hello = || Hello {
        kind: AgentKind::MediaAgent.into(),
        start_id: "mallory's".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        host_id: "elsewhere".into(),
        carries_nonces: true,
        journal_id: JOURNAL.into(),
        journal_first: 1,
        journal_last: 3,
        pool: "default".into(),
        storage_unit: "storage".into(),
        data_addresses: vec!["127.0.0.1:9".into()],
        ..Hello::default()
    };
    let (answered, mut answers) = mpsc::channel(1);
    let body = agent_message::Body::Journal(JournalEvents {
        journal_id: journal.to_owned(),
        events,
        sent_at: None,
    });
    let serve = move |mut session: Session| {
        let (answered, body) = (answered.clone(), body.clone());
        async move {
            // A session that is over before this is one that was opened again after its answer.
            let _ = session.up.send(AgentMessage { body: Some(body) }).await;
            loop {
                let answer = match session.down.message().await {
                    Ok(Some(message)) => match message.body {
                        Some(Body::JournalAck(ack)) => Ok(ack.sequence),
                        _ => continue,
                    },
                    Ok(None) => Err(Code::Ok),
                    Err(status) => Err(status.code()),
                };
                let _ = answered.try_send(answer);
                return;
            }
        }
    };
    let over = Shutdown::new();
    let held = tokio::spawn(hold(Arc::new(primaries), over.clone(), hello, serve));
    let answer = tokio::time::timeout(Duration::from_secs(60), answers.recv()).await;
    over.begin();
    held.await.unwrap();
    answer.unwrap().unwrap()
}

/// All that an administrator sees of jobs, but the lines of their logs.
fn seen(cluster: &Cluster) -> [Value; 3] {
    [["job", "list"], ["history", "list"], ["restore-point", "list"]].map(|command| cluster.json(&command))
}

#[tokio::test(flavor = "multi_thread")]
async fn r05_events_from_the_future_and_of_others_change_nothing() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    tree::make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 0);
    let media = job["attempts"][0]["media_agent"].as_str().unwrap();
    let before = seen(&cluster);

    cluster.kill(&[media]);
    for (case, journal, events, expected) in [
        (
            "the future",
            JOURNAL,
            vec![detail(7)],
            Err(Code::FailedPrecondition),
        ),
        (
            "the end of time",
            JOURNAL,
            vec![failed(u64::MAX, "1")],
            Err(Code::FailedPrecondition),
        ),
        (
            "another journal",
            "not this one",
            vec![failed(1, "1")],
            Err(Code::FailedPrecondition),
        ),
        (
            "no job",
            JOURNAL,
            vec![failed(1, "one")],
            Err(Code::InvalidArgument),
        ),
        ("the past", JOURNAL, vec![failed(0, "1")], Ok(0)),
        (
            "a gap",
            JOURNAL,
            vec![detail(1), failed(3, "1")],
            Err(Code::FailedPrecondition),
        ),
        // From here on its numbers are right, and what it says still counts for no attempt but a running one of its own.
        ("a job that is over", JOURNAL, vec![failed(2, "1")], Ok(2)),
        ("a job nobody knows", JOURNAL, vec![failed(3, "77")], Ok(3)),
        (
            "a repetition",
            JOURNAL,
            vec![failed(2, "1"), failed(3, "1")],
            Ok(3),
        ),
    ] {
        assert_eq!(say(&cluster, media, journal, events).await, expected, "{case}");
        assert_eq!(seen(&cluster), before, "{case}");
    }

    // The real one is known by its journal, and takes up work again.
    cluster.restart(media);
    let job = cluster.run_job("home", 0);
    assert_eq!(job["status"], "successful", "{job:#}");
    cluster.check_repository();
}
