//! The journal's way to the leader: in order, from the first that is not acknowledged, as events become durable.
//!
//! Used by `serve`.

use std::sync::atomic::{AtomicU64, Ordering};

use outlast_proto::v1::{AgentMessage, JournalEvents, agent_message};
use outlast_proto::words::JournalId;
use prost::Message as _;
use tokio::sync::mpsc;

use crate::journal::Journal;

/// Events read at once.
const BATCH: usize = 64;
/// Bytes of one message, unless a single event is larger.
const MESSAGE: usize = 512 << 10;

/// Delivers `id` from event `next` on until the session or the journal ends; `sent` says how far it came.
pub(super) async fn deliver(
    journal: &Journal,
    (id, mut next): (&JournalId, u64),
    sent: &AtomicU64,
    up: &mpsc::Sender<AgentMessage>,
) {
    let mut status = journal.watch();
    loop {
        let now = status.borrow_and_update().clone();
        if now.journal != *id {
            return;
        }
        while next <= now.last {
            let mut events = match journal.read(next, BATCH).await {
                Ok(events) if events.is_empty() && next <= journal.status().acknowledged => {
                    // The leader has acknowledged more than this session sent, from the one before.
                    next = journal.status().acknowledged + 1;
                    continue;
                }
                Ok(events) => events,
                Err(error) => {
                    tracing::error!(%error, "the journal cannot be read");
                    return;
                }
            };
            let mut bytes = 0;
            let fitting = events.iter().take_while(|event| {
                let first = bytes == 0;
                bytes += event.encoded_len();
                first || bytes <= MESSAGE
            });
            events.truncate(fitting.count());
            let Some(last) = events.last().map(|event| event.sequence) else {
                break;
            };
            next = last + 1;
            sent.fetch_max(last, Ordering::Relaxed);
            let journal_id = id.0.clone();
            let body = agent_message::Body::Journal(JournalEvents { journal_id, events });
            if up.send(AgentMessage { body: Some(body) }).await.is_err() {
                return;
            }
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}
