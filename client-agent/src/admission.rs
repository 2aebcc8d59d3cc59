//! A ticket as the client understands it: parsed once, then nothing about it can be wrong.

use outlast_proto::v1::{JobKind as WireKind, Overwrite as WireOverwrite, SignedTicket, Ticket};
use outlast_proto::words::{AgentName, AttemptId, InvalidName, Overwrite};
use prost::Message as _;

/// The right, and the order, to run one attempt.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Which.
    pub id: AttemptId,
    /// Whose host it is about.
    pub client: AgentName,
    /// Who runs the attempt.
    pub media_agent: AgentName,
    /// What is to be done.
    pub work: Work,
    /// As the primary signed it, to be shown to the media agent.
    pub signed: SignedTicket,
}

/// What an attempt does on this host.
#[derive(Clone, Debug)]
pub enum Work {
    /// Reads items.
    Backup {
        /// Their paths, in the policy's order.
        items: Vec<String>,
        /// Gitignore patterns of what is left out.
        exclude: Vec<String>,
        /// Source bytes a second, if limited.
        bandwidth: Option<u64>,
    },
    /// Writes files.
    Restore {
        /// Below this directory.
        to: String,
        /// What happens to files that are there.
        overwrite: Overwrite,
    },
}

/// A ticket that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum BadTicket {
    /// Not a ticket.
    #[error("the ticket cannot be read: {0}")]
    Unreadable(#[from] prost::DecodeError),
    /// A part is missing or no such thing.
    #[error("the ticket has no usable {field}")]
    Field {
        /// Which part.
        field: &'static str,
    },
    /// A name that is none.
    #[error("the ticket names no agent: {0}")]
    Name(#[from] InvalidName),
}

impl Admission {
    /// Reads a signed ticket. The signature is the media agent's to check: the order came over the leader's own session.
    ///
    /// # Errors
    /// [`BadTicket`] naming the part.
    pub fn of_ticket(signed: SignedTicket) -> Result<Self, BadTicket> {
        let bad = |field| BadTicket::Field { field };
        let ticket = Ticket::decode(signed.ticket.clone())?;
        let id = AttemptId::of_message(ticket.attempt.as_ref()).map_err(|_| bad("job or attempt number"))?;
        let (client, media_agent) = (ticket.client.parse()?, ticket.media_agent.parse()?);
        let work = match WireKind::try_from(ticket.kind) {
            Ok(WireKind::Backup) => backup(ticket),
            Ok(WireKind::Restore) => restore(ticket).ok_or(bad("restore order"))?,
            Ok(WireKind::Unspecified) | Err(_) => return Err(bad("kind of job")),
        };
        Ok(Self {
            id,
            client,
            media_agent,
            work,
            signed,
        })
    }
}

fn backup(ticket: Ticket) -> Work {
    let policy = ticket.policy.unwrap_or_default();
    Work::Backup {
        items: ticket.items.into_iter().map(|item| item.path).collect(),
        exclude: policy.exclude,
        bandwidth: policy.limits.and_then(|limits| limits.bandwidth),
    }
}

fn restore(ticket: Ticket) -> Option<Work> {
    let order = ticket.restore?;
    let overwrite = match order.overwrite() {
        WireOverwrite::Unspecified | WireOverwrite::Never => Overwrite::Never,
        WireOverwrite::Always => Overwrite::Always,
        WireOverwrite::IfNewer => Overwrite::IfNewer,
    };
    let to = order.to;
    let is_usable = to.starts_with('/') && !to.contains('\0');
    is_usable.then_some(Work::Restore { to, overwrite })
}
