//! When attempts are given up, and where jobs go: C-01, C-04, C-05, C-08, F-01, F-02.

use std::collections::BTreeMap;

use outlast_core::contact::{Heard, Silence, Word};
use outlast_core::{Command, Refusal, Reply};
use outlast_proto::words::{AgentAdmin, AgentState, ItemOutcome, JobId, StatusCode, Timestamp};

use crate::supersede::{fences, supersede};
use crate::world::{World, agent};

/// Ticks in which these agents say something and the client this of the attempt; the attempts given up.
pub(crate) fn tick(
    world: &mut World,
    silence: &mut Silence,
    heard: &[&str],
    word: Option<Word>,
    job: JobId,
) -> usize {
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
    // C-03 closes it.
    assert_eq!((unknown.rule, unknown.left), ("C-03", Some(1200 - 299)));

    // It is heard again, and the other media agent is gone.
    world.presence.connected.remove(&agent(other));
    for at in 0..50 {
        tick(&mut world, &mut silence, &["local"], broken, job);
        assert!(world.state.open_of(job).all(|open| open.is_running()), "at {at}");
    }
    let unknown = &silence.unknown()[&job];
    assert!(
        unknown.rule == "C-03" && unknown.next_step.contains("no other media agent"),
        "{unknown:?}"
    );
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
    let unknown = &silence.unknown()[&job];
    assert!(
        unknown.rule == "C-03" && unknown.next_step.contains("has no failover"),
        "{unknown:?}"
    );
    assert_eq!(unknown.left, Some(1200 - 120));
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
