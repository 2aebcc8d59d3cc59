//! The tags of our snapshots (docs/protocol.md): written when an item is done, read by surveys and fences.
//!
//! Restore points can be rebuilt from them alone, so they are a format: add, never rename.

use outlast_proto::words::{Attempt, AttemptId, Counters, ItemOutcome, JobNonce};
use outlast_repository::{BlobId, Snapshot};

use super::checkpoints::{CHECKPOINT, checkpoint_host};

/// What the tags say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotTags {
    pub(crate) cluster: String,
    pub(crate) id: AttemptId,
    pub(crate) policy: String,
    pub(crate) client: String,
    pub(crate) item: u32,
    pub(crate) items: u32,
    pub(crate) outcome: ItemOutcome,
    /// Files, directories, bytes and exceptions.
    pub(crate) counters: Counters,
    /// Files that may yet change without a new ctime are marked (S-14c).
    pub(crate) marks_young: bool,
    /// The snapshot's own: a snapshot that says so and has another was rewritten. None in those of before.
    pub(crate) tree: Option<BlobId>,
}

/// Says so in a restore point and in a checkpoint.
pub(crate) const YOUNG_MARKED: &str = "young:marked";

impl SnapshotTags {
    pub(crate) fn to_tags(&self) -> Vec<String> {
        let c = &self.counters;
        let mut tags = vec![
            "outlast".to_owned(),
            format!("job:{}", self.id.job),
            format!("attempt:{}", self.id.attempt),
            format!("policy:{}", self.policy),
            format!("client:{}", self.client),
            format!("item:{}", self.item),
            format!("items:{}", self.items),
            format!("outcome:{}", self.outcome.word()),
            format!("exceptions:{}", c.exceptions),
            format!("cluster:{}", self.cluster),
            format!("bytes:{}", c.bytes),
            format!("files:{}", c.files),
            format!("directories:{}", c.directories),
        ];
        tags.extend(nonce_tag(self.id));
        tags.extend(self.marks_young.then(|| YOUNG_MARKED.to_owned()));
        tags.extend(self.tree.map(|tree| format!("tree:{tree}")));
        tags
    }
}

/// The tags of a snapshot; `None` if it is not a finished item of ours.
pub(crate) fn tags_of(snapshot: &Snapshot) -> Option<SnapshotTags> {
    let value = |key: &str| value(snapshot, key);
    let number = |key: &str| value(key)?.parse::<u64>().ok();
    if !snapshot.tags.iter().any(|tag| tag == "outlast") {
        return None;
    }
    Some(SnapshotTags {
        cluster: value("cluster")?.to_owned(),
        id: attempt_of(snapshot)?,
        policy: value("policy")?.to_owned(),
        client: value("client")?.to_owned(),
        item: value("item")?.parse().ok()?,
        items: value("items")?.parse().ok()?,
        outcome: ItemOutcome::from_word(value("outcome")?).filter(|outcome| outcome.is_finished())?,
        counters: Counters {
            files: number("files")?,
            directories: number("directories")?,
            bytes: number("bytes")?,
            exceptions: number("exceptions")?,
            ..Counters::default()
        },
        marks_young: are_young_marked(snapshot),
        tree: value("tree").map(str::parse).transpose().ok()?,
    })
}

/// None for a job of before there were nonces.
pub(super) fn nonce_tag(id: AttemptId) -> Option<String> {
    (!id.nonce.is_none()).then(|| format!("nonce:{}", id.nonce))
}

/// The attempt that wrote a snapshot, by its tags. One without a nonce is of a job of before there were nonces.
pub(super) fn attempt_of(snapshot: &Snapshot) -> Option<AttemptId> {
    let nonce = value(snapshot, "nonce").map(str::parse::<JobNonce>);
    let id = AttemptId {
        job: value(snapshot, "job")?.parse().ok()?,
        nonce: nonce.transpose().ok()?.unwrap_or(JobNonce::NONE),
        attempt: Attempt(value(snapshot, "attempt")?.parse().ok()?),
    };
    Some(id).filter(|id| id.attempt > Attempt(0))
}

/// What the tag `key` says.
pub(super) fn value<'a>(snapshot: &'a Snapshot, key: &str) -> Option<&'a str> {
    let found = |tag: &'a String| tag.strip_prefix(key)?.strip_prefix(':');
    snapshot.tags.iter().find_map(found)
}

/// Whether files of the snapshot that could yet change without a new ctime are marked; not in those of before.
pub(crate) fn are_young_marked(snapshot: &Snapshot) -> bool {
    snapshot.tags.iter().any(|tag| tag == YOUNG_MARKED)
}

/// Whose data a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotOwner {
    pub(crate) cluster: String,
    pub(crate) client: String,
}

pub(crate) fn is_checkpoint(snapshot: &Snapshot) -> bool {
    snapshot.tags.iter().any(|tag| tag == CHECKPOINT)
}

/// The client a snapshot is of; `None` if it is not one of ours. What is its owner's may be named and taken over by it,
/// so tags and hostname must agree: a client's name alone could be somebody else's hostname.
pub(crate) fn owner_of(snapshot: &Snapshot) -> Option<SnapshotOwner> {
    let client = value(snapshot, "client")?;
    let host = if is_checkpoint(snapshot) {
        checkpoint_host(client)
    } else {
        client.to_owned()
    };
    let is_ours = snapshot.tags.iter().any(|tag| tag == "outlast") && snapshot.hostname == host;
    Some(SnapshotOwner {
        cluster: value(snapshot, "cluster")?.to_owned(),
        client: client.to_owned(),
    })
    .filter(|_| is_ours)
}

#[cfg(test)]
mod tests {
    use super::{SnapshotOwner, SnapshotTags, attempt_of, nonce_tag, owner_of, tags_of};
    use outlast_proto::words::{Attempt, AttemptId, Counters, ItemOutcome, JobId, JobNonce};
    use outlast_repository::{BlobId, Snapshot, Timestamp};

    #[test]
    fn f14_tags_are_read_as_they_were_written() {
        let id = AttemptId {
            job: JobId(12),
            nonce: JobNonce(0xc0_ffee),
            attempt: Attempt(3),
        };
        let tags = SnapshotTags {
            cluster: "c".into(),
            id,
            policy: "home".into(),
            client: "laptop".into(),
            item: 1,
            items: 2,
            outcome: ItemOutcome::DoneWithExceptions,
            counters: Counters {
                files: 5,
                directories: 2,
                bytes: 99,
                exceptions: 1,
                ..Counters::default()
            },
            marks_young: false,
            tree: Some(BlobId::of(b"tree")),
        };
        let mut snapshot = Snapshot::new(Timestamp::now(), BlobId::of(b"x"), vec![], String::new());
        assert_eq!(tags_of(&snapshot), None);
        snapshot.tags = tags.to_tags();
        assert_eq!(tags_of(&snapshot), Some(tags.clone()));
        let marks_young = true;
        let marked = SnapshotTags { marks_young, ..tags };
        let mut young = snapshot.clone();
        young.tags = marked.to_tags();
        assert_eq!(tags_of(&young), Some(marked));
        for missing in 0..snapshot.tags.len() {
            let mut less = snapshot.clone();
            let missing = less.tags.remove(missing);
            let may_miss = ["nonce:", "tree:"].iter().any(|key| missing.starts_with(key));
            assert_eq!(tags_of(&less).is_some(), may_miss, "without {missing}");
        }
    }

    #[test]
    fn s12b_a_snapshot_without_a_nonce_is_of_a_job_that_has_none() {
        let rows: [(&[&str], Option<u64>); 6] = [
            (&[], Some(0)),
            (&["nonce:00000000c0ffee00"], Some(0xc0ff_ee00)),
            // Nobody knows whose these are: nobody's.
            (&["nonce:"], None),
            (&["nonce:c0ffee"], None),
            (&["nonce:zz000000c0ffee00"], None),
            (&["nonce:00000000C0FFEE00"], None),
        ];
        for (tags, nonce) in rows {
            let mut snapshot = Snapshot::new(Timestamp::now(), BlobId::of(b"x"), vec![], String::new());
            let all = ["outlast", "job:12", "attempt:3"].iter().chain(tags);
            snapshot.tags = all.map(|tag| (*tag).to_owned()).collect();
            let read = attempt_of(&snapshot).map(|id| (id.job, id.nonce.0, id.attempt));
            assert_eq!(
                read,
                nonce.map(|nonce| (JobId(12), nonce, Attempt(3))),
                "{tags:?}"
            );
            // Nothing is written that a job of before did not write.
            let written = attempt_of(&snapshot).and_then(nonce_tag);
            assert_eq!(
                written.as_deref(),
                tags.first().copied().filter(|_| nonce.is_some())
            );
        }
    }

    #[test]
    fn an_owner_needs_every_sign() {
        let rows: [(&str, &[&str], bool); 9] = [
            ("laptop", &["outlast", "client:laptop", "cluster:c"], true),
            ("tower", &["outlast", "client:laptop", "cluster:c"], false),
            (
                "laptop.outlast-checkpoint",
                &["outlast", "client:laptop", "cluster:c"],
                false,
            ),
            (
                "laptop.outlast-checkpoint",
                &["outlast", "checkpoint", "client:laptop", "cluster:c"],
                true,
            ),
            (
                "laptop",
                &["outlast", "checkpoint", "client:laptop", "cluster:c"],
                false,
            ),
            ("laptop", &["client:laptop", "cluster:c"], false),
            ("laptop", &["outlast", "cluster:c"], false),
            ("laptop", &["outlast", "client:laptop"], false),
            ("laptop", &[], false),
        ];
        for (host, tags, is_owned) in rows {
            let mut snapshot = Snapshot::new(Timestamp::now(), BlobId::of(b"x"), vec![], host.to_owned());
            snapshot.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
            let owner = SnapshotOwner {
                cluster: "c".into(),
                client: "laptop".into(),
            };
            assert_eq!(owner_of(&snapshot), is_owned.then_some(owner), "{host} {tags:?}");
        }
    }

    /// Names have dots: a client may be called what another's checkpoints have for a host.
    #[test]
    fn a_client_that_is_called_like_a_host_of_checkpoints_owns_none_of_them() {
        let rows = [
            ("laptop", true, "laptop.outlast-checkpoint"),
            ("laptop.outlast-checkpoint", false, "laptop.outlast-checkpoint"),
            (
                "laptop.outlast-checkpoint",
                true,
                "laptop.outlast-checkpoint.outlast-checkpoint",
            ),
        ];
        for (client, is_checkpoint, host) in rows {
            let mut snapshot = Snapshot::new(Timestamp::now(), BlobId::of(b"x"), vec![], host.to_owned());
            snapshot.tags = vec!["outlast".into(), format!("client:{client}"), "cluster:c".into()];
            snapshot
                .tags
                .extend(is_checkpoint.then(|| "checkpoint".to_owned()));
            let owner = owner_of(&snapshot).map(|owner| owner.client);
            assert_eq!(owner.as_deref(), Some(client), "{host}");
        }
    }
}
