//! What follows an attempt that has ended: E-01, E-04, E-05, T-07, T-10, L-03. Lost clients have a room of their own.

use outlast_core::actions::actions;
use outlast_core::entry::RuleChange;
use outlast_core::recovery::{Clients, Reckoning, plan};
use outlast_core::{Command, EventKind, Refusal, Reply};
use outlast_proto::words::{
    AgentName, Attempt, CompletionStatus, Counters, Covers, Disposition, Interruption, ItemNumber, JobId,
    JobNonce, JobState, Rule, Seconds, SnapshotId, StartId, StatusCode, Timestamp,
};

use crate::supersede::supersede;
use crate::world::{World, agent, backup, ended, marked};

pub(crate) const MINUTE: i64 = 60_000_000;

pub(crate) fn interrupted(cause: Option<Interruption>) -> EventKind {
    EventKind::Interrupted {
        counters: Counters::default(),
        reason: "it was lost".into(),
        cause,
    }
}

/// Carries out what is due, with the agents that are connected.
pub(crate) fn recover(world: &mut World) -> usize {
    let due = plan(
        &world.state,
        &world.presence,
        Clients { had_time: true },
        Timestamp(world.now),
    );
    for command in &due.commands {
        assert_eq!(world.apply(command.clone()), Reply::Done, "{command:?}");
    }
    due.commands.len()
}

pub(crate) fn state(world: &World, job: JobId) -> JobState {
    world.state.job(job).unwrap().state
}

pub(crate) fn said(world: &World, job: JobId, text: &str) -> bool {
    world.state.details_of(job).any(|line| line.text.contains(text))
}

/// The client's process as it was marked, and as it is registered.
pub(crate) fn client_starts(world: &World) -> StartId {
    world.state.agent(&agent("local")).unwrap().start_id.clone()
}

/// A job whose attempt runs on the registered process of its client.
pub(crate) fn running_job(world: &mut World) -> (JobId, Attempt, AgentName) {
    let job = world.submit();
    world.dispatch();
    let (attempt, media) = world.running(job);
    world.admit(job, attempt);
    let client_start_id = client_starts(world);
    let marked = EventKind::Marked {
        resilient: true,
        client_start_id,
    };
    world.event(&media, job, attempt, marked);
    (job, attempt, media)
}

pub(crate) fn checkpoint(world: &mut World, job: JobId) {
    let (attempt, media) = world.running(job);
    let item = ItemNumber(1);
    world.event(&media, job, attempt, EventKind::ItemStarted { item });
    let made = EventKind::CheckpointMade {
        snapshot: SnapshotId([9; 32]),
        item,
        counters: Counters::default(),
    };
    world.event(&media, job, attempt, made);
}

pub(crate) fn lose(world: &mut World, job: JobId, cause: Option<Interruption>) {
    let (attempt, media) = world.running(job);
    world.event(&media, job, attempt, interrupted(cause));
}

#[test]
fn e05_failovers_count_apart_and_the_sixth_holds_the_job_until_it_is_released() {
    for silently in [false, true] {
        let mut world = World::new();
        let job = world.submit();
        for round in 1..=2 {
            for lost in 1..=6 {
                assert_eq!(state(&world, job), JobState::Queued, "{silently} {round} {lost}");
                assert_eq!(world.dispatch(), 1);
                let (attempt, media) = world.running(job);
                world.event(&media, job, attempt, marked());
                match silently {
                    true => drop(supersede(&mut world, job)),
                    false => lose(&mut world, job, None),
                }
            }
            let row = world.state.job(job).unwrap();
            assert_eq!((row.state, row.status), (JobState::Held, None));
            let hold = row.follow_up.hold.as_ref().unwrap();
            assert!(hold.why.contains("lost 6 attempts"), "{hold:?}");
            assert!(said(&world, job, "outlast job release 1"));
            assert_eq!(world.dispatch(), 0);
            assert_eq!(recover(&mut world), 0);
            let by = "operator".to_owned();
            assert_eq!(world.apply(Command::ReleaseJob { job, by }), Reply::Done);
        }
        world.dispatch();
        let (attempt, media) = world.running(job);
        assert_eq!(attempt, Attempt(13));
        world.event(&media, job, attempt, ended(StatusCode::SUCCESSFUL));
        let row = world.state.job(job).unwrap();
        assert_eq!(
            row.status,
            Some((CompletionStatus::Successful, StatusCode::SUCCESSFUL))
        );
    }
}

#[test]
fn e05_before_version_9_the_fifth_lost_attempt_ends_the_job() {
    let mut world = World::speaking(8);
    let job = world.submit();
    for _ in 1..=5 {
        world.dispatch();
        lose(&mut world, job, None);
    }
    let done = world.state.job(job).unwrap();
    assert_eq!(
        done.status,
        Some((CompletionStatus::Failed, StatusCode::CONNECTION_BROKEN))
    );
    // Nor does a lost client leave anything to go on with.
    let (second, attempt, media) = world.running_job();
    world.event(&media, second, attempt, ended(StatusCode::CLIENT_PROCESS_ABORTED));
    assert_eq!(state(&world, second), JobState::Done);
    let hold = Command::HoldJob {
        job,
        by: "operator".into(),
    };
    assert_eq!(world.apply(hold), Reply::Refused(Refusal::TooOld));
}

/// A job in this state; none: nothing here leads there.
fn in_state(wanted: JobState) -> Option<(World, JobId)> {
    let mut world = World::new();
    if wanted == JobState::Queued {
        let job = world.submit();
        return Some((world, job));
    }
    let (job, attempt, media) = running_job(&mut world);
    let by = || "somebody".to_owned();
    match wanted {
        JobState::Active => {}
        JobState::Stopping => drop(world.apply(Command::CancelJob { job, by: by() })),
        JobState::Incomplete | JobState::Held => {
            checkpoint(&mut world, job);
            lose(&mut world, job, Some(Interruption::ClientCameBackNew));
            if wanted == JobState::Held {
                world.apply(Command::HoldJob { job, by: by() });
            }
        }
        JobState::WaitingForRetry => lose(&mut world, job, Some(Interruption::ClientCameBackNew)),
        JobState::Done => drop(world.event(&media, job, attempt, ended(StatusCode::SUCCESSFUL))),
        JobState::Queued | JobState::Suspended => return None,
    }
    assert_eq!(state(&world, job), wanted);
    Some((world, job))
}

#[test]
fn l03_t10_what_is_said_to_be_possible_is_and_nothing_else() {
    for wanted in JobState::ALL {
        for action in ["cancel", "hold", "release", "resume", "restart"] {
            let Some((mut world, job)) = in_state(*wanted) else {
                continue;
            };
            let listed = actions(world.state.job(job).unwrap());
            let by = "somebody".to_owned();
            let reply = world.apply(match action {
                "cancel" => Command::CancelJob { job, by },
                "hold" => Command::HoldJob { job, by },
                "release" => Command::ReleaseJob { job, by },
                "resume" => Command::ResumeJob { job, by },
                _ => Command::RestartJob {
                    job,
                    by,
                    nonce: JobNonce(77),
                },
            });
            let row = world.state.job(job).unwrap();
            match listed.contains(&action) {
                true => assert!(
                    !matches!(reply, Reply::Refused(_)),
                    "{wanted} {action}: {reply:?}"
                ),
                // Said again it changes nothing.
                false if reply == Reply::Done => assert_eq!(row.state, *wanted, "{action}"),
                false => match reply {
                    Reply::Refused(Refusal::NotPossible { possible, .. }) => assert_eq!(possible, listed),
                    Reply::Refused(Refusal::JobDone { .. }) => assert_eq!(action, "cancel"),
                    reply => panic!("{wanted} {action}: {reply:?}"),
                },
            }
            let after = match (action, listed.contains(&action)) {
                (_, false) => *wanted,
                ("hold", _) => JobState::Held,
                ("release", _) => JobState::Incomplete,
                ("resume", _) => JobState::Queued,
                ("cancel", _) if *wanted == JobState::Active => JobState::Stopping,
                _ => JobState::Done,
            };
            assert_eq!(row.state, after, "{wanted} {action}");
            if action == "restart" && listed.contains(&action) {
                assert!(said(&world, job, "restarted by somebody as job 2"));
                assert_eq!(state(&world, JobId(2)), JobState::Queued);
            }
        }
    }
}

#[test]
fn t10_a_job_that_is_resumed_by_hand_keeps_its_id_and_uses_up_no_try() {
    let (mut world, job) = in_state(JobState::Incomplete).unwrap();
    let by = "somebody".to_owned();
    world.apply(Command::ResumeJob { job, by });
    assert_eq!(world.dispatch(), 1);
    let row = world.state.job(job).unwrap();
    assert_eq!((row.last_attempt, row.follow_up.tries.len()), (Attempt(2), 0));
    lose(&mut world, job, Some(Interruption::ClientCameBackNew));
    let waits = world.state.job(job).unwrap().follow_up.waits.clone().unwrap();
    assert_eq!(waits.number, (1, 2));
}

#[test]
fn t07_a_held_job_is_not_begun_and_says_by_whom_it_is_held() {
    let mut world = World::new();
    let job = world.submit();
    let by = || "operator \"eve\"".to_owned();
    world.apply(Command::HoldJob { job, by: by() });
    assert_eq!(world.dispatch(), 0);
    assert_eq!(
        world.state.job(job).unwrap().follow_up.hold.as_ref().unwrap().by,
        by()
    );
    // It blocks no other one of its client.
    let second = match world.apply(backup("home")) {
        Reply::Submitted { jobs } => jobs[0],
        reply => panic!("{reply:?}"),
    };
    assert_eq!(world.dispatch(), 1);
    let (attempt, media) = world.running(second);
    world.event(&media, second, attempt, ended(StatusCode::SUCCESSFUL));
    world.apply(Command::ReleaseJob { job, by: by() });
    assert_eq!(world.dispatch(), 1);
    assert_eq!(state(&world, job), JobState::Active);
}

/// What is released goes on waiting where it was, and has its time anew.
#[test]
fn t90_a_job_that_was_held_for_long_is_not_over_when_it_is_released() {
    let (mut world, job) = in_state(JobState::Held).unwrap();
    world.now += 100 * 60 * MINUTE;
    assert_eq!(recover(&mut world), 0);
    let by = "somebody".to_owned();
    world.apply(Command::ReleaseJob { job, by });
    assert_eq!(state(&world, job), JobState::Incomplete);
    assert_eq!(recover(&mut world), 1);
    assert_eq!(state(&world, job), JobState::Queued);
}

/// A rule of this code, as a person writes it.
fn set_rule(world: &mut World, code: StatusCode, retries: u32, then: Disposition) {
    let rule = Rule {
        name: "ours".parse().unwrap(),
        covers: Covers::Codes([code].into()),
        enabled: true,
        retries,
        interval: Seconds(60),
        then,
    };
    let change = RuleChange::Apply { rules: vec![rule] };
    let reply = world.apply(Command::ChangeRules { change });
    assert!(!matches!(reply, Reply::Refused(_)), "{reply:?}");
}

fn fail(world: &mut World, job: JobId, code: StatusCode) {
    let (attempt, media) = world.running(job);
    world.event(&media, job, attempt, marked());
    world.event(&media, job, attempt, ended(code));
}

#[test]
fn e01_e04_e05_a_rule_begins_a_job_again_and_then_holds_it_or_leaves_it_to_its_schedule() {
    for (code, then) in [
        (StatusCode::FILE_READ_FAILED, Disposition::Hold),
        (StatusCode::FILE_READ_FAILED, Disposition::Reschedule),
        // A rule comes before what follows the loss of a client.
        (StatusCode::CLIENT_PROCESS_ABORTED, Disposition::Reschedule),
    ] {
        let mut world = World::new();
        set_rule(&mut world, code, 2, then);
        let job = world.submit();
        for number in 1..=2 {
            world.dispatch();
            fail(&mut world, job, code);
            assert_eq!(state(&world, job), JobState::WaitingForRetry, "{code} {then}");
            let waits = world.state.job(job).unwrap().follow_up.waits.clone().unwrap();
            assert_eq!(waits.number, (number, 2));
            assert_eq!(waits.rule.to_string(), "rule ours");
            assert!(
                said(&world, job, "rule ours: the job begins again in 1 min"),
                "{code}"
            );
            assert_eq!(recover(&mut world), 0);
            world.now += MINUTE;
            assert_eq!(recover(&mut world), 1);
        }
        world.dispatch();
        fail(&mut world, job, code);
        let row = world.state.job(job).unwrap();
        match then {
            Disposition::Reschedule => {
                assert_eq!(row.status, Some((CompletionStatus::Failed, code)), "{code}");
            }
            Disposition::Hold => {
                assert_eq!((row.state, row.status), (JobState::Held, None));
                let hold = row.follow_up.hold.as_ref().unwrap();
                assert!(hold.why.contains("cause of 13"), "{hold:?}");
                let by = "somebody".to_owned();
                world.apply(Command::ReleaseJob { job, by });
                assert_eq!(world.dispatch(), 1);
            }
        }
        assert_eq!(world.state.histories_of(job).count(), 3);
    }
}

/// They share the tries: what a rule has used up is not there for F-09.
#[test]
fn e05_rules_and_the_loss_of_a_client_share_their_tries() {
    let mut world = World::new();
    set_rule(&mut world, StatusCode::FILE_READ_FAILED, 2, Disposition::Hold);
    let job = world.submit();
    world.dispatch();
    fail(&mut world, job, StatusCode::FILE_READ_FAILED);
    world.now += MINUTE;
    recover(&mut world);
    world.dispatch();
    lose(&mut world, job, Some(Interruption::ClientShutDown));
    let waits = world.state.job(job).unwrap().follow_up.waits.clone().unwrap();
    assert_eq!(waits.number, (2, 2));
}

/// A leader whose clock was an hour ahead: what is due in a minute is, once it is right again.
#[test]
fn t90_b09_a_clock_that_is_set_back_keeps_nobody_waiting() {
    let mut world = World::new();
    let right = world.now;
    world.now += 60 * MINUTE;
    let (job, ..) = running_job(&mut world);
    lose(&mut world, job, Some(Interruption::ClientShutDown));
    let ahead = world.now;
    let mut reckoning = Reckoning::default();
    let mut looks = (0..30).map(|minute: i64| {
        let monotonic = std::time::Duration::from_secs(60 * minute as u64);
        let now = reckoning.look(&world.state, Timestamp(right + minute * MINUTE), monotonic);
        assert!(now >= Timestamp(ahead + minute * MINUTE), "{minute}");
        let clients = Clients { had_time: true };
        plan(&world.state, &world.presence, clients, now).commands.len()
    });
    assert_eq!(looks.position(|due| due > 0), Some(10));
}
