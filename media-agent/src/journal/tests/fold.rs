//! What a journal leaves out that has grown large.

use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{
    AttemptEnded, CheckpointMade, DetailSaid, ExceptionsFound, FileException, ItemEnded, JournalEvent,
};
use outlast_proto::words::{Attempt, AttemptId, JobId, JobNonce, Timestamp};

use outlast_media_core::{NewEvent, NewRecord};

use crate::journal::store::{ROTATE_AT, Store};

const LARGE: u64 = 2_000;

fn event(attempt: u32, what: What) -> Vec<NewRecord> {
    let (job, attempt) = (JobId(1), Attempt(attempt));
    let id = AttemptId {
        job,
        nonce: JobNonce(9),
        attempt,
    };
    let at = Timestamp(1_800_000_000_000_000);
    vec![NewRecord::Event(NewEvent { at, id, what })]
}

fn detail() -> What {
    What::Detail(DetailSaid {
        severity: 0,
        text: "x".repeat(100),
    })
}

fn exceptions(count: usize) -> What {
    What::Exceptions(ExceptionsFound {
        item: 0,
        exceptions: vec![FileException::default(); count],
    })
}

fn store(folder: &std::path::Path) -> Store {
    let mut store = Store::open(folder, ROTATE_AT).unwrap();
    store.set_fold_from(LARGE);
    store
}

fn all(store: &Store) -> Vec<JournalEvent> {
    store.read(1, usize::MAX).unwrap()
}

/// What the notes say.
fn notes(events: &[JournalEvent]) -> Vec<&str> {
    let said = events.iter().filter_map(|event| match &event.what {
        Some(What::Detail(said)) if said.text.starts_with("left out") => said.text.split(": ").nth(1),
        _ => None,
    });
    said.collect()
}

#[test]
fn r05_a_large_journal_leaves_out_details_and_never_a_result() {
    let temp = tempfile::tempdir().unwrap();
    let mut store = store(temp.path());
    let length = || {
        let files = std::fs::read_dir(temp.path()).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum::<u64>()
    };
    for _ in 0..100 {
        store.append(event(1, detail())).unwrap();
    }
    let before = store.last();
    assert!((5..100).contains(&before), "{before}");
    let large = length();
    for _ in 0..900 + before {
        store.append(event(1, detail())).unwrap();
    }
    for _ in 0..1000 {
        store.append(event(1, exceptions(3))).unwrap();
        store
            .append(event(2, What::Checkpoint(CheckpointMade::default())))
            .unwrap();
    }
    assert_eq!(length(), large, "nothing was written");
    store
        .append(event(1, What::ItemEnded(ItemEnded::default())))
        .unwrap();
    store
        .append(event(1, What::Ended(AttemptEnded::default())))
        .unwrap();
    store.append(event(1, detail())).unwrap();
    store
        .append(event(2, What::Ended(AttemptEnded::default())))
        .unwrap();
    let events = all(&store);
    let expected = [
        "1000 details, the names of 3000 files with exceptions",
        "1000 details, the names of 0 files with exceptions",
    ];
    assert_eq!(notes(&events), expected);
    let numbers: Vec<_> = events.iter().map(|event| event.sequence).collect();
    assert!(
        numbers.iter().copied().eq(1..=store.last()),
        "no gap: {numbers:?}"
    );
    let results = |events: &[JournalEvent]| {
        let is_result =
            |event: &&JournalEvent| matches!(event.what, Some(What::ItemEnded(_) | What::Ended(_)));
        events.iter().filter(is_result).count()
    };
    assert_eq!(results(&events), 3);

    // Read again it is as large, and once delivered it is not.
    drop(store);
    let mut store = self::store(temp.path());
    store.append(event(3, detail())).unwrap();
    assert_eq!(all(&store).len(), events.len());
    store.acknowledge(store.last()).unwrap();
    store.append(event(3, detail())).unwrap();
    assert_eq!(all(&store), []);
    assert_eq!(store.read(store.last(), 1).unwrap().len(), 1);
}

#[test]
fn r05_a_note_that_could_not_be_written_comes_with_the_next_try() {
    let temp = tempfile::tempdir().unwrap();
    let mut store = store(temp.path());
    store.set_fold_from(0);
    store.append(event(1, detail())).unwrap();
    store.set_room(Some(0));
    store
        .append(event(1, What::Ended(AttemptEnded::default())))
        .unwrap_err();
    store.set_room(None);
    store
        .append(event(1, What::Ended(AttemptEnded::default())))
        .unwrap();
    assert_eq!(
        notes(&all(&store)),
        ["1 details, the names of 0 files with exceptions"]
    );
}
