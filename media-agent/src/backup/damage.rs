//! What a backup says of damage in the storage unit: what counts as absent, what is stored anew, which restore points
//! still suffer (S-14b). And the look at a tree before it becomes a restore point, if damage was found meanwhile.
//!
//! What is damaged, the repository knows; the walk is `storage::sound`'s. Used by `engine`, `commit` and `adopt`.

use std::fmt::Write as _;

use outlast_media_core::backup::MOST_WALKS;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{FileException, Severity};
use outlast_proto::words::{self, MAX_EXCEPTIONS, StatusCode, StorageFault};
use outlast_repository::{
    Anew, BlobId, BlobKind, IndexLook, REPAIR_INDEX, Repository, RepositoryError, SnapshotId,
};
use parking_lot::Mutex;

use super::engine::{Base, detail};
use crate::attempts::End;
use crate::fault::Fault;
use crate::storage::{Content, Lack, Looked, SoundTrees, follow, show_lacks, tags_of};

/// Restore points that are named in one job.
const NAMED: usize = 20;
/// Trees that are read to find them: some minutes of a slow disk, and 16 bytes of memory each.
const MOST_TREES: usize = 200_000;

/// What the last walk was made for: it is not made again for the same.
#[derive(Debug, Default)]
pub(crate) struct DamageTold(Mutex<Option<(u64, usize)>>);

/// Makes the index whole as far as packs are there, and says what was wrong with it.
pub(super) fn mend_index(base: &Base) -> Result<IndexLook, End> {
    let Some(lock) = base.lock.guard() else {
        return Ok(IndexLook::default());
    };
    let look = base.repository.name_unnamed_packs(&lock);
    let look = look.map_err(|error| base.storage_fault(&error))?;
    for (severity, text) in of_index(&base.context.unit.name, &look) {
        base.say(severity, text)?;
    }
    Ok(look)
}

fn of_index(unit: &str, look: &IndexLook) -> Vec<(Severity, String)> {
    let mut lines = Vec::new();
    if look.is_loss() {
        let mut text = format!("damage in storage unit \"{unit}\": index files are lost or damaged");
        if look.cut_off > 0 {
            let _ = write!(
                text,
                "; {} snapshots lead to what no index file named",
                look.cut_off
            );
        }
        for id in look.damaged.iter().take(NAMED) {
            let _ = write!(
                text,
                "; index file {id} is damaged and counts as absent: restic refuses to work until it is removed from \"index/\" or \
                 {REPAIR_INDEX} was run"
            );
        }
        lines.push((Severity::Warning, text));
    }
    if look.packs > 0 {
        let mut text = format!(
            "{} packs that no index file named, with {} chunks and lists of entries, are in a new index file now: ",
            look.packs, look.blobs
        );
        let severity = match look.is_loss() {
            true => {
                text.push_str("what needs them can be restored again");
                Severity::Warning
            }
            false => {
                text.push_str("an earlier job was cut off before it wrote one, or an index file was lost");
                Severity::Info
            }
        };
        lines.push((severity, text));
    }
    if look.is_loss() && look.unusable > 0 {
        let text = format!(
            "{} packs that no index file names are damaged, so that nothing is known of what is in them",
            look.unusable
        );
        lines.push((Severity::Warning, text));
    }
    if look.still_cut_off > 0 {
        let text = format!(
            "{} snapshots still lead to what is in no pack that can be read: bring packs and index files back from a copy of the storage \
             unit and run {REPAIR_INDEX}; `restic check` names what is lost",
            look.still_cut_off
        );
        lines.push((Severity::Warning, text));
    }
    lines
}

/// Says what counts as absent before anything is backed up.
pub(super) fn tell_before(base: &Base) -> Result<(), End> {
    let flawed = base.repository.flawed();
    if flawed.lost == 0 {
        return Ok(());
    }
    let text = format!(
        "damage in storage unit \"{}\": {} packs are missing or not whole and {} others are damaged; {} chunks and lists of \
         entries of which there is no other copy count as absent: what of them is still at the source is stored anew",
        base.context.unit.name, flawed.absent_packs, flawed.damaged_packs, flawed.lost
    );
    base.say(Severity::Warning, text)
}

/// Says what was stored anew, and whom that does not help.
pub(super) fn tell_after(base: &Base, index: &IndexLook, anew: Anew) -> Result<(), End> {
    if anew.blobs > 0 {
        let text = format!(
            "{} chunks and lists of entries ({} bytes) were stored anew, because they are missing or damaged where they were \
             before; restore points that need them are whole again as far as that goes",
            anew.blobs, anew.bytes
        );
        base.say(Severity::Warning, text)?;
    }
    // What is lost of packs that only a lost index file named, nobody has counted.
    let lost = base.repository.flawed().lost + index.still_cut_off + usize::from(index.is_loss());
    let state = (base.repository.damage_found(), lost);
    let told = base.context.damage_told.0.lock().replace(state);
    if lost == 0 || told == Some(state) {
        return Ok(());
    }
    let lines = match suffering(&base.repository) {
        Ok(lines) => lines,
        Err(error) => vec![format!(
            "which restore points suffer cannot be found out: {error}"
        )],
    };
    lines
        .into_iter()
        .try_for_each(|line| base.say(Severity::Warning, line))
}

/// A line for each restore point that misses something.
fn suffering(repository: &Repository) -> Result<Vec<String>, RepositoryError> {
    let mut trees = SoundTrees::new(repository, MOST_TREES);
    let (mut lines, mut more, mut unseen) = (Vec::new(), 0, 0);
    let mut snapshots = repository.list_snapshots()?.readable;
    // The newest are looked at first.
    snapshots.reverse();
    for (id, snapshot) in snapshots {
        let Some(tags) = tags_of(&snapshot) else { continue };
        match trees.look(snapshot.tree)? {
            Looked::Sound => {}
            Looked::NotWholly => unseen += 1,
            Looked::Suffers(_) if lines.len() >= NAMED => more += 1,
            Looked::Suffers(places) => {
                let item = snapshot.paths.first().map_or("?", String::as_str);
                lines.push(format!(
                    "restore point {id} of \"{item}\" of client {} ({}) may not be restored wholly; missing or damaged: {}",
                    tags.client,
                    snapshot.time,
                    show_lacks(&places)
                ));
            }
        }
    }
    if more > 0 {
        lines.push(format!("{more} older restore points suffer, too"));
    }
    if unseen > 0 {
        lines.push(format!(
            "{unseen} older restore points were not looked at wholly: there are too many lists of entries"
        ));
    }
    Ok(lines)
}

/// What has gone since the attempt prepared is known when this returns: what was there then is not believed at the end.
pub(super) fn look_again(base: &Base) -> Result<(), Fault> {
    let looked = base.repository.look_again();
    looked.map_err(|error| base.storage_fault(&error))
}

/// The same, when nothing follows that could rely on it.
pub(super) fn look_at_the_end(base: &Base) {
    if let Err(error) = base.repository.look_again() {
        // Items are finished. What the next attempt finds of it, it stores anew.
        tracing::warn!(attempt = %base.ticket.id, %error, "the storage unit cannot be looked at again at the end");
    }
}

/// What damage found since `before` has taken from a tree; mostly nothing.
pub(super) fn taken_from(base: &Base, tree: BlobId, before: u64) -> Result<Vec<Lack>, Fault> {
    if base.repository.damage_found() == before {
        return Ok(Vec::new());
    }
    match look_wholly(&base.repository, tree).map_err(|error| base.storage_fault(&error))? {
        Looked::Suffers(lacks) => Ok(lacks),
        Looked::Sound | Looked::NotWholly => Ok(Vec::new()),
    }
}

/// An item is walked again: only its client has what is to be stored anew.
pub(super) fn said_again(base: &Base, path: &str, lacks: &[Lack]) -> What {
    let text = format!(
        "damage came to storage unit \"{}\" while \"{path}\" was backed up ({}): it is backed up again from its beginning, so that \
         what is missing is stored anew",
        base.context.unit.name,
        show_lacks(lacks)
    );
    detail(Severity::Warning, text)
}

/// Damage comes faster than what it takes is stored anew.
pub(super) fn keeps_coming(base: &Base, lacks: &[Lack]) -> Fault {
    Fault::new(
        StatusCode::STORAGE_WRITE_ERROR,
        format!(
            "storage unit \"{}\": {MOST_WALKS} times damage came that touches what this backup relies on, the last time {}; find out \
             what removes or cuts packs there, or whether the file system keeps what it takes, before the next attempt, which stores anew \
             what is missing",
            base.context.unit.name,
            show_lacks(lacks)
        ),
    )
    .of_storage(StorageFault::OfTheUnit)
}

/// What is missing by now of restore points that this attempt made, as exceptions: they were whole when they were written.
pub(super) fn of_finished(
    base: &Base,
    finished: &[(u32, words::SnapshotId)],
    before: u64,
) -> Vec<(u32, FileException)> {
    let found = missing_of(base, finished, before);
    found.unwrap_or_else(|error| {
        tracing::warn!(attempt = %base.ticket.id, %error, "what is finished cannot be looked at again");
        Vec::new()
    })
}

fn missing_of(
    base: &Base,
    finished: &[(u32, words::SnapshotId)],
    before: u64,
) -> Result<Vec<(u32, FileException)>, RepositoryError> {
    let mut found = Vec::new();
    if finished.is_empty() || base.repository.damage_found() == before {
        return Ok(found);
    }
    let mut trees = SoundTrees::new(&base.repository, usize::MAX).naming(MAX_EXCEPTIONS);
    let ticket = &base.ticket;
    for (number, id) in finished {
        let path = ticket.items.get(*number as usize).map_or("", |item| &item.path);
        let content = Content::written_by((ticket.id, *number), ticket, path);
        let id = SnapshotId::from_bytes(id.0);
        let (id, snapshot) = follow(&base.repository, &id, &content)?;
        if let Looked::Suffers(lacks) = trees.look(snapshot.tree)? {
            let item = snapshot.paths.first().cloned().unwrap_or_default();
            let exception = |Lack { path, what }| FileException {
                path: if path.is_empty() { item.clone() } else { path },
                reason: format!(
                    "went missing in the storage unit after it was backed up: {what} (restore point {id}); back it up again"
                ),
            };
            found.extend(lacks.into_iter().map(|lack| (*number, exception(lack))));
        }
    }
    Ok(found)
}

/// Whether what is finished in the storage unit is whole, as far as is known.
pub(crate) fn is_sound(repository: &Repository, tree: BlobId) -> Result<bool, RepositoryError> {
    if !repository.contains(BlobKind::Tree, &tree) {
        return Ok(false);
    }
    if repository.damage_found() == 0 {
        return Ok(true);
    }
    Ok(look_wholly(repository, tree)? == Looked::Sound)
}

fn look_wholly(repository: &Repository, tree: BlobId) -> Result<Looked, RepositoryError> {
    SoundTrees::new(repository, usize::MAX).look(tree)
}
