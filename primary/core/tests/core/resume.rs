//! Whether a lost attempt was `resumed` or `failed_over`, and what was read again after it: S-03, S-04, L-04.

use outlast_core::event::FoundItem;
use outlast_core::{Command, EventKind};
use outlast_proto::words::{
    AgentName, Attempt, CompletionStatus, Counters, ItemNumber, ItemOutcome, JobId, StatusCode, Timestamp,
};

use crate::world::{World, agent, ended, item_ended, marked, policy, snapshot};

/// How the first attempt is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    Restarted,
    NewJournal,
    Silent,
}

const LOSSES: [Loss; 3] = [Loss::Restarted, Loss::NewJournal, Loss::Silent];

/// Two media agents that speak so much, and a policy with or without checkpoint restart.
fn world(speaks: [u32; 2], restarts: bool) -> World {
    let mut world = World::new();
    for (name, speaks) in ["media-1", "media-2"].into_iter().zip(speaks) {
        world.register_media_with(name, "journal-1", |hello| hello.speaks = speaks);
    }
    let mut policy = policy("home", &["/home", "/etc"]);
    policy.checkpoint.restart = restarts;
    world.apply(Command::ApplyPolicy { policy });
    world
}

fn of(bytes: u64) -> Counters {
    Counters {
        bytes,
        bytes_read: bytes,
        ..Counters::default()
    }
}

fn lose(world: &mut World, job: JobId, loss: Loss, progress: Option<Counters>) {
    let (attempt, media) = world.running(job);
    match loss {
        Loss::Restarted => {
            let interrupted = EventKind::Interrupted {
                counters: Counters::default(),
                reason: "restarted".into(),
                cause: None,
            };
            world.event(&media, job, attempt, interrupted);
        }
        Loss::NewJournal => {
            let speaks = world.state.agent(&media).unwrap().speaks;
            world.register_media_with(media.as_str(), "another", |hello| hello.speaks = speaks);
        }
        Loss::Silent => {
            let version = world.state.job(job).unwrap().version;
            world.apply(Command::SupersedeAttempt {
                job,
                version,
                attempt,
                why: "nobody hears it".into(),
                last_progress: progress,
            });
        }
    }
}

/// The next attempt begins, and has surveyed.
fn next(world: &mut World, job: JobId) -> (Attempt, AgentName) {
    assert_eq!(world.dispatch(), 1);
    let (attempt, media) = world.running(job);
    world.admit(job, attempt);
    world.event(&media, job, attempt, marked());
    let surveyed = EventKind::Surveyed {
        found: Vec::new(),
        is_complete: false,
        checkpoint: None,
    };
    world.event(&media, job, attempt, surveyed);
    (attempt, media)
}

fn details(world: &World, job: JobId) -> String {
    let lines = world.state.details_of(job).map(|detail| detail.text.clone());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn s03_s04_a_lost_attempt_is_resumed_exactly_if_the_next_one_looks_for_a_checkpoint() {
    use CompletionStatus::{FailedOver, Resumed};
    let rows = [
        ([2, 2], true, Resumed, ""),
        (
            [2, 2],
            false,
            FailedOver,
            "checkpoint restart is off in the policy",
        ),
        ([1, 1], true, FailedOver, "is too old to go on from a checkpoint"),
    ];
    for (speaks, restarts, status, why) in rows {
        for loss in LOSSES {
            let mut world = world(speaks, restarts);
            let (job, first, _) = world.running_job();
            lose(&mut world, job, loss, None);
            next(&mut world, job);
            let history = world.state.history(job, first).unwrap();
            assert_eq!(history.status, status, "{speaks:?} {restarts} {loss:?}");
            let code = match status {
                Resumed => StatusCode::RESUMED,
                _ => StatusCode::FAILED_OVER,
            };
            assert_eq!(history.code, code);
            assert_eq!(history.error.as_ref().unwrap().code, code);
            let details = details(&world, job);
            let is_from_zero = details.contains("the next attempt begins from zero");
            assert_eq!(is_from_zero, status == FailedOver, "{details}");
            assert!(details.contains(why), "{details}");
        }
    }
}

/// Of an attempt that is given up, the next one's agent counts alone; of one that ends before it is known which that will be, all.
#[test]
fn s04_an_agent_of_before_in_the_pool_goes_on_from_zero() {
    for old in ["media-1", "media-2"] {
        for loss in LOSSES {
            let mut world = world([2, 2], true);
            let (job, first, media) = world.running_job();
            world.register_media_with(old, "journal-1", |hello| hello.speaks = 1);
            lose(&mut world, job, loss, None);
            let (_, other) = next(&mut world, job);
            assert_ne!(other, media);
            let status = match loss {
                Loss::Silent if other != agent(old) => CompletionStatus::Resumed,
                _ => CompletionStatus::FailedOver,
            };
            let history = world.state.history(job, first).unwrap();
            assert_eq!(history.status, status, "{old} {loss:?}");
        }
    }
}

/// One that was given up before it said what the one before it had left.
#[test]
fn s04_each_of_several_lost_attempts_is_judged_by_the_one_that_followed_it() {
    for is_complete in [false, true] {
        let mut world = world([2, 2], true);
        let (job, first, _) = world.running_job();
        lose(&mut world, job, Loss::Silent, None);
        assert_eq!(world.dispatch(), 1);
        let (second, _) = world.running(job);
        lose(&mut world, job, Loss::Silent, None);
        assert_eq!(world.dispatch(), 1);
        let (third, media) = world.running(job);
        world.admit(job, third);
        world.event(&media, job, third, marked());
        let found = |item| FoundItem {
            item: ItemNumber(item),
            attempt: second,
            outcome: ItemOutcome::Done,
            counters: of(5),
            snapshot: (snapshot(job, ItemNumber(item), 9), Timestamp(7)),
            tree: None,
        };
        let found = if is_complete {
            vec![found(0), found(1)]
        } else {
            Vec::new()
        };
        let surveyed = EventKind::Surveyed {
            found,
            is_complete,
            checkpoint: None,
        };
        world.event(&media, job, third, surveyed);
        let status = |attempt| world.state.history(job, attempt).map(|history| history.status);
        let of_second = match is_complete {
            true => CompletionStatus::Successful,
            false => CompletionStatus::Resumed,
        };
        assert_eq!(
            (status(first), status(second)),
            (Some(CompletionStatus::Resumed), Some(of_second))
        );
    }
}

#[test]
fn l04_what_was_read_again_is_counted_where_the_progress_before_is_known() {
    // Last heard of, carried over, read; of that it is known what was read again.
    let rows = [
        (Some(100), 60, 500, Some(40)),
        (Some(100), 100, 500, Some(0)),
        (Some(100), 160, 500, Some(0)),
        (Some(100), 60, 30, Some(30)),
        (Some(7), 0, 500, Some(0)),
        (None, 60, 500, None),
    ];
    for (progress, carried, read, resent) in rows {
        let mut world = world([2, 2], true);
        let (job, first, media) = world.running_job();
        world.event(&media, job, first, EventKind::ItemStarted { item: ItemNumber(0) });
        let mut done = item_ended(job, ItemNumber(0), ItemOutcome::Done);
        let EventKind::ItemEnded { counters, .. } = &mut done else {
            unreachable!()
        };
        *counters = of(1000);
        world.event(&media, job, first, done);
        world.event(&media, job, first, EventKind::ItemStarted { item: ItemNumber(1) });
        // What an item had that is committed counts in neither; an old word may have less than that.
        let last = progress.map(|bytes| of(if bytes == 7 { bytes } else { 1000 + bytes }));
        lose(&mut world, job, Loss::Silent, last);
        let (second, media) = next(&mut world, job);
        let history = world.state.history(job, first).unwrap();
        assert_eq!(history.progress.is_some(), resent.is_some());
        let mut end = ended(StatusCode::SUCCESSFUL);
        let EventKind::Ended { counters, .. } = &mut end else {
            unreachable!()
        };
        counters.bytes_carried_over = carried;
        counters.bytes_read = read;
        world.event(
            &media,
            job,
            second,
            item_ended(job, ItemNumber(1), ItemOutcome::Done),
        );
        world.event(&media, job, second, end);
        let history = world.state.history(job, second).unwrap();
        assert_eq!(
            history.counters.bytes_resent,
            resent.unwrap_or(0),
            "{progress:?} {carried} {read}"
        );
    }
}
