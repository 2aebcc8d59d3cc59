//! The order of an attempt's life, as tables: what happens, and what is done then.

use std::collections::BTreeSet;
use std::time::Duration;

use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{DetailSaid, Leaving, Stopped};
use outlast_proto::words::{
    Attempt as Number, AttemptId, Counters, Interruption, JobId, JobNonce, StatusCode,
};

use super::{Attempt, Command, Event, Terms, Worked};
use crate::ending::{Done, End, Halt};
use crate::fault::Fault;

const GRACE: Duration = Duration::from_secs(20);

fn id(attempt: u32) -> AttemptId {
    AttemptId {
        job: JobId(7),
        nonce: JobNonce(1),
        attempt: Number(attempt),
    }
}

fn terms(attempt: u32) -> Terms {
    Terms {
        id: id(attempt),
        client: "laptop".to_owned(),
        resilient: true,
        decides_losses: false,
        is_backup: true,
        client_wait: Some(Duration::from_secs(60)),
        lock_wait: Duration::from_secs(3600),
        predecessors: BTreeSet::new(),
    }
}

fn fault() -> Fault {
    Fault::broken("it broke")
}

fn worked(outcome: Result<Done, End>) -> Event {
    Event::Worked(Worked {
        outcome,
        counters: Counters::default(),
        unwritten: Vec::new(),
        made_checkpoints: false,
    })
}

fn successful() -> Done {
    Done {
        code: StatusCode::SUCCESSFUL,
        text: String::new(),
        stopped: Stopped::Unspecified,
        storage: None,
    }
}

fn lost_at(seconds: u64) -> Event {
    Event::Contact {
        lost_at: Some(Duration::from_secs(seconds)),
        grace: GRACE,
    }
}

/// The commands, each in a word, with the code of an end.
fn names(commands: &[Command]) -> Vec<String> {
    let name = |command: &Command| match command {
        Command::JournalEnd(events) => match events.last() {
            Some(What::Ended(ended)) => format!("JournalEnd {} of {}", ended.status_code, events.len()),
            Some(What::Interrupted(why)) if why.left() == Leaving::Moved => "JournalEnd left".to_owned(),
            Some(What::Interrupted(_)) => "JournalEnd interrupted".to_owned(),
            other => panic!("no end: {other:?}"),
        },
        Command::Over(over) => format!("Over {:?}", over.as_ref().map(|over| over.code)),
        other => {
            let text = format!("{other:?}");
            let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
            text[..end].to_owned()
        }
    };
    commands.iter().map(name).collect()
}

/// Each step: at which second, what happens, what is to be done.
fn check(terms: Terms, steps: Vec<(u64, Event, &[&str])>) -> Attempt {
    let mut attempt = Attempt::new(terms, None, GRACE);
    let first = attempt.begin(Duration::ZERO);
    assert_eq!(names(&first).is_empty(), !attempt.terms.predecessors.is_empty());
    for (second, event, expected) in steps {
        let told = format!("{second} s: {event:?}");
        let commands = attempt.handle(Duration::from_secs(second), event);
        assert_eq!(names(&commands), expected, "{told}");
    }
    attempt
}

#[test]
fn r02_the_mark_comes_before_the_work_and_the_end_before_the_client_is_told() {
    check(
        terms(1),
        vec![
            (1, Event::Prepared, &["SayAwaited"]),
            (2, Event::ClientCame, &["Mark"]),
            (3, Event::Marked { resilient: true }, &["Work"]),
            (4, worked(Ok(successful())), &["RememberDamage"]),
            (5, Event::Done, &["JournalEnd 0 of 1"]),
            (6, Event::EndJournalled(true), &["SayEnd", "Release"]),
            (7, Event::Done, &["Over Some(0)"]),
        ],
    );
}

#[test]
fn f04_nothing_is_prepared_before_all_predecessors_have_ended() {
    let terms = Terms {
        predecessors: BTreeSet::from([id(1), id(2)]),
        ..terms(3)
    };
    check(
        terms,
        vec![
            (1, Event::PredecessorOver(id(2)), &[]),
            (1, Event::PredecessorOver(id(2)), &[]),
            (2, Event::PredecessorOver(id(1)), &["Prepare"]),
        ],
    );
}

#[test]
fn t90_f04_what_is_halted_before_its_mark_gets_none() {
    for (why, expected) in [
        (Halt::Fenced, &["SayEnd", "Release"] as &[&str]),
        (Halt::Stopped(Stopped::Immediate), &["JournalEnd 150 of 1"]),
        (Halt::Interrupted("over".to_owned()), &["JournalEnd interrupted"]),
    ] {
        // While it prepares.
        check(
            terms(1),
            vec![
                (1, Event::Halt(why.clone()), &[]),
                (2, Event::Prepared, &["RememberDamage"]),
                (3, Event::ClientCame, &[]),
                (3, Event::Done, expected),
            ],
        );
        // While those before it end: nothing is prepared either.
        let after = Terms {
            predecessors: BTreeSet::from([id(9)]),
            ..terms(1)
        };
        check(
            after,
            vec![
                (1, Event::Halt(why.clone()), &[]),
                (
                    2,
                    Event::PredecessorOver(id(9)),
                    if why == Halt::Fenced {
                        &["SayEnd", "Over Some(1101)"]
                    } else {
                        expected
                    },
                ),
            ],
        );
    }
}

#[test]
fn the_first_reason_to_halt_counts() {
    check(
        terms(1),
        vec![
            (1, Event::Prepared, &["SayAwaited"]),
            (1, Event::ClientCame, &["Mark"]),
            (1, Event::Marked { resilient: true }, &["Work"]),
            (2, Event::Halt(Halt::Stopped(Stopped::Immediate)), &["Halt"]),
            (2, Event::Halt(Halt::Fault(fault())), &[]),
            (3, worked(Err(End::Halted)), &["RememberDamage"]),
            (3, Event::Done, &["JournalEnd 150 of 1"]),
        ],
    );
}

#[test]
fn r03_only_what_has_no_mark_ends_without_a_primary() {
    let at_work = |resilient| -> Vec<(u64, Event, &[&str])> {
        vec![
            (1, Event::Prepared, &["SayAwaited"]),
            (1, Event::ClientCame, &["Mark"]),
            (2, Event::Marked { resilient }, &["Work"]),
            (3, lost_at(3), &[]),
            (22, Event::Woken, &[]),
        ]
    };
    let mut steps = at_work(true);
    steps.push((400, Event::Woken, &[]));
    // It loses its mark.
    steps.push((401, Event::Resilient(false), &["Halt"]));
    check(terms(1), steps);
    let mut steps = at_work(false);
    steps.push((23, Event::Woken, &["Halt"]));
    check(terms(1), steps);
    // Without the mark, whatever it was dispatched as.
    check(
        terms(1),
        vec![
            (1, Event::Prepared, &["SayAwaited"]),
            (2, lost_at(2), &[]),
            (22, Event::Woken, &["RememberDamage"]),
            (22, Event::Done, &["JournalEnd 40 of 1"]),
        ],
    );
    // It came back in time.
    let back = Event::Contact {
        lost_at: None,
        grace: GRACE,
    };
    check(
        terms(1),
        vec![
            (1, Event::Prepared, &["SayAwaited"]),
            (2, lost_at(2), &[]),
            (3, back, &[]),
            (22, Event::Woken, &[]),
            (61, Event::Woken, &["RememberDamage"]),
            (61, Event::Done, &["JournalEnd 58 of 1"]),
        ],
    );
}

#[test]
fn a_lock_of_somebody_else_is_waited_for_but_not_for_ever() {
    let locked = |by: &str| Event::Locked {
        by: by.to_owned(),
        fault: fault(),
    };
    let attempt = check(
        terms(1),
        vec![
            (1, locked("prune"), &["SayLocked"]),
            (2, Event::Woken, &["Prepare"]),
            (2, locked("prune"), &[]),
            (3, Event::Woken, &["Prepare"]),
            (3, locked("another"), &["SayLocked"]),
            (5, Event::Woken, &["Prepare"]),
            (6, Event::Prepared, &["SayUnlocked", "SayAwaited"]),
        ],
    );
    assert_eq!(attempt.deadline(), Some(Duration::from_secs(66)));
    check(
        terms(1),
        vec![
            (1, locked("prune"), &["SayLocked"]),
            (3599, Event::Woken, &["Prepare"]),
            (3600, locked("prune"), &["JournalEnd 40 of 1"]),
        ],
    );
    // nothing begins that is to stop.
    check(
        terms(1),
        vec![
            (1, locked("prune"), &["SayLocked"]),
            (2, Event::StopGracefully, &[]),
            (2, Event::Woken, &["JournalEnd 150 of 1"]),
        ],
    );
}

#[test]
fn t90_f05_an_attempt_that_ends_its_job_removes_checkpoints_whatever_it_came_to_itself() {
    // It may have none, and those before it do.
    check(
        terms(2),
        vec![
            (1, Event::Halt(Halt::Stopped(Stopped::Immediate)), &[]),
            (2, Event::NotPrepared(fault()), &["RemoveCheckpoints"]),
            (3, Event::Done, &["JournalEnd 40 of 1"]),
        ],
    );
    // It goes on in another, which needs them; or is a restore, which has none.
    for (terms, why) in [
        (terms(2), Halt::Interrupted("over".to_owned())),
        (
            Terms {
                is_backup: false,
                ..terms(2)
            },
            Halt::Stopped(Stopped::Immediate),
        ),
    ] {
        check(
            terms,
            vec![
                (1, Event::Halt(why), &[]),
                (2, Event::Prepared, &["RememberDamage"]),
            ],
        );
    }
}

#[test]
fn s12_what_found_no_room_goes_with_the_end_in_one_piece() {
    let event = Event::Worked(Worked {
        outcome: Err(End::Halted),
        counters: Counters::default(),
        unwritten: vec![What::Detail(DetailSaid::default())],
        made_checkpoints: true,
    });
    check(
        terms(1),
        vec![
            (1, Event::Prepared, &["SayAwaited"]),
            (1, Event::ClientCame, &["Mark"]),
            (1, Event::Marked { resilient: true }, &["Work"]),
            (2, Event::Halt(Halt::Stopped(Stopped::Immediate)), &["Halt"]),
            (3, event, &["RemoveCheckpoints"]),
            (3, Event::Done, &["RememberDamage"]),
            (3, Event::Done, &["JournalEnd 150 of 2"]),
            // Nobody knows yet how it ends, and its client is told nothing.
            (4, Event::EndJournalled(false), &["SayEnd", "Release"]),
            (5, Event::Done, &["Over None"]),
        ],
    );
}

fn leave() -> Event {
    Event::Leave("it is drained".to_owned())
}

/// The checkpoints stay: the next attempt goes on from them.
#[test]
fn c08b_an_attempt_leaves_when_its_work_has_and_removes_no_checkpoint() {
    check(
        terms(2),
        vec![
            (1, Event::Prepared, &["SayAwaited"]),
            (2, Event::ClientCame, &["Mark"]),
            (3, Event::Marked { resilient: true }, &["Work"]),
            (4, leave(), &["Leave"]),
            (5, leave(), &[]),
            (6, worked(Err(End::Left)), &["RememberDamage"]),
            (7, Event::Done, &["JournalEnd left"]),
            (8, Event::EndJournalled(true), &["SayEnd", "Release"]),
            (9, Event::Done, &["Over Some(1110)"]),
        ],
    );
}

/// Before it works it has nothing to lose, and nothing is waited for.
#[test]
fn c08b_an_attempt_that_has_not_begun_leaves_at_once() {
    let locked = || Event::Locked {
        by: "a prune".to_owned(),
        fault: fault(),
    };
    let unprepared: &[&str] = &["JournalEnd left"];
    check(
        terms(1),
        vec![(1, leave(), &[]), (2, Event::Prepared, &["RememberDamage"])],
    );
    check(
        terms(1),
        vec![(1, locked(), &["SayLocked"]), (2, leave(), unprepared)],
    );
    check(
        terms(1),
        vec![
            (1, Event::Prepared, &["SayAwaited"]),
            (2, leave(), &["RememberDamage"]),
        ],
    );
    check(
        terms(1),
        vec![
            (1, Event::Prepared, &["SayAwaited"]),
            (2, Event::ClientCame, &["Mark"]),
            (3, leave(), &["Halt"]),
            (4, Event::Marked { resilient: true }, &["RememberDamage"]),
            (5, Event::Done, &["JournalEnd left"]),
        ],
    );
    // A restore has no checkpoints: it goes on.
    let restore = Terms {
        is_backup: false,
        ..terms(1)
    };
    check(
        restore,
        vec![
            (1, Event::Prepared, &["SayAwaited"]),
            (2, Event::ClientCame, &["Mark"]),
            (3, Event::Marked { resilient: true }, &["Work"]),
            (4, leave(), &[]),
            (5, worked(Ok(successful())), &["RememberDamage"]),
        ],
    );
}

/// What comes after it was told to leave, and what the attempt ends with.
#[test]
fn c08b_what_counts_against_leaving_and_what_does_not() {
    let halt = |why| Event::Halt(why);
    let rows: Vec<(Option<Event>, Result<Done, End>, &str)> = vec![
        (None, Ok(successful()), "JournalEnd 0 of 1"),
        (None, Err(End::Fault(fault())), "JournalEnd 40 of 1"),
        (
            Some(halt(Halt::Fault(fault()))),
            Err(End::Left),
            "JournalEnd left",
        ),
        (
            Some(halt(Halt::Interrupted("the agent ends".to_owned()))),
            Err(End::Left),
            "JournalEnd left",
        ),
        (
            Some(halt(Halt::Stopped(Stopped::Immediate))),
            Err(End::Left),
            "JournalEnd 150 of 1",
        ),
        // It was halted before it had left.
        (
            Some(halt(Halt::Fault(fault()))),
            Err(End::Halted),
            "JournalEnd 40 of 1",
        ),
        (
            Some(halt(Halt::Interrupted("the agent ends".to_owned()))),
            Err(End::Halted),
            "JournalEnd interrupted",
        ),
        (Some(halt(Halt::Fenced)), Err(End::Left), "SayEnd"),
    ];
    for (told, outcome, expected) in rows {
        let mut attempt = check(
            terms(1),
            vec![
                (1, Event::Prepared, &["SayAwaited"]),
                (2, Event::ClientCame, &["Mark"]),
                (3, Event::Marked { resilient: true }, &["Work"]),
                (4, leave(), &["Leave"]),
            ],
        );
        let what = format!("{told:?}, {outcome:?}");
        let at = Duration::from_secs(5);
        if let Some(event) = told {
            assert_eq!(names(&attempt.handle(at, event)), ["Halt"], "{what}");
        }
        assert_eq!(
            names(&attempt.handle(at, worked(outcome))),
            ["RememberDamage"],
            "{what}"
        );
        let last = names(&attempt.handle(at, Event::Done));
        assert_eq!(last[0], expected, "{what}");
    }
}

/// F-09, S-11a: what it cannot go on with is journalled as the cause, and its checkpoints stay; for a primary of before it ends with the code.
#[test]
fn f09_an_attempt_that_loses_its_client_leaves_it_to_the_primary_what_follows() {
    let lost = || {
        let code = StatusCode::CLIENT_PROCESS_ABORTED;
        Fault::interrupting(Interruption::ClientCameBackNew, code, "another process came")
    };
    for decides_losses in [true, false] {
        let terms = Terms {
            decides_losses,
            ..terms(2)
        };
        let ended = match decides_losses {
            true => vec![(4, worked(Err(End::Halted)), &["RememberDamage"] as &[&str])],
            false => vec![
                (4, worked(Err(End::Halted)), &["RemoveCheckpoints"] as &[&str]),
                (4, Event::Done, &["RememberDamage"]),
            ],
        };
        let last: &[&str] = match decides_losses {
            true => &["JournalEnd interrupted"],
            false => &["JournalEnd 50 of 1"],
        };
        let mut steps = vec![
            (1, Event::Prepared, &["SayAwaited"] as &[&str]),
            (1, Event::ClientCame, &["Mark"]),
            (1, Event::Marked { resilient: true }, &["Work"]),
            (2, Event::Halt(Halt::Fault(lost())), &["Halt"]),
            // The first reason counts.
            (3, Event::Halt(Halt::Stopped(Stopped::Immediate)), &[]),
        ];
        steps.extend(ended);
        steps.push((4, Event::Done, last));
        // Its client is told the code in any case: that process is over with it.
        steps.push((4, Event::EndJournalled(true), &["SayEnd", "Release"]));
        steps.push((4, Event::Done, &["Over Some(50)"]));
        check(terms, steps);
    }
}

#[test]
fn f09_a_client_that_does_not_come_is_left_to_the_primary_too() {
    for (decides_losses, end) in [(true, "JournalEnd interrupted"), (false, "JournalEnd 58 of 1")] {
        let terms = Terms {
            decides_losses,
            ..terms(1)
        };
        check(
            terms,
            vec![
                (1, Event::Prepared, &["SayAwaited"]),
                (61, Event::Woken, &["RememberDamage"]),
                (61, Event::Done, &[end]),
            ],
        );
    }
}
