//! Takes over items that are finished in the storage unit but not in the journal (F-08, F-14).
//!
//! An item of this attempt is adopted as it is. One of an earlier attempt, which a fence may yet remove, gets a snapshot
//! of this attempt with the same tree. Used before an attempt's first chunk and by the survey at start.

use outlast_media_core::Tally;
use outlast_media_core::survey::has_predecessors;
use outlast_proto::v1::attempt_surveyed::Found;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{AttemptSurveyed, ItemEnded, Severity};
use outlast_proto::words::Counters;

use super::commit::{Committed, save_under_lock};
use super::damage;
use super::engine::Base;
use crate::attempts::End;
use crate::context::Context;
use crate::fault::Fault;
use crate::storage::{FinishedItem, finished_items};
use crate::tickets::Ticket;

/// Items of this job that were finished before this attempt and are not known to be, and are whole.
pub(super) struct Left(Vec<(u32, FinishedItem)>);

/// Looks for what earlier attempts left.
pub(super) fn look(base: &Base) -> Result<Left, End> {
    let ticket = &base.ticket;
    // Attempt 1 has nobody before it, and a list of many snapshots takes its time.
    if !has_predecessors(ticket.id.attempt) {
        return Ok(Left(Vec::new()));
    }
    let found = finished_items(&base.repository, ticket).map_err(|error| base.storage_fault(&error))?;
    if !found.is_empty() {
        damage::look_again(base)?;
    }
    let mut left = Vec::new();
    for (number, item) in found {
        if ticket
            .items
            .get(number as usize)
            .is_none_or(|item| item.before.finished)
        {
            continue;
        }
        let is_sound = damage::is_sound(&base.repository, item.snapshot.tree);
        if !is_sound.map_err(|error| base.storage_fault(&error))? {
            let text = format!(
                "item {number} was finished by an earlier attempt, but damage was found in it since: it is backed up again"
            );
            base.say(Severity::Warning, text)?;
            continue;
        }
        left.push((number, item));
    }
    Ok(Left(left))
}

impl Left {
    /// Says what there is, if an attempt before this one has no history yet (F-14). If all items are there the one before has ended with them,
    /// and this one does not begin: what they came to.
    pub(super) fn tell(&self, base: &Base) -> Result<Option<Tally>, End> {
        let ticket = &base.ticket;
        if !ticket.surveys {
            return Ok(None);
        }
        let is_left = |number: u32| self.0.iter().any(|(left, _)| *left == number);
        let complete = (0..)
            .zip(&ticket.items)
            .all(|(number, item)| item.before.finished || is_left(number));
        let found = self.0.iter().map(|(number, item)| {
            let committed = Committed {
                counters: item.tags.counters,
                ..as_it_is(item)
            };
            Found {
                attempt: item.tags.id.attempt.0,
                item: Some(committed.ended(*number)),
            }
        });
        base.journal(vec![What::Surveyed(AttemptSurveyed {
            found: found.collect(),
            complete,
            checkpoint: bytes::Bytes::new(),
        })])?;
        if !complete {
            return Ok(None);
        }
        let mut tally = Tally::default();
        for item in ticket.items.iter().filter(|item| item.before.finished) {
            tally.finished_before(item.before.with_exceptions);
        }
        for (_, item) in &self.0 {
            tally.finished(&item.tags.counters);
        }
        Ok(Some(tally))
    }

    /// Takes the items over; journalled when it returns.
    pub(super) fn take_over(self, base: &Base) -> Result<Vec<ItemEnded>, End> {
        let mut adopted = Vec::new();
        for (number, item) in self.0 {
            let committed = if item.tags.id == base.ticket.id {
                as_it_is(&item)
            } else {
                under_own_name(base, item)?
            };
            let ended = committed.ended(number);
            base.journal(vec![What::ItemEnded(ended.clone())])?;
            adopted.push(ended);
        }
        Ok(adopted)
    }
}

/// Items this very attempt finished without having journalled it; journalled when it returns. `known` are those it had.
pub(crate) fn left_by_this_attempt(
    context: &Context,
    ticket: &Ticket,
    known: &[u32],
) -> Result<Vec<ItemEnded>, Fault> {
    let unavailable = |error| crate::fault::unavailable(&context.unit.name, &error);
    let repository = context.unit.repository().map_err(unavailable)?;
    let mut adopted = Vec::new();
    let found = finished_items(&repository, ticket).map_err(unavailable)?;
    let is_new = |(number, item): &(u32, FinishedItem)| item.tags.id == ticket.id && !known.contains(number);
    let found: Vec<_> = found.into_iter().filter(is_new).collect();
    if !found.is_empty() {
        // What was found damaged before, by whomever.
        repository.reload_index().map_err(unavailable)?;
        repository.look_for_packs().map_err(unavailable)?;
    }
    for (number, item) in found {
        if !damage::is_sound(&repository, item.snapshot.tree).map_err(unavailable)? {
            tracing::warn!(attempt = %ticket.id, item = number, "a finished item is damaged and not taken over");
            continue;
        }
        let ended = as_it_is(&item).ended(number);
        let event = context.event(ticket.id, What::ItemEnded(ended.clone()));
        context.journal.append_blocking(vec![event])?;
        adopted.push(ended);
    }
    Ok(adopted)
}

fn as_it_is(item: &FinishedItem) -> Committed {
    Committed {
        snapshot: item.snapshot_id,
        tree: item.snapshot.tree,
        time: item.snapshot.time,
        outcome: item.tags.outcome,
        counters: Counters {
            bytes_carried_over: item.tags.counters.bytes,
            ..item.tags.counters
        },
        adopted: true,
    }
}

fn under_own_name(base: &Base, item: FinishedItem) -> Result<Committed, End> {
    let mut committed = as_it_is(&item);
    let mut snapshot = item.snapshot;
    let mut tags = item.tags;
    tags.id = base.ticket.id;
    tags.tree = Some(snapshot.tree);
    snapshot.tags = tags.to_tags();
    snapshot.original = Some(item.snapshot_id);
    committed.snapshot = save_under_lock(base, &snapshot)?;
    Ok(committed)
}
