//! C-08a: an agent is removed for good.

use outlast_core::{ClusterState, Command, Refusal, Reply};
use outlast_proto::words::{AgentName, CompletionStatus, ItemOutcome, StatusCode};

use crate::world::{MEDIA, World, agent, marked};

fn remove(world: &mut World, name: &str, dead: bool, force: bool) -> Reply {
    let agent = agent(name);
    world.apply(Command::RemoveAgent { agent, dead, force })
}

fn other_than(media: &AgentName) -> &'static str {
    MEDIA.into_iter().find(|name| agent(name) != *media).unwrap()
}

#[test]
fn c08a_while_attempts_run_an_agent_is_removed_only_if_it_is_declared_dead() {
    let mut world = World::new();
    for name in MEDIA {
        world.register_media_with(name, "journal-1", |hello| hello.speaks = 2);
    }
    let (job, first, media) = world.running_job();
    let busy = |name: &AgentName, can_be_dead| {
        let (name, jobs) = (name.clone(), vec![job]);
        Reply::Refused(Refusal::AgentBusy {
            name,
            jobs,
            can_be_dead,
        })
    };
    assert_eq!(
        remove(&mut world, media.as_str(), false, true),
        busy(&media, true)
    );
    for dead in [false, true] {
        assert_eq!(
            remove(&mut world, "local", dead, true),
            busy(&agent("local"), false)
        );
    }
    let removed = remove(&mut world, media.as_str(), true, false);
    assert_eq!(removed, Reply::DeclaredDead { jobs: vec![job] });
    assert!(world.state.agent(&media).is_none() && world.state.removed(&media).is_some());
    assert_eq!(world.state.fences().count(), 0);
    let (_, pool) = world.state.pools().next().unwrap();
    assert_eq!(pool.media_agents, [agent(other_than(&media))]);
    let unit = world.state.storage_unit(&"storage".parse().unwrap()).unwrap();
    assert_eq!(unit.media_agents, [agent(other_than(&media))]);

    // The job goes on from what there is: where the removed one stored is still known.
    assert_eq!(world.dispatch(), 1);
    let (second, other) = world.running(job);
    world.admit(job, second);
    world.event(&other, job, second, marked());
    world.finish(
        job,
        &[ItemOutcome::Done, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
    let statuses: Vec<_> = world.state.histories_of(job).map(|(_, row)| row.status).collect();
    assert_eq!(
        statuses,
        [CompletionStatus::Resumed, CompletionStatus::Successful]
    );
    assert_eq!(
        world.state.history(job, first).unwrap().media_agent,
        Some(media.clone())
    );
    // Nothing it says counts, and it does not come back: after a restart of a primary neither.
    let rows = world.state.take_changes();
    let rows: Vec<_> = rows
        .iter()
        .filter_map(|(key, row)| Some((key.as_slice(), row.as_deref()?)))
        .collect();
    world.state = ClusterState::from_rows(rows).unwrap();
    let name = media.clone();
    assert_eq!(
        world.register_media(media.as_str(), "journal-1"),
        Reply::Refused(Refusal::AgentRemoved { name })
    );
    let name = media.clone();
    assert_eq!(
        remove(&mut world, media.as_str(), false, false),
        Reply::Refused(Refusal::NoSuchAgent { name })
    );
}

#[test]
fn c08a_the_last_one_of_a_storage_unit_is_removed_by_force_only_and_a_client_by_itself() {
    let mut world = World::new();
    let removed = Reply::DeclaredDead { jobs: Vec::new() };
    assert_eq!(remove(&mut world, MEDIA[0], false, false), removed);
    let last = Refusal::LastOfUnit {
        name: agent(MEDIA[1]),
        unit: "storage".parse().unwrap(),
    };
    assert_eq!(remove(&mut world, MEDIA[1], false, false), Reply::Refused(last));
    assert_eq!(remove(&mut world, MEDIA[1], false, true), removed);
    assert!(world.state.storage_unit(&"storage".parse().unwrap()).is_some());

    let job = world.submit();
    assert_eq!(remove(&mut world, "local", false, false), removed);
    let row = world.state.job(job).unwrap();
    let why = outlast_core::dispatch::why_waiting(&world.state, &world.presence, row).unwrap();
    assert!(why.reason.contains("was removed"), "{}", why.reason);
    let mut before = World::speaking(8);
    assert_eq!(
        remove(&mut before, MEDIA[0], false, false),
        Reply::Refused(Refusal::TooOld)
    );
}
