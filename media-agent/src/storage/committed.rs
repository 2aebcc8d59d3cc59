//! What lies in the storage unit where a restore point should, and whether that is still what was committed: others give a snapshot
//! another id with restic, and not all of what they put in its place holds the same files.
//!
//! Reads only. Used by restores, listings and the survey; whether something may be removed is `fence`'s to say.

use outlast_proto::v1;
use outlast_proto::words::AttemptId;
use outlast_repository::{BlobId, NodeKind, Repository, RepositoryError, Snapshot, SnapshotId, TreeReader};

use super::tags::{SnapshotTags, tags_of};
use crate::tickets::Ticket;

/// What a restore point was when it was committed, as far as the primary knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    tree: Option<BlobId>,
    numbers: Option<Numbers>,
    origin: Option<Box<Origin>>,
}

/// Who wrote its snapshot, as the tags say it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    cluster: String,
    id: AttemptId,
    item: u32,
    client: String,
    path: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Numbers {
    files: u64,
    bytes: u64,
}

/// The snapshot of a restore point, or what stands in its place.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) snapshot: Snapshot,
    /// It is not what was committed, or may not be; in words.
    pub(crate) rewritten: Option<String>,
}

/// Finds the snapshot of the restore point `id`.
pub(crate) fn find(
    repository: &Repository,
    id: &SnapshotId,
    content: &Content,
) -> Result<Found, RepositoryError> {
    let (now, snapshot) = follow(repository, id, content)?;
    // An id is the hash of what is in it.
    let rewritten = match now == *id {
        true => None,
        false => rewritten(repository, (&now, &snapshot), content)?,
    };
    Ok(Found { snapshot, rewritten })
}

/// The snapshot of the restore point `id` or what stands in its place, be it the same or not.
pub(crate) fn follow(
    repository: &Repository,
    id: &SnapshotId,
    content: &Content,
) -> Result<(SnapshotId, Snapshot), RepositoryError> {
    repository.follow_snapshot(id, |snapshot| content.is_written_as(snapshot))
}

/// Whether a snapshot that says that it is a finished item of ours still holds what was finished.
pub(super) fn is_as_finished(
    repository: &Repository,
    snapshot: &Snapshot,
    tags: &SnapshotTags,
) -> Result<bool, RepositoryError> {
    match tags.tree {
        Some(tree) => Ok(snapshot.tree == tree),
        // Nobody but its attempt has touched it.
        None if snapshot.original.is_none() => Ok(true),
        None => Ok(count(repository, snapshot.tree)? == Some(Numbers::of_tags(tags))),
    }
}

fn rewritten(
    repository: &Repository,
    (now, snapshot): (&SnapshotId, &Snapshot),
    content: &Content,
) -> Result<Option<String>, RepositoryError> {
    let tags = tags_of(snapshot);
    let tree = content.tree.or(tags.as_ref().and_then(|tags| tags.tree));
    if tree == Some(snapshot.tree) {
        return Ok(None);
    }
    let before = content.numbers.or(tags.as_ref().map(Numbers::of_tags));
    let there = count(repository, snapshot.tree)?;
    if tree.is_none() && there.is_some() && there == before {
        return Ok(None);
    }
    let what = match (before, there) {
        (Some(before), Some(there)) if before == there => {
            format!("there are still {before}, but not all is as it was")
        }
        (Some(before), Some(there)) => format!("{before} were backed up, {there} are there"),
        (Some(before), None) => format!("{before} were backed up, and not all that is there can be read"),
        (None, _) => "what was backed up is not known, so that nothing can be compared".to_owned(),
    };
    Ok(Some(format!(
        "its snapshot was rewritten outside Outlast (restic rewrite, restic repair snapshots); snapshot {now} stands in its place: {what}"
    )))
}

/// Files and bytes below a tree; none if a part of it cannot be read.
fn count(repository: &Repository, tree: BlobId) -> Result<Option<Numbers>, RepositoryError> {
    let mut numbers = Numbers::default();
    let Some(root) = open(repository, &tree)? else {
        return Ok(None);
    };
    let mut folders = vec![root];
    while let Some(folder) = folders.last_mut() {
        match folder.next() {
            None => drop(folders.pop()),
            Some(Err(_)) => return Ok(None),
            Some(Ok(node)) if node.kind == NodeKind::Dir => {
                let Some(subtree) = node.subtree else { continue };
                match open(repository, &subtree)? {
                    Some(subtree) => folders.push(subtree),
                    None => return Ok(None),
                }
            }
            Some(Ok(node)) => {
                numbers.files += 1;
                numbers.bytes = numbers.bytes.saturating_add(node.size);
            }
        }
    }
    Ok(Some(numbers))
}

fn open(repository: &Repository, tree: &BlobId) -> Result<Option<TreeReader>, RepositoryError> {
    match repository.open_tree(tree) {
        Ok(entries) => Ok(Some(entries)),
        Err(error) if error.is_loss() => Ok(None),
        Err(error) => Err(error),
    }
}

impl Content {
    /// Of a primary that did not say it, nothing is known.
    pub(crate) fn of_message(message: Option<&v1::Content>) -> Self {
        let tree = message.and_then(|content| content.tree.as_ref().try_into().ok());
        let origin = message.and_then(|content| content.origin.as_ref());
        Self {
            origin: origin.and_then(Origin::of_message).map(Box::new),
            tree: tree.map(BlobId::from_bytes),
            numbers: message.map(|content| Numbers {
                files: content.files,
                bytes: content.bytes,
            }),
        }
    }
}

impl Content {
    /// Of a path of the ticket's client, as that item of that attempt; nothing more is known of it.
    pub(crate) fn written_by((id, item): (AttemptId, u32), ticket: &Ticket, path: &str) -> Self {
        let origin = Some(Box::new(Origin {
            cluster: ticket.cluster_id.clone(),
            id,
            item,
            client: ticket.client.to_string(),
            path: path.to_owned(),
        }));
        Self {
            origin,
            ..Self::default()
        }
    }

    /// Whether a snapshot says that it was written as this: by the same attempt, of the same item, and of the same tree, if both is known.
    fn is_written_as(&self, snapshot: &Snapshot) -> bool {
        let (Some(origin), Some(tags)) = (&self.origin, tags_of(snapshot)) else {
            return false;
        };
        let is_tree = |tree| self.tree.is_none_or(|known| known == tree);
        let Origin {
            cluster,
            id,
            item,
            client,
            path,
        } = origin.as_ref();
        (&tags.cluster, tags.id, tags.item) == (cluster, *id, *item)
            && tags.client == *client
            && snapshot.paths == [path.as_str()]
            && tags.tree.is_none_or(is_tree)
    }
}

impl Origin {
    fn of_message(message: &v1::Origin) -> Option<Self> {
        Some(Self {
            cluster: message.cluster_id.clone(),
            id: AttemptId::of_message(message.attempt.as_ref()).ok()?,
            item: message.item,
            client: message.client.clone(),
            path: message.path.clone(),
        })
    }
}

impl Numbers {
    fn of_tags(tags: &SnapshotTags) -> Self {
        Self {
            files: tags.counters.files,
            bytes: tags.counters.bytes,
        }
    }
}

impl std::fmt::Display for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} files of {} bytes", self.files, self.bytes)
    }
}
