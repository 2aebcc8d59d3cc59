//! C-01: thresholds of an agent, its pool and the cluster, in that order.

use outlast_core::entry::{PoolChange, SettingsChange};
use outlast_core::rows::Pool;
use outlast_core::thresholds::{INHERIT, InForce, Level, Threshold, Thresholds};
use outlast_core::{Command, Refusal, Reply};
use outlast_proto::words::{AgentName, PoolName, Seconds};

use crate::world::{MEDIA, World, agent};

pub(crate) fn pool() -> PoolName {
    "default".parse().unwrap()
}

pub(crate) fn one(which: Threshold, value: Option<Seconds>) -> Thresholds {
    let mut change = Thresholds::default();
    change.set(which, value);
    change
}

pub(crate) fn at_agent(name: &str, change: Thresholds) -> Command {
    let agent = agent(name);
    Command::SetAgentThresholds { agent, change }
}

pub(crate) fn at_pool(change: Thresholds) -> Command {
    let change = PoolChange {
        failover_after: change.failover_after,
        stalled_after: change.stalled_after,
        no_communication_after: change.no_communication_after,
        ..PoolChange::default()
    };
    Command::ChangePool { name: pool(), change }
}

pub(crate) fn at_cluster(thresholds: Thresholds) -> Command {
    let change = SettingsChange {
        thresholds,
        ..SettingsChange::default()
    };
    Command::ChangeSettings { change }
}

#[test]
fn c01_what_a_level_does_not_say_the_one_above_says() {
    for which in Threshold::ALL {
        let mut world = World::new();
        let media: AgentName = agent(MEDIA[0]);
        let built_in = which.built_in();
        let seconds = |more: u64| Seconds(built_in.0 + more);
        let (back, some) = (Some(INHERIT), |more| Some(seconds(more)));
        // What is set, and what is in force then: at the agent, at another one of its pool, at the pool, at the cluster.
        type Expected = [(u64, Level); 4];
        let (a, p, c, d) = (Level::Agent, Level::Pool, Level::Cluster, Level::BuiltIn);
        let rows: [(Command, Expected); 8] = [
            (at_cluster(one(which, some(1))), [(1, c), (1, c), (1, c), (1, c)]),
            (at_pool(one(which, some(2))), [(2, p), (2, p), (2, p), (1, c)]),
            (
                at_agent(MEDIA[0], one(which, some(3))),
                [(3, a), (2, p), (2, p), (1, c)],
            ),
            // Set to what it was, it is set.
            (at_pool(one(which, some(0))), [(3, a), (0, p), (0, p), (1, c)]),
            (at_cluster(one(which, back)), [(3, a), (0, p), (0, p), (0, d)]),
            (at_pool(one(which, back)), [(3, a), (0, d), (0, d), (0, d)]),
            (
                at_agent(MEDIA[0], Thresholds::default()),
                [(3, a), (0, d), (0, d), (0, d)],
            ),
            (at_agent(MEDIA[0], one(which, back)), [(0, d); 4]),
        ];
        for (command, expected) in rows {
            assert_eq!(world.apply(command.clone()), Reply::Done, "{command:?}");
            // An agent that comes anew is what was made of it.
            world.register_media(MEDIA[0], "journal-1");
            let found = [
                world.state.threshold(which, &media),
                world.state.threshold(which, &agent(MEDIA[1])),
                world.state.threshold_of_pool(which, &pool()),
                world.state.threshold_of_cluster(which),
            ];
            let expected = expected.map(|(more, from)| InForce {
                value: seconds(more),
                from,
            });
            assert_eq!(found, expected, "{which:?} {command:?}");
        }
    }
}

#[test]
fn c01_a_client_has_no_failover_and_nobody_else_is_set() {
    let mut world = World::new();
    let change = one(Threshold::FailoverAfter, Some(Seconds(40)));
    let reply = world.apply(at_agent("local", change));
    assert!(
        matches!(&reply, Reply::Refused(Refusal::InvalidRequest { field, .. }) if field == "failover_after"),
        "{reply:?}"
    );
    let change = one(Threshold::StalledAfter, Some(Seconds(7)));
    assert_eq!(
        world.apply(at_agent("local", change)),
        Reply::Done,
        "no pool fits it"
    );
    let name = agent("nobody");
    assert_eq!(
        world.apply(at_agent("nobody", change)),
        Reply::Refused(Refusal::NoSuchAgent { name })
    );
}

/// Members of before have the same rows; what was left as it was inherits from then on.
#[test]
fn t90_pools_of_before_inherit_what_nobody_had_set_once_all_members_know_levels() {
    let mut world = World::speaking(8);
    let before = Pool::default();
    let own = world.state.pool(&pool()).unwrap().thresholds();
    assert_eq!(own, before.thresholds());
    assert_eq!(own.stalled_after, Some(Seconds(300)));
    for refused in [
        at_cluster(one(Threshold::StalledAfter, Some(Seconds(400)))),
        at_agent(MEDIA[0], one(Threshold::StalledAfter, Some(Seconds(400)))),
    ] {
        assert_eq!(world.apply(refused), Reply::Refused(Refusal::TooOld));
    }
    // As members of before judge it: only the grace, and no 0.
    let refused = world.apply(at_pool(one(Threshold::StalledAfter, Some(INHERIT))));
    assert!(matches!(refused, Reply::Refused(Refusal::InvalidRequest { .. })));
    let change = one(Threshold::NoCommunicationAfter, Some(Seconds(1000)));
    assert_eq!(world.apply(at_pool(change)), Reply::Done);
    let change = one(Threshold::StalledAfter, Some(Seconds(1)));
    assert_eq!(world.apply(at_pool(change)), Reply::Done);
    for command in [
        Command::AdmitMember {
            node_id: 1,
            name: "primary-1".into(),
        },
        Command::DescribeMember {
            node_id: 1,
            host_id: "host".into(),
            version: "0.2.0".into(),
            cluster_version: 9,
        },
        Command::RaiseClusterVersion { to: 9 },
    ] {
        assert_eq!(world.apply(command), Reply::Done);
    }
    let own = world.state.pool(&pool()).unwrap().thresholds();
    assert_eq!(own.failover_after, None);
    assert_eq!(
        (own.stalled_after, own.no_communication_after),
        (Some(Seconds(1)), Some(Seconds(1000)))
    );
    // What did not fit before is nobody's fault now: other settings are set as ever, and that one only to what fits.
    let change = SettingsChange {
        resilience: Some(false),
        disruption_grace: Some(Seconds(10)),
        ..SettingsChange::default()
    };
    assert_eq!(world.apply(Command::ChangeSettings { change }), Reply::Done);
    for (value, fits) in [(2, false), (29, false), (30, true)] {
        let change = one(Threshold::StalledAfter, Some(Seconds(value)));
        assert_eq!(world.apply(at_pool(change)) == Reply::Done, fits, "{value}");
    }
}
