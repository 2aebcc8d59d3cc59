//! R-05, DESIGN 3: journals are applied once, in order, without gaps.

use outlast_core::{Command, JournalEvent, Refusal, Reply};
use outlast_proto::words::{
    CompletionStatus, ItemNumber, ItemOutcome, JobState, JournalId, StatusCode, Timestamp,
};

use crate::world::{World, ended, item_ended, marked};

#[test]
fn r05_repeated_events_are_acknowledged_and_change_nothing() {
    let mut world = World::new();
    let (job, attempt, media) = world.running_job();
    let nonce = world.nonce(job);
    let at = |sequence, what| JournalEvent {
        sequence,
        at: Timestamp(1),
        job,
        attempt,
        nonce,
        what,
        writer: 7,
    };
    let batch = Command::RecordEvents {
        agent: media.clone(),
        journal_id: JournalId("journal-1".into()),
        events: vec![
            at(1, marked()),
            at(2, item_ended(job, ItemNumber(0), ItemOutcome::Done)),
            at(3, item_ended(job, ItemNumber(1), ItemOutcome::Done)),
            at(4, ended(StatusCode::SUCCESSFUL)),
        ],
    };
    for round in 0..3 {
        assert_eq!(
            world.apply(batch.clone()),
            Reply::Recorded { acknowledged: 4 },
            "round {round}"
        );
        assert_eq!(world.state.histories_of(job).count(), 1);
        assert_eq!(world.state.restore_points().count(), 2);
        let media = world.state.agent(&media).unwrap().media.as_ref().unwrap();
        assert_eq!((media.journal.acknowledged, media.journal.writer), (4, 7));
    }
    let ends = world
        .state
        .details_of(job)
        .filter(|detail| detail.text.contains("ended: successful"))
        .count();
    assert_eq!(ends, 1);
}

#[test]
fn a_gap_or_another_journal_is_refused() {
    let mut world = World::new();
    let (job, attempt, media) = world.running_job();
    let nonce = world.nonce(job);
    let event = |sequence| JournalEvent {
        sequence,
        at: Timestamp(1),
        job,
        attempt,
        nonce,
        what: ended(StatusCode::SUCCESSFUL),
        writer: 7,
    };
    for (journal, sequences, acknowledged) in [
        ("journal-1", vec![3], 1),
        ("journal-1", vec![u64::MAX], 1),
        ("journal-0", vec![2], 0),
    ] {
        let events = sequences.iter().map(|sequence| event(*sequence)).collect();
        let journal_id = JournalId(journal.into());
        let reply = world.apply(Command::RecordEvents {
            agent: media.clone(),
            journal_id,
            events,
        });
        assert_eq!(
            reply,
            Reply::Refused(Refusal::JournalGap { acknowledged }),
            "{journal} {sequences:?}"
        );
        assert_eq!(world.state.job(job).unwrap().state, JobState::Active);
    }
}

#[test]
fn what_came_before_a_gap_counts() {
    let mut world = World::new();
    let (job, attempt, media) = world.running_job();
    let nonce = world.nonce(job);
    let at = |sequence, what| JournalEvent {
        sequence,
        at: Timestamp(1),
        job,
        attempt,
        nonce,
        what,
        writer: 7,
    };
    let events = vec![
        at(2, item_ended(job, ItemNumber(0), ItemOutcome::Done)),
        at(4, ended(StatusCode::SUCCESSFUL)),
    ];
    let journal_id = JournalId("journal-1".into());
    let reply = world.apply(Command::RecordEvents {
        agent: media,
        journal_id,
        events,
    });
    assert_eq!(reply, Reply::Refused(Refusal::JournalGap { acknowledged: 2 }));
    assert_eq!(world.state.restore_points().count(), 1);
    assert_eq!(world.state.job(job).unwrap().state, JobState::Active);
}

#[test]
fn a_new_journal_moves_its_open_attempts_on() {
    let mut world = World::new();
    let (job, attempt, media) = world.running_job();
    world.register_media(media.as_str(), "journal-2");
    assert_eq!(world.state.job(job).unwrap().state, JobState::Queued);
    assert_eq!(
        world.state.history(job, attempt).unwrap().status,
        CompletionStatus::FailedOver
    );
    let cursor = &world.state.agent(&media).unwrap().media.as_ref().unwrap().journal;
    assert_eq!((cursor.id.0.as_str(), cursor.acknowledged), ("journal-2", 0));
}

#[test]
fn the_same_journal_again_keeps_its_place() {
    let mut world = World::new();
    let (job, _, media) = world.running_job();
    world.register_media(media.as_str(), "journal-1");
    let cursor = &world.state.agent(&media).unwrap().media.as_ref().unwrap().journal;
    assert_eq!(cursor.acknowledged, 1);
    assert_eq!(world.state.job(job).unwrap().state, JobState::Active);
}

#[test]
fn t90_r05_times_are_those_of_the_witness_also_when_the_primary_hears_late() {
    // Microseconds after the dispatch at which the end is stamped, and is recorded as; it is delivered much later.
    for (stamped, recorded) in [
        (2_500_000, 2_500_000),
        (-7_000_000, 1_000_000),
        (i64::MAX, 600_000_000),
    ] {
        let mut world = World::new();
        let (job, attempt, media) = world.running_job();
        let nonce = world.nonce(job);
        let begun = world.open(job).started_at;
        // What the details said last: of an event that was stamped one second after the dispatch.
        let event = |sequence, after, what| JournalEvent {
            sequence,
            at: Timestamp(begun.0.saturating_add(after)),
            job,
            attempt,
            nonce,
            what,
            writer: 7,
        };
        let text = "something".to_owned();
        let severity = outlast_proto::words::Severity::Info;
        let detail = outlast_core::EventKind::DetailSaid { severity, text };
        world.now = begun.0 + 599_000_000;
        let reply = world.apply(Command::RecordEvents {
            agent: media,
            journal_id: JournalId("journal-1".into()),
            events: vec![
                event(2, 1_000_000, detail),
                event(3, stamped, ended(StatusCode::SUCCESSFUL)),
            ],
        });
        assert_eq!(reply, Reply::Recorded { acknowledged: 3 });
        let (_, history) = world.state.histories_of(job).next().unwrap();
        assert_eq!(history.ended_at.0 - begun.0, recorded, "stamped {stamped}");
        let times: Vec<_> = world.state.details_of(job).map(|detail| detail.time).collect();
        assert!(times.is_sorted(), "{times:?}");
    }
}
