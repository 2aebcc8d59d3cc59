//! S-12b: a job's number can be given out twice, its nonce cannot.

use outlast_core::session::open_attempts;
use outlast_core::{CLUSTER_VERSION, Command, EventKind, JournalEvent, Reply};
use outlast_proto::words::{
    Attempt, ItemNumber, ItemOutcome, JobNonce, JobState, JournalId, StatusCode, Timestamp,
};

use crate::world::{World, agent, backup, ended, item_ended, marked};

fn events(world: &World, nonce: JobNonce, what: Vec<EventKind>) -> Command {
    let job = world
        .state
        .jobs_before(None)
        .filter(|job| job.state == JobState::Queued)
        .last()
        .map_or(outlast_proto::words::JobId(1), |job| job.id);
    let events = (1..).zip(what).map(|(sequence, what)| JournalEvent {
        sequence,
        at: Timestamp(1),
        job,
        attempt: Attempt(1),
        nonce,
        what,
        writer: 7,
    });
    Command::RecordEvents {
        agent: agent("media-1"),
        journal_id: JournalId("journal-1".into()),
        events: events.collect(),
    }
}

#[test]
fn s12b_a_job_carries_the_nonce_of_its_submission() {
    let mut world = World::new();
    let job = world.submit();
    assert_eq!(world.nonce(job), JobNonce(0xfeed));
    world.dispatch();
    let open: Vec<_> = open_attempts(&world.state, &agent("local")).collect();
    assert_eq!(open, [world.state.job(job).unwrap().key().attempt(Attempt(1))]);
}

/// The group was set back and gave number 1 out again; a media agent still has what it witnessed of the other job 1.
#[test]
fn t90_s12b_what_another_job_of_this_number_did_changes_nothing() {
    for foreign in [0xbeef, 0] {
        let mut world = World::new();
        let job = world.submit();
        world.dispatch();
        let before = world.state.job(job).cloned();
        let items = [0, 1].map(|item| item_ended(job, ItemNumber(item), ItemOutcome::Done));
        let what = [
            vec![marked()],
            items.to_vec(),
            vec![ended(StatusCode::SUCCESSFUL)],
        ]
        .concat();
        let recorded = world.apply(events(&world, JobNonce(foreign), what));
        // Its journal goes on all the same.
        assert_eq!(recorded, Reply::Recorded { acknowledged: 4 });
        let admitted = world.apply(Command::RecordAdmission {
            job,
            attempt: Attempt(1),
            nonce: JobNonce(foreign),
        });
        assert!(matches!(admitted, Reply::Refused(_)), "{admitted:?}");
        assert_eq!(world.state.job(job).cloned(), before, "nonce {foreign:x}");
        assert_eq!(world.state.restore_points().count(), 0);
    }
}

/// Members of before have the same rows, and what has no nonce goes on across the upgrade.
#[test]
fn s12b_jobs_of_before_go_on_without_a_nonce() {
    let mut world = World::of_before();
    let job = world.submit();
    assert_eq!(world.nonce(job), JobNonce::NONE);
    let has_nonce = |row: &[u8]| row.windows(5).any(|part| part == b"nonce");
    let rows = world.state.take_changes();
    assert!(
        !rows
            .iter()
            .any(|(_, row)| has_nonce(row.as_deref().unwrap_or_default()))
    );

    world.dispatch();
    let name = "primary-1".to_owned();
    world.apply(Command::AdmitMember { node_id: 1, name });
    world.apply(Command::DescribeMember {
        node_id: 1,
        host_id: "host".into(),
        version: "0.1.0".into(),
        cluster_version: CLUSTER_VERSION,
    });
    assert_eq!(
        world.apply(Command::RaiseClusterVersion { to: CLUSTER_VERSION }),
        Reply::Done
    );
    world.finish(job, &[ItemOutcome::Done; 2], StatusCode::SUCCESSFUL);
    assert_eq!(world.state.job(job).unwrap().state, JobState::Done);
    assert_eq!(world.state.restore_points().count(), 2);
    // The next one has one.
    let next = world.submit();
    assert_eq!(world.nonce(next), JobNonce(0xfeed));
    let rows = world.state.take_changes();
    assert!(
        rows.iter()
            .any(|(_, row)| has_nonce(row.as_deref().unwrap_or_default()))
    );
}

/// In a group some of whose members are of before, `apply` does what it did there.
#[test]
fn s12b_before_all_members_speak_of_nonces_none_counts() {
    let mut world = World::of_before();
    let job = world.submit();
    world.dispatch();
    let what = vec![marked(), ended(StatusCode::SUCCESSFUL)];
    world.apply(events(&world, JobNonce(0xbeef), what));
    assert_eq!(world.state.job(job).unwrap().state, JobState::Done);
}

/// An entry of before has none.
#[test]
fn s12b_entries_of_before_are_read() {
    let entry = outlast_core::Entry {
        at: Timestamp(1),
        by: "primary-1".into(),
        request_id: None,
        asked_by: None,
        command: backup("home"),
    };
    let bytes = entry.encode();
    // The last field of the command: its name, and a number of 16 bits.
    let place = bytes.windows(5).position(|part| part == b"nonce").unwrap();
    let mut old = bytes[..place - 1].to_vec();
    old.extend(&bytes[place + 5 + 3..]);
    let fields = old.windows(12).position(|part| part == b"SubmitBackup").unwrap() + 12;
    assert_eq!(old[fields], 0x84, "a map of four");
    old[fields] = 0x83;
    let read = outlast_core::Entry::decode(&old).unwrap();
    let Command::SubmitBackup { nonce, policy, .. } = read.command else {
        panic!("{read:?}")
    };
    assert_eq!((nonce, policy.as_str()), (JobNonce::NONE, "home"));
}
