//! Checkpoint restart: from which checkpoint each item goes on that attempts before this one left unfinished (F-05, F-07).
//!
//! What cannot be used costs time, never the attempt: then the checkpoint before it is the start, else there is none. What a checkpoint spares,
//! the tree builder decides file by file. Called by `engine` before the first item; `item` builds upon it.

use std::collections::{BTreeMap, HashSet};

use outlast_media_core::survey::has_predecessors;
use outlast_proto::v1::Severity;
use outlast_proto::words::{SnapshotId, StatusCode};
use outlast_repository::{BlobKind, Node, Timestamp};

use super::checkpoint::{ITEM, MARK};
use super::damage;
use super::engine::Base;
use super::item::BEFORE_MARKS;
use super::mark::{MOST_MARK, Mark};
use crate::attempts::End;
use crate::storage::{LeftCheckpoint, checkpoints_left};
use crate::tickets::Item;
use crate::tree_builder::{Carried, ItemPath, Trust, show_bytes};

/// By item: where it goes on.
#[derive(Default)]
pub(super) struct Starts(BTreeMap<u32, Start>);

/// A checkpoint that can be used.
struct Start {
    checkpoint: LeftCheckpoint,
    mark: Mark,
    root: Node,
}

/// Looks for what earlier attempts left of the items that are still to be run, and says what becomes of it.
pub(super) fn look(base: &Base, is_to_run: impl Fn(u32) -> bool) -> Result<Starts, End> {
    let ticket = &base.ticket;
    // Attempt 1 has nobody before it, and a list of many snapshots takes its time.
    let mut numbers = (0..).zip(&ticket.items).map(|(number, _)| number);
    let is_needless = ticket.checkpoint_interval.is_none() || !numbers.any(&is_to_run);
    if is_needless || !has_predecessors(ticket.id.attempt) {
        return Ok(Starts::default());
    }
    let left = match checkpoints_left(&base.repository, ticket) {
        Ok(left) => left,
        Err(error) => {
            let text = format!("checkpoints cannot be looked for, so that every item begins anew: {error}");
            base.say(Severity::Warning, text)?;
            return Ok(Starts::default());
        }
    };
    if !left.is_empty() {
        damage::look_again(base)?;
    }
    let mut starts = Starts::default();
    for checkpoint in left.into_iter().filter(|checkpoint| is_to_run(checkpoint.item)) {
        let item = checkpoint.item;
        if starts.0.contains_key(&item) {
            continue;
        }
        match read(base, &checkpoint) {
            Ok((mark, root)) => {
                let start = Start {
                    checkpoint,
                    mark,
                    root,
                };
                base.say(Severity::Info, start.told(base))?;
                starts.0.insert(item, start);
            }
            Err(why) => base.say(Severity::Warning, unusable(&checkpoint, &why))?,
        }
    }
    if starts.0.is_empty() {
        let text = format!(
            "attempt {} begins anew: the attempts before it left no checkpoint that can be used; what they stored is not stored again",
            ticket.id.attempt
        );
        base.say(Severity::Info, text)?;
    }
    Ok(starts)
}

impl Starts {
    /// The checkpoint that the first of the items goes on from.
    pub(super) fn first(&self) -> Option<SnapshotId> {
        let first = self.0.values().next();
        first.map(|start| SnapshotId(*start.checkpoint.id.as_bytes()))
    }

    /// What the item's walk is compared with.
    pub(super) fn of(&self, number: u32, item: &Item) -> Option<Carried> {
        let start = self.0.get(&number)?;
        let Timestamp { secs, nanos } = start.mark.made_at;
        let trust = if start.checkpoint.marks_young {
            Trust::Marked
        } else {
            Trust::Before(Timestamp::new(secs.saturating_sub(BEFORE_MARKS), nanos))
        };
        Some(Carried {
            root: start.root.clone(),
            trust,
            position: (start.mark.counters.bytes > 0).then(|| start.mark.raw_position()),
            begun: start.mark.begun(),
            again: again(&start.mark, &ItemPath::parse(&item.path)?),
        })
    }
}

impl Start {
    fn told(&self, base: &Base) -> String {
        let Self { checkpoint, mark, .. } = self;
        let item = base.ticket.items.get(checkpoint.item as usize);
        format!(
            "\"{}\" goes on from checkpoint {} that attempt {} made at {} after {} files and {} bytes, at \"{}\"",
            item.map_or("", |item| &item.path),
            checkpoint.id,
            checkpoint.attempt,
            mark.made_at,
            mark.counters.files,
            mark.counters.bytes,
            mark.position
        )
    }
}

/// Files that had an exception are read again: it is met again, or holds no more. So are those that were not read to their end, where
/// the tree does not tell them from others.
fn again(mark: &Mark, item: &ItemPath) -> HashSet<String> {
    let mut again: HashSet<String> = mark.exceptions.iter().map(|e| e.path.clone()).collect();
    if !mark.tells_begun_files() {
        let item = item.parts().iter().map(|part| format!("/{}", show_bytes(part)));
        let item: String = item.collect();
        let begun = mark.files_under_way.iter().map(|file| match file.path.as_str() {
            "" => item.clone(),
            path => format!("{item}/{path}"),
        });
        again.extend(begun);
    }
    again
}

fn unusable(checkpoint: &LeftCheckpoint, why: &str) -> String {
    let LeftCheckpoint {
        id, attempt, item, ..
    } = checkpoint;
    format!(
        "checkpoint {id} of item {item} that attempt {attempt} made cannot be used ({}, {}): {why}; an older one is tried, or the item begins \
         anew",
        StatusCode::CHECKPOINT_UNREADABLE,
        StatusCode::CHECKPOINT_UNREADABLE.text()
    )
}

/// The mark and the item's root of a checkpoint; or why it cannot be used.
fn read(base: &Base, checkpoint: &LeftCheckpoint) -> Result<(Mark, Node), String> {
    let repository = &base.repository;
    let entries = repository.open_tree(&checkpoint.tree);
    let (mut mark, mut root) = (None, None);
    for entry in entries.map_err(|error| error.to_string())? {
        let node = entry.map_err(|error| error.to_string())?;
        match node.name.as_slice() {
            name if name == MARK.as_bytes() => mark = Some(node),
            name if name == ITEM.as_bytes() => root = Some(node),
            _ => return Err(format!("it holds \"{}\"", show_bytes(&node.name))),
        }
    }
    let (Some(mark), Some(root)) = (mark, root) else {
        return Err("it lacks its mark or its item".to_owned());
    };
    let Some([chunk]) = mark.content.as_deref() else {
        return Err("its mark is not one chunk".to_owned());
    };
    match repository.blob_len(BlobKind::Data, chunk) {
        Some(length) if length <= MOST_MARK => {}
        Some(length) => {
            return Err(format!(
                "its mark has {length} bytes, and none has more than {MOST_MARK}"
            ));
        }
        None => return Err("its mark is missing in the storage unit, or damaged".to_owned()),
    }
    let text = repository.read_blob(BlobKind::Data, chunk);
    let mark = Mark::parse(&text.map_err(|error| error.to_string())?)?;
    if mark.item != checkpoint.item {
        return Err(format!("its mark is of item {}", mark.item));
    }
    if let Some(tree) = root
        .subtree
        .filter(|tree| !repository.contains(BlobKind::Tree, tree))
    {
        return Err(format!(
            "list of entries {tree} is missing in the storage unit, or damaged"
        ));
    }
    Ok((mark, root))
}
