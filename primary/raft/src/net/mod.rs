//! Raft between nodes, over gRPC: frames, the calling side, the answering side. Nothing about storage or membership.
//! openraft calls the client; the primary mounts the service on its TLS port.

mod admission;
mod client;
mod heard;
mod receive;
mod service;
mod wire;

pub(crate) use admission::{Admission, Known};
pub(crate) use client::Network;
pub(crate) use heard::Heard;
pub use service::RaftService;
pub(crate) use wire::MAX_FRAME;
