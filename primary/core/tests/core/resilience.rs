//! what members say of themselves, and what it means for attempts.

use outlast_core::rows::{MemberFacts, OpenAttempt};
use outlast_core::{Command, EventKind, Refusal, Reply};
use outlast_proto::words::{AgentName, Attempt, CompletionStatus, JobId, StartId, StatusCode, Timestamp};

use crate::world::{World, ended};

fn admit(world: &mut World, node_id: u64, name: &str) {
    let name = name.to_owned();
    assert_eq!(world.apply(Command::AdmitMember { node_id, name }), Reply::Done);
}

fn describe(world: &mut World, node_id: u64, host: &str, version: &str) -> Reply {
    world.apply(Command::DescribeMember {
        node_id,
        host_id: host.into(),
        version: version.into(),
        cluster_version: 1,
    })
}

/// Three primaries that have introduced themselves; entries are proposed by the first.
fn with_members() -> World {
    let mut world = World::new();
    for node_id in 1..=3 {
        admit(&mut world, node_id, &format!("primary-{node_id}"));
        describe(&mut world, node_id, &format!("host-{node_id}"), "0.1.0");
    }
    world
}

fn lines(world: &World, job: JobId) -> Vec<String> {
    let details = world.state.details_of(job);
    details
        .filter(|line| line.text.contains("resilient"))
        .map(|line| line.text.clone())
        .collect()
}

fn running(world: &World, job: JobId) -> &OpenAttempt {
    world.open(job)
}

#[test]
fn r12_a_member_describes_itself_and_again_when_it_has_changed() {
    let mut world = World::new();
    assert_eq!(
        describe(&mut world, 1, "host", "0.1.0"),
        Reply::Refused(Refusal::NoSuchNode { node_id: 1 })
    );
    admit(&mut world, 1, "primary-1");
    assert!(world.state.awaits_introductions());
    for (host, version) in [("a", "0.1.0"), ("a", "0.1.0"), ("b", "0.1.0"), ("b", "0.2.0")] {
        assert_eq!(describe(&mut world, 1, host, version), Reply::Done);
        let facts = MemberFacts {
            host_id: host.into(),
            version: version.into(),
            cluster_version: 1,
        };
        let (_, member) = world.state.members().next().unwrap();
        assert_eq!(member.facts, Some(facts));
    }
    assert!(!world.state.awaits_introductions());
    // Said again, it is no change.
    world.state.take_changes();
    describe(&mut world, 1, "b", "0.2.0");
    let changed = world.state.take_changes();
    assert!(
        changed.iter().all(|(key, _)| key.first() != Some(&b'm')),
        "{changed:?}"
    );
    world.apply(Command::RemoveMember { node_id: 1 });
    assert_eq!(
        describe(&mut world, 1, "c", "0.2.0"),
        Reply::Refused(Refusal::NoSuchNode { node_id: 1 })
    );
}

#[test]
fn r12_only_those_in_the_group_count() {
    type Change = fn(&mut World);
    let same = "media agent media-1 is on the same host as primary primary-2";
    let silent = "primary primary-4 has not said on which host it runs";
    let table: [(&str, Change, Option<&str>); 6] = [
        ("hosts of their own", |_| {}, None),
        (
            "the media agent beside a primary",
            |world| drop(describe(world, 2, "host of media-1", "0.1.0")),
            Some(same),
        ),
        (
            "the client beside a primary",
            |world| drop(describe(world, 2, "host of local", "0.1.0")),
            Some("client local is on the same host as primary primary-2"),
        ),
        (
            "a member that was removed",
            |world| {
                describe(world, 2, "host of media-1", "0.1.0");
                world.apply(Command::RemoveMember { node_id: 2 });
            },
            None,
        ),
        (
            "a member that says nothing",
            |world| admit(world, 4, "primary-4"),
            Some(silent),
        ),
        (
            "one that never said anything and was removed",
            |world| {
                admit(world, 4, "primary-4");
                world.apply(Command::RemoveMember { node_id: 4 });
            },
            None,
        ),
    ];
    for (case, change, reason) in table {
        let mut world = with_members();
        change(&mut world);
        let job = world.submit();
        world.dispatch();
        let said: Vec<_> = reason
            .map(|reason| format!("job is not resilient: {reason}"))
            .into_iter()
            .collect();
        assert_eq!(lines(&world, job), said, "{case}");
        assert_eq!(running(&world, job).resilient, reason.is_none(), "{case}");
    }
}

#[test]
fn r01_nobody_is_waited_for_when_no_job_is_resilient() {
    let mut world = World::new();
    admit(&mut world, 1, "primary-1");
    let change = outlast_core::entry::SettingsChange {
        resilience: Some(false),
        ..Default::default()
    };
    world.apply(Command::ChangeSettings { change });
    assert!(!world.state.awaits_introductions());
}

#[test]
fn r13_an_attempt_knows_the_version_that_dispatched_it() {
    let mut world = with_members();
    let (job, ..) = world.running_job();
    assert_eq!(running(&world, job).primary_version, "0.1.0");
    describe(&mut world, 1, "host-1", "0.2.0");
    assert_eq!(running(&world, job).primary_version, "0.1.0");
    world.finish(job, &[], StatusCode::SUCCESSFUL);
    let (job, ..) = world.running_job();
    assert_eq!(running(&world, job).primary_version, "0.2.0");
    // Nobody said anything.
    let mut world = World::new();
    let (job, ..) = world.running_job();
    assert_eq!(running(&world, job).primary_version, "");
}

/// A job with a resilient attempt under way.
fn marked_job(world: &mut World) -> (JobId, Attempt, AgentName) {
    let job = world.submit();
    world.dispatch();
    let (attempt, media) = world.running(job);
    let marked = EventKind::Marked {
        resilient: true,
        client_start_id: StartId("start".into()),
    };
    world.event(&media, job, attempt, marked);
    (job, attempt, media)
}

fn lost() -> EventKind {
    EventKind::MarkLost {
        from: "0.1.0".into(),
        to: "0.2.0".into(),
    }
}

#[test]
fn r13_a_lost_mark_is_said_once_and_the_attempt_goes_on() {
    let mut world = with_members();
    let (job, attempt, media) = marked_job(&mut world);
    assert_eq!(world.state.job(job).unwrap().resilient, Some(true));
    for _ in 0..2 {
        world.event(&media, job, attempt, lost());
        assert_eq!(world.state.job(job).unwrap().resilient, Some(false));
        assert!(!running(&world, job).resilient);
        assert_eq!(
            lines(&world, job),
            [
                "job is resilient",
                "job is not resilient: the primary's version changed from 0.1.0 to 0.2.0"
            ]
        );
    }
    world.event(&media, job, attempt, ended(StatusCode::SUCCESSFUL));
    let done = world.state.job(job).unwrap();
    assert_eq!(
        done.status,
        Some((CompletionStatus::Successful, StatusCode::SUCCESSFUL))
    );
    assert_eq!(done.resilient, Some(false));
}

#[test]
fn r13_the_journals_order_decides() {
    for end_first in [true, false] {
        let mut world = with_members();
        let (job, attempt, media) = marked_job(&mut world);
        let mut events = [ended(StatusCode::SUCCESSFUL), lost()];
        if !end_first {
            events.reverse();
        }
        for what in events {
            world.event(&media, job, attempt, what);
        }
        let done = world.state.job(job).unwrap();
        assert_eq!(
            done.status,
            Some((CompletionStatus::Successful, StatusCode::SUCCESSFUL))
        );
        assert_eq!(done.resilient, Some(end_first));
        assert_eq!(lines(&world, job).len(), if end_first { 1 } else { 2 });
        assert_eq!(world.state.histories_of(job).count(), 1);
    }
}

#[test]
fn r13_the_next_attempt_is_judged_anew() {
    let mut world = with_members();
    let (job, attempt, media) = marked_job(&mut world);
    world.event(&media, job, attempt, lost());
    let interrupted = EventKind::Interrupted {
        counters: Default::default(),
        reason: "restarted".into(),
        cause: None,
    };
    world.event(&media, job, attempt, interrupted);
    world.dispatch();
    assert!(running(&world, job).resilient);
    // What is said of the attempt before is not about this one.
    world.event(&media, job, attempt, lost());
    assert!(running(&world, job).resilient);
}

#[test]
fn rows_from_before_members_introduced_themselves_are_read() {
    #[derive(serde::Serialize)]
    struct OldMember {
        name: String,
        admitted_at: Timestamp,
        removed_at: Option<Timestamp>,
    }
    let mut world = World::new();
    admit(&mut world, 7, "primary-7");
    let changes = world.state.take_changes();
    let (key, row) = changes
        .iter()
        .find(|(key, _)| key.first() == Some(&b'm'))
        .unwrap();
    let old = OldMember {
        name: "primary-7".into(),
        admitted_at: Timestamp(1),
        removed_at: None,
    };
    let old = [
        &row.as_ref().unwrap()[..1],
        &rmp_serde::to_vec_named(&old).unwrap(),
    ]
    .concat();
    let state = outlast_core::ClusterState::from_rows([(key.as_slice(), old.as_slice())]).unwrap();
    let (id, member) = state.members().next().unwrap();
    assert_eq!((id, member.name.as_str(), &member.facts), (7, "primary-7", &None));
}
