//! The data service: clients' streams come in here, are asked for their right, and go to the manager.
//!
//! Thin: gRPC is known here and in `attempts::link` only. Served by `run`.

mod service;

pub(crate) use service::{DataService, local_server, server};
