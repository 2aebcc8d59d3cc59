//! A state of an earlier version is read, kept as it is until a newer one is in force, and then goes on as that says.

use std::collections::BTreeMap;

use outlast_core::{ClusterState, Command, Reply};
use outlast_proto::words::{ItemOutcome, JobId, StatusCode};

use crate::world::World;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a program of version 7 stored: one job that is done, one canceled before it began, one in its second attempt with a checkpoint
/// and exceptions, one that waits.
fn sample() -> Rows {
    rows(include_str!("../samples/version-7.rows"))
}

/// What a program of version 8 stored: one job that is done with exceptions, one that was lost with a checkpoint and an exception and is in its
/// second attempt, whose fence is owed, one that waits; a media agent is draining.
fn sample_of_8() -> Rows {
    rows(include_str!("../samples/version-8.rows"))
}

fn rows(text: &str) -> Rows {
    let bytes = |hex: &str| -> Vec<u8> {
        let digits = (0..hex.len()).step_by(2);
        digits
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    };
    text.lines()
        .map(|line| {
            let (key, row) = line.split_once(' ').unwrap();
            (bytes(key), bytes(row))
        })
        .collect()
}

fn load(rows: &Rows) -> ClusterState {
    ClusterState::from_rows(rows.iter().map(|(key, row)| (key.as_slice(), row.as_slice()))).unwrap()
}

fn store(rows: &mut Rows, state: &mut ClusterState) {
    for (key, row) in state.take_changes() {
        match row {
            Some(row) => rows.insert(key, row),
            None => rows.remove(&key),
        };
    }
}

/// A group that speaks so much and has these rows.
fn world_of(rows: &Rows, speaks: u32) -> World {
    let mut world = World::new();
    world.state = load(rows);
    world.now = 1_000_000_000_000;
    for name in crate::world::MEDIA {
        world.sequences.insert(crate::world::agent(name), 0);
        let cursor = &world.state.agent(&crate::world::agent(name)).unwrap().media;
        let acknowledged = cursor.as_ref().unwrap().journal.acknowledged;
        world.sequences.insert(crate::world::agent(name), acknowledged);
    }
    for command in [
        Command::AdmitMember {
            node_id: 1,
            name: "primary-1".into(),
        },
        Command::DescribeMember {
            node_id: 1,
            host_id: "host-1".into(),
            version: "0.2.0".into(),
            cluster_version: speaks,
        },
    ] {
        assert_eq!(world.apply(command), Reply::Done);
    }
    world
}

fn told(state: &ClusterState) -> String {
    let mut text = String::new();
    for job in state.jobs_before(None) {
        let histories: Vec<_> = state.histories_of(job.id).collect();
        let items: Vec<_> = state.items_of(job.id).collect();
        let open: Vec<_> = state.open_of(job.id).collect();
        let exceptions: Vec<_> = open
            .iter()
            .flat_map(|open| state.exceptions_of(job.id, open.attempt))
            .collect();
        text += &format!("{job:?} {histories:?} {items:?} {open:?} {exceptions:?}\n");
    }
    text
}

#[test]
fn a_state_of_version_7_is_whole() {
    let state = load(&sample());
    let states: Vec<_> = state
        .jobs_before(None)
        .map(|job| (job.id.0, job.state.word()))
        .collect();
    assert_eq!(states, [(4, "queued"), (3, "active"), (2, "done"), (1, "done")]);
    let open = state.open_of(JobId(3)).collect::<Vec<_>>();
    assert_eq!((open.len(), open[0].attempt.0, open[0].exceptions), (1, 2, 3));
    assert!(open[0].checkpoint.is_some() && open[0].marked);
    let outcomes: Vec<_> = state.items_of(JobId(3)).map(|(_, item)| item.outcome).collect();
    assert_eq!(
        outcomes,
        [ItemOutcome::DoneWithExceptions, ItemOutcome::InProgress]
    );
    assert_eq!(state.exceptions_of(JobId(3), open[0].attempt).count(), 3);
}

#[test]
fn a_group_goes_on_with_rows_of_version_7_until_all_members_speak_8_and_then_splits_them() {
    let mut rows = sample();
    // Under version 7 what changes is written as a program of version 7 writes it.
    let mut world = world_of(&rows, 7);
    world.event(
        &world.open(JobId(3)).media_agent.clone(),
        JobId(3),
        world.open(JobId(3)).attempt,
        crate::world::marked(),
    );
    store(&mut rows, &mut world.state);
    assert!(rows.keys().all(|key| !b"iOxF".contains(&key[0])));
    assert_eq!(told(&load(&rows)), told(&world.state));

    let mut world = world_of(&rows, 8);
    let before = told(&world.state);
    assert_eq!(world.apply(Command::RaiseClusterVersion { to: 8 }), Reply::Done);
    assert_eq!(told(&world.state), before);
    store(&mut rows, &mut world.state);
    // Whoever is restarted after it has the same.
    assert_eq!(told(&load(&rows)), before);
    for (letter, count) in [(b'i', 8), (b'O', 1), (b'x', 3)] {
        let found = rows.keys().filter(|key| key[0] == letter).count();
        assert_eq!(found, count, "{}", char::from(letter));
    }
    assert!(
        rows.iter()
            .filter(|(key, _)| key[0] == b'j')
            .all(|(_, row)| row[0] == 2)
    );

    // And the job goes on.
    world.finish(
        JobId(3),
        &[ItemOutcome::NotStarted, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
    let job = world.state.job(JobId(3)).unwrap();
    assert_eq!(job.status.map(|(_, code)| code), Some(StatusCode::EXCEPTIONS));
    store(&mut rows, &mut world.state);
    assert!(rows.keys().all(|key| !b"Ox".contains(&key[0])));
}

#[test]
fn a_state_of_version_8_is_whole_under_8_and_after_it() {
    let mut rows = sample_of_8();
    let state = load(&rows);
    let states: Vec<_> = state
        .jobs_before(None)
        .map(|job| (job.id.0, job.state.word()))
        .collect();
    assert_eq!(states, [(3, "queued"), (2, "active"), (1, "done")]);
    let open: Vec<_> = state.open_of(JobId(2)).collect();
    assert!(open.len() == 2 && open[0].superseded().is_some() && open[1].is_running());
    assert_eq!(state.exceptions_of(JobId(2), open[0].attempt).count(), 1);
    assert_eq!(state.fences().count(), 1);

    let mut world = world_of(&rows, 9);
    let before = told(&world.state);
    assert_eq!(world.apply(Command::RaiseClusterVersion { to: 9 }), Reply::Done);
    assert_eq!(told(&world.state), before);
    store(&mut rows, &mut world.state);
    assert_eq!(told(&load(&rows)), before);
    world.finish(
        JobId(2),
        &[ItemOutcome::NotStarted, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
    let job = world.state.job(JobId(2)).unwrap();
    assert_eq!(job.status.map(|(_, code)| code), Some(StatusCode::SUCCESSFUL));
}
