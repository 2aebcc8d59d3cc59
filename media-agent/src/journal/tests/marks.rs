//! marks that are lost to a primary of another version, as the journal has them.

use outlast_proto::v1::AttemptMarked;
use outlast_proto::v1::journal_event::What;
use outlast_proto::words::Timestamp;

use super::super::store::Store;
use super::{ended, event, id, open, started, ticket};
use outlast_media_core::{NewRecord, Standing};
use outlast_proto::words::AttemptId;

fn marked_under(id: AttemptId, resilient: bool, primary_version: &str) -> Vec<NewRecord> {
    let marked = What::Marked(AttemptMarked {
        resilient,
        client_start_id: String::new(),
        primary_version: primary_version.to_owned(),
    });
    vec![NewRecord::Admitted(ticket(id)), event(id, marked)]
}

/// What attempts have lost by meeting primaries, as it is delivered: job, from, to.
fn lost_marks(store: &Store) -> Vec<(String, String, String)> {
    let events = store.read(1, 1000).unwrap().into_iter();
    events
        .filter_map(|event| match event.what {
            Some(What::MarkLost(lost)) => Some((event.attempt?.job, lost.from, lost.to)),
            _ => None,
        })
        .collect()
}

#[test]
fn r13_marks_are_lost_to_another_version_once_and_only_by_open_resilient_attempts() {
    let dir = tempfile::tempdir().unwrap();
    let at = Timestamp(1_800_000_000_000_000);
    let lost = |job: &str, from: &str, to: &str| (job.to_owned(), from.to_owned(), to.to_owned());
    let mut store = open(dir.path()).unwrap();
    for (job, resilient, version) in [
        (1, true, "0.1.0"),
        (2, false, "0.1.0"),
        (3, true, "0.1.0"),
        (4, true, ""),
        (5, true, "0.2.0"),
    ] {
        store
            .append(marked_under(id(job, 1), resilient, version))
            .unwrap();
    }
    store.append(ended(id(3, 1))).unwrap();
    let is_resilient = |store: &Store| [1, 2, 3, 4, 5].map(|job| store.known().is_resilient(id(job, 1)));
    assert_eq!(is_resilient(&store), [true, false, false, true, true]);
    // The patch release is the first version that job 4 meets.
    store.meet("0.1.9", at).unwrap();
    let mut all = vec![lost("5", "0.2.0", "0.1.9")];
    assert_eq!(lost_marks(&store), all);
    assert_eq!(is_resilient(&store), [true, false, false, true, false]);
    all.extend([lost("1", "0.1.0", "0.2.0"), lost("4", "0.1.9", "0.2.0")]);
    for reopened in [false, false, true] {
        if reopened {
            drop(store);
            store = open(dir.path()).unwrap();
        }
        store.meet("0.2.0", at).unwrap();
        assert_eq!(lost_marks(&store), all);
        assert_eq!(is_resilient(&store), [false; 5]);
    }
    // Whoever ends later ends as ever; what had ended before stays as it is.
    store.append(ended(id(1, 1))).unwrap();
    assert_eq!(store.known().standing(id(1, 1)), Standing::Closed);
    assert_eq!(lost_marks(&store), all);
}

#[test]
fn r13_the_version_of_a_mark_survives_files_and_new_journals() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), 500).unwrap();
    store.append(marked_under(id(1, 1), true, "0.1.0")).unwrap();
    for job in 2..50 {
        store.append(started(id(job, 1), 0)).unwrap();
    }
    store.acknowledge(store.last()).unwrap();
    store.begin_new().unwrap();
    drop(store);
    let mut store = Store::open(dir.path(), 500).unwrap();
    assert!(store.known().is_resilient(id(1, 1)));
    store.meet("0.1.5", Timestamp(1)).unwrap();
    assert!(store.known().is_resilient(id(1, 1)));
    store.meet("1.0.0", Timestamp(2)).unwrap();
    assert!(!store.known().is_resilient(id(1, 1)));
    assert_eq!(lost_marks(&store)[0].1, "0.1.0");
}

#[test]
fn r13_a_mark_is_lost_when_that_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    store.append(marked_under(id(1, 1), true, "0.1.0")).unwrap();
    store.set_room(Some(0));
    let error = store.meet("0.2.0", Timestamp(1)).unwrap_err();
    assert!(error.is_full(), "{error}");
    assert!(store.known().is_resilient(id(1, 1)));
    store.set_room(None);
    store.meet("0.2.0", Timestamp(1)).unwrap();
    assert!(!store.known().is_resilient(id(1, 1)));
    assert_eq!(lost_marks(&store).len(), 1);
}
