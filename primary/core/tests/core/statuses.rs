//! S-01, S-02, S-02a, S-05 to S-07, S-10, S-12, S-13: what an attempt's end does to its job.

use outlast_core::EventKind;
use outlast_proto::words::{
    Attempt, CompletionStatus, Counters, ItemNumber, ItemOutcome, JobState, StatusCode,
};

use crate::world::{World, ended, item_ended, marked, snapshot};

struct Row {
    name: &'static str,
    outcomes: [ItemOutcome; 2],
    code: StatusCode,
    status: CompletionStatus,
    restore_points: usize,
    has_error: bool,
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, row by row")]
fn s01_s02_s05_s06_s07_an_end_gives_one_status() {
    use ItemOutcome::{Done, DoneWithExceptions, Failed, NotStarted};
    let row = |name, outcomes, code, status, restore_points, has_error| Row {
        name,
        outcomes,
        code,
        status,
        restore_points,
        has_error,
    };
    for row in [
        row(
            "S-01",
            [Done, Done],
            StatusCode::SUCCESSFUL,
            CompletionStatus::Successful,
            2,
            false,
        ),
        row(
            "S-02",
            [Done, DoneWithExceptions],
            StatusCode::EXCEPTIONS,
            CompletionStatus::CompletedWithExceptions,
            2,
            false,
        ),
        row(
            "S-02a",
            [Failed, Done],
            StatusCode::NO_SUCH_PATH,
            CompletionStatus::Failed,
            1,
            true,
        ),
        row(
            "S-05",
            [Done, NotStarted],
            StatusCode::CANCELED,
            CompletionStatus::Canceled,
            1,
            false,
        ),
        row(
            "S-06",
            [Done, NotStarted],
            StatusCode::CANCELED_TIMED_OUT,
            CompletionStatus::CanceledTimedOut,
            1,
            false,
        ),
        row(
            "S-07",
            [Done, NotStarted],
            StatusCode::STORAGE_FULL,
            CompletionStatus::Failed,
            1,
            true,
        ),
        row(
            "S-10",
            [Failed, Failed],
            StatusCode(9999),
            CompletionStatus::Failed,
            0,
            true,
        ),
    ] {
        let mut world = World::new();
        let (job, attempt, _) = world.running_job();
        world.finish(job, &row.outcomes, row.code);
        let state = &world.state;
        let (done, history) = (state.job(job).unwrap(), state.history(job, attempt).unwrap());
        assert_eq!(done.state, JobState::Done, "{}", row.name);
        assert_eq!(done.status, Some((row.status, row.code)), "{}", row.name);
        assert_eq!(
            (history.status, history.code),
            (row.status, row.code),
            "{}",
            row.name
        );
        assert_eq!(history.error.is_some(), row.has_error, "{}", row.name);
        assert_eq!(state.restore_points().count(), row.restore_points, "{}", row.name);
        assert_eq!(state.histories_of(job).count(), 1, "{}", row.name);
        let outcomes: Vec<_> = state.items_of(job).map(|(_, item)| item.outcome).collect();
        assert_eq!(outcomes, row.outcomes, "{}", row.name);
    }
}

#[test]
fn s12_an_item_in_progress_is_not_left_in_progress() {
    for (code, expected) in [
        (StatusCode::CONNECTION_BROKEN, ItemOutcome::Failed),
        (StatusCode::CANCELED, ItemOutcome::Stopped),
    ] {
        let mut world = World::new();
        let (job, attempt, media) = world.running_job();
        world.event(
            &media,
            job,
            attempt,
            EventKind::ItemStarted { item: ItemNumber(0) },
        );
        world.event(&media, job, attempt, ended(code));
        assert_eq!(world.item(job, 0).outcome, expected, "{code}");
    }
}

#[test]
fn t90_x05_an_interrupted_attempt_tells_which_items_it_had_begun() {
    let mut world = World::new();
    let (job, attempt, media) = world.running_job();
    world.event(
        &media,
        job,
        attempt,
        EventKind::ItemStarted { item: ItemNumber(0) },
    );
    world.event(
        &media,
        job,
        attempt,
        EventKind::Interrupted {
            counters: Counters::default(),
            reason: "restarted".into(),
            cause: None,
        },
    );
    let history = world.state.history(job, attempt).unwrap();
    let outcomes: Vec<_> = history.items.iter().map(|item| item.outcome).collect();
    assert_eq!(outcomes, [ItemOutcome::Stopped, ItemOutcome::NotStarted]);
    let mut items = world.state.items_of(job);
    assert!(items.all(|(_, item)| item.outcome == ItemOutcome::NotStarted));
}

#[test]
fn s12_an_ended_attempt_gets_no_second_history() {
    let mut world = World::new();
    let (job, attempt, media) = world.running_job();
    world.finish(
        job,
        &[ItemOutcome::Done, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
    world.event(&media, job, attempt, ended(StatusCode::STORAGE_FULL));
    let history = world.state.history(job, attempt).unwrap();
    assert_eq!(history.status, CompletionStatus::Successful);
    let details: Vec<_> = world
        .state
        .details_of(job)
        .map(|detail| detail.text.clone())
        .collect();
    assert!(
        details.last().unwrap().contains("after it was closed"),
        "{details:?}"
    );
}

#[test]
fn s03_s13_an_interrupted_attempt_goes_on_elsewhere_and_keeps_finished_items() {
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    world.event(&media, job, first, EventKind::ItemStarted { item: ItemNumber(0) });
    world.event(
        &media,
        job,
        first,
        item_ended(job, ItemNumber(0), ItemOutcome::Done),
    );
    world.event(&media, job, first, EventKind::ItemStarted { item: ItemNumber(1) });
    let interrupted = EventKind::Interrupted {
        counters: Counters::default(),
        reason: "restarted".into(),
        cause: None,
    };
    world.event(&media, job, first, interrupted);
    assert_eq!(world.state.job(job).unwrap().state, JobState::Queued);
    assert_eq!(
        world.state.history(job, first).unwrap().status,
        CompletionStatus::FailedOver
    );

    world.dispatch();
    let (second, other) = world.running(job);
    assert_eq!(second, Attempt(2));
    assert_ne!(other, media, "another agent of the pool is preferred");
    world.event(&other, job, second, marked());
    world.event(
        &other,
        job,
        second,
        EventKind::ItemStarted { item: ItemNumber(1) },
    );
    world.event(
        &other,
        job,
        second,
        item_ended(job, ItemNumber(1), ItemOutcome::Done),
    );
    world.event(&other, job, second, ended(StatusCode::SUCCESSFUL));

    let statuses: Vec<_> = world
        .state
        .histories_of(job)
        .map(|(_, history)| history.status)
        .collect();
    assert_eq!(
        statuses,
        [CompletionStatus::FailedOver, CompletionStatus::Successful]
    );
    let attempts: Vec<_> = world
        .state
        .restore_points()
        .map(|(_, point)| point.attempt)
        .collect();
    assert_eq!(attempts.len(), 2);
    assert!(attempts.contains(&first) && attempts.contains(&second));
}

#[test]
fn f04_a_second_restore_point_of_an_item_is_refused() {
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    world.event(
        &media,
        job,
        first,
        item_ended(job, ItemNumber(0), ItemOutcome::Done),
    );
    let second = EventKind::ItemEnded {
        item: ItemNumber(0),
        outcome: ItemOutcome::Done,
        counters: Counters::default(),
        snapshot: Some((
            snapshot(job, ItemNumber(0), 9),
            outlast_proto::words::Timestamp(9),
        )),
        error: None,
        adopted: false,
        tree: None,
    };
    world.event(&media, job, first, second);
    let points: Vec<_> = world.state.restore_points().map(|(id, _)| *id).collect();
    assert_eq!(points, [snapshot(job, ItemNumber(0), 0)]);
    assert_eq!(world.item(job, 0).restore_point, Some(points[0]));
}

#[test]
fn f04_a_superseded_attempt_changes_nothing() {
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    let interrupted = EventKind::Interrupted {
        counters: Counters::default(),
        reason: "restarted".into(),
        cause: None,
    };
    world.event(&media, job, first, interrupted);
    world.dispatch();
    let before = (world.open(job).clone(), world.item(job, 0).clone());
    for what in [item_ended(job, ItemNumber(0), ItemOutcome::Done), marked()] {
        world.event(&media, job, first, what);
    }
    assert_eq!(before, (world.open(job).clone(), world.item(job, 0).clone()));
    assert_eq!(world.state.restore_points().count(), 0);
}

#[test]
fn events_that_make_no_sense_change_nothing() {
    let mut world = World::new();
    let (job, attempt, media) = world.running_job();
    let before: Vec<_> = world.state.items_of(job).map(|(_, item)| item.clone()).collect();
    let nonsense = [
        (job, attempt, EventKind::ItemStarted { item: ItemNumber(77) }),
        (job, attempt, item_ended(job, ItemNumber(77), ItemOutcome::Done)),
        (
            outlast_proto::words::JobId(999),
            attempt,
            ended(StatusCode::SUCCESSFUL),
        ),
        (job, Attempt(0), ended(StatusCode::SUCCESSFUL)),
        (job, Attempt(u32::MAX), ended(StatusCode::SUCCESSFUL)),
    ];
    for (job, attempt, what) in nonsense {
        world.event(&media, job, attempt, what);
    }
    assert!(world.state.items_of(job).map(|(_, item)| item).eq(&before));
    assert_eq!(world.state.histories().count(), 0);
}

#[test]
fn r02_the_mark_decides_and_the_details_say_so() {
    for (resilient, said) in [(true, 1), (false, 0)] {
        let mut world = World::new();
        let job = world.submit();
        world.dispatch();
        assert_eq!(
            world.state.job(job).unwrap().resilient,
            None,
            "not before the media agent's record"
        );
        let (attempt, media) = world.running(job);
        assert!(world.open(job).resilient, "the ticket says so");
        let start = outlast_proto::words::StartId("start".into());
        world.event(
            &media,
            job,
            attempt,
            EventKind::Marked {
                resilient,
                client_start_id: start,
            },
        );
        assert_eq!(world.state.job(job).unwrap().resilient, Some(resilient));
        let lines = world
            .state
            .details_of(job)
            .filter(|line| line.text.contains("job is resilient"))
            .count();
        assert_eq!(lines, said);
    }
}

#[test]
fn r02_a_job_that_is_not_resilient_says_every_reason_at_dispatch() {
    let mut world = World::new();
    world.register_media_with("media-1", "journal-1", |hello| {
        hello.fibre_transport = true;
        hello.version = "0.0.1".into();
    });
    let job = world.submit();
    world.dispatch();
    assert_eq!(world.state.job(job).unwrap().resilient, Some(false));
    let line = world
        .state
        .details_of(job)
        .find(|line| line.text.starts_with("job is not resilient: "))
        .unwrap();
    assert!(
        line.text.contains("Fibre Transport") && line.text.contains("0.0.1"),
        "{}",
        line.text
    );
}

#[test]
fn t90_r07_to_r09_a_shape_decides_resilience_and_not_whether_the_policy_is_taken() {
    for (change, words) in [
        (
            (|shape| shape.multiplex = 2) as fn(&mut outlast_proto::words::Shape),
            "multiplexed",
        ),
        (|shape| shape.children = true, "children"),
        (|shape| shape.streams = 2, "several streams"),
    ] {
        let mut world = World::new();
        let mut shaped = crate::world::policy("home", &["/home"]);
        change(&mut shaped.shape);
        world.apply(outlast_core::Command::ApplyPolicy { policy: shaped });
        let job = world.submit();
        world.dispatch();
        let mut details = world.state.details_of(job);
        let said = details.find(|line| line.text.starts_with("job is not resilient: "));
        assert!(said.is_some_and(|line| line.text.contains(words)), "{words}");
    }
}
