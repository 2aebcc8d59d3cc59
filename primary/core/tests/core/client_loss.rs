//! What becomes of a job whose client was lost: F-09, F-09a, F-11, F-17, F-18, S-11a.

use outlast_core::entry::RestoreRequest;
use outlast_core::recovery::{Clients, plan};
use outlast_core::{Command, EventKind, Reply};
use outlast_proto::words::{
    Attempt, CompletionStatus, Interruption, ItemNumber, ItemOutcome, JobId, JobKind, JobNonce, JobState,
    Overwrite, Seconds, StatusCode, Timestamp,
};

use crate::follow_up::{MINUTE, checkpoint, lose, recover, running_job, said, state};
use crate::world::{World, agent, ended, item_ended, marked, policy, snapshot};

/// What the primary knows of the client.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Client {
    There,
    Gone,
    Another,
}

#[test]
fn f09_f18_s11a_what_a_lost_client_leaves_decides_what_follows() {
    use Client::{Another, Gone, There};
    use Interruption::{ClientCameBackNew, ClientShutDown, ClientUnreachable};
    let (aborted, away, broken) = (
        StatusCode::CLIENT_PROCESS_ABORTED,
        StatusCode::CANNOT_CONNECT_TO_CLIENT,
        StatusCode::CONNECTION_BROKEN,
    );
    let failed = CompletionStatus::Failed;
    let over = CompletionStatus::FailedOver;
    for (cause, client, others, status, code) in [
        (ClientCameBackNew, There, true, failed, aborted),
        (ClientShutDown, Gone, true, failed, aborted),
        (ClientUnreachable, Gone, true, failed, away),
        (ClientUnreachable, Another, true, failed, aborted),
        // F-18: the two do not reach each other, and perhaps another media agent does.
        (ClientUnreachable, There, true, over, StatusCode::FAILED_OVER),
        (ClientUnreachable, There, false, failed, broken),
    ] {
        for leaves in [Leaves::Nothing, Leaves::Item, Leaves::Checkpoint] {
            lose_as(&Loss {
                cause,
                client,
                others,
                leaves,
                status,
                code,
            });
        }
    }
}

/// What the attempt leaves that can be gone on with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaves {
    Nothing,
    Item,
    Checkpoint,
}

/// A row of the table.
#[derive(Debug)]
struct Loss {
    cause: Interruption,
    client: Client,
    others: bool,
    leaves: Leaves,
    status: CompletionStatus,
    code: StatusCode,
}

fn lose_as(row: &Loss) {
    let mut world = World::new();
    let (job, attempt, media) = running_job(&mut world);
    match row.leaves {
        Leaves::Nothing => {}
        Leaves::Item => {
            let done = item_ended(job, ItemNumber(0), ItemOutcome::Done);
            world.event(&media, job, attempt, done);
        }
        Leaves::Checkpoint => checkpoint(&mut world, job),
    }
    if !row.others {
        let other = crate::world::MEDIA
            .into_iter()
            .find(|name| *name != media.as_str());
        world.presence.connected.remove(&agent(other.unwrap()));
    }
    match row.client {
        Client::There => {}
        Client::Gone => drop(world.presence.connected.remove(&agent("local"))),
        Client::Another => drop(world.register_client_as("local", "another process")),
    }
    lose(&mut world, job, Some(row.cause));
    if row.cause == Interruption::ClientUnreachable {
        // Nobody has decided anything yet.
        assert_eq!(state(&world, job), JobState::Active, "{row:?}");
        assert!(world.state.history(job, attempt).is_none(), "{row:?}");
        let new_leader = Clients { had_time: false };
        let early = plan(&world.state, &world.presence, new_leader, Timestamp(0));
        assert_eq!(
            early.commands.len(),
            usize::from(row.client != Client::Gone),
            "{row:?}"
        );
        assert_eq!(recover(&mut world), 1, "{row:?}");
    }
    let history = world.state.history(job, attempt).unwrap();
    assert_eq!((history.status, history.code), (row.status, row.code), "{row:?}");
    let next = match (row.code, row.leaves) {
        (StatusCode::FAILED_OVER, _) => JobState::Queued,
        (StatusCode::CONNECTION_BROKEN, _) => JobState::Done,
        (_, Leaves::Nothing) => JobState::WaitingForRetry,
        _ => JobState::Incomplete,
    };
    assert_eq!(state(&world, job), next, "{row:?}");
    if let Some(waits) = &world.state.job(job).unwrap().follow_up.waits {
        let due = Timestamp(history.ended_at.0 + 10 * MINUTE);
        assert_eq!((waits.number, waits.due), ((1, 2), Some(due)), "{row:?}");
        assert!(said(&world, job, "try 1 of 2"), "{row:?}");
    }
    if next != JobState::Done {
        let has = world.item(job, 1).checkpoint.is_some();
        assert_eq!(has, row.leaves == Leaves::Checkpoint, "{row:?}");
    }
}

/// Its media agent does not leave it to the primary: what it ended with says the same. Its checkpoints are gone with it.
#[test]
fn f09_an_older_media_agent_ends_the_attempt_and_the_job_goes_on_all_the_same() {
    for (code, finished, follows) in [
        (StatusCode::CLIENT_PROCESS_ABORTED, true, JobState::Incomplete),
        (
            StatusCode::CANNOT_CONNECT_TO_CLIENT,
            false,
            JobState::WaitingForRetry,
        ),
        (StatusCode::CONNECTION_BROKEN, true, JobState::Done),
        (StatusCode::STORAGE_FULL, true, JobState::Done),
        (StatusCode::CANCELED, true, JobState::Done),
    ] {
        let mut world = World::new();
        let (job, attempt, media) = world.running_job();
        if finished {
            world.event(
                &media,
                job,
                attempt,
                item_ended(job, ItemNumber(0), ItemOutcome::Done),
            );
        }
        checkpoint(&mut world, job);
        world.event(&media, job, attempt, ended(code));
        assert_eq!(state(&world, job), follows, "{code}");
        assert!(
            world.item(job, 1).checkpoint.is_none() || code == StatusCode::CANCELED,
            "{code}"
        );
    }
}

#[test]
fn f09_a_job_resumes_by_itself_as_often_as_its_policy_says_and_then_waits_for_the_look_back() {
    let mut world = World::new();
    let mut home = policy("home", &["/home", "/etc"]);
    home.retry.within = Seconds(3600);
    world.apply(Command::ApplyPolicy { policy: home });
    let (job, first, media) = running_job(&mut world);
    world.event(
        &media,
        job,
        first,
        item_ended(job, ItemNumber(0), ItemOutcome::Done),
    );
    let mut begun = Vec::new();
    for try_number in 1..=2 {
        lose(&mut world, job, Some(Interruption::ClientCameBackNew));
        assert_eq!(state(&world, job), JobState::Incomplete);
        assert_eq!(recover(&mut world), 0, "not yet");
        world.now += 10 * MINUTE;
        assert_eq!(recover(&mut world), 1);
        begun.push(world.now);
        assert!(said(&world, job, &format!("try {try_number} of 2 begins")));
        assert_eq!(world.dispatch(), 1);
        let (attempt, media) = world.running(job);
        assert_eq!(attempt, Attempt(try_number + 1));
        world.event(&media, job, attempt, marked());
    }
    lose(&mut world, job, Some(Interruption::ClientCameBackNew));
    // When the first try does not count any more.
    let waits = world.state.job(job).unwrap().follow_up.waits.clone().unwrap();
    assert_eq!(waits.due, Some(Timestamp(begun[0] + 60 * MINUTE)));
    world.now = begun[0] + 60 * MINUTE;
    assert_eq!(recover(&mut world), 1);
    assert_eq!(state(&world, job), JobState::Queued);
    world.dispatch();
    let (attempt, media) = world.running(job);
    world.event(&media, job, attempt, marked());
    world.event(
        &media,
        job,
        attempt,
        item_ended(job, ItemNumber(1), ItemOutcome::Done),
    );
    world.event(&media, job, attempt, ended(StatusCode::SUCCESSFUL));
    let row = world.state.job(job).unwrap();
    assert_eq!(
        row.status,
        Some((CompletionStatus::Successful, StatusCode::SUCCESSFUL))
    );
    assert_eq!(world.state.restore_points().count(), 2);
}

#[test]
fn f09_an_incomplete_job_is_done_in_the_end_with_the_status_of_its_last_attempt() {
    for (hours, tries) in [(None, 2), (Some(5), 2), (None, 0)] {
        let mut world = World::new();
        let mut home = policy("home", &["/home", "/etc"]);
        home.retry.incomplete_for = hours.map(|hours| Seconds(hours * 3600));
        home.retry.tries = tries;
        world.apply(Command::ApplyPolicy { policy: home });
        let (job, attempt, media) = running_job(&mut world);
        world.event(
            &media,
            job,
            attempt,
            item_ended(job, ItemNumber(0), ItemOutcome::Done),
        );
        let item = ItemNumber(1);
        world.event(&media, job, attempt, EventKind::ItemStarted { item });
        world.presence.connected.remove(&agent("local"));
        lose(&mut world, job, Some(Interruption::ClientUnreachable));
        recover(&mut world);
        let ended = world.now;
        for minutes in (1..hours.unwrap_or(3) as i64 * 60).step_by(7) {
            world.now = ended + minutes * MINUTE;
            assert_eq!(recover(&mut world), 0, "its client is not there");
        }
        let next = plan(
            &world.state,
            &world.presence,
            Clients { had_time: true },
            Timestamp(world.now),
        );
        assert_eq!(
            next.next,
            Some(Timestamp(ended + hours.unwrap_or(3) as i64 * 60 * MINUTE))
        );
        world.now = next.next.unwrap().0;
        assert_eq!(recover(&mut world), 1);
        let row = world.state.job(job).unwrap();
        let status = (CompletionStatus::Failed, StatusCode::CANNOT_CONNECT_TO_CLIENT);
        assert_eq!((row.state, row.status), (JobState::Done, Some(status)));
        assert_eq!(world.item(job, 0).outcome, ItemOutcome::Done);
        assert_eq!(world.item(job, 1).outcome, ItemOutcome::Failed);
        assert_eq!(world.state.histories_of(job).count(), 1);
    }
}

#[test]
fn f09_without_a_try_left_and_with_nothing_to_go_on_with_a_job_is_done() {
    let mut world = World::new();
    let mut home = policy("home", &["/home", "/etc"]);
    home.retry.tries = 0;
    world.apply(Command::ApplyPolicy { policy: home });
    let (job, ..) = running_job(&mut world);
    lose(&mut world, job, Some(Interruption::ClientShutDown));
    let row = world.state.job(job).unwrap();
    let status = (CompletionStatus::Failed, StatusCode::CLIENT_PROCESS_ABORTED);
    assert_eq!((row.state, row.status), (JobState::Done, Some(status)));
}

#[test]
fn f09a_a_job_that_waits_takes_no_place_and_blocks_no_other() {
    let mut world = World::new();
    let (job, ..) = running_job(&mut world);
    lose(&mut world, job, Some(Interruption::ClientShutDown));
    let second = world.submit();
    assert_eq!(world.dispatch(), 1);
    assert_eq!(state(&world, second), JobState::Active);
    // F-12: one job of a client at a time; it says why it waits.
    world.now += 10 * MINUTE;
    assert_eq!(recover(&mut world), 0);
    let row = world.state.job(job).unwrap();
    let why = outlast_core::recovery::why_not_yet(&world.state, &world.presence, row, Timestamp(world.now));
    assert!(why.unwrap().reason.contains(&format!("job {second} is running")));
    let (attempt, media) = world.running(second);
    world.event(&media, second, attempt, ended(StatusCode::SUCCESSFUL));
    assert_eq!(recover(&mut world), 1);
    assert_eq!(state(&world, job), JobState::Queued);
}

#[test]
fn f11_what_was_canceled_or_stopped_is_not_begun_again() {
    for cause in Interruption::ALL {
        // Before its client is lost, or while nobody knows yet whether it is.
        for before in [true, false] {
            let mut world = World::new();
            let (job, attempt, _) = running_job(&mut world);
            checkpoint(&mut world, job);
            let cancel = Command::CancelJob {
                job,
                by: "somebody".into(),
            };
            if before {
                world.apply(cancel.clone());
            }
            lose(&mut world, job, Some(*cause));
            if !before {
                world.apply(cancel);
            }
            let row = world.state.job(job).unwrap();
            assert_eq!(row.state, JobState::Done, "{cause} {before}");
            let (status, _) = row.status.unwrap();
            assert_eq!(status, CompletionStatus::Canceled, "{cause} {before}");
            assert!(world.state.history(job, attempt).is_some());
        }
    }
}

fn restore_job(world: &mut World) -> JobId {
    let (first, attempt, media) = world.running_job();
    world.event(
        &media,
        first,
        attempt,
        item_ended(first, ItemNumber(0), ItemOutcome::Done),
    );
    world.event(&media, first, attempt, ended(StatusCode::SUCCESSFUL));
    let request = RestoreRequest {
        restore_point: snapshot(first, ItemNumber(0), 0),
        paths: Vec::new(),
        to: "/to".into(),
        client: None,
        overwrite: Overwrite::Never,
    };
    let submitted = world.apply(Command::SubmitRestore {
        request,
        nonce: JobNonce(5),
    });
    let Reply::Submitted { jobs } = submitted else {
        panic!("{submitted:?}")
    };
    world.dispatch();
    let (attempt, media) = world.running(jobs[0]);
    world.event(&media, jobs[0], attempt, marked());
    jobs[0]
}

#[test]
fn f17_a_restore_is_not_begun_again_after_its_client_was_lost() {
    let mut world = World::new();
    let job = restore_job(&mut world);
    assert_eq!(world.state.job(job).unwrap().kind(), JobKind::Restore);
    lose(&mut world, job, Some(Interruption::ClientCameBackNew));
    let row = world.state.job(job).unwrap();
    let status = (CompletionStatus::Failed, StatusCode::CLIENT_PROCESS_ABORTED);
    assert_eq!((row.state, row.status), (JobState::Done, Some(status)));
    // A person does it again: a new job of the same.
    let restart = Command::RestartJob {
        job,
        by: "somebody".into(),
        nonce: JobNonce(6),
    };
    let Reply::Submitted { jobs } = world.apply(restart) else {
        panic!()
    };
    let (old, new) = (world.state.job(job).unwrap(), world.state.job(jobs[0]).unwrap());
    assert_eq!(
        (&new.task, &new.client, new.state),
        (&old.task, &old.client, JobState::Queued)
    );
}
