//! The client agent against scripted peers: a media agent over plain TCP, and the whole agent over TLS.

// The lint's exception for tests does not reach their helpers.
#![allow(clippy::unwrap_used)]

mod backup;
mod breaks;
mod closes;
mod contradictions;
mod endings;
mod endless;
mod going_on;
mod health;
mod interrupted;
mod items;
mod kept_links;
mod limits;
mod links;
mod local;
mod media_agent;
#[path = "../../../tests/support/proxy.rs"]
mod proxy;
mod restore;
mod run;
mod sizes;
mod strays;
mod targets;
mod trees;
mod witness;
