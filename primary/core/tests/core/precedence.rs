//! E-05 as a table: what follows an attempt is the first that applies, with which tries, and how each is named.

use outlast_core::entry::RuleChange;
use outlast_core::{Command, EventKind, Reply};
use outlast_proto::words::{
    Counters, Covers, Disposition, Interruption, JobId, JobState, Rule, Seconds, StatusCode, Stopped,
};

use crate::follow_up::{MINUTE, checkpoint, lose, recover, running_job, said, state};
use crate::world::{World, ended};

fn change(world: &mut World, change: RuleChange) {
    let reply = world.apply(Command::ChangeRules { change });
    assert!(!matches!(reply, Reply::Refused(_)), "{reply:?}");
}

/// "custom" for these codes.
fn custom(world: &mut World, codes: &[u16], retries: u32, interval: u64, then: Disposition) {
    let codes = codes.iter().copied().map(StatusCode).collect();
    let rule = Rule {
        retries,
        interval: Seconds(interval),
        then,
        ..Rule::with_defaults("custom".parse().unwrap(), Covers::Codes(codes))
    };
    change(world, RuleChange::Apply { rules: vec![rule] });
}

fn default_on(world: &mut World, name: &str) {
    let name = name.parse().unwrap();
    change(world, RuleChange::Switch { name, enabled: true });
}

fn fail(world: &mut World, job: JobId, code: u16) {
    let (attempt, media) = world.running(job);
    world.event(&media, job, attempt, ended(StatusCode(code)));
}

/// The state, and what it waits for or is held by.
fn follows(world: &World, job: JobId) -> (JobState, String) {
    let row = world.state.job(job).unwrap();
    let waits = row.follow_up.waits.as_ref().map(|waits| waits.rule.to_string());
    let hold = row.follow_up.hold.as_ref().map(|hold| hold.by.clone());
    (row.state, hold.or(waits).unwrap_or_default())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, row by row")]
fn e05_the_first_that_applies_follows() {
    use JobState::{Done, Held, Incomplete, Queued, WaitingForRetry};
    type Row = (&'static str, fn(&mut World, JobId), JobState, &'static str);
    let table: [Row; 12] = [
        ("nothing applies", |w, job| fail(w, job, 84), Done, ""),
        (
            "success",
            |w, job| (default_on(w, "Job Errors"), fail(w, job, 0)).1,
            Done,
            "",
        ),
        (
            "a stop, though a rule has the code",
            |w, job| {
                custom(w, &[150, 13], 2, 60, Disposition::Hold);
                let (attempt, media) = w.running(job);
                let what = EventKind::Ended {
                    code: StatusCode::CANCELED,
                    text: "canceled".into(),
                    counters: Counters::default(),
                    stopped: Some(Stopped::Immediate),
                    storage: None,
                };
                w.event(&media, job, attempt, what);
            },
            Done,
            "",
        ),
        (
            "a cancel that comes before the error",
            |w, job| {
                custom(w, &[13], 2, 60, Disposition::Hold);
                let by = "somebody".into();
                w.apply(Command::CancelJob { job, by });
                fail(w, job, 13);
            },
            Done,
            "",
        ),
        (
            "failover before rules",
            |w, job| {
                custom(w, &[40, 1110, 1111], 2, 60, Disposition::Hold);
                lose(w, job, None);
            },
            Queued,
            "",
        ),
        (
            "a custom rule before the default one",
            |w, job| {
                default_on(w, "Storage Errors");
                custom(w, &[84], 2, 60, Disposition::Hold);
                fail(w, job, 84);
            },
            WaitingForRetry,
            "rule custom",
        ),
        (
            "the default rule of the category",
            |w, job| {
                default_on(w, "Storage Errors");
                custom(w, &[129], 2, 60, Disposition::Hold);
                fail(w, job, 84);
            },
            WaitingForRetry,
            "rule Storage Errors",
        ),
        (
            "that of another category",
            |w, job| (default_on(w, "Job Errors"), fail(w, job, 84)).1,
            Done,
            "",
        ),
        (
            "no retry, and hold",
            |w, job| {
                custom(w, &[84], 0, 60, Disposition::Hold);
                fail(w, job, 84);
            },
            Held,
            "rule custom",
        ),
        (
            "no retry, and its schedule",
            |w, job| {
                custom(w, &[84], 0, 60, Disposition::Reschedule);
                fail(w, job, 84);
            },
            Done,
            "",
        ),
        (
            "a rule before F-09",
            |w, job| {
                default_on(w, "Client Errors");
                checkpoint(w, job);
                lose(w, job, Some(Interruption::ClientCameBackNew));
            },
            WaitingForRetry,
            "rule Client Errors",
        ),
        (
            "F-09 where no rule has the code",
            |w, job| {
                default_on(w, "Storage Errors");
                checkpoint(w, job);
                lose(w, job, Some(Interruption::ClientCameBackNew));
            },
            Incomplete,
            "rule Client Loss (F-09)",
        ),
    ];
    for (what, end, expected, by) in table {
        let mut world = World::new();
        let (job, ..) = running_job(&mut world);
        end(&mut world, job);
        assert_eq!(follows(&world, job), (expected, by.to_owned()), "{what}");
        assert!(
            by.is_empty() || said(&world, job, by),
            "{what}: the details name it"
        );
        let is_done = world.state.job(job).unwrap().status.is_some();
        assert_eq!(is_done, expected == Done, "{what}");
    }
}

/// The retries of a rule are used up whatever the intervals: those that F-09 counts no more count for it.
#[test]
fn t90_e05_a_rule_with_long_intervals_does_not_begin_a_job_again_for_ever() {
    for interval in [60, 5 * 3600, 13 * 3600, 7 * 86_400] {
        let mut world = World::new();
        custom(&mut world, &[84], 3, interval, Disposition::Hold);
        let (job, ..) = running_job(&mut world);
        for round in 1..=2 {
            for number in 1..=3 {
                fail(&mut world, job, 84);
                let waits = world.state.job(job).unwrap().follow_up.waits.clone().unwrap();
                assert_eq!(waits.number, (number, 3), "{interval} {round}");
                world.now += interval as i64 * 1_000_000;
                assert_eq!(recover(&mut world), 1, "{interval} {round} {number}");
                assert_eq!(world.dispatch(), 1);
            }
            fail(&mut world, job, 84);
            assert_eq!(
                follows(&world, job),
                (JobState::Held, "rule custom".into()),
                "{interval}"
            );
            // Who releases it has looked at the cause: all retries are there again.
            let by = "somebody".to_owned();
            assert_eq!(world.apply(Command::ReleaseJob { job, by }), Reply::Done);
            assert_eq!(world.dispatch(), 1);
        }
    }
}

/// A rule counts as it is when the attempt ends; one that is switched off leaves what waits alone.
#[test]
fn e02_a_rule_that_is_switched_off_or_deleted_while_a_job_waits_by_it() {
    for gone in [false, true] {
        let mut world = World::new();
        custom(&mut world, &[84], 3, 60, Disposition::Hold);
        let (job, ..) = running_job(&mut world);
        fail(&mut world, job, 84);
        let name = "custom".parse().unwrap();
        change(
            &mut world,
            match gone {
                true => RuleChange::Delete { name },
                false => RuleChange::Switch { name, enabled: false },
            },
        );
        world.now += MINUTE;
        assert_eq!(recover(&mut world), 1);
        assert_eq!(world.dispatch(), 1);
        fail(&mut world, job, 84);
        assert_eq!(state(&world, job), JobState::Done, "{gone}");
        assert_eq!(world.state.histories_of(job).count(), 2);
    }
}

/// It was due, and nobody could take it, until it was over: what the rule says comes then.
#[test]
fn t90_e01_a_job_that_cannot_begin_in_time_is_held_if_its_rule_says_so() {
    for (then, expected) in [
        (Disposition::Hold, JobState::Held),
        (Disposition::Reschedule, JobState::Done),
    ] {
        let mut world = World::new();
        custom(&mut world, &[84], 3, 60, then);
        let (job, ..) = running_job(&mut world);
        fail(&mut world, job, 84);
        world.presence.connected.clear();
        world.now += 10 * MINUTE;
        assert_eq!(recover(&mut world), 0, "it is not over yet");
        world.now += 300 * MINUTE;
        assert_eq!(recover(&mut world), 1);
        assert_eq!(state(&world, job), expected);
        if expected == JobState::Held {
            assert_eq!(follows(&world, job).1, "rule custom");
            assert!(said(&world, job, "it was due and could not begin in time"));
        }
    }
}
