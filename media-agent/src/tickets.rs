//! Tickets: the right of an attempt to run, checked without the primary (DESIGN 3).
//!
//! Signature, cluster, agent, client and expiry are judged here; whether the attempt is over or superseded is the
//! journal's knowledge (`journal::Standing`). Used by the session, the data service and the survey.

use std::time::Duration;

use outlast_kit::identity::{Identity, Kind};
use outlast_media_core::survey::Ticketed;
use outlast_proto::v1;
use outlast_proto::words::{AgentName, Timestamp};
use outlast_repository::SnapshotId;
use prost::Message as _;

use crate::cluster::Cluster;
use crate::storage::{Content, SnapshotOwner};
use outlast_proto::convert::NoAttempt;
use outlast_proto::words::AttemptId;

/// A ticket whose signature is right and that is for this agent.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) id: AttemptId,
    pub(crate) cluster_id: String,
    pub(crate) client: AgentName,
    pub(crate) resilient: bool,
    /// Of the primary that decided so; empty: not known.
    pub(crate) primary_version: String,
    /// The journal its attempt was dispatched to; empty: not known.
    pub(crate) journal_id: String,
    pub(crate) expires_at: Timestamp,
    /// By the primary's clock; 0: not known.
    pub(crate) begun_at: Timestamp,
    /// An attempt before this one has no history yet: what it left is to be told.
    pub(crate) surveys: bool,
    /// The primary decides what follows if it loses its client.
    pub(crate) decides_losses: bool,
    pub(crate) policy: String,
    /// Between checkpoints; none are made without (F-05).
    pub(crate) checkpoint_interval: Option<Duration>,
    pub(crate) items: Vec<Item>,
    pub(crate) work: Work,
    /// As it was shown, for the journal.
    pub(crate) signed: v1::SignedTicket,
}

/// What the attempt does.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Backup,
    Restore {
        snapshot: SnapshotId,
        content: Content,
        paths: Vec<String>,
        /// Where the client puts it.
        to: String,
    },
}

/// One item of the job.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) path: String,
    /// By earlier attempts (F-08, S-02).
    pub(crate) before: Ticketed,
    /// What it is compared with.
    pub(crate) parent: Option<SnapshotId>,
    /// Who wrote that, and the number that the item had there.
    pub(crate) parent_written_by: Option<(AttemptId, u32)>,
}

/// A ticket that gives no right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TicketError {
    #[error("this media agent has not met a primary yet and cannot verify tickets")]
    NoKey,
    #[error("the ticket is not signed by this cluster's primary")]
    BadSignature,
    #[error("the ticket cannot be understood: {0}")]
    Unreadable(String),
    #[error("the ticket is of cluster \"{0}\"")]
    OtherCluster(String),
    #[error("the ticket is for media agent \"{ticket}\", this is \"{here}\"")]
    OtherAgent { ticket: String, here: AgentName },
    #[error("the ticket is for storage unit \"{ticket}\", here is \"{here}\"")]
    OtherUnit { ticket: String, here: String },
    #[error("the ticket is for client \"{ticket}\", its bearer is {bearer}")]
    OtherClient { ticket: AgentName, bearer: Identity },
    #[error("the ticket expired at {}", crate::stamps::to_repository(*.0))]
    Expired(Timestamp),
}

/// Checks tickets on behalf of one media agent.
#[derive(Clone)]
pub(crate) struct Verifier {
    pub(crate) cluster: Cluster,
    pub(crate) agent: AgentName,
    pub(crate) unit: String,
}

impl Verifier {
    /// The ticket inside, if it is the primary's and for this agent.
    ///
    /// # Errors
    /// [`TicketError`] if it gives no right here.
    pub(crate) fn verify(&self, signed: &v1::SignedTicket) -> Result<Ticket, TicketError> {
        let (cluster_id, key) = self.cluster.known().ok_or(TicketError::NoKey)?;
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key)
            .verify(&signed.ticket, &signed.signature)
            .map_err(|_| TicketError::BadSignature)?;
        let message = v1::Ticket::decode(signed.ticket.clone())
            .map_err(|error| TicketError::Unreadable(error.to_string()))?;
        if message.cluster_id != cluster_id {
            return Err(TicketError::OtherCluster(message.cluster_id));
        }
        if message.media_agent != self.agent.as_str() {
            return Err(TicketError::OtherAgent {
                ticket: message.media_agent,
                here: self.agent.clone(),
            });
        }
        if message.storage_unit != self.unit {
            return Err(TicketError::OtherUnit {
                ticket: message.storage_unit,
                here: self.unit.clone(),
            });
        }
        parse(message, signed.clone())
    }
}

impl Ticket {
    /// Whose snapshots the attempt writes and may build upon.
    pub(crate) fn owner(&self) -> SnapshotOwner {
        SnapshotOwner {
            cluster: self.cluster_id.clone(),
            client: self.client.to_string(),
        }
    }

    /// Whether `bearer` is the client it was made for.
    pub(crate) fn check_bearer(&self, bearer: &Identity) -> Result<(), TicketError> {
        if bearer.kind == Kind::ClientAgent && bearer.name == self.client.as_str() {
            return Ok(());
        }
        Err(TicketError::OtherClient {
            ticket: self.client.clone(),
            bearer: bearer.clone(),
        })
    }

    /// Expiry counts only when the attempt is met for the first time.
    pub(crate) fn check_first_showing(&self, now: Timestamp) -> Result<(), TicketError> {
        if now <= self.expires_at {
            return Ok(());
        }
        Err(TicketError::Expired(self.expires_at))
    }
}

fn parse(message: v1::Ticket, signed: v1::SignedTicket) -> Result<Ticket, TicketError> {
    let unreadable = |what: &str| TicketError::Unreadable(what.to_owned());
    let id = AttemptId::of_message(message.attempt.as_ref())
        .map_err(|error: NoAttempt| TicketError::Unreadable(error.to_string()))?;
    let client = message
        .client
        .parse()
        .map_err(|_| unreadable("it names no client"))?;
    let items = message
        .items
        .iter()
        .map(|item| {
            Ok(Item {
                path: item.path.clone(),
                before: Ticketed {
                    finished: item.finished,
                    with_exceptions: item.with_exceptions,
                },
                // A full backup is compared with nothing.
                parent: snapshot_id(&item.parent_snapshot)?.filter(|_| !message.full),
                parent_written_by: AttemptId::of_message(item.parent_attempt.as_ref())
                    .ok()
                    .map(|attempt| (attempt, item.parent_item)),
            })
        })
        .collect::<Result<_, TicketError>>()?;
    let work = match (message.kind(), &message.restore) {
        (v1::JobKind::Backup, _) => Work::Backup,
        (v1::JobKind::Restore, Some(order)) => Work::Restore {
            snapshot: snapshot_id(&order.snapshot)?
                .ok_or_else(|| unreadable("it names nothing to restore"))?,
            content: Content::of_message(order.content.as_ref()),
            paths: order.paths.clone(),
            to: order.to.clone(),
        },
        _ => return Err(unreadable("it is neither for a backup nor for a restore")),
    };
    let policy = message.policy.unwrap_or_default();
    let checkpoint = policy.checkpoint.filter(|rule| rule.restart);
    Ok(Ticket {
        id,
        cluster_id: message.cluster_id,
        client,
        resilient: message.resilient,
        primary_version: message.primary_version,
        journal_id: message.journal_id,
        expires_at: crate::stamps::of_message(message.expires_at.as_ref()),
        begun_at: crate::stamps::of_message(message.begun_at.as_ref()),
        surveys: message.surveys,
        decides_losses: message.decides_losses,
        policy: policy.name,
        checkpoint_interval: checkpoint.map(|rule| Duration::from_secs(rule.interval_seconds.max(1))),
        items,
        work,
        signed,
    })
}

fn snapshot_id(bytes: &[u8]) -> Result<Option<SnapshotId>, TicketError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let bytes = bytes
        .try_into()
        .map_err(|_| TicketError::Unreadable("a snapshot's id has 32 bytes".into()))?;
    Ok(Some(SnapshotId::from_bytes(bytes)))
}
