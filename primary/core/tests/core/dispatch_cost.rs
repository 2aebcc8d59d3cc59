//! Dispatch costs what can start, not what waits: counted in rows that are looked at, without a clock.

use std::time::Instant;

use outlast_core::dispatch::{Presence, plan};
use outlast_core::table::looked;
use outlast_core::{ClusterState, Command, Entry};
use outlast_proto::words::{AgentName, JobNonce, Policy, SelectionMethod, Timestamp};

use crate::world::{MEDIA, World, agent};

const CLIENTS: usize = 10;

fn client(number: usize) -> AgentName {
    agent(&format!("client-{number}"))
}

/// A policy of all clients, submitted so often; none of its jobs has begun.
fn waiting(submissions: usize, method: SelectionMethod) -> (ClusterState, Presence) {
    let mut world = World::new();
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    for client in &clients {
        world.register_client(client.as_str());
    }
    world.apply(Command::ChangePool {
        name: "default".parse().unwrap(),
        change: outlast_core::entry::PoolChange {
            method: Some(method),
            ..Default::default()
        },
    });
    let pool = "default".parse().unwrap();
    let policy = Policy::with_defaults("all".parse().unwrap(), clients, vec!["/home".into()], pool);
    world.apply(Command::ApplyPolicy { policy });
    // Without the looks at the whole state that come with every entry of a small world.
    for number in 0..submissions {
        world.state.apply(&Entry {
            at: Timestamp(world.now + number as i64),
            by: "primary-1".into(),
            request_id: None,
            asked_by: None,
            command: Command::SubmitBackup {
                policy: "all".parse().unwrap(),
                client: None,
                full: false,
                nonce: JobNonce(7),
            },
        });
    }
    (world.state, world.presence)
}

/// How many jobs start, and how many rows that takes to see.
#[allow(
    clippy::disallowed_methods,
    reason = "the time is printed and decides nothing"
)]
fn cost(what: &str, state: &ClusterState, presence: &Presence) -> (usize, u64) {
    let (before, began) = (looked::at(), Instant::now());
    let starting = plan(state, presence).len();
    let (rows, took) = (looked::at() - before, began.elapsed());
    println!("{what}: {starting} jobs start, {rows} rows looked at, {took:?}");
    (starting, rows)
}

#[test]
fn t90_dispatch_costs_what_can_start_and_not_what_waits() {
    // By how many there are of each client.
    let mut seen = Vec::new();
    for each in [10, 10_000] {
        let (mut state, here) = waiting(each, SelectionMethod::RoundRobin);
        let mut costs = vec![cost("all can start", &state, &here)];
        let mut nobody = here.clone();
        nobody.connected.retain(|name, _| MEDIA.contains(&name.as_str()));
        costs.push(cost("no client is here", &state, &nobody));
        let mut no_media = here.clone();
        no_media
            .connected
            .retain(|name, _| !MEDIA.contains(&name.as_str()));
        costs.push(cost("no media agent is here", &state, &no_media));
        for command in plan(&state, &here) {
            state.apply(&Entry {
                at: Timestamp(i64::MAX),
                by: "primary-1".into(),
                request_id: None,
                asked_by: None,
                command,
            });
        }
        costs.push(cost("all clients are busy", &state, &here));
        seen.push(costs);
    }
    assert_eq!(seen[0], seen[1], "jobs that start and rows looked at");
    let starting: Vec<_> = seen[0].iter().map(|(starting, _)| *starting).collect();
    assert_eq!(starting, [CLIENTS, 0, 0, 0]);
    let most = seen[0].iter().map(|(_, rows)| *rows).max();
    assert!(
        most < Some(30 * CLIENTS as u64),
        "{most:?} rows for {CLIENTS} clients"
    );
}

/// What has ended waits for nothing: histories were looked through for the agent that has waited longest.
#[test]
fn t90_f02_the_agent_that_has_waited_longest_is_found_without_looking_through_histories() {
    use outlast_proto::words::{ItemOutcome, StatusCode};
    let mut seen = Vec::new();
    for ended in [2, 60] {
        let mut world = World::new();
        world.apply(Command::ChangePool {
            name: "default".parse().unwrap(),
            change: outlast_core::entry::PoolChange {
                method: Some(SelectionMethod::RoundRobin),
                ..Default::default()
            },
        });
        for _ in 0..ended {
            let job = world.submit();
            assert_eq!(world.dispatch(), 1);
            world.finish(
                job,
                &[ItemOutcome::Done, ItemOutcome::Done],
                StatusCode::SUCCESSFUL,
            );
        }
        world.submit();
        // One that never had a job was looked for in all histories.
        world.register_media("media-3", "journal-1");
        seen.push(cost("after some have ended", &world.state, &world.presence));
        let chosen = plan(&world.state, &world.presence);
        let is_third = |command: &Command| matches!(command, Command::DispatchJob { media_agent, .. } if *media_agent == agent("media-3"));
        assert!(chosen.len() == 1 && is_third(&chosen[0]), "{chosen:?}");
    }
    assert_eq!(seen[0], seen[1]);
}
