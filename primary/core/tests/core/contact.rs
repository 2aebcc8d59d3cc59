//! C-02, C-05: silence is counted in ticks of one leader; and the settings it is judged by.

use outlast_core::contact::{Heard, Silence};
use outlast_core::entry::{PoolChange, SettingsChange};
use outlast_core::{Command, Refusal, Reply};
use outlast_proto::words::{AgentState, Seconds};

use crate::world::{MEDIA, World, agent};

fn change(world: &mut World, change: PoolChange) -> Reply {
    let name = world.state.pools().next().unwrap().0.clone();
    world.apply(Command::ChangePool { name, change })
}

/// Shorter than any failover.
fn stall_after(world: &mut World, seconds: u64) {
    let stalled_after = Some(Seconds(seconds));
    let reply = change(
        world,
        PoolChange {
            stalled_after,
            failover: Some(false),
            ..PoolChange::default()
        },
    );
    assert_eq!(reply, Reply::Done);
}

/// Ticks with these heard, and applies what follows; how many changes that were.
fn tick(world: &mut World, silence: &mut Silence, heard: &[&str]) -> usize {
    let heard = Heard {
        agents: heard.iter().map(|name| agent(name)).collect(),
        ..Heard::default()
    };
    let commands = silence.tick(&world.state, &world.presence, &heard);
    for command in &commands {
        assert_eq!(world.apply(command.clone()), Reply::Done);
    }
    commands.len()
}

fn state_of(world: &World, name: &str) -> AgentState {
    world.state.agent(&agent(name)).unwrap().state
}

#[test]
fn c02_c05_an_agent_is_stalled_after_so_many_silent_ticks_and_enabled_when_it_is_heard() {
    let (mut world, mut silence) = (World::new(), Silence::default());
    stall_after(&mut world, 3);
    assert_eq!(tick(&mut world, &mut silence, &MEDIA), 0);
    for silent in 1..=5 {
        tick(&mut world, &mut silence, &[MEDIA[0]]);
        let expected = if silent < 3 {
            AgentState::Enabled
        } else {
            AgentState::CommunicationStalled
        };
        assert_eq!(state_of(&world, MEDIA[1]), expected, "after {silent}");
        // The pool's setting is for its media agents; who is heard is not silent.
        assert_eq!(state_of(&world, MEDIA[0]), AgentState::Enabled);
        assert_eq!(state_of(&world, "local"), AgentState::Enabled);
    }
    assert_eq!(tick(&mut world, &mut silence, &[MEDIA[1]]), 1);
    assert_eq!(state_of(&world, MEDIA[1]), AgentState::Enabled);
    assert_eq!(tick(&mut world, &mut silence, &[]), 0, "it counts from there");
}

#[test]
fn c05_a_new_leader_counts_from_its_election_and_believes_in_nobody_it_has_not_heard() {
    let (mut world, mut silence) = (World::new(), Silence::default());
    stall_after(&mut world, 3);
    for _ in 0..2 {
        assert_eq!(tick(&mut world, &mut silence, &[MEDIA[0]]), 0);
    }
    let mut next = Silence::default();
    for _ in 0..2 {
        assert_eq!(tick(&mut world, &mut next, &[MEDIA[0]]), 0);
    }
    assert_eq!(tick(&mut world, &mut next, &[MEDIA[0]]), 1);
    assert_eq!(state_of(&world, MEDIA[1]), AgentState::CommunicationStalled);
    // The leader after that has not counted to three yet, but that makes nobody heard.
    let mut last = Silence::default();
    assert_eq!(tick(&mut world, &mut last, &[MEDIA[0]]), 0);
    assert_eq!(tick(&mut world, &mut last, &[MEDIA[1]]), 1);
    assert_eq!(state_of(&world, MEDIA[1]), AgentState::Enabled);
}

#[test]
fn c05_what_was_decided_on_another_state_is_refused() {
    let mut world = World::new();
    let to = AgentState::CommunicationStalled;
    let from = AgentState::Enabled;
    let stalled = Command::ChangeAgentState {
        agent: agent(MEDIA[0]),
        from,
        to,
    };
    assert_eq!(world.apply(stalled.clone()), Reply::Done);
    let before = world.state.agent(&agent(MEDIA[0])).cloned();
    assert_eq!(world.apply(stalled), Reply::Refused(Refusal::Outdated));
    assert_eq!(world.state.agent(&agent(MEDIA[0])).cloned(), before);
}

#[test]
fn r03_the_grace_stays_below_the_failover_from_both_sides() {
    let mut world = World::new();
    let failover = |seconds| PoolChange {
        failover_after: Some(Seconds(seconds)),
        ..PoolChange::default()
    };
    let refused = |reply| matches!(reply, Reply::Refused(Refusal::InvalidRequest { field, .. }) if field == "failover_after");
    assert!(refused(change(&mut world, failover(24))));
    assert_eq!(change(&mut world, failover(25)), Reply::Done);
    let grace = |seconds| SettingsChange {
        disruption_grace: Some(Seconds(seconds)),
        ..SettingsChange::default()
    };
    let reply = world.apply(Command::ChangeSettings { change: grace(21) });
    assert!(matches!(reply, Reply::Refused(_)));
    assert_eq!(
        world.apply(Command::ChangeSettings { change: grace(10) }),
        Reply::Done
    );
    assert_eq!(change(&mut world, failover(15)), Reply::Done);
    let never = PoolChange {
        stalled_after: Some(Seconds(1)),
        ..PoolChange::default()
    };
    assert!(matches!(change(&mut world, never), Reply::Refused(_)));
}
