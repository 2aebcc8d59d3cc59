//! What is stored row by row is the whole state; stored formats stay readable.

use std::collections::BTreeMap;

use outlast_core::{ClusterState, Entry};
use outlast_proto::words::{ItemOutcome, StatusCode};

use crate::world::World;

/// A store as the primary keeps it.
#[derive(Default)]
struct Store(BTreeMap<Vec<u8>, Vec<u8>>);

impl Store {
    fn take(&mut self, state: &mut ClusterState) {
        for (key, row) in state.take_changes() {
            match row {
                Some(row) => self.0.insert(key, row),
                None => self.0.remove(&key),
            };
        }
    }

    fn load(&self) -> ClusterState {
        ClusterState::from_rows(self.0.iter().map(|(key, row)| (key.as_slice(), row.as_slice()))).unwrap()
    }
}

#[test]
fn a_state_loaded_from_its_rows_goes_on_as_if_nothing_had_happened() {
    let mut store = Store::default();
    let mut world = World::new();
    let (job, ..) = world.running_job();
    store.take(&mut world.state);
    world.state = store.load();
    world.finish(
        job,
        &[ItemOutcome::Done, ItemOutcome::DoneWithExceptions],
        StatusCode::EXCEPTIONS,
    );
    store.take(&mut world.state);
    let loaded = store.load();
    assert_eq!(loaded.job(job), world.state.job(job));
    assert_eq!(loaded.histories().count(), 1);
    assert_eq!(loaded.restore_points().count(), 2);
    assert_eq!(
        format!("{:?}", loaded.job(job)),
        format!("{:?}", world.state.job(job))
    );
}

/// A primary that is restarted between a failover and the survey.
#[test]
fn t90_f04_a_superseded_attempt_and_its_fence_are_stored() {
    let mut store = Store::default();
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    assert_eq!(
        crate::supersede::supersede(&mut world, job),
        outlast_core::Reply::Done
    );
    store.take(&mut world.state);
    let before = world.state.open_attempt(job, first).cloned();
    world.state = store.load();
    assert_eq!(world.state.open_attempt(job, first).cloned(), before);
    assert!(before.is_some_and(|open| open.superseded().is_some()));
    assert_eq!(crate::supersede::fences(&world, &media), [(first, false)]);
    world.dispatch();
    world.finish(
        job,
        &[ItemOutcome::Done, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
    assert_eq!(world.state.histories_of(job).count(), 2);
}

#[test]
fn nothing_changed_means_nothing_to_store() {
    let mut world = World::new();
    world.submit();
    assert!(!world.state.take_changes().is_empty());
    assert_eq!(world.state.take_changes(), []);
}

#[test]
fn damaged_rows_are_named_not_swallowed() {
    let mut world = World::new();
    let rows = world.state.take_changes();
    let (key, row) = rows
        .iter()
        .find_map(|(key, row)| Some((key.clone(), row.clone()?)))
        .unwrap();
    for (name, key, row) in [
        ("cut", key.clone(), row[..row.len() / 2].to_vec()),
        ("empty", key.clone(), vec![]),
        ("newer format", key.clone(), [&[9], &row[1..]].concat()),
        ("unknown table", b"?".to_vec(), row.clone()),
        ("empty key", vec![], row),
    ] {
        let loaded = ClusterState::from_rows([(key.as_slice(), row.as_slice())]);
        assert!(loaded.is_err(), "{name}");
    }
}

#[test]
fn an_entry_this_version_does_not_know_is_an_error() {
    for bytes in [&b""[..], b"\xc1", b"\x81\xa2at\x01", &[0xff; 64]] {
        assert!(Entry::decode(bytes).is_err(), "{bytes:?}");
    }
}
