//! DESIGN 3: the cluster version, and who has a say in it.

use outlast_core::{Command, Refusal, Reply};

use crate::world::World;

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
