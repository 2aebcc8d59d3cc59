//! F-02: what each of a pool's four methods chooses, and what earlier attempts of a job are to it.

use outlast_core::dispatch::{Presence, candidate, why_waiting};
use outlast_core::entry::PoolChange;
use outlast_core::{Command, EventKind, Reply};
use outlast_proto::words::{
    AgentAdmin, AgentName, AgentState, Counters, JobId, SelectionMethod, StatusCode, StorageFault,
};

use crate::world::{World, agent, ended, marked};

/// `media-1` and `media-2` reach unit `storage`, `media-3` unit `other`.
pub(crate) fn two_units() -> World {
    let mut world = World::new();
    add_media(&mut world, "media-3", "other");
    world
}

pub(crate) fn add_media(world: &mut World, name: &str, unit: &str) {
    world.register_media_with(name, "journal-1", |hello| {
        hello.speaks = 2;
        if let Some(media) = &mut hello.media {
            media.storage_unit = unit.parse().unwrap();
            media.repository_id = Some(format!("repository of {unit}"));
        }
    });
}

pub(crate) fn be(world: &mut World, method: SelectionMethod) {
    let change = PoolChange {
        method: Some(method),
        ..PoolChange::default()
    };
    let name = "default".parse().unwrap();
    assert_eq!(world.apply(Command::ChangePool { name, change }), Reply::Done);
}

/// Each of the clients has a job, and all of them are given out.
fn given(world: &mut World, jobs: usize) -> Vec<String> {
    let clients: Vec<_> = (0..jobs)
        .map(|number| agent(&format!("client-{number}")))
        .collect();
    for client in &clients {
        world.register_client(client.as_str());
    }
    let pool = "default".parse().unwrap();
    let policy = outlast_proto::words::Policy::with_defaults(
        "all".parse().unwrap(),
        clients,
        vec!["/home".into()],
        pool,
    );
    world.apply(Command::ApplyPolicy { policy });
    let Reply::Submitted { jobs } = world.apply(crate::world::backup("all")) else {
        panic!("they are submitted")
    };
    world.dispatch();
    let on = |job: &JobId| {
        let running = world.state.running_of(world.state.job(*job).unwrap());
        running.map_or("-".to_owned(), |open| open.media_agent.to_string())
    };
    jobs.iter().map(on).collect()
}

/// What is seen of the three media agents.
type Seen = fn(&mut Presence);

fn all(_: &mut Presence) {}

fn first_is_not_here(seen: &mut Presence) {
    seen.connected.remove(&agent("media-1"));
}

fn first_is_silent(seen: &mut Presence) {
    first_is_not_here(seen);
    seen.silent.insert(agent("media-1"));
}

fn first_lost_its_storage(seen: &mut Presence) {
    let problem = "it is not mounted".into();
    seen.problems.insert(agent("media-1"), problem);
}

fn last_has_most_room(seen: &mut Presence) {
    for (name, free) in [("media-1", 1), ("media-2", 2), ("media-3", 3)] {
        seen.connected.insert(agent(name), Some(free));
    }
}

/// Three jobs are given out at once; `1` is `media-1`, `-` nobody.
#[test]
fn f02_the_four_methods_differ_in_whom_they_choose() {
    use SelectionMethod::{Failover, LoadBalanced, Prioritized, RoundRobin};
    let rows: [(Seen, SelectionMethod, &str); 14] = [
        (all, Prioritized, "1 1 1"),
        // Busy is not down.
        (all, Failover, "1 1 1"),
        (all, RoundRobin, "1 2 3"),
        (all, LoadBalanced, "1 2 3"),
        (first_is_not_here, Prioritized, "2 2 2"),
        (first_is_not_here, Failover, "- - -"),
        (first_is_not_here, RoundRobin, "2 3 2"),
        (first_is_silent, Failover, "2 2 2"),
        (first_is_silent, LoadBalanced, "2 3 2"),
        (first_lost_its_storage, Prioritized, "2 2 2"),
        (first_lost_its_storage, Failover, "2 2 2"),
        (last_has_most_room, LoadBalanced, "3 2 1"),
        (last_has_most_room, Prioritized, "1 1 1"),
        (last_has_most_room, RoundRobin, "1 2 3"),
    ];
    for (number, (seen, method, expected)) in rows.into_iter().enumerate() {
        let mut world = two_units();
        be(&mut world, method);
        seen(&mut world.presence);
        let expected: Vec<_> = expected
            .split(' ')
            .map(|name| name.replace(['1', '2', '3'], &format!("media-{name}")))
            .collect();
        let would = candidate(&world.state, &world.presence, &"default".parse().unwrap());
        let would = would.map_or("-".to_owned(), |name| name.to_string());
        assert_eq!(would, expected[0], "row {number}: {method}");
        assert_eq!(given(&mut world, 3), expected, "row {number}: {method}");
    }
}

#[test]
fn f02_t08_a_job_that_waits_for_the_first_agent_of_its_pool_says_so() {
    let mut world = two_units();
    be(&mut world, SelectionMethod::Failover);
    world.presence.connected.remove(&agent("media-1"));
    let job = world.submit();
    assert_eq!(world.dispatch(), 0);
    let waiting = why_waiting(&world.state, &world.presence, world.state.job(job).unwrap()).unwrap();
    assert!(
        waiting.reason.contains("media-1 is not connected"),
        "{}",
        waiting.reason
    );
    assert_eq!(waiting.waits_for.as_deref(), Some("media-1"));
    // What an operator or contact says is down is not waited for.
    for down in [
        Command::SetAgentAdmin {
            agent: agent("media-1"),
            admin: AgentAdmin::Disabled,
        },
        Command::ChangeAgentState {
            agent: agent("media-1"),
            from: AgentState::Enabled,
            to: AgentState::CommunicationStalled,
        },
    ] {
        let mut state = world.state.clone();
        std::mem::swap(&mut world.state, &mut state);
        assert_eq!(world.apply(down), Reply::Done);
        assert_eq!(world.dispatch(), 1);
        assert_eq!(world.running(job).1, agent("media-2"));
        world.state = state;
    }
}

fn fail(world: &mut World, job: JobId, code: StatusCode, fault: Option<StorageFault>) -> AgentName {
    let (attempt, media) = world.running(job);
    world.admit(job, attempt);
    world.event(&media, job, attempt, marked());
    let mut what = ended(code);
    if let EventKind::Ended { storage, .. } = &mut what {
        *storage = fault;
    }
    world.event(&media, job, attempt, what);
    media
}

fn restarted() -> EventKind {
    EventKind::Interrupted {
        counters: Counters::default(),
        reason: "restarted".into(),
        cause: None,
    }
}

/// By which the job moved once; where it went then, and where it goes if that agent is lost, too, and comes back.
#[test]
fn f02_who_ended_an_attempt_of_a_job_by_its_storage_is_not_chosen_again_for_it() {
    use StorageFault::{AtThisAgent, Full};
    for (code, fault, second, third) in [
        (2106, None, "media-2", "media-2"),
        (2106, Some(AtThisAgent), "media-2", "media-2"),
        // Read-only at this agent.
        (84, Some(AtThisAgent), "media-2", "media-2"),
        (129, None, "media-3", "media-3"),
        (129, Some(Full), "media-3", "media-3"),
    ] {
        let mut world = two_units();
        let job = world.submit();
        world.dispatch();
        assert_eq!(fail(&mut world, job, StatusCode(code), fault), agent("media-1"));
        world.dispatch();
        assert_eq!(world.running(job).1, agent(second), "{code}");
        // That one is restarted: another one is preferred, but none that is blamed.
        let (attempt, media) = world.running(job);
        world.admit(job, attempt);
        world.event(&media, job, attempt, marked());
        world.event(&media, job, attempt, restarted());
        world.dispatch();
        assert_eq!(world.running(job).1, agent(third), "{code}");
    }
}

/// A shared unit is gone on with; where nobody reaches it, the rest runs elsewhere (F-08).
#[test]
fn f08_what_a_lost_attempt_left_decides_where_the_job_goes_on() {
    let silent: Seen = |seen| {
        seen.connected.remove(&agent("media-1"));
        seen.silent.insert(agent("media-1"));
    };
    let both_silent: Seen = |seen| {
        for name in ["media-1", "media-2"] {
            seen.connected.remove(&agent(name));
            seen.silent.insert(agent(name));
        }
    };
    let other_not_here: Seen = |seen| {
        seen.connected.remove(&agent("media-1"));
        seen.silent.insert(agent("media-1"));
        seen.connected.remove(&agent("media-2"));
    };
    for method in SelectionMethod::ALL {
        for (what, seen, goes_to) in [
            ("one is lost", silent, Some("media-2")),
            ("both are lost", both_silent, Some("media-3")),
            ("the other comes back", other_not_here, None),
        ] {
            let mut world = two_units();
            let (job, ..) = world.running_job();
            be(&mut world, *method);
            crate::supersede::supersede(&mut world, job);
            seen(&mut world.presence);
            let row = world.state.job(job).unwrap();
            let waiting = why_waiting(&world.state, &world.presence, row);
            let count = world.dispatch();
            assert_eq!(count, usize::from(goes_to.is_some()), "{method}: {what}");
            match goes_to {
                Some(name) => assert_eq!(world.running(job).1, agent(name), "{method}: {what}"),
                None => {
                    let reason = waiting.unwrap().reason;
                    assert!(reason.contains("media-2"), "{method}: {reason}");
                }
            }
        }
    }
}

/// A job that waits for its storage unit holds up no other one of its client.
#[test]
fn t90_f09a_what_waits_for_its_storage_unit_blocks_no_other_job() {
    let mut world = two_units();
    let (first, ..) = world.running_job();
    let second = world.submit();
    crate::supersede::supersede(&mut world, first);
    for name in ["media-1", "media-2"] {
        world.presence.connected.remove(&agent(name));
    }
    assert_eq!(world.dispatch(), 1);
    assert_eq!(world.running(second).1, agent("media-3"));
}
