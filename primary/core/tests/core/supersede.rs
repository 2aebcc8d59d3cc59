//! Attempts that are given up because nobody hears their media agent: C-04, C-05, C-08, F-04, F-14, S-12.

use outlast_core::event::FoundItem;
use outlast_core::orders::{Order, owed_to};
use outlast_core::{Command, EventKind, Refusal, Reply};
use outlast_proto::words::{
    AgentName, Attempt, CompletionStatus, Counters, Exception, ItemNumber, ItemOutcome, JobId, JobState,
    StatusCode, Timestamp, TreeId,
};

use crate::world::{World, ended, item_ended, marked, snapshot};

pub(crate) fn supersede(world: &mut World, job: JobId) -> Reply {
    let (attempt, _) = world.running(job);
    let version = world.state.job(job).unwrap().version;
    world.apply(Command::SupersedeAttempt {
        job,
        version,
        attempt,
        why: "nobody hears it".into(),
        last_progress: Some(Counters {
            bytes: 77,
            ..Counters::default()
        }),
    })
}

/// The job goes on in a second attempt on the other media agent, which has marked it.
fn moved(world: &mut World, job: JobId) -> (Attempt, AgentName) {
    assert_eq!(supersede(world, job), Reply::Done);
    assert_eq!(world.dispatch(), 1);
    let (attempt, media) = world.running(job);
    world.admit(job, attempt);
    world.event(&media, job, attempt, marked());
    (attempt, media)
}

fn found(job: JobId, item: u32, attempt: Attempt, outcome: ItemOutcome) -> FoundItem {
    FoundItem {
        item: ItemNumber(item),
        attempt,
        outcome,
        counters: Counters {
            files: 3,
            bytes: 5,
            ..Counters::default()
        },
        snapshot: (snapshot(job, ItemNumber(item), 9), Timestamp(7)),
        tree: Some(TreeId([9; 32])),
    }
}

fn surveyed(found: Vec<FoundItem>, is_complete: bool) -> EventKind {
    EventKind::Surveyed {
        found,
        is_complete,
        checkpoint: None,
    }
}

pub(crate) fn fences(world: &World, media: &AgentName) -> Vec<(Attempt, bool)> {
    let orders = owed_to(&world.state, media).into_iter();
    orders
        .filter_map(|order| match order {
            Order::Fence {
                through, is_settled, ..
            } => Some((through, is_settled)),
            _ => None,
        })
        .collect()
}

#[test]
fn f04_nothing_of_a_superseded_attempt_counts_and_its_agent_is_fenced_until_it_says_so() {
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    world.event(&media, job, first, EventKind::ItemStarted { item: ItemNumber(0) });
    assert_eq!(supersede(&mut world, job), Reply::Done);
    let row = world.state.job(job).unwrap();
    assert_eq!(
        (row.state, row.running, row.status),
        (JobState::Queued, None, None)
    );
    assert!(
        world
            .state
            .open_attempt(job, first)
            .unwrap()
            .superseded()
            .is_some()
    );
    assert_eq!(world.state.histories_of(job).count(), 0);
    assert_eq!(world.item(job, 0).outcome, ItemOutcome::NotStarted);
    // It may not remove anything yet: the next attempt is about to look what there is.
    assert_eq!(fences(&world, &media), [(first, false)]);

    for what in [
        marked(),
        item_ended(job, ItemNumber(0), ItemOutcome::Done),
        EventKind::Interrupted {
            counters: Counters::default(),
            reason: "restarted".into(),
            cause: None,
        },
        ended(StatusCode::SUCCESSFUL),
    ] {
        world.event(&media, job, first, what);
    }
    assert_eq!(world.state.restore_points().count(), 0);
    assert_eq!(world.state.histories_of(job).count(), 0);
    assert_eq!(world.state.job(job).unwrap().state, JobState::Queued);

    world.dispatch();
    let (second, other) = world.running(job);
    assert_eq!((second, other != media), (Attempt(2), true));
    world.admit(job, second);
    world.event(&other, job, second, marked());
    assert_eq!(world.state.histories_of(job).count(), 0, "not before the survey");
    world.event(&other, job, second, surveyed(Vec::new(), false));
    let history = world.state.history(job, first).unwrap();
    assert_eq!(history.status, CompletionStatus::FailedOver);
    assert_eq!(history.media_agent, Some(media.clone()));
    assert_eq!(history.counters.bytes, 77, "as it last reported");
    assert_eq!(history.items[0].outcome, ItemOutcome::Stopped);

    assert_eq!(fences(&world, &media), [(first, true)]);
    let nonce = world.nonce(job);
    let record = |through, nonce| Command::RecordFence {
        agent: media.clone(),
        job,
        nonce,
        through,
    };
    world.apply(record(Attempt(0), nonce));
    world.apply(record(first, outlast_proto::words::JobNonce(1)));
    assert_eq!(fences(&world, &media).len(), 1, "that was another fence");
    world.apply(record(first, nonce));
    assert_eq!(fences(&world, &media), []);

    world.finish(
        job,
        &[ItemOutcome::Done, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
    let row = world.state.job(job).unwrap();
    assert_eq!(
        row.status,
        Some((CompletionStatus::Successful, StatusCode::SUCCESSFUL))
    );
}

#[test]
fn f14_if_everything_is_found_the_attempt_before_ends_with_it_and_the_next_does_not_begin() {
    for (outcome, status, code) in [
        (
            ItemOutcome::Done,
            CompletionStatus::Successful,
            StatusCode::SUCCESSFUL,
        ),
        (
            ItemOutcome::DoneWithExceptions,
            CompletionStatus::CompletedWithExceptions,
            StatusCode::EXCEPTIONS,
        ),
    ] {
        let mut world = World::new();
        let (job, first, media) = world.running_job();
        world.event(&media, job, first, EventKind::ItemStarted { item: ItemNumber(0) });
        world.event(
            &media,
            job,
            first,
            item_ended(job, ItemNumber(0), ItemOutcome::Done),
        );
        let (second, other) = moved(&mut world, job);
        let left = vec![found(job, 1, first, outcome)];
        world.event(&other, job, second, surveyed(left, true));

        let row = world.state.job(job).unwrap();
        assert_eq!((row.state, row.status), (JobState::Done, Some((status, code))));
        assert_eq!(row.last_attempt, first);
        let histories: Vec<_> = world.state.histories_of(job).collect();
        assert_eq!(histories.len(), 1, "the next has none");
        let history = histories[0].1;
        assert_eq!((history.status, history.code), (status, code));
        assert_eq!(history.error, None);
        assert_eq!(history.counters.bytes, 10);
        let points: Vec<_> = world.state.restore_points_of(job).collect();
        assert_eq!(
            points,
            [snapshot(job, ItemNumber(0), 0), snapshot(job, ItemNumber(1), 9)]
        );
        assert_eq!(world.state.restore_point(&points[1]).unwrap().attempt, first);
        // What it still says changes nothing, and nobody is told that it came late.
        let details = world.state.details_of(job).count();
        world.event(&other, job, second, ended(StatusCode::SUCCESSFUL));
        assert_eq!(world.state.details_of(job).count(), details);
        assert_eq!(world.state.histories_of(job).count(), 1);
        // And the fenced agent keeps what became official.
        assert_eq!(fences(&world, &media), [(first, true)]);
    }
}

/// The attempt that is successful in a journal that nobody has heard yet; found by the simulation.
#[test]
fn t90_s12_what_was_found_ends_the_attempt_that_finished_it_and_none_after_it() {
    let mut world = World::new();
    let (job, first, _) = world.running_job();
    moved(&mut world, job);
    let (third, other) = moved(&mut world, job);
    assert_eq!(third, Attempt(3));
    let left = [0, 1].map(|item| found(job, item, first, ItemOutcome::Done));
    world.event(&other, job, third, surveyed(left.into(), true));
    let histories: Vec<_> = world.state.histories_of(job).collect();
    assert_eq!(histories.len(), 1);
    assert_eq!(
        (histories[0].0, histories[0].1.status),
        (first, CompletionStatus::Successful)
    );
    let row = world.state.job(job).unwrap();
    assert_eq!((row.state, row.last_attempt), (JobState::Done, first));
    assert_eq!(world.state.open_of(job).count(), 0);
}

#[test]
fn f14_a_survey_that_calls_too_little_complete_is_none() {
    let mut world = World::new();
    let (job, first, _) = world.running_job();
    let (second, other) = moved(&mut world, job);
    let left = vec![found(job, 1, first, ItemOutcome::Done)];
    world.event(&other, job, second, surveyed(left, true));
    assert_eq!(world.state.job(job).unwrap().state, JobState::Active);
    assert_eq!(world.state.restore_points().count(), 0);
    assert_eq!(
        world.state.history(job, first).unwrap().status,
        CompletionStatus::FailedOver
    );
}

type Way = fn(&mut World, JobId);

/// How a job may go on whose first attempt is superseded: in how many attempts, and with what status.
const WAYS: [(&str, Way, usize, CompletionStatus); 5] = [
    ("canceled while it waits", cancel, 2, CompletionStatus::Canceled),
    (
        "the next fails before it has looked",
        fail,
        2,
        CompletionStatus::Failed,
    ),
    (
        "the next is lost, too",
        lose_again,
        3,
        CompletionStatus::Successful,
    ),
    ("the next restarts", restart, 3, CompletionStatus::Successful),
    ("again and again", lose_always, 7, CompletionStatus::Canceled),
];

fn cancel(world: &mut World, job: JobId) {
    world.apply(Command::CancelJob {
        job,
        by: "ann".into(),
    });
}

fn fail(world: &mut World, job: JobId) {
    world.dispatch();
    let (attempt, media) = world.running(job);
    world.event(&media, job, attempt, ended(StatusCode::STORAGE_WRITE_ERROR));
}

fn succeed(world: &mut World, job: JobId) {
    world.finish(
        job,
        &[ItemOutcome::Done, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
}

fn lose_again(world: &mut World, job: JobId) {
    world.dispatch();
    assert_eq!(supersede(world, job), Reply::Done);
    world.dispatch();
    let (attempt, media) = world.running(job);
    world.admit(job, attempt);
    world.event(&media, job, attempt, marked());
    world.event(&media, job, attempt, surveyed(Vec::new(), false));
    assert_eq!(world.state.histories_of(job).count(), 2);
    succeed(world, job);
}

fn restart(world: &mut World, job: JobId) {
    world.dispatch();
    let (attempt, media) = world.running(job);
    let interrupted = EventKind::Interrupted {
        counters: Counters::default(),
        reason: "restarted".into(),
        cause: None,
    };
    world.event(&media, job, attempt, interrupted);
    world.dispatch();
    succeed(world, job);
}

fn lose_always(world: &mut World, job: JobId) {
    while world.dispatch() > 0 {
        assert_eq!(supersede(world, job), Reply::Done);
    }
    assert_eq!(world.state.job(job).unwrap().state, JobState::Held);
    cancel(world, job);
}

#[test]
fn s12_every_superseded_attempt_gets_its_one_history_however_the_job_goes_on() {
    for (name, way, attempts, status) in WAYS {
        let mut world = World::new();
        let (job, first, media) = world.running_job();
        let exceptions = EventKind::ExceptionsFound {
            item: ItemNumber(0),
            exceptions: vec![Exception {
                path: "/home/a".into(),
                reason: "in use".into(),
                item: None,
            }],
        };
        world.event(&media, job, first, exceptions);
        assert_eq!(supersede(&mut world, job), Reply::Done);
        way(&mut world, job);
        let row = world.state.job(job).unwrap();
        assert_eq!(row.status.map(|(status, _)| status), Some(status), "{name}");
        assert_eq!(world.state.histories_of(job).count(), attempts, "{name}");
        let history = world.state.history(job, first).unwrap();
        assert_eq!(history.status, CompletionStatus::FailedOver, "{name}");
        assert_eq!(history.exceptions.len(), 1, "{name}");
        assert_eq!(world.state.open_of(job).count(), 0, "{name}");
        assert_eq!(world.state.exceptions_of(job, first).count(), 0, "{name}");
    }
}

#[test]
fn s03_the_attempt_of_a_restore_is_closed_when_the_next_begins() {
    let mut world = World::new();
    let (job, ..) = world.running_job();
    world.finish(
        job,
        &[ItemOutcome::Done, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
    let restore_point = snapshot(job, ItemNumber(0), 0);
    let request = outlast_core::entry::RestoreRequest {
        restore_point,
        paths: Vec::new(),
        to: "/tmp".into(),
        client: None,
        overwrite: outlast_proto::words::Overwrite::Never,
    };
    let nonce = outlast_proto::words::JobNonce(8);
    let Reply::Submitted { jobs } = world.apply(Command::SubmitRestore { request, nonce }) else {
        panic!("it is submitted")
    };
    world.dispatch();
    moved(&mut world, jobs[0]);
    let history = world.state.history(jobs[0], Attempt(1)).unwrap();
    assert_eq!(history.status, CompletionStatus::FailedOver);
}

#[test]
fn c05_a_decision_on_an_older_state_takes_nothing_away() {
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    let version = world.state.job(job).unwrap().version;
    world.event(&media, job, first, EventKind::ItemStarted { item: ItemNumber(0) });
    let reply = world.apply(Command::SupersedeAttempt {
        job,
        version,
        attempt: first,
        why: "nobody hears it".into(),
        last_progress: None,
    });
    assert_eq!(reply, Reply::Refused(Refusal::Outdated));
    assert_eq!(world.running(job).0, first);
}

#[test]
fn c08_a_canceled_job_whose_agent_is_gone_ends_canceled() {
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    world.apply(Command::CancelJob {
        job,
        by: "ann".into(),
    });
    assert_eq!(supersede(&mut world, job), Reply::Done);
    let row = world.state.job(job).unwrap();
    assert_eq!(
        row.status,
        Some((CompletionStatus::Canceled, StatusCode::CANCELED))
    );
    assert_eq!(fences(&world, &media), [(first, true)]);
}
