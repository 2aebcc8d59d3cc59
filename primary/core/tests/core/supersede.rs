//! Attempts that are given up because nobody hears their media agent: C-04, C-05, C-08, F-04, F-14, S-12.

use std::collections::BTreeMap;

use outlast_core::contact::{Heard, Silence, Word};
use outlast_core::event::FoundItem;
use outlast_core::orders::{Order, owed_to};
use outlast_core::{Command, EventKind, Refusal, Reply};
use outlast_proto::words::{
    AgentAdmin, AgentName, AgentState, Attempt, CompletionStatus, Counters, Exception, ItemNumber,
    ItemOutcome, JobId, JobState, StatusCode, Timestamp, TreeId,
};

use crate::world::{World, agent, ended, item_ended, marked, snapshot};

fn supersede(world: &mut World, job: JobId) -> Reply {
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

fn fences(world: &World, media: &AgentName) -> Vec<(Attempt, bool)> {
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
    ("again and again", lose_always, 5, CompletionStatus::Failed),
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
    world.event(
        &media,
        job,
        attempt,
        ended(StatusCode::STORAGE_UNIT_NOT_AVAILABLE),
    );
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
    };
    world.event(&media, job, attempt, interrupted);
    world.dispatch();
    succeed(world, job);
}

fn lose_always(world: &mut World, job: JobId) {
    while world.dispatch() > 0 {
        assert_eq!(supersede(world, job), Reply::Done);
    }
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

/// Ticks in which these agents say something and the client this of the attempt; the attempts given up.
fn tick(world: &mut World, silence: &mut Silence, heard: &[&str], word: Option<Word>, job: JobId) -> usize {
    let attempt = world.state.job(job).unwrap().running_id();
    let heard = Heard {
        agents: heard.iter().map(|name| agent(name)).collect(),
        words: attempt.zip(word).into_iter().collect(),
        progress: BTreeMap::new(),
    };
    let commands = silence.tick(&world.state, &world.presence, &heard);
    world.presence.silent = silence.silent(&world.state);
    for command in &commands {
        assert_eq!(world.apply(command.clone()), Reply::Done);
    }
    commands.len()
}

#[test]
fn c08_an_attempt_moves_when_both_witnesses_have_lost_its_agent_and_not_before() {
    let broken = |since| Some(Word::Broken { since, heard: since });
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    let other = if media == agent("media-1") {
        "media-2"
    } else {
        "media-1"
    };
    let heard = [other, "local"];
    let mut silence = Silence::default();
    // Only the primary does not hear it: for as long as it takes.
    for at in 1..100 {
        let word = Some(Word::Open { heard: at % 3 });
        assert_eq!(tick(&mut world, &mut silence, &heard, word, job), 0, "at {at}");
        let unknown = silence.unknown().get(&job);
        assert_eq!(unknown.is_some(), at >= 5, "at {at}");
        assert!(unknown.is_none_or(|unknown| unknown.left.is_none() && unknown.rule == "C-08"));
    }
    // New jobs go elsewhere long before that.
    assert!(world.presence.silent.contains(&media));
    for since in 0..30 {
        assert_eq!(
            tick(&mut world, &mut silence, &heard, broken(since), job),
            0,
            "{since}"
        );
        assert_eq!(silence.unknown()[&job].left, Some(30 - since));
    }
    assert_eq!(tick(&mut world, &mut silence, &heard, broken(30), job), 1);
    assert!(
        world
            .state
            .open_attempt(job, first)
            .unwrap()
            .superseded()
            .is_some()
    );
    assert_eq!(world.dispatch(), 1);
    assert_eq!(world.running(job).1, agent(other));
    assert_eq!(tick(&mut world, &mut silence, &heard, None, job), 0);
    assert!(silence.unknown().get(&job).is_none(), "it is heard");
}

#[test]
fn c08_nothing_is_started_while_the_client_is_silent_too_nor_where_nobody_could_take_it() {
    let mut world = World::new();
    let (job, _, media) = world.running_job();
    let other = if media == agent("media-1") {
        "media-2"
    } else {
        "media-1"
    };
    let mut silence = Silence::default();
    let broken = Some(Word::Broken {
        since: 500,
        heard: 500,
    });
    for at in 1..300 {
        // The client is silent nearly as long as the agent.
        let heard: &[&str] = if at < 9 { &[other, "local"] } else { &[other] };
        let moves = tick(&mut world, &mut silence, heard, broken, job);
        let stalled = usize::from(
            world
                .state
                .agents()
                .any(|(_, agent)| agent.since == Timestamp(world.now)),
        );
        assert!(moves <= stalled, "at {at}");
        assert!(world.state.open_of(job).all(|open| open.is_running()), "at {at}");
    }
    let unknown = &silence.unknown()[&job];
    assert!(unknown.next_step.contains("declare-dead"), "{unknown:?}");
    assert_eq!(unknown.left, None);

    // It is heard again, and the other media agent is gone.
    world.presence.connected.remove(&agent(other));
    for at in 0..50 {
        tick(&mut world, &mut silence, &["local"], broken, job);
        assert!(world.state.open_of(job).all(|open| open.is_running()), "at {at}");
    }
    assert_eq!(silence.unknown()[&job].rule, "F-02");
    world.presence.connected.insert(agent(other), None);
    for _ in 0..2 {
        tick(&mut world, &mut silence, &["local", other], broken, job);
    }
    assert!(world.state.open_of(job).all(|open| !open.is_running()));
}

#[test]
fn f01_a_pool_without_failover_keeps_its_attempts() {
    let mut world = World::new();
    let (job, _, media) = world.running_job();
    let name = world.state.pools().next().unwrap().0.clone();
    let change = outlast_core::entry::PoolChange {
        failover: Some(false),
        ..Default::default()
    };
    world.apply(Command::ChangePool { name, change });
    let other = if media == agent("media-1") {
        "media-2"
    } else {
        "media-1"
    };
    let mut silence = Silence::default();
    for _ in 0..120 {
        tick(
            &mut world,
            &mut silence,
            &["local", other],
            Some(Word::Broken {
                since: 500,
                heard: 500,
            }),
            job,
        );
    }
    assert!(world.state.open_of(job).all(|open| open.is_running()));
    assert_eq!(silence.unknown()[&job].rule, "F-01");
}

#[test]
fn f04_members_of_before_supersede_nothing() {
    let mut world = World::speaking(7);
    let (job, ..) = world.running_job();
    assert_eq!(supersede(&mut world, job), Reply::Refused(Refusal::Outdated));
}

#[test]
fn c08a_an_agent_that_is_declared_dead_loses_its_attempts_at_once_and_its_jobs_go_elsewhere() {
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    let other = if media == agent("media-1") {
        "media-2"
    } else {
        "media-1"
    };
    let dead = |name: &str| Command::DeclareDead { agent: agent(name) };
    let reply = world.apply(dead(media.as_str()));
    assert_eq!(reply, Reply::DeclaredDead { jobs: vec![job] });
    assert!(
        world
            .state
            .open_attempt(job, first)
            .unwrap()
            .superseded()
            .is_some()
    );
    assert_eq!(fences(&world, &media), [(first, false)]);
    assert_eq!(
        world.state.agent(&media).unwrap().state,
        AgentState::NoCommunication
    );
    world.dispatch();
    assert_eq!(world.running(job).1, agent(other));
    // It is heard after all: jobs go to it again.
    let mut silence = Silence::default();
    tick(
        &mut world,
        &mut silence,
        &[media.as_str(), other, "local"],
        None,
        job,
    );
    assert_eq!(world.state.agent(&media).unwrap().state, AgentState::Enabled);

    for (name, refusal) in [
        (
            "nobody",
            Refusal::NoSuchAgent {
                name: agent("nobody"),
            },
        ),
        ("local", Refusal::NoMediaAgent { name: agent("local") }),
    ] {
        assert_eq!(world.apply(dead(name)), Reply::Refused(refusal));
    }
}

#[test]
fn c01_what_an_operator_decided_of_an_agent_and_what_is_heard_of_it_are_two_things() {
    for (admin, word) in [
        (AgentAdmin::Disabled, "disabled"),
        (AgentAdmin::Draining, "draining"),
    ] {
        let mut world = World::new();
        let (running, ..) = world.running_job();
        let media = world.running(running).1;
        for name in ["media-1", "media-2"] {
            let agent = agent(name);
            assert_eq!(world.apply(Command::SetAgentAdmin { agent, admin }), Reply::Done);
        }
        // What runs goes on, nothing begins, and the reason is said.
        world.finish(
            running,
            &[ItemOutcome::Done, ItemOutcome::Done],
            StatusCode::SUCCESSFUL,
        );
        let job = world.submit();
        assert_eq!(world.dispatch(), 0);
        let row = world.state.job(job).unwrap();
        let why = outlast_core::dispatch::why_waiting(&world.state, &world.presence, row).unwrap();
        assert!(
            why.reason.contains(&format!("media-1 is {word}")),
            "{}",
            why.reason
        );
        // A process that comes anew is what the operator made it.
        world.register_media("media-1", "journal-1");
        assert_eq!(world.state.agent(&agent("media-1")).unwrap().admin, admin);
        assert_eq!(world.dispatch(), 0);
        let admin = AgentAdmin::Enabled;
        world.apply(Command::SetAgentAdmin {
            agent: media.clone(),
            admin,
        });
        assert_eq!(world.dispatch(), 1);
        assert_eq!(world.running(job).1, media);
    }
}

#[test]
fn f02_jobs_go_to_media_agents_in_the_order_that_was_set() {
    let mut world = World::new();
    let name = world.state.pools().next().unwrap().0.clone();
    let mut order = |names: &[&str]| {
        let order = Some(names.iter().map(|name| agent(name)).collect());
        let change = outlast_core::entry::PoolChange {
            order,
            ..Default::default()
        };
        let name = name.clone();
        world.apply(Command::ChangePool { name, change })
    };
    for wrong in [
        &["media-1"][..],
        &["media-1", "media-1"],
        &["media-1", "media-2", "media-3"],
        &[],
    ] {
        assert!(
            matches!(order(wrong), Reply::Refused(Refusal::InvalidRequest { .. })),
            "{wrong:?}"
        );
    }
    assert_eq!(order(&["media-2", "media-1"]), Reply::Done);
    let job = world.submit();
    world.dispatch();
    assert_eq!(world.running(job).1, agent("media-2"));
}
