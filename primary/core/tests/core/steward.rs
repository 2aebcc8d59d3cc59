//! F-15: what the steward finds in a storage unit, and what is made of it. F-19: a unit is suspect until a check is clean.

use outlast_core::dispatch::why_waiting;
use outlast_core::entry::RestoreRequest;
use outlast_core::steward::{Lying, OLD_ENOUGH_SECONDS, judge, steward};
use outlast_core::{Command, EventKind, Refusal, Reply};
use outlast_proto::words::{
    Attempt, AttemptId, ItemNumber, ItemOutcome, JobId, JobNonce, Overwrite, SnapshotId, StatusCode,
    StorageFault, StorageUnitName, UnitState,
};

use crate::world::{World, agent, ended};

fn unit() -> StorageUnitName {
    "storage".parse().unwrap()
}

fn done_job(world: &mut World) -> JobId {
    let job = world.submit();
    world.dispatch();
    world.finish(
        job,
        &[ItemOutcome::Done, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
    job
}

fn of(world: &World, job: JobId, attempt: u32) -> AttemptId {
    AttemptId {
        job,
        nonce: world.nonce(job),
        attempt: Attempt(attempt),
    }
}

fn lying(id: SnapshotId, of: Option<AttemptId>) -> Lying {
    Lying {
        id,
        original: None,
        of: of.map(|of| (of, ItemNumber(0))),
        age_seconds: OLD_ENOUGH_SECONDS,
        is_readable: true,
    }
}

/// The restore points of a job as they were written.
fn points(world: &World, job: JobId) -> Vec<Lying> {
    let ids = world.state.restore_points_of(job);
    let with_item = |(number, id): (u32, SnapshotId)| Lying {
        of: Some((of(world, job, 1), ItemNumber(number))),
        ..lying(id, None)
    };
    (0..).zip(ids).map(with_item).collect()
}

#[test]
fn f15_only_old_leftovers_of_closed_attempts_of_jobs_that_are_over_are_removed() {
    let mut world = World::new();
    let over = done_job(&mut world);
    let (running, ..) = world.running_job();
    let left = SnapshotId([9; 32]);
    let other_nonce = AttemptId {
        nonce: JobNonce(0xbad),
        ..of(&world, over, 1)
    };
    let ours = Some(of(&world, over, 1));
    let rows: [(&str, Lying, bool); 9] = [
        ("old, and its attempt is closed", lying(left, ours), true),
        (
            "young",
            Lying {
                age_seconds: OLD_ENOUGH_SECONDS - 1,
                ..lying(left, ours)
            },
            false,
        ),
        ("somebody else's", lying(left, None), false),
        (
            "of a running attempt",
            lying(left, Some(of(&world, running, 1))),
            false,
        ),
        // A later attempt of it never was.
        (
            "of an attempt without a history",
            lying(left, Some(of(&world, over, 2))),
            false,
        ),
        (
            "of another job of that number (S-12b)",
            lying(left, Some(other_nonce)),
            false,
        ),
        (
            "of a job that is not known",
            lying(left, Some(of(&world, JobId(999), 1))),
            false,
        ),
        (
            "changed with restic: it may stand for a restore point",
            Lying {
                original: Some(SnapshotId([8; 32])),
                ..lying(left, ours)
            },
            false,
        ),
        (
            "unreadable",
            Lying {
                is_readable: false,
                ..lying(left, ours)
            },
            false,
        ),
    ];
    for (what, found, is_removed) in rows {
        let mut all = points(&world, over);
        all.push(found);
        let verdict = judge(&world.state, &unit(), &all, u64::MAX);
        let expected = if is_removed { vec![left] } else { vec![] };
        assert_eq!(verdict.remove, expected, "{what}");
        assert_eq!((verdict.gone, verdict.back), (vec![], vec![]), "{what}");
    }
}

#[test]
fn f15_a_restore_point_whose_snapshot_is_gone_is_lost_with_the_date_and_never_dropped() {
    let mut world = World::new();
    let job = done_job(&mut world);
    let all = points(&world, job);
    let (first, rest) = (all[0].id, all[1..].to_vec());
    let changed = |original: SnapshotId| Lying {
        id: SnapshotId([7; 32]),
        original: Some(original),
        ..all[0].clone()
    };
    let with = |lying: Lying| [vec![lying], rest.clone()].concat();
    let unreadable = Lying {
        is_readable: false,
        of: None,
        ..all[0].clone()
    };
    for (what, found, is_gone) in [
        ("it is there", all.clone(), false),
        ("it is gone", rest.clone(), true),
        ("nothing is there", vec![], true),
        (
            "it cannot be read, which is damage and no loss",
            with(unreadable),
            false,
        ),
        ("restic gave it another id", with(changed(first)), false),
        ("and again", with(changed(SnapshotId([6; 32]))), false),
    ] {
        let verdict = judge(&world.state, &unit(), &found, u64::MAX);
        assert_eq!(verdict.gone.contains(&first), is_gone, "{what}");
    }
    // What was committed after the question was asked is not there yet.
    assert_eq!(judge(&world.state, &unit(), &[], 0).gone, []);
}

#[test]
fn f15_what_is_lost_is_kept_with_its_date_and_not_restored() {
    let mut world = World::new();
    let job = done_job(&mut world);
    let all = points(&world, job);
    let first = all[0].id;
    let mark = |is_lost| Command::MarkRestorePoints {
        ids: vec![first],
        is_lost,
    };
    let at = |world: &World| world.state.restore_point(&first).unwrap().lost;
    assert_eq!(world.apply(mark(true)), Reply::Done);
    let since = at(&world);
    assert!(since.is_some());
    assert_eq!(world.state.restore_points_in(&unit()), (2, 1));
    // Said again it keeps its date.
    world.apply(mark(true));
    assert_eq!(
        (at(&world), world.state.restore_points_in(&unit())),
        (since, (2, 1))
    );
    let request = RestoreRequest {
        restore_point: first,
        paths: Vec::new(),
        to: "/target".into(),
        client: None,
        overwrite: Overwrite::Never,
    };
    let restore = Command::SubmitRestore {
        request,
        nonce: JobNonce(3),
    };
    let refused = world.apply(restore.clone());
    let Reply::Refused(refusal @ Refusal::RestorePointLost { .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(refusal.to_string().contains("is lost"), "{refusal}");
    // Nothing is compared with it.
    let (client, policy) = (agent("local"), "home".parse().unwrap());
    assert_eq!(world.state.parent_of(&client, &policy, "/home", &unit()), None);
    let verdict = judge(&world.state, &unit(), &all, u64::MAX);
    assert_eq!((verdict.gone, verdict.back), (vec![], vec![first]));
    assert_eq!(world.apply(mark(false)), Reply::Done);
    assert_eq!(
        (at(&world), world.state.restore_points_in(&unit())),
        (None, (2, 0))
    );
    assert!(matches!(world.apply(restore), Reply::Submitted { .. }));
    // Members of before do not know it.
    let mut before = World::speaking(8);
    assert_eq!(before.apply(mark(true)), Reply::Refused(Refusal::TooOld));
}

#[test]
fn f15_the_steward_is_the_first_agent_of_the_unit_that_can_do_it() {
    let mut world = World::new();
    let who = |world: &World| steward(&world.state, &world.presence, &unit()).map(ToString::to_string);
    assert_eq!(who(&world).as_deref(), Some("media-1"));
    world.presence.problems.insert(agent("media-1"), "gone".into());
    assert_eq!(who(&world).as_deref(), Some("media-2"));
    world.presence.connected.remove(&agent("media-2"));
    assert_eq!(who(&world), None);
}

#[test]
fn f19_a_faulty_unit_is_suspect_until_a_check_is_clean_and_can_be_restored_from() {
    for (code, fault, state) in [
        (84, Some(StorageFault::OfTheUnit), UnitState::Suspect),
        (2106, Some(StorageFault::OfTheUnit), UnitState::Suspect),
        // Not said by whom: the journal's disk, or a media agent of before.
        (84, None, UnitState::Ok),
        (84, Some(StorageFault::AtThisAgent), UnitState::Ok),
    ] {
        let mut world = World::new();
        let point = {
            let job = done_job(&mut world);
            world.state.restore_points_of(job).next().unwrap()
        };
        // One that is full is suspected all the same.
        let (job, attempt, media) = world.running_job();
        let mut what = ended(StatusCode(code));
        if let EventKind::Ended { storage, .. } = &mut what {
            *storage = fault;
        }
        world.event(&media, job, attempt, what);
        assert_eq!(world.state.storage_unit(&unit()).unwrap().state, state, "{code}");
        if state == UnitState::Ok {
            continue;
        }
        let job = world.submit();
        assert_eq!(world.dispatch(), 0, "no new job");
        let row = world.state.job(job).unwrap();
        let waiting = why_waiting(&world.state, &world.presence, row).unwrap();
        assert!(
            waiting.reason.contains("outlast storage check"),
            "{}",
            waiting.reason
        );
        let request = RestoreRequest {
            restore_point: point,
            paths: Vec::new(),
            to: "/target".into(),
            client: Some(agent("other")),
            overwrite: Overwrite::Never,
        };
        let nonce = JobNonce(3);
        world.apply(Command::SubmitRestore { request, nonce });
        assert_eq!(world.dispatch(), 1, "what it holds can be restored");
        let clean = Command::ChangeUnitState {
            unit: unit(),
            from: UnitState::Suspect,
            to: UnitState::Ok,
            why: String::new(),
        };
        assert_eq!(world.apply(clean), Reply::Done);
        assert_eq!(world.dispatch(), 1);
    }
}
