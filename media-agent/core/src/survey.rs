//! What the storage unit's word makes of an attempt: which finished items are taken over, how one that was left open ends
//! (F-08, F-14, F-16).

mod machine;

use std::collections::BTreeMap;

use outlast_proto::v1::{ItemEnded, ItemOutcome, Stopped};
use outlast_proto::words::{Attempt, Counters, StatusCode};

use crate::ending::{Done, Ending};

pub use machine::{Came, Step, Survey};

/// Of the finished items that lie in the storage unit, by number and attempt: for each the newest of `attempt` and those
/// before it.
pub fn newest<T>(found: impl IntoIterator<Item = (u32, Attempt, T)>, attempt: Attempt) -> BTreeMap<u32, T> {
    let mut newest: BTreeMap<u32, (Attempt, T)> = BTreeMap::new();
    for (item, of, what) in found {
        let is_newer = newest.get(&item).is_none_or(|(other, _)| *other < of);
        if of <= attempt && is_newer {
            newest.insert(item, (of, what));
        }
    }
    newest.into_iter().map(|(item, (_, what))| (item, what)).collect()
}

/// Whether an attempt may have something to take over from those before it.
#[must_use]
pub fn has_predecessors(attempt: Attempt) -> bool {
    attempt.0 > 1
}

/// An item as the ticket has it: what earlier attempts made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticketed {
    /// It is not run again (F-08).
    pub finished: bool,
    /// It was finished with exceptions (S-02).
    pub with_exceptions: bool,
}

/// How an attempt ends that an earlier process left open. `ticketed`: the items of its ticket;
/// `items`: those that ended in it, journalled or found. A restore has nothing that could be found.
#[must_use]
pub fn settle(
    agent: &str,
    is_backup: bool,
    ticketed: &[Ticketed],
    items: &[ItemEnded],
) -> (Ending, Counters) {
    let mut counters = Counters::default();
    for item in items {
        counters.add(&item.counters.as_ref().map(Counters::from).unwrap_or_default());
    }
    let all_finished = (0..).zip(ticketed).all(|(number, item)| {
        let is_it = |ended: &ItemEnded| ended.item == number && is_finished(ended);
        item.finished || items.iter().any(is_it)
    });
    if !is_backup || ticketed.is_empty() || !all_finished {
        let reason = format!("media agent \"{agent}\" was restarted");
        return (Ending::Interrupted(reason), counters);
    }
    let earlier = ticketed.iter().any(|item| item.finished && item.with_exceptions);
    let code = if counters.exceptions > 0 || earlier {
        StatusCode::EXCEPTIONS
    } else {
        StatusCode::SUCCESSFUL
    };
    let done = Done {
        code,
        text: String::new(),
        stopped: Stopped::Unspecified,
        storage: None,
    };
    (Ending::Ended(done), counters)
}

fn is_finished(item: &ItemEnded) -> bool {
    matches!(
        item.outcome(),
        ItemOutcome::Done | ItemOutcome::DoneWithExceptions
    )
}
