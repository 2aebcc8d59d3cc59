//! A media agent is drained: who leaves it, who finishes there, and what that comes to: C-08b, E-05, L-04, S-04.

use outlast_core::orders::{Order, owed_to};
use outlast_core::rows::Drained;
use outlast_core::{Command, EventKind, Refusal, Reply, drain};
use outlast_proto::words::{AgentAdmin, AgentName, CompletionStatus, Counters, JobId, JobState, StatusCode};

use crate::world::{World, agent, ended, marked, policy};

/// Two media agents that speak so much.
fn world(speaks: [u32; 2]) -> World {
    let mut world = World::new();
    for (name, speaks) in ["media-1", "media-2"].into_iter().zip(speaks) {
        world.register_media_with(name, "journal-1", |hello| hello.speaks = speaks);
    }
    world
}

fn set_admin(world: &mut World, agent: &AgentName, admin: AgentAdmin) {
    let agent = agent.clone();
    assert_eq!(world.apply(Command::SetAgentAdmin { agent, admin }), Reply::Done);
}

/// The leader looks once; how much it decides.
fn look(world: &mut World) -> usize {
    let commands = drain::plan(&world.state, &world.presence);
    for command in &commands {
        assert_eq!(world.apply(command.clone()), Reply::Done);
    }
    commands.len()
}

fn made_room() -> EventKind {
    EventKind::MadeRoom {
        counters: Counters {
            bytes: 900,
            bytes_read: 900,
            ..Counters::default()
        },
        reason: "it is drained".into(),
    }
}

fn details(world: &World, job: JobId) -> String {
    let lines = world.state.details_of(job).map(|detail| detail.text.clone());
    lines.collect::<Vec<_>>().join("\n")
}

fn other_than(media: &AgentName) -> AgentName {
    agent(if *media == agent("media-1") {
        "media-2"
    } else {
        "media-1"
    })
}

#[test]
fn c08b_a_running_attempt_leaves_and_its_job_goes_on_at_once_on_another_media_agent() {
    let mut world = world([4, 4]);
    let (job, attempt, media) = world.running_job();
    assert_eq!(look(&mut world), 0, "nobody is drained");
    set_admin(&mut world, &media, AgentAdmin::Draining);
    assert_eq!(owed_to(&world.state, &media), []);
    assert_eq!(look(&mut world), 1);
    assert_eq!(look(&mut world), 0, "it is decided");
    assert!(world.open(job).moves());
    assert_eq!(owed_to(&world.state, &media), [Order::Leave { job, attempt }]);
    assert_eq!(owed_to(&world.state, &agent("local")), []);

    world.event(&media, job, attempt, made_room());
    let history = world.state.history(job, attempt).unwrap();
    assert_eq!(
        (history.status, history.code),
        (CompletionStatus::Resumed, StatusCode::RESUMED)
    );
    assert!(history.made_room);
    assert_eq!(owed_to(&world.state, &media), []);
    assert_eq!(world.dispatch(), 1);
    let (next, on) = world.running(job);
    assert_eq!((next, on), (attempt.next(), other_than(&media)));
    assert!(details(&world, job).contains("is drained"));
    // The other one is drained, too: there is nobody left.
    set_admin(&mut world, &other_than(&media), AgentAdmin::Draining);
    assert_eq!(look(&mut world), 1);
    assert!(matches!(world.open(job).drained, Some(Drained::Stays { .. })));
    assert!(details(&world, job).contains("no other media agent of pool default"));
}

/// L-04: what was read after the last checkpoint is known of who leaves in order.
#[test]
fn l04_what_is_read_again_after_a_drain_is_counted() {
    for (carried, resent) in [(900, 0), (850, 50)] {
        let mut world = world([4, 4]);
        let (job, attempt, media) = world.running_job();
        set_admin(&mut world, &media, AgentAdmin::Draining);
        look(&mut world);
        world.event(&media, job, attempt, made_room());
        world.dispatch();
        let (next, on) = world.running(job);
        world.admit(job, next);
        world.event(&on, job, next, marked());
        let ended = EventKind::Ended {
            code: StatusCode::SUCCESSFUL,
            text: String::new(),
            counters: Counters {
                bytes: 1_000,
                bytes_read: 1_000 - carried,
                bytes_carried_over: carried,
                ..Counters::default()
            },
            stopped: None,
            storage: None,
        };
        world.event(&on, job, next, ended);
        let history = world.state.history(job, next).unwrap();
        assert_eq!(history.counters.bytes_resent, resent, "{carried}");
    }
}

type Change = fn(&mut World, &AgentName, &AgentName);

/// What is so, and why the attempt stays; none: it moves.
const SITUATIONS: [(&str, Change, Option<&str>); 8] = [
    ("all is well", |_, _, _| {}, None),
    (
        "the next one is not here",
        |world, _, other| {
            world.presence.connected.remove(other);
        },
        Some("no other media agent of pool default that reaches storage unit storage"),
    ),
    (
        "nor heard",
        |world, _, other| {
            world.presence.silent.insert(other.clone());
        },
        Some("no other media agent"),
    ),
    (
        "the next one is disabled",
        |world, _, other| set_admin(world, other, AgentAdmin::Disabled),
        Some("no other media agent"),
    ),
    (
        "it reaches another unit",
        |world, _, other| {
            world.register_media_with(other.as_str(), "journal-1", |hello| {
                hello.speaks = 4;
                hello.media.as_mut().unwrap().storage_unit = "elsewhere".parse().unwrap();
                hello.media.as_mut().unwrap().repository_id = None;
            });
        },
        Some("no other media agent"),
    ),
    (
        "it cannot go on from a checkpoint",
        |world, _, other| {
            world.register_media_with(other.as_str(), "journal-1", |hello| hello.speaks = 1);
        },
        Some("is too old to go on from a checkpoint"),
    ),
    (
        "its own program is of before",
        |world, media, _| {
            world.register_media_with(media.as_str(), "journal-1", |hello| hello.speaks = 3);
        },
        Some("is too old to end an attempt at a checkpoint"),
    ),
    (
        "its client is away",
        |world, _, _| {
            world.presence.connected.remove(&agent("local"));
        },
        Some("client local is not connected"),
    ),
];

#[test]
fn c08b_who_cannot_move_finishes_where_it_is_and_says_why() {
    for (what, change, why) in SITUATIONS {
        let mut world = world([4, 4]);
        let (job, attempt, media) = world.running_job();
        change(&mut world, &media, &other_than(&media));
        set_admin(&mut world, &media, AgentAdmin::Draining);
        assert_eq!(look(&mut world), 1, "{what}");
        assert_eq!(look(&mut world), 0, "{what}: it is said once");
        match (&world.open(job).drained, why) {
            (Some(Drained::Moves), None) => {}
            (Some(Drained::Stays { why: said }), Some(why)) => {
                assert!(said.contains(why), "{what}: {said}");
                assert!(details(&world, job).contains(why), "{what}");
                assert_eq!(owed_to(&world.state, &media), [], "{what}");
                world.event(&media, job, attempt, ended(StatusCode::SUCCESSFUL));
                assert_eq!(world.state.job(job).unwrap().state, JobState::Done, "{what}");
            }
            (drained, _) => panic!("{what}: {drained:?}"),
        }
    }
}

#[test]
fn c08b_without_checkpoint_restart_and_for_restores_the_attempt_stays() {
    let mut world = world([4, 4]);
    let mut policy = policy("home", &["/home", "/etc"]);
    policy.checkpoint.restart = false;
    world.apply(Command::ApplyPolicy { policy });
    let (job, _, media) = world.running_job();
    set_admin(&mut world, &media, AgentAdmin::Draining);
    look(&mut world);
    let Some(Drained::Stays { why }) = &world.open(job).drained else {
        panic!("it moves");
    };
    assert!(why.contains("checkpoint restart is off"), "{why}");
}

#[test]
fn c08b_who_stayed_moves_as_soon_as_somebody_can_take_the_job() {
    let mut world = world([4, 4]);
    let (job, attempt, media) = world.running_job();
    let other = other_than(&media);
    world.presence.connected.remove(&other);
    set_admin(&mut world, &media, AgentAdmin::Draining);
    look(&mut world);
    assert!(!world.open(job).moves());
    world.presence.connected.insert(other, None);
    assert_eq!(look(&mut world), 1);
    assert_eq!(owed_to(&world.state, &media), [Order::Leave { job, attempt }]);
}

#[test]
fn c08b_enabling_the_agent_again_breaks_nothing() {
    for leaves in [false, true] {
        let mut world = world([4, 4]);
        let (job, attempt, media) = world.running_job();
        set_admin(&mut world, &media, AgentAdmin::Draining);
        look(&mut world);
        set_admin(&mut world, &media, AgentAdmin::Enabled);
        assert_eq!(world.open(job).drained, None);
        assert_eq!(owed_to(&world.state, &media), []);
        assert_eq!(look(&mut world), 0);
        if leaves {
            // The order was under way.
            world.event(&media, job, attempt, made_room());
            assert_eq!(world.dispatch(), 1);
            assert_eq!(world.running(job).0, attempt.next());
        } else {
            world.event(&media, job, attempt, ended(StatusCode::SUCCESSFUL));
            assert_eq!(world.state.job(job).unwrap().state, JobState::Done);
        }
    }
}

/// Before it is marked, too: it has nothing to lose.
#[test]
fn c08b_an_attempt_that_has_not_begun_leaves_as_well_and_its_client_is_not_asked() {
    let mut world = world([4, 4]);
    let job = world.submit();
    world.dispatch();
    let (attempt, media) = world.running(job);
    assert_eq!(owed_to(&world.state, &agent("local")).len(), 1);
    set_admin(&mut world, &media, AgentAdmin::Draining);
    look(&mut world);
    assert_eq!(owed_to(&world.state, &agent("local")), []);
    assert_eq!(owed_to(&world.state, &media), [Order::Leave { job, attempt }]);
}

#[test]
fn c08b_no_job_is_given_to_an_agent_that_was_drained_meanwhile() {
    let mut world = world([4, 4]);
    let job = world.submit();
    let version = world.state.job(job).unwrap().version;
    let media_agent = agent("media-1");
    set_admin(&mut world, &media_agent, AgentAdmin::Draining);
    let dispatched = world.apply(Command::DispatchJob {
        job,
        version,
        media_agent,
    });
    assert_eq!(dispatched, Reply::Refused(Refusal::Outdated));
}

#[test]
fn e05_a_job_that_moves_as_it_is_told_is_never_given_up_for_it() {
    let mut world = world([4, 4]);
    let (job, _, _) = world.running_job();
    for _ in 0..20 {
        let (attempt, media) = world.running(job);
        set_admin(&mut world, &media, AgentAdmin::Draining);
        look(&mut world);
        world.event(&media, job, attempt, made_room());
        assert_eq!(world.dispatch(), 1);
        set_admin(&mut world, &media, AgentAdmin::Enabled);
    }
    // Being lost is another thing, and counts.
    for lost in 1..=6 {
        let (attempt, media) = world.running(job);
        let interrupted = EventKind::Interrupted {
            counters: Counters::default(),
            reason: "restarted".into(),
            cause: None,
        };
        world.event(&media, job, attempt, interrupted);
        assert_eq!(world.dispatch(), usize::from(lost < 6), "{lost}");
    }
}

#[test]
fn s05_a_job_that_is_canceled_while_it_moves_is_canceled() {
    let mut world = world([4, 4]);
    let (job, attempt, media) = world.running_job();
    set_admin(&mut world, &media, AgentAdmin::Draining);
    look(&mut world);
    world.apply(Command::CancelJob {
        job,
        by: "somebody".into(),
    });
    assert_eq!(owed_to(&world.state, &media), [Order::Cancel { job, attempt }]);
    world.event(&media, job, attempt, made_room());
    let row = world.state.job(job).unwrap();
    assert_eq!(row.status.unwrap().0, CompletionStatus::Canceled);
}

#[test]
fn c08b_what_was_decided_on_what_is_no_more_is_refused() {
    let mut world = world([4, 4]);
    let (job, attempt, media) = world.running_job();
    let decide = |world: &mut World, attempt| {
        world.apply(Command::DecideDrained {
            job,
            attempt,
            drained: Drained::Moves,
        })
    };
    let outdated = Reply::Refused(Refusal::Outdated);
    assert_eq!(decide(&mut world, attempt), outdated, "it is not drained");
    set_admin(&mut world, &media, AgentAdmin::Draining);
    assert_eq!(decide(&mut world, attempt.next()), outdated, "it is another");
    assert_eq!(decide(&mut world, attempt), Reply::Done);
    assert_eq!(decide(&mut world, attempt), outdated, "it is decided");
}
