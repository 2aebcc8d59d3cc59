//! Settles the attempts an earlier process left open: what the storage unit holds of them, then their end (F-14, F-16).
//!
//! Waits for the storage unit as long as it takes. Started once by `run`.

use std::sync::Arc;
use std::time::Duration;

use outlast_media_core::Ending;
use outlast_media_core::kept::OpenAttempt;
use outlast_media_core::survey::settle;
use outlast_proto::v1::{ItemEnded, SignedTicket};
use outlast_proto::words::{Counters, StatusCode};

use super::ending::{journal_end, log_end, remove_checkpoints};
use crate::backup::adopt;
use crate::context::Context;
use crate::fault::Fault;
use crate::tickets::{Ticket, Work};
use outlast_proto::words::AttemptId;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Gives every open attempt its end.
pub(crate) async fn settle_open_attempts(context: Context, open: Vec<OpenAttempt>) {
    for attempt in open {
        let Ok(id) = AttemptId::of_message(attempt.attempt.as_ref()) else {
            continue;
        };
        let ending = survey(&context, id, &attempt).await;
        let Some((ending, counters)) = ending else {
            return;
        };
        tracing::info!(job = %id.job, attempt = %id.attempt, "an attempt of an earlier run is settled");
        log_end(id, &ending);
        let last = ending.event(&counters).into_iter().collect();
        journal_end(&context, id, last, None).await;
    }
}

/// What the storage unit says; `None` when the agent ends first.
async fn survey(context: &Context, id: AttemptId, open: &OpenAttempt) -> Option<(Ending, Counters)> {
    let agent = context.agent.as_str();
    let signed: SignedTicket = open.ticket.clone().unwrap_or_default();
    let ticket = match context.verifier.verify(&signed) {
        Ok(ticket) => ticket,
        Err(error) => {
            tracing::warn!(attempt = %id, %error, "the ticket of an open attempt does not count any more");
            return Some(settle(agent, false, &[], &open.items));
        }
    };
    if matches!(ticket.work, Work::Restore { .. }) {
        return Some(settle(agent, false, &[], &open.items));
    }
    let mut items = open.items.clone();
    let mut pause = FIRST_PAUSE;
    loop {
        match adopt_items(context, &ticket, &mut items).await {
            Ok(()) => break,
            Err(fault) => {
                tracing::warn!(
                    attempt = %id, error = fault.text, retry_seconds = pause.as_secs_f64(),
                    "an open attempt cannot be surveyed yet"
                );
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = context.shutdown.begun() => return None,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    let ticketed: Vec<_> = ticket.items.iter().map(|item| item.before).collect();
    let settled = settle(agent, true, &ticketed, &items);
    if matches!(settled, (Ending::Ended(_), _)) {
        let unit = Arc::clone(&context.unit);
        remove_checkpoints(&context.unit, &ticket.cluster_id, ticket.id, move || unit.lock()).await;
    }
    Some(settled)
}

/// Journals what the attempt finished without having said so.
async fn adopt_items(context: &Context, ticket: &Ticket, items: &mut Vec<ItemEnded>) -> Result<(), Fault> {
    let known: Vec<u32> = items.iter().map(|item| item.item).collect();
    let (context, ticket) = (context.clone(), ticket.clone());
    let adopted = tokio::task::spawn_blocking(move || adopt::left_by_this_attempt(&context, &ticket, &known));
    let adopted = adopted
        .await
        .map_err(|error| Fault::new(StatusCode::STORAGE_UNIT_NOT_AVAILABLE, error.to_string()))??;
    items.extend(adopted);
    Ok(())
}
