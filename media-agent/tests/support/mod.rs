//! A media agent in this process, with a scripted primary and scripted clients around it, all over real TLS.
//!
//! `world` starts things, `home` has one backup made, `harm` damages it, `primary` answers the session, `client` and `restorer` speak the data streams, `source` makes walks,
//! `restic` is the judge, `proxy` cuts. Used by every test of this folder.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests; a script is read from top to bottom"
)]

pub mod client;
pub mod harm;
pub mod home;
pub mod primary;
#[path = "../../../tests/support/proxy.rs"]
pub mod proxy;
pub mod restic;
pub mod restorer;
pub mod source;
pub mod world;
