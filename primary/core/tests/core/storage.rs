//! F-18: what becomes of an attempt whose storage failed. F-02, F-19: states of storage units. S-12's exception: units that are not shared.

use outlast_core::dispatch::why_waiting;
use outlast_core::units::{Seen, look};
use outlast_core::{Command, EventKind, Refusal, Reply};
use outlast_proto::words::{
    Attempt, CompletionStatus, ItemNumber, ItemOutcome, JobId, JobState, StatusCode, StorageFault, Timestamp,
    UnitState,
};

use crate::selection::{add_media, two_units};
use crate::supersede::supersede;
use crate::world::{World, agent, ended, item_ended, marked};

fn end_of_first(world: &mut World, code: u16, fault: Option<StorageFault>) -> JobId {
    let (job, attempt, media) = world.running_job();
    let mut what = ended(StatusCode(code));
    if let EventKind::Ended { storage, .. } = &mut what {
        *storage = fault;
    }
    world.event(&media, job, attempt, what);
    job
}

fn unit_state(world: &World, name: &str) -> UnitState {
    world.state.storage_unit(&name.parse().unwrap()).unwrap().state
}

fn said(world: &World, job: JobId) -> String {
    let lines: Vec<_> = world
        .state
        .details_of(job)
        .map(|line| line.text.clone())
        .collect();
    lines.join("\n")
}

fn on_units(units: [(&str, &str); 2]) -> World {
    let mut world = World::new();
    for (name, unit) in units {
        add_media(&mut world, name, unit);
    }
    world
}

fn shared() -> World {
    on_units([("media-1", "shared"), ("media-2", "shared")])
}

fn apart() -> World {
    on_units([("media-1", "first"), ("media-2", "second")])
}

fn alone() -> World {
    let mut world = shared();
    world.apply(Command::SetAgentAdmin {
        agent: agent("media-2"),
        admin: outlast_proto::words::AgentAdmin::Disabled,
    });
    world
}

/// Who there is, how the attempt on the first of them ends, and what becomes of it.
type Row = (
    &'static str,
    fn() -> World,
    u16,
    Option<StorageFault>,
    CompletionStatus,
);

#[test]
fn f18_a_job_moves_once_where_another_agent_can_take_it() {
    use CompletionStatus::{Failed, FailedOver, Resumed};
    use StorageFault::{AtThisAgent, Full};
    let rows: [Row; 11] = [
        ("shared", shared, 2106, None, Resumed),
        ("shared", shared, 2106, Some(AtThisAgent), Resumed),
        ("shared, read-only here", shared, 84, Some(AtThisAgent), Resumed),
        ("shared", shared, 129, None, Failed),
        ("shared", shared, 129, Some(Full), Failed),
        ("shared", shared, 84, None, Failed),
        ("apart", apart, 2106, None, FailedOver),
        ("apart", apart, 129, Some(Full), FailedOver),
        ("apart", apart, 13, None, Failed),
        ("nobody else", alone, 2106, None, Failed),
        ("nobody else", alone, 129, None, Failed),
    ];
    for (what, world, code, fault, status) in rows {
        let mut world = world();
        let job = end_of_first(&mut world, code, fault);
        let history = world.state.history(job, Attempt(1)).unwrap();
        assert_eq!(history.status, status, "{what}: {code}");
        // The cause is never lost, whatever the status says.
        assert_eq!(history.error.as_ref().unwrap().code, StatusCode(code), "{what}");
        let row = world.state.job(job).unwrap();
        let moves = status.goes_on();
        let expected = if moves { JobState::Queued } else { JobState::Done };
        assert_eq!(row.state, expected, "{what}: {code}");
        if !moves {
            assert_eq!(row.status, Some((status, StatusCode(code))), "{what}");
            continue;
        }
        assert_eq!(world.dispatch(), 1, "{what}: {code}");
        assert_eq!(world.running(job).1, agent("media-2"), "{what}: {code}");
        // Once: the second time it is the end.
        let (attempt, media) = world.running(job);
        world.event(&media, job, attempt, ended(StatusCode(2106)));
        let row = world.state.job(job).unwrap();
        assert_eq!(row.status, Some((Failed, StatusCode(2106))), "{what}: {code}");
    }
}

#[test]
fn f18_members_of_before_move_nothing_and_keep_no_state_of_units() {
    for version in 1..9 {
        let mut world = World::speaking(version);
        let job = end_of_first(&mut world, 2106, Some(StorageFault::AtThisAgent));
        assert_eq!(world.state.job(job).unwrap().state, JobState::Done, "{version}");
        let job = end_of_first(&mut world, 129, None);
        assert_eq!(world.state.history(job, Attempt(1)).unwrap().storage, None);
        assert_eq!(unit_state(&world, "storage"), UnitState::Ok, "{version}");
        let change = Command::ChangeUnitState {
            unit: "storage".parse().unwrap(),
            from: UnitState::Ok,
            to: UnitState::Full,
            why: "so".into(),
        };
        assert_eq!(world.apply(change), Reply::Refused(Refusal::TooOld));
        assert_eq!(look(&world.state, &Default::default(), Timestamp(1)), []);
    }
}

#[test]
fn f02_a_full_unit_gets_no_backup_until_there_is_room_and_restores_go_on() {
    let mut world = World::new();
    let first = world.submit();
    world.dispatch();
    world.finish(
        first,
        &[ItemOutcome::Done, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
    let point = world.state.restore_points_of(first).next().unwrap();
    end_of_first(&mut world, 129, None);
    assert_eq!(unit_state(&world, "storage"), UnitState::Full);
    let job = world.submit();
    assert_eq!(world.dispatch(), 0);
    let waiting = why_waiting(&world.state, &world.presence, world.state.job(job).unwrap()).unwrap();
    for part in [
        "storage unit storage of media-1 is full",
        "cause of 129",
        "when there is more room",
    ] {
        assert!(waiting.reason.contains(part), "{}", waiting.reason);
    }
    let request = outlast_core::entry::RestoreRequest {
        restore_point: point,
        paths: Vec::new(),
        to: "/target".into(),
        // The very client whose backup waits.
        client: None,
        overwrite: outlast_proto::words::Overwrite::Never,
    };
    let nonce = outlast_proto::words::JobNonce(5);
    let Reply::Submitted { jobs } = world.apply(Command::SubmitRestore { request, nonce }) else {
        panic!("it is submitted")
    };
    assert_eq!(world.dispatch(), 1, "what it holds can be restored");
    world.finish(jobs[0], &[], StatusCode::SUCCESSFUL);
    // With hysteresis, and not by what was said before the attempt had cleaned up.
    let mib = |free: u64| Seen {
        free: Some(free << 20),
        total: Some(1 << 40),
        problem: String::new(),
    };
    let since = world
        .state
        .storage_unit(&"storage".parse().unwrap())
        .unwrap()
        .since
        .unwrap();
    let later = since.plus(outlast_proto::words::Seconds(60));
    for (now, seen, is_ok) in [
        (since, vec![mib(5000)], false),
        (later, vec![], false),
        (later, vec![mib(64)], false),
        (later, vec![mib(127)], false),
        (later, vec![mib(5000), mib(3)], false),
        (later, vec![mib(128)], true),
    ] {
        let names = ["media-1", "media-2"].map(agent);
        let said = names.into_iter().zip(seen.clone()).collect();
        let commands = look(&world.state, &said, now);
        assert_eq!(commands.len(), usize::from(is_ok), "{seen:?}");
        for command in commands {
            assert_eq!(world.apply(command), Reply::Done);
        }
    }
    assert_eq!(unit_state(&world, "storage"), UnitState::Ok);
    assert_eq!(world.dispatch(), 1);
}

/// A unit of 1000 MiB; 10 is a hundredth of it.
#[test]
fn f02_what_media_agents_say_of_their_unit_is_its_state() {
    use UnitState::{Full, Ok, Suspect, Unavailable};
    const MIB: u64 = 1 << 20;
    let gone = || (None, "gone");
    let free = |bytes: u64| (Some(bytes), "");
    let plenty = || free(500 * MIB);
    let rows = [
        ("nobody is here", Ok, vec![], Ok),
        ("all is well", Ok, vec![plenty(), plenty()], Ok),
        ("one lost it", Ok, vec![gone(), plenty()], Ok),
        ("all lost it", Ok, vec![gone(), gone()], Unavailable),
        ("the only one lost it", Ok, vec![gone()], Unavailable),
        ("one has it again", Unavailable, vec![gone(), plenty()], Ok),
        ("nobody is here", Unavailable, vec![], Unavailable),
        ("too little", Ok, vec![free(10 * MIB - 1)], Full),
        ("enough", Ok, vec![free(10 * MIB)], Ok),
        ("not known", Ok, vec![(None, "")], Ok),
        // Only a check says that it is clean.
        ("suspect", Suspect, vec![plenty(), plenty()], Suspect),
        ("suspect and away", Suspect, vec![gone()], Suspect),
    ];
    for (what, before, seen, after) in rows {
        let mut world = World::new();
        if before != Ok {
            world.apply(Command::ChangeUnitState {
                unit: "storage".parse().unwrap(),
                from: Ok,
                to: before,
                why: "so".to_owned(),
            });
        }
        let seen = seen.into_iter().map(|(free, problem)| Seen {
            free,
            total: Some(1000 * MIB),
            problem: problem.to_owned(),
        });
        let said = ["media-1", "media-2"].map(agent).into_iter().zip(seen).collect();
        for command in look(&world.state, &said, Timestamp(i64::MAX / 2)) {
            assert_eq!(world.apply(command.clone()), Reply::Done, "{what}");
            assert_eq!(world.apply(command), Reply::Refused(Refusal::Outdated), "{what}");
        }
        assert_eq!(unit_state(&world, "storage"), after, "{what}");
    }
}

#[test]
fn s11_where_no_agent_has_its_storage_a_job_fails_at_once_and_does_not_wait() {
    let mut world = World::new();
    for name in ["media-1", "media-2"] {
        world
            .presence
            .problems
            .insert(agent(name), "it is not mounted".into());
    }
    world.submit();
    assert_eq!(world.dispatch(), 1);
}

#[test]
fn s12_the_result_of_an_attempt_on_a_unit_that_nobody_reaches_is_not_known() {
    let mut world = two_units();
    let (job, attempt, media) = world.running_job();
    let item = ItemNumber(0);
    world.event(&media, job, attempt, EventKind::ItemStarted { item });
    world.event(&media, job, attempt, item_ended(job, item, ItemOutcome::Done));
    let kept = world.item(job, 0).restore_point;
    supersede(&mut world, job);
    for name in ["media-1", "media-2"] {
        world.presence.connected.remove(&agent(name));
        world.presence.silent.insert(agent(name));
    }
    assert_eq!(world.dispatch(), 1);
    let (second, other) = world.running(job);
    assert_eq!(other, agent("media-3"));
    world.admit(job, second);
    world.event(&other, job, second, marked());
    let found = EventKind::Surveyed {
        found: Vec::new(),
        is_complete: false,
        checkpoint: None,
    };
    world.event(&other, job, second, found);
    let history = world.state.history(job, attempt).unwrap();
    assert_eq!(
        (history.status, history.code),
        (CompletionStatus::FailedOver, StatusCode::RESULT_UNKNOWN)
    );
    assert!(
        said(&world, job).contains("its result is not known"),
        "{}",
        said(&world, job)
    );
    assert!(
        said(&world, job).contains("begins from zero"),
        "{}",
        said(&world, job)
    );
    // F-08: what was finished is not run again, and stays on its unit; the rest is on the other.
    let item = ItemNumber(1);
    world.event(&other, job, second, EventKind::ItemStarted { item });
    world.event(&other, job, second, item_ended(job, item, ItemOutcome::Done));
    world.event(&other, job, second, ended(StatusCode::SUCCESSFUL));
    assert_eq!(world.item(job, 0).restore_point, kept);
    let units: Vec<_> = [0, 1]
        .map(|number| world.item(job, number).restore_point.unwrap())
        .iter()
        .map(|id| world.state.restore_point(id).unwrap().storage_unit.to_string())
        .collect();
    assert_eq!(units, ["storage", "other"]);
    // A late result is a line, and nothing else.
    let before = world.state.job(job).unwrap().status;
    let histories = world.state.histories_of(job).count();
    world.event(&media, job, attempt, ended(StatusCode::SUCCESSFUL));
    let row = world.state.job(job).unwrap();
    assert_eq!(
        (row.status, world.state.histories_of(job).count()),
        (before, histories)
    );
    assert!(said(&world, job).ends_with("reported its end (0) after it was closed"));
}

/// An attempt that its client never took up cannot have finished anything.
#[test]
fn s12_an_attempt_that_never_began_has_a_known_result() {
    let mut world = two_units();
    let job = world.submit();
    world.dispatch();
    let (attempt, _) = world.running(job);
    supersede(&mut world, job);
    for name in ["media-1", "media-2"] {
        world.presence.connected.remove(&agent(name));
        world.presence.silent.insert(agent(name));
    }
    world.dispatch();
    let (second, other) = world.running(job);
    world.admit(job, second);
    world.event(&other, job, second, marked());
    let found = EventKind::Surveyed {
        found: Vec::new(),
        is_complete: false,
        checkpoint: None,
    };
    world.event(&other, job, second, found);
    let history = world.state.history(job, attempt).unwrap();
    assert_eq!(history.code, StatusCode::FAILED_OVER);
}
