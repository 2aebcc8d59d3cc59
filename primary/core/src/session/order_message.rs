//! Orders as they are said to agents: with the ticket of the attempt, which the caller signs.
//!
//! Pure. Called by `primary/src/sessions` and by the simulation.

use outlast_proto::v1::{
    AdmitAttempt, FenceAttempt, LeaveAttempt, Leaving, SignedTicket, StartAttempt, StopAttempt, Stopped,
    Ticket, primary_message,
};

use outlast_proto::words::{JobKey, SnapshotId};

use super::ticket::ticket;
use crate::orders::Order;
use crate::state::ClusterState;

/// The message of an order; none if the order is no longer owed, or its ticket cannot be signed.
pub fn order_message(
    state: &ClusterState,
    order: &Order,
    sign: impl FnOnce(&Ticket) -> Option<SignedTicket>,
) -> Option<primary_message::Body> {
    let (Order::Admit { job, .. }
    | Order::Start { job, .. }
    | Order::Cancel { job, .. }
    | Order::Leave { job, .. }) = order
    else {
        return fence(state, order);
    };
    let job = state.job(*job)?;
    let running = state.running_of(job)?;
    if let Order::Leave { attempt, .. } = order {
        return Some(primary_message::Body::Leave(LeaveAttempt {
            attempt: Some(job.key().attempt(*attempt).to_ref()),
            how: Leaving::Moved.into(),
            why: format!("media agent {} is drained", running.media_agent),
        }));
    }
    let ticket = Some(sign(&ticket(state, job, running)?)?);
    Some(match order {
        Order::Fence { .. } | Order::Leave { .. } => return None,
        Order::Cancel { attempt, .. } => primary_message::Body::Stop(StopAttempt {
            attempt: Some(job.key().attempt(*attempt).to_ref()),
            how: Stopped::Unspecified.into(),
            cancel: true,
            fault: None,
        }),
        Order::Start { .. } => primary_message::Body::Start(StartAttempt { ticket }),
        Order::Admit { .. } => {
            let media = state.agent(&running.media_agent)?.media.as_ref()?;
            let data_addresses = media.data_addresses.clone();
            primary_message::Body::Admit(AdmitAttempt {
                ticket,
                data_addresses,
            })
        }
    })
}

fn fence(state: &ClusterState, order: &Order) -> Option<primary_message::Body> {
    let Order::Fence {
        job,
        nonce,
        through,
        is_settled,
    } = order
    else {
        return None;
    };
    let key = JobKey {
        id: *job,
        nonce: *nonce,
    };
    Some(primary_message::Body::Fence(FenceAttempt {
        attempt: Some(key.attempt(*through).to_ref()),
        keep_snapshots: state.restore_points_of(*job).map(SnapshotId::to_wire).collect(),
        only_end: !is_settled,
    }))
}
