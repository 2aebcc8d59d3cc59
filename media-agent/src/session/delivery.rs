//! The journal's way to the leader: in order, from the first that is not acknowledged, as events become durable.
//!
//! Used by `serve`.

use outlast_kit::clock::SharedClock;
use outlast_media_core::session::{Delivery, Next};
use outlast_proto::v1::{AgentMessage, JournalEvents, agent_message};
use prost::Message as _;
use tokio::sync::mpsc;

use crate::journal::Journal;

/// Events read at once.
const BATCH: usize = 64;
/// Bytes of one message, unless a single event is larger.
const MESSAGE: usize = 512 << 10;

/// Delivers until the session or the journal ends.
pub(super) async fn deliver(
    journal: &Journal,
    clock: &SharedClock,
    mut delivery: Delivery,
    up: &mpsc::Sender<AgentMessage>,
) {
    let mut status = journal.watch();
    loop {
        let now = status.borrow_and_update().clone();
        let from = match delivery.next(&now) {
            Next::Over => return,
            Next::Wait => {
                if status.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Next::Send(from) => from,
        };
        let mut events = match journal.read(from, BATCH).await {
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
        // None: they were acknowledged meanwhile, or the journal is another one, and its status says so.
        let Some(last) = events.last().map(|event| event.sequence) else {
            continue;
        };
        delivery.sent(last);
        let journal_id = delivery.journal().0.clone();
        let body = agent_message::Body::Journal(JournalEvents {
            journal_id,
            events,
            sent_at: Some(clock.now().into()),
        });
        if up.send(AgentMessage { body: Some(body) }).await.is_err() {
            return;
        }
    }
}
