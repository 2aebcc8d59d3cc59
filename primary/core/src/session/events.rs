//! Journal events from the wire to the brain's words. Called by `primary/src/sessions` and by the simulation.

use outlast_proto::convert::InvalidField;
use outlast_proto::v1::{self, journal_event::What};
use outlast_proto::words::{
    Attempt, AttemptId, Counters, Exception, Interruption, ItemNumber, ItemOutcome, Severity, SnapshotId,
    StartId, StatusCode, Stopped, StorageFault, Timestamp, TreeId,
};

use crate::event::{EventKind, FoundItem, JobError, JournalEvent};

/// Longest text taken over from an agent; the rest is cut off.
const MAX_TEXT: usize = 4096;

/// Parses one event.
///
/// # Errors
/// [`InvalidField`] naming what is wrong; the session then ends.
pub fn parse(event: v1::JournalEvent) -> Result<JournalEvent, InvalidField> {
    let missing = |field| InvalidField::new(field, "is missing");
    let id = AttemptId::of_message(event.attempt.as_ref())?;
    let what = parse_what(event.what.ok_or_else(|| missing("what"))?)?;
    let at = event.at.as_ref().map(Timestamp::from).unwrap_or_default();
    Ok(JournalEvent {
        sequence: event.sequence,
        at,
        job: id.job,
        attempt: id.attempt,
        nonce: id.nonce,
        what,
        writer: event.writer,
    })
}

fn parse_what(what: What) -> Result<EventKind, InvalidField> {
    Ok(match what {
        What::Marked(m) => EventKind::Marked {
            resilient: m.resilient,
            client_start_id: StartId(text(m.client_start_id)),
        },
        What::MarkLost(m) => EventKind::MarkLost {
            from: text(m.from),
            to: text(m.to),
        },
        What::ItemStarted(i) => EventKind::ItemStarted {
            item: ItemNumber(i.item),
        },
        What::ItemEnded(i) => parse_item_ended(i)?,
        What::Checkpoint(c) => EventKind::CheckpointMade {
            snapshot: SnapshotId::from_wire("checkpoint.snapshot", &c.snapshot)?
                .ok_or_else(|| InvalidField::new("checkpoint.snapshot", "is missing"))?,
            item: ItemNumber(c.item),
            counters: counters(c.counters.as_ref()),
        },
        What::Exceptions(e) => EventKind::ExceptionsFound {
            item: ItemNumber(e.item),
            exceptions: e
                .exceptions
                .into_iter()
                .map(|x| Exception {
                    path: text(x.path),
                    reason: text(x.reason),
                    item: None,
                })
                .collect(),
        },
        What::Detail(d) => EventKind::DetailSaid {
            severity: Severity::from_wire(d.severity).unwrap_or(Severity::Info),
            text: text(d.text),
        },
        What::Surveyed(s) => parse_survey(s)?,
        What::Interrupted(i) if i.left() == v1::Leaving::Moved => EventKind::MadeRoom {
            counters: counters(i.counters.as_ref()),
            reason: text(i.reason),
        },
        What::Interrupted(i) => EventKind::Interrupted {
            counters: counters(i.counters.as_ref()),
            reason: text(i.reason),
            cause: Interruption::from_wire(i.cause),
        },
        What::Ended(e) => EventKind::Ended {
            code: code("ended.status_code", e.status_code)?,
            text: text(e.text),
            counters: counters(e.counters.as_ref()),
            stopped: Stopped::from_wire(e.stopped),
            storage: StorageFault::from_wire(e.storage),
        },
    })
}

fn parse_survey(survey: v1::AttemptSurveyed) -> Result<EventKind, InvalidField> {
    let missing = |field| InvalidField::new(field, "is missing");
    let found = survey.found.into_iter().map(|found| {
        let attempt = Attempt(found.attempt);
        let item = found.item.ok_or_else(|| missing("surveyed.found.item"))?;
        match parse_item_ended(item)? {
            EventKind::ItemEnded {
                item,
                outcome,
                counters,
                snapshot: Some(snapshot),
                tree,
                ..
            } => Ok(FoundItem {
                item,
                attempt,
                outcome,
                counters,
                snapshot,
                tree,
            }),
            _ => Err(missing("surveyed.found.item.snapshot")),
        }
    });
    Ok(EventKind::Surveyed {
        found: found.collect::<Result<_, _>>()?,
        is_complete: survey.complete,
        checkpoint: SnapshotId::from_wire("surveyed.checkpoint", &survey.checkpoint)?,
    })
}

fn parse_item_ended(item: v1::ItemEnded) -> Result<EventKind, InvalidField> {
    let outcome = ItemOutcome::from_wire(item.outcome)
        .ok_or_else(|| InvalidField::new("item_ended.outcome", "is not known to this version"))?;
    let at = item
        .snapshot_time
        .as_ref()
        .map(Timestamp::from)
        .unwrap_or_default();
    let snapshot = SnapshotId::from_wire("item_ended.snapshot", &item.snapshot)?.map(|id| (id, at));
    let error = match item.error {
        Some(error) => Some(JobError {
            code: code("item_ended.error", error.code)?,
            text: text(error.text),
        }),
        None => None,
    };
    Ok(EventKind::ItemEnded {
        item: ItemNumber(item.item),
        outcome,
        counters: counters(item.counters.as_ref()),
        snapshot,
        error,
        adopted: item.adopted,
        tree: TreeId::from_wire("item_ended.tree", &item.tree)?,
    })
}

fn counters(message: Option<&v1::Counters>) -> Counters {
    message.map(Counters::from).unwrap_or_default()
}

fn code(field: &'static str, number: u32) -> Result<StatusCode, InvalidField> {
    u16::try_from(number)
        .map(StatusCode)
        .map_err(|_| InvalidField::new(field, "is no status code"))
}

/// A text of an agent, within the limit.
pub fn text(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
    }
    text
}
