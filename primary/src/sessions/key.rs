//! The cluster's ticket key (DESIGN 3): what is signed with it. What a ticket says is the core's to decide.

use outlast_core::orders::Order;
use outlast_core::rows::Cluster;
use outlast_core::{ClusterState, session};
use outlast_proto::v1::{SignedTicket, primary_message};
use prost::Message as _;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// The public half of the cluster's ticket key; empty if there is none yet.
pub(super) fn public_key(cluster: &Cluster) -> Vec<u8> {
    key_pair(cluster)
        .map(|pair| pair.public_key().as_ref().to_vec())
        .unwrap_or_default()
}

/// An order with its signed ticket.
pub(super) fn order_message(state: &ClusterState, order: &Order) -> Option<primary_message::Body> {
    session::order_message(state, order, |ticket| {
        let ticket = ticket.encode_to_vec();
        let signature = key_pair(state.cluster()?)?.sign(&ticket).as_ref().to_vec();
        Some(SignedTicket {
            ticket: ticket.into(),
            signature: signature.into(),
        })
    })
}

pub(super) fn key_pair(cluster: &Cluster) -> Option<Ed25519KeyPair> {
    Ed25519KeyPair::from_pkcs8(&cluster.ticket_key)
        .inspect_err(
            |error| tracing::error!(%error, "the cluster's ticket key cannot be read; no attempt can start"),
        )
        .ok()
}
