//! Policies, submissions, request ids: what is accepted, what is refused, what happens once.

use outlast_core::entry::RestoreRequest;
use outlast_core::{Command, Refusal, Reply};
use outlast_proto::words::{
    ItemNumber, ItemOutcome, JobId, JobKind, JobNonce, Overwrite, PolicyType, Schedule, Seconds, SnapshotId,
    StatusCode, WindowEnd,
};

use crate::world::{World, agent, backup, policy, snapshot};

#[test]
fn r16_a_repeated_request_happens_once() {
    let mut world = World::new();
    let first = world.apply_as(Some("request-1"), backup("home"));
    for _ in 0..3 {
        assert_eq!(world.apply_as(Some("request-1"), backup("home")), first);
    }
    assert_ne!(world.apply_as(Some("request-2"), backup("home")), first);
    assert_eq!(world.state.jobs_before(None).count(), 2);
}

#[test]
fn a_refused_request_stays_refused_under_its_id() {
    let mut world = World::new();
    let first = world.apply_as(Some("request-1"), backup("later"));
    assert!(matches!(first, Reply::Refused(Refusal::NoSuchPolicy { .. })));
    world.apply(Command::ApplyPolicy {
        policy: policy("later", &["/"]),
    });
    assert_eq!(world.apply_as(Some("request-1"), backup("later")), first);
    assert!(matches!(
        world.apply_as(Some("request-2"), backup("later")),
        Reply::Submitted { .. }
    ));
}

#[test]
fn policies_that_cannot_work_are_refused_by_field() {
    let mut world = World::new();
    for (field, change) in [
        (
            "type",
            (|p| p.policy_type = PolicyType::Oracle) as fn(&mut outlast_proto::words::Policy),
        ),
        ("clients", |p| p.clients.clear()),
        ("clients", |p| p.clients.push(agent("local"))),
        ("items", |p| p.items.clear()),
        ("items", |p| p.items.push("relative".into())),
        ("items", |p| p.items.push("/home".into())),
        ("checkpoint.interval", |p| p.checkpoint.interval = Seconds(0)),
        ("limits.bandwidth", |p| p.limits.bandwidth = Some(0)),
        ("shape", |p| p.shape.streams = 0),
        ("items", |p| p.items.push("/srv/../etc".into())),
        ("schedule", |p| p.schedules.push(nightly("0 25 * * *", None))),
        ("schedule", |p| {
            p.schedules.push(nightly("0 1 * * *", Some("23:00-26:00")))
        }),
    ] {
        let mut bad = policy("bad", &["/home"]);
        change(&mut bad);
        match world.apply(Command::ApplyPolicy { policy: bad }) {
            Reply::Refused(Refusal::InvalidPolicy { field: found, .. }) => assert_eq!(found, field),
            reply => panic!("{field}: {reply:?}"),
        }
    }
    assert!(world.state.policy(&"bad".parse().unwrap()).is_none());
}

fn nightly(cron: &str, window: Option<&str>) -> Schedule {
    Schedule {
        name: "nightly".into(),
        cron: Some(cron.into()),
        every: None,
        timezone: "UTC".into(),
        window: window.map(str::to_owned),
        at_window_end: WindowEnd::Finish,
    }
}

#[test]
fn a_pool_that_does_not_exist_is_named_with_those_that_do() {
    let mut world = World::new();
    let mut bad = policy("bad", &["/home"]);
    bad.pool = "nowhere".parse().unwrap();
    let Reply::Refused(refusal) = world.apply(Command::ApplyPolicy { policy: bad }) else {
        panic!()
    };
    assert_eq!(
        refusal.to_string(),
        "there is no pool \"nowhere\"; the pools are: default"
    );
}

#[test]
fn applying_a_policy_again_changes_nothing() {
    let mut world = World::new();
    let same = world.apply(Command::ApplyPolicy {
        policy: policy("home", &["/home", "/etc"]),
    });
    assert_eq!(
        same,
        Reply::PolicyApplied {
            changes: vec![],
            created: false,
            revision: 1
        }
    );
    let Reply::PolicyApplied {
        changes,
        created,
        revision,
    } = world.apply(Command::ApplyPolicy {
        policy: policy("home", &["/home"]),
    })
    else {
        panic!()
    };
    assert_eq!((changes.len(), created, revision), (1, false, 2));
    assert!(changes[0].starts_with("items: "), "{changes:?}");
}

#[test]
fn t11_jobs_keep_their_policy() {
    let mut world = World::new();
    let job = world.submit();
    world.apply(Command::ApplyPolicy {
        policy: policy("home", &["/srv"]),
    });
    assert_eq!(
        world.apply(Command::DeletePolicy {
            name: "home".parse().unwrap()
        }),
        Reply::Done
    );
    assert!(matches!(
        world.apply(backup("home")),
        Reply::Refused(Refusal::NoSuchPolicy { .. })
    ));
    let row = world.state.job(job).unwrap();
    assert_eq!(world.state.policy_of(row).unwrap().items, ["/home", "/etc"]);
    world.dispatch();
    world.finish(
        job,
        &[ItemOutcome::Done, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
    assert_eq!(world.state.restore_points().count(), 2);
    // The name can be used again; its revisions go on.
    let again = world.apply(Command::ApplyPolicy {
        policy: policy("home", &["/srv"]),
    });
    assert_eq!(
        again,
        Reply::PolicyApplied {
            changes: vec!["policy \"home\" is new".into()],
            created: true,
            revision: 3
        }
    );
}

#[test]
fn a_client_that_the_policy_does_not_name_is_refused() {
    let mut world = World::new();
    let client = Some(agent("other"));
    let command = Command::SubmitBackup {
        policy: "home".parse().unwrap(),
        client,
        full: false,
        nonce: JobNonce(1),
    };
    assert!(matches!(
        world.apply(command),
        Reply::Refused(Refusal::ClientNotInPolicy { .. })
    ));
}

#[test]
fn restores_are_checked_before_they_are_jobs() {
    let mut world = World::new();
    let (job, ..) = world.running_job();
    world.finish(
        job,
        &[ItemOutcome::Done, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
    let good = RestoreRequest {
        restore_point: snapshot(job, ItemNumber(0), 0),
        paths: vec![],
        to: "/restored".into(),
        client: None,
        overwrite: Overwrite::Never,
    };
    for (name, bad) in [
        (
            "no such restore point",
            RestoreRequest {
                restore_point: SnapshotId([7; 32]),
                ..good.clone()
            },
        ),
        (
            "relative target",
            RestoreRequest {
                to: "restored".into(),
                ..good.clone()
            },
        ),
        (
            "relative path",
            RestoreRequest {
                paths: vec!["home".into()],
                ..good.clone()
            },
        ),
        (
            "no such client",
            RestoreRequest {
                client: Some(agent("nobody")),
                ..good.clone()
            },
        ),
        (
            "a media agent is no client",
            RestoreRequest {
                client: Some(agent("media-1")),
                ..good.clone()
            },
        ),
    ] {
        let reply = world.apply(restore(bad));
        assert!(matches!(reply, Reply::Refused(_)), "{name}: {reply:?}");
    }
    let request = RestoreRequest {
        client: Some(agent("other")),
        ..good
    };
    let Reply::Submitted { jobs } = world.apply(restore(request)) else {
        panic!()
    };
    let restore = world.state.job(jobs[0]).unwrap();
    assert_eq!(
        (restore.kind(), restore.client.as_str()),
        (JobKind::Restore, "other")
    );
    assert_eq!(jobs[0], JobId(job.0 + 1));
}

#[test]
fn an_agent_name_belongs_to_one_kind() {
    let mut world = World::new();
    assert!(matches!(
        world.register_client("media-1"),
        Reply::Refused(Refusal::NameTaken { .. })
    ));
    assert!(matches!(
        world.register_media("local", "journal"),
        Reply::Refused(Refusal::NameTaken { .. })
    ));
}

fn restore(request: RestoreRequest) -> Command {
    Command::SubmitRestore {
        request,
        nonce: JobNonce(1),
    }
}
