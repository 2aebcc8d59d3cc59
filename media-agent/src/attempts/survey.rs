//! Settles the attempts an earlier process left open: what the storage unit holds of them, then their end (F-14, F-16). Does the steps of
//! the core's `Survey`.
//!
//! Waits for the storage unit as long as it takes. Started once by `run`.

use std::sync::Arc;

use outlast_media_core::kept::OpenAttempt;
use outlast_media_core::survey::{Came, Step, Survey};
use outlast_proto::v1::SignedTicket;
use outlast_proto::v1::journal_event::What;

use super::ending::{journal_end, log_end, remove_checkpoints};
use crate::backup::adopt::Surveyed;
use crate::context::Context;
use crate::fault::Fault;
use crate::tickets::{Ticket, Work};
use outlast_proto::words::AttemptId;

/// Gives every open attempt its end.
pub(crate) async fn settle_open_attempts(context: Context, open: Vec<OpenAttempt>) {
    for attempt in open {
        let Ok(id) = AttemptId::of_message(attempt.attempt.as_ref()) else {
            continue;
        };
        if !settle(&context, id, attempt).await {
            return;
        }
    }
}

/// False when the agent ends first.
async fn settle(context: &Context, id: AttemptId, open: OpenAttempt) -> bool {
    let ticket = backup_of(context, id, open.ticket.unwrap_or_default());
    let ticketed = ticket
        .as_ref()
        .map(|ticket| ticket.items.iter().map(|item| item.before).collect());
    let mut surveyor = Surveyor {
        context,
        id,
        ticket,
        seen: None,
    };
    let mut survey = Survey::new(context.agent.as_str(), id, ticketed, open.items);
    let mut step = survey.begin();
    loop {
        let came = match step {
            Step::Over(ending) => {
                tracing::info!(job = %id.job, attempt = %id.attempt, "an attempt of an earlier run is settled");
                log_end(id, &ending);
                return true;
            }
            Step::Wait(pause) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => Came::Done,
                    () = context.shutdown.begun() => return false,
                }
            }
            step => surveyor.perform(step).await,
        };
        step = survey.next(came);
    }
}

/// The ticket of a backup; anything else has left nothing that could be found.
fn backup_of(context: &Context, id: AttemptId, signed: SignedTicket) -> Option<Ticket> {
    match context.verifier.verify(&signed) {
        Ok(ticket) => Some(ticket).filter(|ticket| matches!(ticket.work, Work::Backup)),
        Err(error) => {
            tracing::warn!(attempt = %id, %error, "the ticket of an open attempt does not count any more");
            None
        }
    }
}

/// Does the steps of one survey.
struct Surveyor<'a> {
    context: &'a Context,
    id: AttemptId,
    ticket: Option<Ticket>,
    /// What it saw when it looked last.
    seen: Option<Arc<Surveyed>>,
}

impl Surveyor<'_> {
    async fn perform(&mut self, step: Step) -> Came {
        let came = match step {
            Step::Look => self.look().await,
            Step::Examine(found) => self.examine(found.finished.item).await,
            Step::Journal(event) => self.journal(event).await,
            Step::RemoveCheckpoints => {
                self.remove_checkpoints().await;
                Ok(Came::Done)
            }
            Step::JournalEnd(events) => {
                journal_end(self.context, self.id, events, None).await;
                Ok(Came::Done)
            }
            Step::Wait(_) | Step::Over(_) => Ok(Came::Done),
        };
        came.unwrap_or_else(|fault: Fault| {
            tracing::warn!(attempt = %self.id, error = fault.text, "an open attempt cannot be surveyed yet");
            Came::Failed
        })
    }

    async fn look(&mut self) -> Result<Came, Fault> {
        let Some(ticket) = self.ticket.clone() else {
            return Ok(Came::Found(Vec::new()));
        };
        let context = self.context.clone();
        let unavailable =
            |text: String| Fault::new(outlast_proto::words::StatusCode::STORAGE_UNIT_NOT_AVAILABLE, text);
        let seen = tokio::task::spawn_blocking(move || Surveyed::look(&context, &ticket)).await;
        let seen = seen.map_err(|error| unavailable(error.to_string()))?;
        let seen = seen.map_err(|error| crate::fault::unavailable(&self.context.unit.name, &error))?;
        let found = seen.found();
        self.seen = Some(Arc::new(seen));
        Ok(Came::Found(found))
    }

    async fn examine(&self, item: u32) -> Result<Came, Fault> {
        let Some(seen) = self.seen.clone() else {
            return Ok(Came::Sound(false));
        };
        let looked = tokio::task::spawn_blocking(move || seen.is_sound(item)).await;
        let is_sound = match looked {
            Ok(looked) => {
                looked.map_err(|error| crate::fault::unavailable(&self.context.unit.name, &error))?
            }
            Err(error) => {
                tracing::error!(attempt = %self.id, item, %error, "looking at a finished item failed");
                false
            }
        };
        if !is_sound {
            tracing::warn!(attempt = %self.id, item, "a finished item is damaged and not taken over");
        }
        Ok(Came::Sound(is_sound))
    }

    async fn journal(&self, event: What) -> Result<Came, Fault> {
        let event = self.context.event(self.id, event);
        self.context.journal.append(vec![event]).await?;
        Ok(Came::Done)
    }

    async fn remove_checkpoints(&self) {
        if let Some(ticket) = &self.ticket {
            let unit = Arc::clone(&self.context.unit);
            let locked = move || unit.lock();
            remove_checkpoints(&self.context.unit, &ticket.cluster_id, ticket.id, locked).await;
        }
    }
}
