//! The one table from refusals and failures to gRPC statuses.

use outlast_core::Refusal;
use outlast_kit::errors::{not_leader, status};
use outlast_proto::convert::InvalidField;
use outlast_proto::v1::ErrorDetail;
use outlast_raft::ProposeError;
use tonic::{Code, Status};

use crate::brain::{Brain, BrainError};

/// The status for a failed proposal or read.
pub(crate) fn of_brain(error: &BrainError) -> Status {
    match error {
        BrainError::Raft(ProposeError::NotLeader { leader } | ProposeError::Displaced { leader }) => {
            not_leader(
                leader
                    .as_ref()
                    .map(|(_, peer)| (peer.name.as_str(), peer.address.as_str())),
            )
        }
        // The caller may try again with the same request id.
        BrainError::Raft(error @ (ProposeError::Timeout { .. } | ProposeError::Stopped { .. })) => {
            Status::unavailable(error.to_string())
        }
        BrainError::Raft(error @ ProposeError::TooLarge { .. }) => {
            Status::resource_exhausted(error.to_string())
        }
        BrainError::Reply(error) => Status::internal(error.to_string()),
    }
}

/// "Ask the leader", from what this node knows.
pub(crate) fn not_leader_of(brain: &Brain) -> Status {
    let leader = brain.raft().status().leader.filter(|_| !brain.leads());
    not_leader(
        leader
            .as_ref()
            .map(|(_, peer)| (peer.name.as_str(), peer.address.as_str())),
    )
}

/// The status for a refused command.
pub(crate) fn of_refusal(refusal: &Refusal) -> Status {
    let (code, field) = match refusal {
        Refusal::NoSuchPolicy { .. }
        | Refusal::NoSuchPool { .. }
        | Refusal::NoSuchJob { .. }
        | Refusal::NoSuchClient { .. }
        | Refusal::NoSuchAgent { .. }
        | Refusal::NoSuchRule { .. }
        | Refusal::NoSuchRestorePoint { .. } => (Code::NotFound, ""),
        // A type this version cannot run is a refusal, not bad syntax (CLI.md).
        Refusal::InvalidPolicy { field, .. } if field == "type" => (Code::FailedPrecondition, field.as_str()),
        Refusal::InvalidPolicy { field, .. }
        | Refusal::InvalidRule { field, .. }
        | Refusal::InvalidRequest { field, .. } => (Code::InvalidArgument, field.as_str()),
        Refusal::NoSuchNode { .. } => (Code::NotFound, ""),
        Refusal::AgentRemoved { .. } => (Code::PermissionDenied, ""),
        Refusal::NodeNumberUsed { .. }
        | Refusal::NodeNameUsed { .. }
        | Refusal::ClientNotInPolicy { .. }
        | Refusal::NameTaken { .. }
        | Refusal::OtherRepository { .. }
        | Refusal::JobDone { .. }
        | Refusal::NotPossible { .. }
        | Refusal::NoMediaAgent { .. }
        | Refusal::AgentBusy { .. }
        | Refusal::LastOfUnit { .. }
        | Refusal::TooOld
        | Refusal::RestorePointLost { .. }
        | Refusal::BuiltInRule { .. }
        | Refusal::Outdated
        | Refusal::JournalGap { .. } => (Code::FailedPrecondition, ""),
    };
    status(
        code,
        refusal.to_string(),
        &ErrorDetail {
            field: field.to_owned(),
            ..Default::default()
        },
    )
}

/// The status for a field that is no good.
pub(crate) fn of_field(error: &InvalidField) -> Status {
    let detail = ErrorDetail {
        field: error.field.to_owned(),
        ..Default::default()
    };
    status(Code::InvalidArgument, error.to_string(), &detail)
}

/// Nothing has this name or id.
pub(crate) fn not_found(what: &str, name: &str) -> Status {
    Status::not_found(format!("there is no {what} \"{name}\""))
}

/// What answered has panicked: without a word the answer would pass for whole.
pub(crate) fn panicked() -> Status {
    Status::internal("this primary failed while it answered; its log says more")
}
