//! The tags of our snapshots (docs/protocol.md): written when an item is done, read by surveys and fences.
//!
//! Restore points can be rebuilt from them alone, so they are a format: add, never rename.

use outlast_proto::words::{Counters, ItemOutcome};
use outlast_repository::Snapshot;

use super::checkpoints::{CHECKPOINT, checkpoint_host};
use crate::attempt_id::AttemptId;

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
}

impl SnapshotTags {
    pub(crate) fn to_tags(&self) -> Vec<String> {
        let c = &self.counters;
        vec![
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
        ]
    }
}

/// The tags of a snapshot; `None` if it is not a finished item of ours.
pub(crate) fn tags_of(snapshot: &Snapshot) -> Option<SnapshotTags> {
    let value = |key: &str| value(snapshot, key);
    let number = |key: &str| value(key)?.parse::<u64>().ok();
    if !snapshot.tags.iter().any(|tag| tag == "outlast") {
        return None;
    }
    let attempt = outlast_proto::v1::AttemptRef {
        job: value("job")?.to_owned(),
        attempt: value("attempt")?.parse().ok()?,
    };
    Some(SnapshotTags {
        cluster: value("cluster")?.to_owned(),
        id: AttemptId::of_message(Some(&attempt)).ok()?,
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
    })
}

/// What the tag `key` says.
pub(super) fn value<'a>(snapshot: &'a Snapshot, key: &str) -> Option<&'a str> {
    let found = |tag: &'a String| tag.strip_prefix(key)?.strip_prefix(':');
    snapshot.tags.iter().find_map(found)
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
    use super::{SnapshotOwner, SnapshotTags, owner_of, tags_of};
    use crate::attempt_id::AttemptId;
    use outlast_proto::words::{Attempt, Counters, ItemOutcome, JobId};
    use outlast_repository::{BlobId, Snapshot, Timestamp};

    #[test]
    fn f14_tags_are_read_as_they_were_written() {
        let id = AttemptId {
            job: JobId(12),
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
        };
        let mut snapshot = Snapshot::new(Timestamp::now(), BlobId::of(b"x"), vec![], String::new());
        assert_eq!(tags_of(&snapshot), None);
        snapshot.tags = tags.to_tags();
        assert_eq!(tags_of(&snapshot), Some(tags));
        for missing in 0..snapshot.tags.len() {
            let mut less = snapshot.clone();
            less.tags.remove(missing);
            assert_eq!(tags_of(&less), None, "without {}", snapshot.tags[missing]);
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
