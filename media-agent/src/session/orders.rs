//! What comes down: acknowledgements, orders, questions. A repeated order is harmless.
//!
//! Parses and passes on; decisions are the manager's. Used by `serve`.

use std::collections::BTreeSet;
use std::sync::Arc;

use outlast_proto::v1::{
    AgentMessage, FenceAttempt, Fenced, LeaveAttempt, Leaving, PrimaryMessage, Question, StartAttempt,
    StopAttempt, Ticket as TicketMessage, agent_message, primary_message::Body, question,
};
use outlast_proto::words::JournalId;
use outlast_repository::SnapshotId;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Streaming;

use super::serve::SessionServer;
use super::{check, list_files, repository, snapshots};
use crate::fault::Fault;
use crate::storage::Chore;
use outlast_proto::words::AttemptId;

/// Follows orders until the leader ends the session.
pub(super) async fn follow(
    server: &SessionServer,
    mut down: Streaming<PrimaryMessage>,
    up: &mpsc::Sender<AgentMessage>,
) {
    loop {
        match down.message().await {
            Ok(Some(PrimaryMessage { body: Some(body) })) => {
                if !obey(server, body, up).await {
                    return;
                }
            }
            Ok(Some(PrimaryMessage { body: None })) => {}
            Ok(None) => return,
            Err(status) => {
                tracing::info!(
                    reason = outlast_kit::errors::cause_of(&status),
                    "the session broke"
                );
                return;
            }
        }
    }
}

/// Whether the session goes on.
async fn obey(server: &SessionServer, body: Body, up: &mpsc::Sender<AgentMessage>) -> bool {
    match body {
        Body::JournalAck(ack) => {
            let journal = JournalId(ack.journal_id);
            server.context.journal.acknowledge(journal, ack.sequence).await;
        }
        Body::Start(order) => start(server, order).await,
        Body::Stop(order) => stop(server, &order).await,
        Body::Fence(order) => fence(server, order, up.clone()),
        Body::Leave(order) => leave(server, order).await,
        Body::Question(question) => answer(server, question, up.clone()),
        Body::Mark(mark) => server.context.remember(move |known| known.take_mark(&mark)).await,
        Body::Settings(settings) => {
            let server = server.clone();
            // It waits for the disk.
            let taken = tokio::task::spawn_blocking(move || server.take_settings(&settings)).await;
            if let Err(error) = taken {
                tracing::error!(%error, "changed settings could not be taken in");
            }
        }
        Body::Refused(refused) => {
            tracing::error!(
                code = refused.code,
                reason = refused.text,
                "the primary ended the session"
            );
            return false;
        }
        Body::Welcome(_) | Body::Admit(_) | Body::Answering(_) | Body::Closed(_) => {
            tracing::warn!("the primary sent a message that is not for a media agent");
        }
    }
    true
}

async fn start(server: &SessionServer, order: StartAttempt) {
    let signed = order.ticket.unwrap_or_default();
    match server.context.verifier.verify(&signed) {
        Ok(ticket) => server.manager.start(ticket).await,
        Err(error) => {
            tracing::error!(%error, "an order's ticket does not count");
            let named = TicketMessage::decode(signed.ticket).unwrap_or_default().attempt;
            if let Ok(id) = AttemptId::of_message(named.as_ref()) {
                server
                    .manager
                    .cannot_start(id, Fault::access(error.to_string()))
                    .await;
            }
        }
    }
}

async fn stop(server: &SessionServer, order: &StopAttempt) {
    match AttemptId::of_message(order.attempt.as_ref()) {
        Ok(id) => match &order.fault {
            Some(refusal) => {
                server
                    .manager
                    .cannot_start(id, Fault::of_client(refusal.clone()))
                    .await
            }
            None => server.manager.stop(id, order.how()).await,
        },
        Err(error) => tracing::error!(%error, "an order to stop names no attempt"),
    }
}

async fn leave(server: &SessionServer, order: LeaveAttempt) {
    match AttemptId::of_message(order.attempt.as_ref()) {
        Ok(id) if order.how() == Leaving::Moved => server.manager.leave(id, order.why).await,
        Ok(id) => {
            tracing::error!(attempt = %id, how = order.how, "an order to leave says what this version does not know")
        }
        Err(error) => tracing::error!(%error, "an order to leave names no attempt"),
    }
}

/// Ends what runs, then removes what is left of it; beside the session, for it may take long.
fn fence(server: &SessionServer, order: FenceAttempt, up: mpsc::Sender<AgentMessage>) {
    let Ok(id) = AttemptId::of_message(order.attempt.as_ref()) else {
        tracing::error!("an order to fence names no attempt");
        return;
    };
    let keep: Option<BTreeSet<SnapshotId>> = order
        .keep_snapshots
        .iter()
        .map(|bytes| Some(SnapshotId::from_bytes(bytes.as_ref().try_into().ok()?)))
        .collect();
    let Some(keep) = keep else {
        tracing::error!(attempt = %id, "an order to fence names a snapshot that can be none; nothing is removed");
        return;
    };
    let (context, manager) = (server.context.clone(), server.manager.clone());
    server.context.tasks.ordinary(format!("fencing {id}"), async move {
        let fenced = manager.fence(id).await;
        let Some((cluster, _)) = context.verifier.cluster.known().filter(|_| fenced) else {
            return;
        };
        if order.only_end {
            tracing::info!(attempt = %id, "an attempt was fenced; what it left stays until the next one has looked at it");
            return;
        }
        let unit = Arc::clone(&context.unit);
        let removed = tokio::task::spawn_blocking(move || {
            let removed = crate::storage::remove_snapshots(&unit, &cluster, id, &keep);
            if removed.is_err() {
                let fenced = id;
                unit.later(Chore::Fence {
                    cluster,
                    fenced,
                    keep,
                });
            }
            removed
        });
        match removed.await {
            Ok(Ok(removed)) => {
                tracing::info!(attempt = %id, removed, "an attempt was fenced");
                let fenced = Fenced {
                    attempt: Some(id.to_ref()),
                };
                // If the session is over the order comes again with the next one.
                let _ = up
                    .send(AgentMessage {
                        body: Some(agent_message::Body::Fenced(fenced)),
                    })
                    .await;
            }
            // The order comes again with the next session, too.
            Ok(Err(error)) => {
                tracing::warn!(attempt = %id, %error, "what a fenced attempt left is not removed yet")
            }
            Err(error) => tracing::error!(attempt = %id, %error, "fencing failed"),
        }
    });
}

fn answer(server: &SessionServer, question: Question, up: mpsc::Sender<AgentMessage>) {
    let unit = Arc::clone(&server.context.unit);
    let (id, asker) = (question.id, up.clone());
    let cluster = server.context.verifier.cluster.known();
    let cluster = cluster.map(|(cluster, _)| cluster).unwrap_or_default();
    server
        .context
        .tasks
        .ordinary(format!("question {}", question.id), async move {
            let done = tokio::task::spawn_blocking(move || match question.body {
                Some(question::Body::ListFiles(asked)) => {
                    list_files::answer(&unit, question.id, &asked, &up);
                }
                Some(question::Body::Repository(_)) => repository::answer(&unit, question.id, &up),
                Some(question::Body::Snapshots(_)) => snapshots::answer(&unit, question.id, &cluster, &up),
                Some(question::Body::Sweep(asked)) => {
                    snapshots::sweep(&unit, question.id, (&cluster, &asked), &up);
                }
                Some(question::Body::Check(asked)) => check::answer(&unit, question.id, &asked, &up),
                Some(question::Body::DryRun(_)) | None => {
                    list_files::refuse(question.id, "this version does not know the question", &up)
                }
            });
            if let Err(error) = done.await {
                tracing::error!(%error, "a question could not be answered");
                let text = "the media agent failed; its log says more";
                let refuse = move || list_files::refuse(id, text, &asker);
                let _ = tokio::task::spawn_blocking(refuse).await;
            }
        });
}
