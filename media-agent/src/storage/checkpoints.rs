//! Checkpoints in the storage unit: how their snapshots are told from restore points, and their end (F-05).
//!
//! What is in one is `backup::checkpoint`'s. Their names, tags and times are a format (docs/protocol.md).

use outlast_proto::words::{Attempt, AttemptId};
use outlast_repository::{BlobId, Repository, RepositoryError, Snapshot, SnapshotId, Timestamp};

use super::lock::AttemptLock;
use super::tags::{are_young_marked, attempt_of, is_checkpoint, nonce_tag, owner_of, value};
use crate::tickets::Ticket;

/// Seconds of 2000-01-01T00:00:00Z. Checkpoints lie in this year, so that `restic restore latest` and `restic forget` never meet one.
pub(crate) const CHECKPOINT_TIME: i64 = 946_684_800;

/// What tells a checkpoint from a restore point.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// The host that checkpoints of a client are of.
pub(crate) fn checkpoint_host(client: &str) -> String {
    format!("{client}.outlast-checkpoint")
}

pub(crate) fn checkpoint_tags(ticket: &Ticket, item: u32) -> Vec<String> {
    let mut tags = vec![
        "outlast".to_owned(),
        CHECKPOINT.to_owned(),
        format!("job:{}", ticket.id.job),
        format!("attempt:{}", ticket.id.attempt),
        format!("policy:{}", ticket.policy),
        format!("client:{}", ticket.client),
        format!("item:{item}"),
        format!("items:{}", ticket.items.len()),
        format!("cluster:{}", ticket.cluster_id),
    ];
    tags.extend(nonce_tag(ticket.id));
    tags
}

/// Of which cluster and attempt a snapshot is a checkpoint, if it is one.
fn made_by(snapshot: &Snapshot) -> Option<(&str, AttemptId)> {
    let id = attempt_of(snapshot)?;
    // Anybody may give a restore point the tag with restic; the host goes with it only in what we wrote ourselves.
    owner_of(snapshot).filter(|_| is_checkpoint(snapshot))?;
    Some((value(snapshot, "cluster")?, id))
}

/// A checkpoint that attempts of a job left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftCheckpoint {
    pub(crate) id: SnapshotId,
    pub(crate) attempt: Attempt,
    pub(crate) item: u32,
    pub(crate) tree: BlobId,
    pub(crate) marks_young: bool,
    made: Timestamp,
}

/// Those that this attempt and the ones before it left of its job, the newest first.
pub(crate) fn checkpoints_left(
    repository: &Repository,
    ticket: &Ticket,
) -> Result<Vec<LeftCheckpoint>, RepositoryError> {
    let all = repository.snapshots()?;
    let ours = all
        .iter()
        .filter_map(|(id, snapshot)| left_for(ticket, *id, snapshot));
    let mut left: Vec<_> = ours.collect();
    left.sort_by_key(|checkpoint| std::cmp::Reverse((checkpoint.attempt, checkpoint.made)));
    Ok(left)
}

/// A snapshot, if the attempt may go on from it: in everything of its job, its client and one of its items.
fn left_for(ticket: &Ticket, id: SnapshotId, snapshot: &Snapshot) -> Option<LeftCheckpoint> {
    let (cluster, of) = made_by(snapshot)?;
    let item = value(snapshot, "item")?.parse().ok()?;
    let path = &ticket.items.get(usize::try_from(item).ok()?)?.path;
    let fits = cluster == ticket.cluster_id
        && of.is_of_same_job(ticket.id)
        && of.attempt <= ticket.id.attempt
        && value(snapshot, "client") == Some(ticket.client.as_str())
        && snapshot.paths == [path.clone()];
    fits.then_some(LeftCheckpoint {
        id,
        attempt: of.attempt,
        item,
        tree: snapshot.tree,
        marks_young: are_young_marked(snapshot),
        made: snapshot.time,
    })
}

/// Removes the checkpoints of an attempt and those of its job before it. The number of those removed.
pub(crate) fn remove_checkpoints(
    repository: &Repository,
    lock: &AttemptLock,
    of_cluster: &str,
    through: AttemptId,
) -> Result<usize, RepositoryError> {
    lock.remove_snapshots(repository, |_, snapshot| {
        made_by(snapshot).is_some_and(|(cluster, of)| cluster == of_cluster && of.is_through(through))
    })
}

#[cfg(test)]
mod tests {
    use outlast_proto::words::{Attempt, JobId, JobNonce};
    use outlast_repository::{BlobId, Snapshot, Timestamp};

    use super::{AttemptId, made_by};

    #[test]
    fn f05_only_what_was_written_as_a_checkpoint_is_removed_as_one() {
        const TAGS: [&str; 7] = [
            "outlast",
            "checkpoint",
            "job:12",
            "nonce:0000000000000007",
            "attempt:3",
            "client:laptop",
            "cluster:c",
        ];
        let read = |host: &str, tags: &[&str]| {
            let mut snapshot = Snapshot::new(Timestamp::now(), BlobId::of(b"x"), vec![], host.to_owned());
            snapshot.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
            made_by(&snapshot).map(|(cluster, id)| (cluster.to_owned(), id))
        };
        let id = AttemptId {
            job: JobId(12),
            nonce: JobNonce(7),
            attempt: Attempt(3),
        };
        let host = "laptop.outlast-checkpoint";
        assert_eq!(read(host, &TAGS), Some(("c".to_owned(), id)));
        assert_eq!(
            read("laptop", &TAGS),
            None,
            "a restore point that somebody tagged"
        );
        assert_eq!(read("tower.outlast-checkpoint", &TAGS), None);
        for missing in TAGS {
            let less: Vec<&str> = TAGS.into_iter().filter(|tag| *tag != missing).collect();
            // Without a nonce it is of another job: one of before there were nonces.
            let found = read(host, &less).filter(|(_, of)| of.is_through(id));
            assert_eq!(found, None, "without {missing}");
        }
    }
}
