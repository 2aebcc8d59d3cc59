//! What becomes of an attempt whose task has panicked (B-01): it ends with a code and a history, as one whose engine has.
//!
//! Used by the manager. What the engine's thread still does ends when it finds its line closed; nobody waits for it.

use std::sync::Arc;

use outlast_media_core::{Ending, Halt};
use outlast_proto::words::AttemptId;

use super::conduct::Assignment;
use super::control::Control;
use super::ending::{journal_end, log_end, remove_checkpoints};
use super::entrance::Entrance;
use super::progress::Progress;
use crate::context::Context;
use crate::fault;
use crate::journal::Standing;
use crate::tickets::Work;

/// What is left of the attempt then.
pub(super) struct Remains {
    context: Context,
    id: AttemptId,
    cluster: String,
    work: Work,
    control: Arc<Control>,
    progress: Arc<Progress>,
    entrance: Arc<Entrance>,
}

impl Remains {
    pub(super) fn of(assignment: &Assignment) -> Self {
        let ticket = &assignment.ticket;
        Self {
            context: assignment.context.clone(),
            id: ticket.id,
            cluster: ticket.cluster_id.clone(),
            work: ticket.work.clone(),
            control: Arc::clone(&assignment.control),
            progress: Arc::clone(&assignment.progress),
            entrance: Arc::clone(&assignment.entrance),
        }
    }

    /// Ends the attempt, unless its end was journalled before.
    pub(super) async fn settle(self, panic: &str) {
        let Self {
            context,
            id,
            entrance,
            ..
        } = &self;
        let fault = fault::panicked(&self.work, panic);
        self.control.halt(Halt::Fault(fault.clone()));
        if matches!(context.journal.standing(*id).await, Ok(Standing::Closed)) {
            drop(entrance.close(None));
            return;
        }
        if matches!(self.work, Work::Backup) {
            let unit = Arc::clone(&context.unit);
            remove_checkpoints(&context.unit, &self.cluster, *id, move || unit.lock()).await;
        }
        let ending = Ending::fault(fault);
        let last = ending.event(&self.progress.counters()).into_iter().collect();
        let durable = journal_end(context, *id, last, Some(&self.progress)).await;
        log_end(*id, &ending);
        let over = ending.over(durable);
        if let (Some(link), Some(over)) = (entrance.close(over.clone()), over) {
            context
                .tasks
                .ordinary(format!("goodbye of {id}"), link.finish(over));
        }
    }
}
