//! S-02: exceptions belong to the job, whichever attempt met them.

use outlast_core::entry::RestoreRequest;
use outlast_core::{CLUSTER_VERSION, Command, EventKind, Reply};
use outlast_proto::words::{
    CompletionStatus, Counters, ItemNumber, ItemOutcome, JobNonce, Overwrite, StatusCode,
};

use crate::world::{World, ended, item_ended, marked, snapshot};

/// The item with the skipped files was finished by the attempt that was given up: the job is not successful for that.
#[test]
fn t90_s02_exceptions_survive_a_change_of_attempt() {
    for (before, status, code) in [
        (
            World::new(),
            CompletionStatus::CompletedWithExceptions,
            StatusCode::EXCEPTIONS,
        ),
        // As members of before do, while they are in the group.
        (
            World::of_before(),
            CompletionStatus::Successful,
            StatusCode::SUCCESSFUL,
        ),
    ] {
        let mut world = before;
        let (job, attempt, media) = world.running_job();
        let (first, second) = (ItemNumber(0), ItemNumber(1));
        let found = EventKind::ExceptionsFound {
            item: first,
            exceptions: vec![outlast_proto::words::Exception {
                path: "/home/locked".into(),
                reason: "in use".into(),
                item: None,
            }],
        };
        for what in [
            EventKind::ItemStarted { item: first },
            found,
            item_ended(job, first, ItemOutcome::DoneWithExceptions),
            EventKind::ItemStarted { item: second },
            EventKind::Interrupted {
                counters: Counters::default(),
                reason: "killed".into(),
                cause: None,
            },
        ] {
            world.event(&media, job, attempt, what);
        }
        world.dispatch();
        let (attempt, media) = world.running(job);
        world.event(&media, job, attempt, marked());
        world.event(&media, job, attempt, item_ended(job, second, ItemOutcome::Done));
        world.event(&media, job, attempt, ended(StatusCode::SUCCESSFUL));
        assert_eq!(world.state.job(job).unwrap().status, Some((status, code)));
        let (_, last) = world.state.histories_of(job).last().unwrap();
        assert_eq!((last.status, last.code), (status, code));
        // The counters stay those of the attempt, and the name that of the item.
        assert_eq!(last.counters.exceptions, 0);
        let (_, first_history) = world.state.histories_of(job).next().unwrap();
        let named = first_history.exceptions[0].item;
        assert_eq!(named, (code == StatusCode::EXCEPTIONS).then_some(first));
    }
}

/// A restore leaves alone what its first attempt has made, and says nothing of it: what that one met counts.
#[test]
fn t90_s02_exceptions_of_each_attempt_of_a_restore_count() {
    for (version, code) in [
        (CLUSTER_VERSION, StatusCode::EXCEPTIONS),
        (6, StatusCode::SUCCESSFUL),
    ] {
        let mut world = World::speaking(version);
        let (backup, ..) = world.running_job();
        let both = [ItemOutcome::Done, ItemOutcome::Done];
        world.finish(backup, &both, StatusCode::SUCCESSFUL);
        let request = RestoreRequest {
            restore_point: snapshot(backup, ItemNumber(0), 0),
            paths: vec![],
            to: "/restored".into(),
            client: None,
            overwrite: Overwrite::Never,
        };
        let nonce = JobNonce(1);
        let Reply::Submitted { jobs } = world.apply(Command::SubmitRestore { request, nonce }) else {
            panic!()
        };
        let (job, item) = (jobs[0], ItemNumber(0));
        let met = EventKind::ExceptionsFound {
            item,
            exceptions: vec![outlast_proto::words::Exception {
                path: "/home/letter".into(),
                reason: "its owner could not be set".into(),
                item: None,
            }],
        };
        let killed = EventKind::Interrupted {
            counters: Counters::default(),
            reason: "killed".into(),
            cause: None,
        };
        world.dispatch();
        let (attempt, media) = world.running(job);
        for what in [marked(), EventKind::ItemStarted { item }, met, killed] {
            world.event(&media, job, attempt, what);
        }
        world.dispatch();
        let (attempt, media) = world.running(job);
        for what in [
            marked(),
            EventKind::ItemStarted { item },
            ended(StatusCode::SUCCESSFUL),
        ] {
            world.event(&media, job, attempt, what);
        }
        let status = world.state.job(job).unwrap().status;
        assert_eq!(status.map(|(_, code)| code), Some(code), "{version}");
    }
}
