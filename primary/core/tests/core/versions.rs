//! DESIGN 3: the cluster version, and who has a say in it.

use outlast_core::entry::{Asker, RuleChange};
use outlast_core::thresholds::{Threshold, Thresholds};
use outlast_core::{Command, Entry, EventKind, Refusal, Reply};
use outlast_proto::words::{AgentAdmin, Counters, ItemNumber, ItemOutcome, Seconds, StatusCode, Timestamp};

use crate::thresholds::{at_agent, at_cluster, at_pool, one};
use crate::world::{World, backup, ended, item_ended, marked};

/// A member that speaks this version; none: it has not introduced itself.
fn member(world: &mut World, node_id: u64, speaks: Option<u32>) {
    let name = format!("primary-{node_id}");
    assert_eq!(world.apply(Command::AdmitMember { node_id, name }), Reply::Done);
    if let Some(speaks) = speaks {
        describe(world, node_id, speaks);
    }
}

fn describe(world: &mut World, node_id: u64, cluster_version: u32) {
    let described = world.apply(Command::DescribeMember {
        node_id,
        host_id: format!("host-{node_id}"),
        version: "0.1.0".into(),
        cluster_version,
    });
    assert_eq!(described, Reply::Done);
}

fn in_force(world: &World) -> u32 {
    world.state.cluster().unwrap().version
}

#[test]
fn a_version_is_spoken_by_all_or_not_in_force() {
    let rows: [(&[Option<u32>], Option<u32>); 7] = [
        (&[Some(1), Some(1), Some(1)], None),
        (&[Some(2), Some(2), Some(1)], None),
        (&[Some(2), Some(2), None], None),
        // One from before versions were told.
        (&[Some(2), Some(2), Some(0)], None),
        (&[Some(2), Some(2), Some(2)], Some(2)),
        (&[Some(4), Some(3), Some(5)], Some(3)),
        (&[Some(2)], Some(2)),
    ];
    for (speak, all_speak) in rows {
        let mut world = World::of_before();
        for (node_id, speaks) in (1..).zip(speak) {
            member(&mut world, node_id, *speaks);
        }
        assert_eq!(world.state.version_all_speak(), all_speak, "{speak:?}");
        for to in 0..6 {
            let before = in_force(&world);
            let allowed = all_speak.is_some_and(|spoken| before < to && to <= spoken);
            match world.apply(Command::RaiseClusterVersion { to }) {
                Reply::Done => assert!(allowed, "{speak:?} to {to}"),
                Reply::Refused(Refusal::InvalidRequest { field, .. }) => {
                    assert!(!allowed && field == "cluster_version", "{speak:?} to {to}");
                }
                other => panic!("{other:?}"),
            }
            assert!(in_force(&world) >= before, "it never falls: {speak:?} to {to}");
        }
        assert_eq!(in_force(&world), all_speak.unwrap_or(1), "{speak:?}");
    }
}

#[test]
fn who_has_left_holds_nobody_back_and_who_comes_does() {
    let mut world = World::of_before();
    member(&mut world, 1, Some(2));
    member(&mut world, 2, Some(1));
    assert_eq!(world.state.version_all_speak(), None);
    world.apply(Command::RemoveMember { node_id: 2 });
    assert_eq!(world.state.version_all_speak(), Some(2));
    member(&mut world, 3, None);
    assert_eq!(world.state.version_all_speak(), None);
    describe(&mut world, 3, 2);
    assert_eq!(world.apply(Command::RaiseClusterVersion { to: 2 }), Reply::Done);
    assert_eq!((in_force(&world), world.state.version_all_speak()), (2, None));
}

/// A member of before would stop at them; `agent disable` while a group is upgraded took its old primaries down.
#[test]
fn t90_a_command_that_a_member_cannot_read_is_not_proposed() {
    let name = || "media-1".parse().unwrap();
    let rules = || Command::ChangeRules {
        change: RuleChange::Delete {
            name: "ours".parse().unwrap(),
        },
    };
    let admin = || Command::SetAgentAdmin {
        agent: name(),
        admin: AgentAdmin::Disabled,
    };
    let dead = || Command::DeclareDead { agent: name() };
    for (version, expected) in [
        (7, [true, false, false, false]),
        (8, [true, true, true, false]),
        (9, [true; 4]),
    ] {
        let world = World::speaking(version);
        let found = [backup("home"), admin(), dead(), rules()].map(|command| world.state.can_read(&command));
        assert_eq!(found, expected, "version {version}");
    }
    assert!(!World::of_before().state.can_read(&rules()));
    let (world, before) = (World::speaking(9), World::speaking(8));
    let thresholds = one(Threshold::StalledAfter, Some(Seconds(400)));
    let removed = Command::RemoveAgent {
        agent: name(),
        dead: false,
        force: false,
    };
    for command in [at_cluster(thresholds), at_agent("media-1", thresholds), removed] {
        let found = [&before, &world].map(|world| world.state.can_read(&command));
        assert_eq!(found, [false, true], "{command:?}");
    }
    assert!(before.state.can_read(&at_cluster(Thresholds::default())));
    assert!(
        before.state.can_read(&at_pool(thresholds)),
        "they judge it as ever"
    );
}

/// What members of before do not know is not in the state before all know it: theirs would be another one.
#[test]
fn s14e_who_asked_and_what_was_left_alone_are_kept_once_all_members_know_them() {
    let asker = Asker {
        kind: "operator".into(),
        name: "ann".into(),
    };
    for (version, is_kept) in [(1, false), (2, false), (3, true)] {
        let mut world = World::speaking(version);
        let entry = Entry {
            at: Timestamp(2_000_000_000),
            by: "primary-1".into(),
            request_id: None,
            asked_by: Some(asker.clone()),
            command: backup("home"),
        };
        let Reply::Submitted { jobs } = world.state.apply(&Entry::decode(&entry.encode()).unwrap()) else {
            panic!("it is submitted")
        };
        let job = jobs[0];
        world.dispatch();
        let (attempt, media) = world.running(job);
        world.admit(job, attempt);
        world.event(&media, job, attempt, marked());
        let item = ItemNumber(0);
        world.event(&media, job, attempt, EventKind::ItemStarted { item });
        let counters = Counters {
            left_alone: 7,
            ..Counters::default()
        };
        let mut what = item_ended(job, item, ItemOutcome::Done);
        if let EventKind::ItemEnded {
            counters: of_item, ..
        } = &mut what
        {
            *of_item = counters;
        }
        world.event(&media, job, attempt, what);
        let what = EventKind::Ended {
            code: StatusCode::SUCCESSFUL,
            text: String::new(),
            counters,
            stopped: None,
            storage: None,
        };
        world.event(&media, job, attempt, what);
        let by = world.state.job(job).unwrap().by.clone();
        assert_eq!(by, is_kept.then(|| asker.clone()), "version {version}");
        let history = world.state.history(job, attempt).unwrap();
        let kept = if is_kept { 7 } else { 0 };
        assert_eq!(history.counters.left_alone, kept, "version {version}");
        assert_eq!(history.items[0].counters.left_alone, kept, "version {version}");
        let names = |row: &[u8]| {
            [&b"left_alone"[..], b"asked_by", b"operator"]
                .iter()
                .any(|name| row.windows(name.len()).any(|part| part == *name))
        };
        let rows = world.state.take_changes();
        let is_named = rows
            .iter()
            .any(|(_, row)| names(row.as_deref().unwrap_or_default()));
        assert_eq!(is_named, is_kept, "version {version}");
    }
}

/// Members of before would have other rows.
#[test]
fn t90_l04_what_was_excluded_is_kept_from_the_version_on_that_knows_it() {
    for (version, kept) in [(5, 0), (6, 3)] {
        let mut world = World::speaking(version);
        let (job, attempt, media) = world.running_job();
        let item = ItemNumber(0);
        world.event(&media, job, attempt, EventKind::ItemStarted { item });
        let counters = Counters {
            excluded: 3,
            ..Counters::default()
        };
        let mut what = item_ended(job, item, ItemOutcome::Done);
        if let EventKind::ItemEnded {
            counters: of_item, ..
        } = &mut what
        {
            *of_item = counters;
        }
        world.event(&media, job, attempt, what);
        let what = EventKind::Ended {
            code: StatusCode::SUCCESSFUL,
            text: String::new(),
            counters,
            stopped: None,
            storage: None,
        };
        world.event(&media, job, attempt, what);
        let history = world.state.history(job, attempt).unwrap();
        let found = [history.counters.excluded, history.items[0].counters.excluded];
        assert_eq!(found, [kept; 2], "version {version}");
        let name = b"excluded";
        let rows = world.state.take_changes();
        let is_named = rows.iter().any(|(_, row)| {
            let row = row.as_deref().unwrap_or_default();
            row.windows(name.len()).any(|part| part == name)
        });
        assert_eq!(is_named, kept > 0, "version {version}");
    }
}

/// Members of before would have other rows.
#[test]
fn t90_a_restore_point_names_the_tree_of_its_snapshot_from_the_version_on_that_knows_it() {
    for (version, is_kept) in [(4, false), (5, true)] {
        let mut world = World::speaking(version);
        let (job, attempt, media) = world.running_job();
        let item = ItemNumber(0);
        let ended = item_ended(job, item, ItemOutcome::Done);
        world.event(&media, job, attempt, ended);
        let (_, point) = world.state.restore_points().next().unwrap();
        assert_eq!(point.tree.is_some(), is_kept, "version {version}");
        let names = |row: &[u8]| row.windows(4).any(|part| part == b"tree");
        let rows = world.state.take_changes();
        let is_named = (rows.iter()).any(|(_, row)| names(row.as_deref().unwrap_or_default()));
        assert_eq!(is_named, is_kept, "version {version}");
    }
}

/// B-09. Media agents' clocks, by which their snapshots are stamped, are days off in either direction.
#[test]
fn t90_b09_no_clock_of_an_agent_sets_restore_points_in_another_order() {
    const DAY: i64 = 24 * 3600 * 1_000_000;
    let offs = [0, -DAY, 10 * DAY, -5 * DAY, i64::MIN, i64::MAX];
    for (version, is_kept) in [(6, false), (7, true)] {
        let mut world = World::speaking(version);
        let (mut committed, mut parents) = (Vec::new(), Vec::new());
        for off in offs {
            let (job, attempt, media) = world.running_job();
            let begun = world.open(job).started_at;
            let unit = (world.state.agent(&media).unwrap().media.as_ref().unwrap())
                .storage_unit
                .clone();
            let mut what = item_ended(job, ItemNumber(0), ItemOutcome::Done);
            if let EventKind::ItemEnded {
                snapshot: Some((id, time)),
                ..
            } = &mut what
            {
                *time = Timestamp(world.now.saturating_add(off));
                committed.push((*id, begun));
            }
            world.event(&media, job, attempt, what);
            let told = Timestamp(world.now);
            world.event(&media, job, attempt, ended(StatusCode::SUCCESSFUL));
            let (id, begun) = *committed.last().unwrap();
            let point = world.state.restore_point(&id).unwrap();
            let parent = world
                .state
                .parent_of(&point.client, &point.policy, &point.item, &unit);
            parents.push(parent == Some(id));
            let is_within = begun <= point.time && point.time <= told;
            assert!(
                is_within || !is_kept,
                "{off}: {begun:?} {:?} {told:?}",
                point.time
            );
        }
        assert_eq!(
            parents.iter().all(|is_last| *is_last),
            is_kept,
            "the last one is the parent: {parents:?}"
        );
        let times = committed
            .iter()
            .map(|(id, _)| world.state.restore_point(id).unwrap().time);
        assert_eq!(times.is_sorted(), is_kept, "version {version}");
    }
}

/// Those of before keep their times; whatever these are, the next one is the parent of what follows.
#[test]
fn t90_b09_restore_points_of_before_are_parents_no_more_once_there_is_another() {
    let mut world = World::speaking(6);
    let (job, attempt, media) = world.running_job();
    let mut what = item_ended(job, ItemNumber(0), ItemOutcome::Done);
    if let EventKind::ItemEnded {
        snapshot: Some((_, time)),
        ..
    } = &mut what
    {
        *time = Timestamp(i64::MAX);
    }
    world.event(&media, job, attempt, what);
    world.event(&media, job, attempt, ended(StatusCode::SUCCESSFUL));
    member(&mut world, 1, Some(7));
    assert_eq!(world.apply(Command::RaiseClusterVersion { to: 7 }), Reply::Done);
    let job = world.submit();
    world.dispatch();
    world.finish(job, &[ItemOutcome::Done], StatusCode::SUCCESSFUL);
    let unit = (world.state.agent(&media).unwrap().media.as_ref().unwrap())
        .storage_unit
        .clone();
    let id = crate::world::snapshot(job, ItemNumber(0), 0);
    let point = world.state.restore_point(&id).unwrap();
    let parent = world
        .state
        .parent_of(&point.client, &point.policy, &point.item, &unit);
    assert_eq!(parent, Some(id));
}
