//! T-06, T-08, F-02: who runs what, and why the others wait. DESIGN 3: orders are derived from state.

use outlast_core::dispatch::{candidate, plan, why_waiting};
use outlast_core::orders::{Order, owed_to};
use outlast_core::session::lost_by;
use outlast_core::{Command, EventKind};
use outlast_proto::words::{
    AgentName, Attempt, AttemptId, CompletionStatus, ItemOutcome, JobId, JobState, StartId, StatusCode,
};

use crate::world::{World, agent, ended, marked};

#[test]
fn t06_one_job_of_a_client_runs_at_a_time_in_the_order_of_submission() {
    let mut world = World::new();
    let (first, second) = (world.submit(), world.submit());
    assert_eq!(world.dispatch(), 1);
    assert_eq!(world.state.job(first).unwrap().state, JobState::Active);
    let waiting = why_waiting(&world.state, &world.presence, world.state.job(second).unwrap()).unwrap();
    assert_eq!(waiting.reason, format!("job {first} is running on client local"));
    world.finish(
        first,
        &[ItemOutcome::Done, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
    assert_eq!(world.dispatch(), 1);
    assert_eq!(world.state.job(second).unwrap().state, JobState::Active);
}

#[test]
fn t08_a_waiting_job_says_what_it_waits_for() {
    for (gone, reason) in [
        (vec!["local"], "client local is not connected"),
        (
            vec!["media-1", "media-2"],
            "no media agent of pool default is connected",
        ),
    ] {
        let mut world = World::new();
        let job = world.submit();
        for name in gone {
            world.presence.connected.remove(&agent(name));
        }
        assert_eq!(plan(&world.state, &world.presence), []);
        let row = world.state.job(job).unwrap();
        assert_eq!(
            why_waiting(&world.state, &world.presence, row).unwrap().reason,
            reason
        );
    }
}

/// It was "about to start", for ever.
#[test]
fn t90_t08_a_program_that_is_too_old_is_why_a_job_waits() {
    let too_old = "runs a program that is too old for this group";
    let rows: [(&[&str], &[&str], Vec<String>); 3] = [
        (&[], &["local"], vec![format!("client local {too_old}")]),
        (
            &[],
            &["media-1", "media-2"],
            vec![
                format!("no media agent of pool default can take it: media-1 {too_old}"),
                format!("; media-2 {too_old}"),
            ],
        ),
        (
            &["media-1"],
            &["media-2"],
            vec![format!(
                "no media agent of pool default can take it: media-2 {too_old}"
            )],
        ),
    ];
    for (gone, old, reasons) in rows {
        for version in [1, outlast_core::CLUSTER_VERSION] {
            let mut world = World::speaking(version);
            let job = world.submit();
            for name in gone {
                world.presence.connected.remove(&agent(name));
            }
            world.presence.without_nonces = old.iter().map(|name| agent(name)).collect();
            let row = world.state.job(job).unwrap();
            let waiting = why_waiting(&world.state, &world.presence, row);
            // A group that has none yet needs none of its agents.
            let Some(waiting) = waiting.filter(|_| version > 1) else {
                assert_eq!((version, world.dispatch()), (1, 1), "{old:?}");
                continue;
            };
            for reason in &reasons {
                assert!(waiting.reason.contains(reason), "{reason}: {}", waiting.reason);
            }
            assert!(
                waiting
                    .reason
                    .contains("install the primary's version on its host")
            );
            assert_eq!(world.dispatch(), 0, "{old:?}");
            // A newer program is all that is missing.
            world.presence.without_nonces.clear();
            assert_eq!(world.dispatch(), 1, "{old:?}");
        }
    }
}

#[test]
fn f02_prioritized_takes_the_first_that_is_here() {
    let mut world = World::new();
    let job = world.submit();
    world.presence.connected.remove(&agent("media-1"));
    world.dispatch();
    assert_eq!(world.running(job).1, agent("media-2"));
}

#[test]
fn f02_who_would_get_a_job_is_who_gets_it() {
    for gone in [&[][..], &["media-1"], &["media-1", "media-2"]] {
        let mut world = World::new();
        for name in gone {
            world.presence.connected.remove(&agent(name));
        }
        let pool = "default".parse().unwrap();
        let would = candidate(&world.state, &world.presence, &pool);
        let job = world.submit();
        let gets = (world.dispatch() > 0).then(|| world.running(job).1);
        assert_eq!(would, gets, "without {gone:?}");
    }
}

#[test]
fn a_decision_on_an_older_state_is_refused() {
    let mut world = World::new();
    let job = world.submit();
    let decided = plan(&world.state, &world.presence).remove(0);
    world.apply(decided.clone());
    let before = world.state.job(job).unwrap().clone();
    assert!(matches!(world.apply(decided), outlast_core::Reply::Refused(_)));
    assert_eq!(world.state.job(job), Some(&before));
}

#[test]
fn f04a_the_media_agent_is_told_after_the_client_has_it_on_disk() {
    let mut world = World::new();
    let job = world.submit();
    world.dispatch();
    let (attempt, media, client) = (Attempt(1), world.running(job).1, agent("local"));
    let media_start = world.state.agent(&media).unwrap().start_id.clone();
    let admit = Order::Admit {
        job,
        attempt,
        media_start,
    };
    let start = Order::Start { job, attempt };
    assert_eq!(
        (owed_to(&world.state, &client), owed_to(&world.state, &media)),
        (vec![admit.clone()], vec![])
    );
    world.admit(job, attempt);
    assert_eq!(
        (owed_to(&world.state, &client), owed_to(&world.state, &media)),
        (vec![admit], vec![start])
    );
    world.event(&media, job, attempt, marked());
    assert_eq!(
        (owed_to(&world.state, &client), owed_to(&world.state, &media)),
        (vec![], vec![])
    );
}

/// The client may have given up its stream while the media agent was away: the order is a new one.
#[test]
fn t90_a_client_is_asked_again_when_the_media_agent_was_started_again() {
    let mut world = World::new();
    let job = world.submit();
    world.dispatch();
    let (attempt, media, client) = (Attempt(1), world.running(job).1, agent("local"));
    world.admit(job, attempt);
    let before = owed_to(&world.state, &client);
    world.register_media_with(media.as_str(), "journal-1", |hello| {
        hello.start_id = StartId("another start".into());
    });
    let after = owed_to(&world.state, &client);
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before, after);
    world.event(&media, job, attempt, marked());
    assert_eq!(owed_to(&world.state, &client), vec![]);
}

#[test]
fn an_admission_of_another_attempt_is_refused() {
    let mut world = World::new();
    let job = world.submit();
    world.dispatch();
    let reply = world.admit(job, Attempt(2));
    assert!(matches!(reply, outlast_core::Reply::Refused(_)));
    assert!(!world.open(job).client_admitted);
}

fn cancel_of(job: JobId) -> Command {
    let by = "operator \"me\"".into();
    Command::CancelJob { job, by }
}

#[test]
fn x09_of_a_job_that_is_to_end_only_the_media_agent_is_told() {
    let mut world = World::new();
    let (job, attempt, media) = world.running_job();
    let cancel = cancel_of(job);
    for _ in 0..2 {
        assert_eq!(world.apply(cancel.clone()), outlast_core::Reply::Done);
        assert_eq!(world.state.job(job).unwrap().state, JobState::Stopping);
        let owed = (
            owed_to(&world.state, &agent("local")),
            owed_to(&world.state, &media),
        );
        assert_eq!(owed, (vec![], vec![Order::Cancel { job, attempt }]));
    }
    world.event(&media, job, attempt, ended(StatusCode::CANCELED));
    assert_eq!(owed_to(&world.state, &media), vec![]);
    assert!(matches!(world.apply(cancel), outlast_core::Reply::Refused(_)));
}

/// what ended before it heard keeps its result, and what does not go on by itself is not begun again.
#[test]
fn x08_a_job_that_is_to_end_takes_the_end_it_comes_to() {
    let interrupted = EventKind::Interrupted {
        counters: outlast_proto::words::Counters::default(),
        reason: "restarted".into(),
        cause: None,
    };
    for (what, status) in [
        (ended(StatusCode::SUCCESSFUL), CompletionStatus::Successful),
        (ended(StatusCode::STORAGE_FULL), CompletionStatus::Failed),
        (ended(StatusCode::CANCELED), CompletionStatus::Canceled),
        (interrupted, CompletionStatus::Canceled),
    ] {
        let mut world = World::new();
        let (job, attempt, media) = world.running_job();
        world.apply(cancel_of(job));
        world.event(&media, job, attempt, what);
        let row = world.state.job(job).unwrap();
        assert_eq!((row.state, row.status.unwrap().0), (JobState::Done, status));
        assert_eq!(world.state.histories_of(job).count(), 1);
        assert_eq!(plan(&world.state, &world.presence), vec![]);
    }
}

#[test]
fn s12a_a_queued_job_that_had_attempts_ends_with_one_that_never_began() {
    let mut world = World::new();
    let (job, attempt, media) = world.running_job();
    let what = EventKind::Interrupted {
        counters: outlast_proto::words::Counters::default(),
        reason: "restarted".into(),
        cause: None,
    };
    world.event(&media, job, attempt, what);
    assert_eq!(world.state.job(job).unwrap().state, JobState::Queued);
    world.apply(cancel_of(job));
    let row = world.state.job(job).unwrap();
    assert_eq!(row.status.unwrap().0, CompletionStatus::Canceled);
    let histories = world.state.histories_of(job);
    let said: Vec<_> = histories
        .map(|(attempt, row)| (attempt, row.status, row.media_agent.is_some()))
        .collect();
    let expected = [
        (attempt, CompletionStatus::FailedOver, true),
        (attempt.next(), CompletionStatus::Canceled, false),
    ];
    assert_eq!(said, expected);
}

/// It has forgotten what it was told, and would be waited for in vain.
#[test]
fn t90_f09_a_client_that_lost_its_tickets_gets_them_again_while_it_is_waited_for() {
    let mut world = World::new();
    let (job, attempt, media) = world.running_job();
    let client = world.state.job(job).unwrap().client.clone();
    let id = world.state.job(job).unwrap().running_id().unwrap();
    let lost = |world: &World, agent: &AgentName, known: &[AttemptId], is_awaited: bool| {
        let known = known.iter().copied().collect();
        let lost = lost_by(&world.state, agent, &known, |_| is_awaited);
        lost.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(lost(&world, &client, &[], true), [id]);
    let other = AttemptId {
        attempt: Attempt(attempt.0 + 1),
        ..id
    };
    assert_eq!(lost(&world, &client, &[other], true), [id]);
    assert_eq!(lost(&world, &client, &[id], true), []);
    assert_eq!(
        lost(&world, &client, &[], false),
        [],
        "there is another process, whose copy this is"
    );
    assert_eq!(lost(&world, &media, &[], true), []);
    world.finish(
        job,
        &[ItemOutcome::Done, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
    assert_eq!(lost(&world, &client, &[], true), []);
}
