//! Ring 3: real processes, driven through the command line as a user would.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod admission;
mod bad_input;
mod cancel;
mod chaos;
mod checkpoints;
mod client_loss;
mod client_set_back;
mod closes;
mod cluster;
mod copies;
mod damage;
mod data_folders;
mod drain;
mod exceptions;
mod failover;
mod failover_matrix;
mod filesystem;
mod foreign_client;
mod grace;
mod group;
mod half_open;
mod hostile;
mod hostile_agent;
mod hosts;
mod identity;
mod kill_loops;
mod lab;
mod large_directory;
mod leader_loss;
mod local;
mod locks;
mod lost_disk;
mod main_job;
mod memory;
mod migration;
mod mounts;
mod network;
mod old_agents;
mod outage;
mod outage_matrix;
#[cfg(debug_assertions)]
mod panics;
mod place;
mod policy_test;
#[path = "../support/ports.rs"]
mod ports;
mod power;
#[path = "../support/proxy.rs"]
mod proxy;
mod reading;
mod recovered;
mod resilience;
mod restics;
mod restore_attempts;
mod restore_ends;
mod restore_links;
mod restore_targets;
mod resume;
mod rewritten;
mod rolling_restart;
mod rules;
mod set_back;
mod silence;
mod steward;
mod stream;
mod submitters;
mod tree;
mod units;
