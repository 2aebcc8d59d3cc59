//! How values look on disk: one version byte, then MessagePack with field names. openraft is not final, so its types
//! are never stored as such; the stored twins of its log ids and memberships live here. The rooms that store
//! something ([`log`](mod@crate::log), [`state`](crate::state), [`net`](crate::net)) call this one.
//!
//! A stored type only ever gains fields that have a default; anything else is a new version.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use openraft::vote::leader_id_std::CommittedLeaderId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::peer::{NodeId, Seat};
use crate::term::Term;
use crate::types::{LogId, Membership, StoredMembership};

#[derive(Debug, Error)]
pub(crate) enum FormatError {
    #[error("empty")]
    Empty,
    #[error("version {found}, but only {known} is known")]
    Version { found: u8, known: u8 },
    #[error("undecodable: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    #[error("unencodable: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    #[error("an impossible membership: {0}")]
    Membership(String),
}

impl From<FormatError> for std::io::Error {
    fn from(error: FormatError) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}

pub(crate) fn encode<T: Serialize>(version: u8, value: &T) -> Result<Vec<u8>, FormatError> {
    let mut bytes = vec![version];
    rmp_serde::encode::write_named(&mut bytes, value)?;
    Ok(bytes)
}

pub(crate) fn decode<T: DeserializeOwned>(known: u8, bytes: &[u8]) -> Result<T, FormatError> {
    let (found, body) = bytes.split_first().ok_or(FormatError::Empty)?;
    if *found != known {
        return Err(FormatError::Version { found: *found, known });
    }
    Ok(rmp_serde::from_slice(body)?)
}

/// A log id as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LogIdForm {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

impl fmt::Display for LogIdForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} of term {}", self.index, self.term)
    }
}

/// For people: where something ends.
pub(crate) fn end_in_words(end: Option<LogIdForm>) -> String {
    end.map_or_else(|| "no entry at all".to_owned(), |end| end.to_string())
}

impl From<LogId> for LogIdForm {
    fn from(id: LogId) -> Self {
        Self {
            term: id.leader_id.term.0,
            index: id.index,
        }
    }
}

impl From<LogIdForm> for LogId {
    fn from(id: LogIdForm) -> Self {
        Self {
            leader_id: CommittedLeaderId::new(Term(id.term)),
            index: id.index,
        }
    }
}

/// A membership as it is stored: one set of voters, or two while it changes; whoever is in no set is a learner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembersForm {
    pub(crate) voters: Vec<BTreeSet<NodeId>>,
    pub(crate) nodes: BTreeMap<NodeId, Seat>,
}

impl From<&Membership> for MembersForm {
    fn from(members: &Membership) -> Self {
        Self {
            voters: members.get_joint_config().clone(),
            nodes: members.nodes().map(|(id, seat)| (*id, seat.clone())).collect(),
        }
    }
}

impl TryFrom<MembersForm> for Membership {
    type Error = FormatError;

    fn try_from(form: MembersForm) -> Result<Self, FormatError> {
        if form.voters.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(form.voters, form.nodes).map_err(|e| FormatError::Membership(e.to_string()))
    }
}

/// A membership with the entry that set it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembershipForm {
    pub(crate) set_by: Option<LogIdForm>,
    pub(crate) members: MembersForm,
}

impl From<&StoredMembership> for MembershipForm {
    fn from(stored: &StoredMembership) -> Self {
        Self {
            set_by: (*stored.log_id()).map(Into::into),
            members: stored.membership().into(),
        }
    }
}

impl TryFrom<MembershipForm> for StoredMembership {
    type Error = FormatError;

    fn try_from(form: MembershipForm) -> Result<Self, FormatError> {
        Ok(StoredMembership::new(
            form.set_by.map(Into::into),
            form.members.try_into()?,
        ))
    }
}
