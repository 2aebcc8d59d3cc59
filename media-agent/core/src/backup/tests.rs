//! The order of a backup, as tables: what came of a step, and the next one.

use bytes::Bytes;
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{DetailSaid, FileException, JobError};
use outlast_proto::words::{
    Attempt, AttemptId, Counters, ItemOutcome, JobId, JobNonce, SnapshotId, StatusCode, Timestamp, TreeId,
};

use super::{Backup, Came, Step};
use crate::attempt::Course;
use crate::ending::End;
use crate::fault::Fault;
use crate::finished::{Finished, FoundItem};
use crate::survey::Ticketed;

fn id(attempt: u32) -> AttemptId {
    AttemptId {
        job: JobId(7),
        nonce: JobNonce(1),
        attempt: Attempt(attempt),
    }
}

fn backup(attempt: u32, items: usize) -> Backup {
    Backup::new(id(attempt), vec![Ticketed::default(); items], false)
}

fn snapshot(n: u8) -> SnapshotId {
    SnapshotId([n; 32])
}

fn saved(n: u8) -> Came {
    Came::Saved {
        snapshot: snapshot(n),
        at: Timestamp(5),
    }
}

fn tree() -> Came {
    Came::Tree {
        tree: TreeId([9; 32]),
        counters: Counters::default(),
    }
}

fn found(item: u32, attempt: u32) -> FoundItem {
    FoundItem {
        of: id(attempt),
        finished: Finished {
            item,
            snapshot: snapshot(77),
            tree: TreeId([8; 32]),
            at: Timestamp(3),
            outcome: ItemOutcome::Done,
            counters: Counters {
                bytes: 5,
                ..Counters::default()
            },
            adopted: false,
        },
    }
}

fn fault() -> End {
    End::Fault(Fault::broken("the lock was lost"))
}

fn error() -> JobError {
    JobError {
        code: 71,
        text: "no such path".to_owned(),
    }
}

/// A step in a word; of events, which.
fn name(step: &Step) -> String {
    let event = |what: &What| match what {
        What::ItemStarted(item) => format!("started {}", item.item),
        What::ItemEnded(item) if item.adopted => format!("adopted {}", item.item),
        What::ItemEnded(item) => format!("ended {} {:?}", item.item, item.outcome()),
        What::Exceptions(found) => format!("{} exceptions", found.exceptions.len()),
        What::Checkpoint(_) => "checkpoint".to_owned(),
        What::Surveyed(surveyed) => format!("surveyed {}", surveyed.found.len()),
        _ => "said".to_owned(),
    };
    match step {
        Step::Journal(events) => {
            let events: Vec<String> = events.iter().map(event).collect();
            format!("Journal {}", events.join(", "))
        }
        Step::JournalIfRoom(what) => format!("JournalIfRoom {}", event(what)),
        Step::Remove(id) | Step::TakeBack(id) => {
            let verb = if matches!(step, Step::Remove(_)) {
                "Remove"
            } else {
                "TakeBack"
            };
            format!("{verb} {}", id.0[0])
        }
        Step::Save(snapshot) => {
            let text = format!("{snapshot:?}");
            let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
            format!("Save {}", &text[..end])
        }
        Step::Begin(item) => format!("Begin {item}"),
        Step::Tell(committed) => format!("Tell {} {}", committed.item, committed.snapshot != Bytes::new()),
        Step::LookAtFinished(finished) => format!("LookAtFinished {}", finished.len()),
        Step::Over(Ok(done)) => format!("Over {}", done.code.0),
        Step::Over(Err(End::Left)) => "Over left".to_owned(),
        Step::Over(Err(_)) => "Over without".to_owned(),
        other => {
            let text = format!("{other:?}");
            let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
            text[..end].to_owned()
        }
    }
}

type Row = (Result<Came, End>, &'static str);

const DONE: Result<Came, End> = Ok(Came::Done);

fn check(backup: &mut Backup, rows: Vec<Row>) {
    let first = backup.begin();
    assert_eq!(name(&first), "MendIndex");
    go_on(backup, rows);
}

fn go_on(backup: &mut Backup, rows: Vec<Row>) {
    for (number, (came, expected)) in rows.into_iter().enumerate() {
        let told = format!("step {number}, after {came:?}");
        assert_eq!(name(&backup.next(came, Course::On)), expected, "{told}");
    }
}

/// An item from its beginning until its client has ended it.
fn received(began: &'static str, begin: &'static str) -> Vec<Row> {
    vec![
        (DONE, began),
        (DONE, begin),
        (DONE, "Receive"),
        (Ok(Came::ItemEnd), "Settle"),
    ]
}

/// And on until its snapshot is to be written.
fn looked() -> Vec<Row> {
    vec![
        (DONE, "FinishTree"),
        (Ok(tree()), "Flush"),
        (DONE, "LookAgain"),
        (DONE, "CheckLock"),
    ]
}

#[test]
fn s14_an_item_is_settled_indexed_looked_at_saved_journalled_and_then_told() {
    let mut backup = backup(1, 1);
    let mut rows = received("Journal started 0", "Begin 0");
    rows.extend(looked());
    rows.extend([
        (DONE, "Save Item"),
        (Ok(saved(1)), "CheckLock"),
        (DONE, "Journal ended 0 Done"),
        (DONE, "Tell 0 true"),
        (DONE, "LookAtFinished 1"),
        (Ok(Came::Missing(Vec::new())), "Over 0"),
    ]);
    check(&mut backup, rows);
}

#[test]
fn f04_a_snapshot_written_while_the_lock_was_lost_is_taken_back() {
    let mut backup = backup(1, 1);
    let mut rows = received("Journal started 0", "Begin 0");
    rows.extend(looked());
    rows.extend([
        (DONE, "Save Item"),
        (Ok(saved(1)), "CheckLock"),
        (Err(fault()), "TakeBack 1"),
        (DONE, "Over without"),
    ]);
    check(&mut backup, rows);
}

#[test]
fn f05_a_checkpoint_is_settled_indexed_saved_journalled_and_two_are_kept() {
    let made = |n: u8| -> Vec<Row> {
        vec![
            (Ok(Came::CheckpointDue), "AwaitChunks"),
            (DONE, "Settle"),
            (DONE, "SavePartial"),
            (Ok(tree()), "Flush"),
            (DONE, "CheckLock"),
            (DONE, "Save Checkpoint"),
            (Ok(saved(n)), "CheckLock"),
            (DONE, "JournalIfRoom checkpoint"),
        ]
    };
    let mut backup = backup(1, 1);
    check(
        &mut backup,
        vec![(DONE, "Journal started 0"), (DONE, "Begin 0"), (DONE, "Receive")],
    );
    for n in 1..=2 {
        go_on(&mut backup, made(n));
        go_on(&mut backup, vec![(DONE, "Receive")]);
    }
    go_on(&mut backup, made(3));
    go_on(&mut backup, vec![(DONE, "Remove 1"), (DONE, "Receive")]);
    // One that found no room is given up.
    go_on(&mut backup, made(4));
    go_on(
        &mut backup,
        vec![(Ok(Came::NoRoom), "Remove 4"), (DONE, "Receive")],
    );
    // None this time.
    go_on(
        &mut backup,
        vec![
            (Ok(Came::CheckpointDue), "AwaitChunks"),
            (Ok(Came::NotNow), "Receive"),
        ],
    );
}

#[test]
fn f08_what_earlier_attempts_finished_is_taken_over_under_the_own_name() {
    let mut backup = backup(2, 3);
    check(
        &mut backup,
        vec![
            (DONE, "Look"),
            (
                // Of an earlier attempt, of this one, damaged, and one the ticket does not know.
                Ok(Came::Found(vec![
                    found(0, 1),
                    found(1, 2),
                    found(2, 1),
                    found(7, 1),
                ])),
                "Examine",
            ),
            (Ok(Came::Sound(true)), "Examine"),
            (Ok(Came::Sound(true)), "Examine"),
            (Ok(Came::Sound(false)), "CheckLock"),
            (DONE, "Save Adopted"),
            (Ok(saved(1)), "CheckLock"),
            (DONE, "Journal adopted 0"),
            (DONE, "Journal adopted 1"),
            (DONE, "Journal started 2"),
        ],
    );
    assert_eq!(backup.counters().bytes_carried_over, 10);
}

#[test]
fn f14_an_attempt_that_surveys_says_what_is_left_and_does_not_begin_if_that_is_all() {
    let surveying = |items| Backup::new(id(2), vec![Ticketed::default(); items], true);
    let rows = || -> Vec<Row> {
        vec![
            (DONE, "Look"),
            (Ok(Came::Found(vec![found(0, 1)])), "Examine"),
            (Ok(Came::Sound(true)), "Journal surveyed 1"),
        ]
    };
    let mut all = rows();
    all.push((DONE, "Over 0"));
    check(&mut surveying(1), all);
    let mut some = rows();
    some.push((DONE, "CheckLock"));
    check(&mut surveying(2), some);
    // There is nothing.
    check(
        &mut surveying(1),
        vec![
            (DONE, "Look"),
            (Ok(Came::Found(Vec::new())), "Journal surveyed 0"),
            (DONE, "Journal started 0"),
        ],
    );
}

#[test]
fn s02a_an_item_that_fails_holds_up_no_other() {
    let mut backup = backup(1, 2);
    let mut rows = received("Journal started 0", "Begin 0");
    rows.truncate(3);
    rows.extend([
        (Ok(Came::Failed(error())), "Journal ended 0 Failed"),
        (DONE, "Tell 0 false"),
    ]);
    rows.extend(received("Journal started 1", "Begin 1"));
    rows.extend(looked());
    rows.extend([
        (DONE, "Save Item"),
        (Ok(saved(1)), "CheckLock"),
        (DONE, "Journal ended 1 Done"),
        (DONE, "Tell 1 true"),
        (DONE, "LookAtFinished 1"),
        (Ok(Came::Missing(Vec::new())), "Over 71"),
    ]);
    check(&mut backup, rows);
}

#[test]
fn s14b_an_item_that_suffers_meanwhile_is_walked_again_but_not_for_ever() {
    let suffers = || Came::Suffers {
        said: What::Detail(DetailSaid::default()),
        fault: Fault::new(StatusCode::STORAGE_WRITE_ERROR, "it keeps coming"),
    };
    let mut backup = backup(1, 1);
    check(&mut backup, received("Journal started 0", "Begin 0"));
    for walk in 1..=3 {
        let told = backup.except(FileException {
            path: "/a".to_owned(),
            reason: "in use".to_owned(),
        });
        assert_eq!(told, None);
        assert_eq!(backup.exceptions().count(), 1, "it is counted once");
        let mut rows = looked();
        rows.pop();
        go_on(&mut backup, rows);
        if walk == 3 {
            go_on(&mut backup, vec![(Ok(suffers()), "Over without")]);
        } else {
            go_on(&mut backup, vec![(Ok(suffers()), "Journal said")]);
            go_on(
                &mut backup,
                vec![
                    (DONE, "Begin 0"),
                    (DONE, "Receive"),
                    (Ok(Came::ItemEnd), "Settle"),
                ],
            );
        }
    }
}

#[test]
fn x02_no_item_is_begun_after_a_graceful_stop() {
    let mut backup = backup(1, 3);
    check(&mut backup, received("Journal started 0", "Begin 0"));
    let mut rows = looked();
    rows.extend([
        (DONE, "Save Item"),
        (Ok(saved(1)), "CheckLock"),
        (DONE, "Journal ended 0 Done"),
        (DONE, "Tell 0 true"),
    ]);
    go_on(&mut backup, rows);
    assert_eq!(
        name(&backup.next(DONE, Course::StopGracefully)),
        "LookAtFinished 1"
    );
    let over = backup.next(Ok(Came::Missing(Vec::new())), Course::StopGracefully);
    let Step::Over(Ok(done)) = over else {
        panic!("{over:?}")
    };
    assert_eq!(
        (done.code, done.stopped),
        (StatusCode::SUCCESSFUL, outlast_proto::v1::Stopped::Graceful)
    );
}

#[test]
fn s02_what_goes_missing_of_finished_items_is_an_exception() {
    let mut backup = backup(1, 1);
    let mut rows = received("Journal started 0", "Begin 0");
    rows.extend(looked());
    let missing = FileException {
        path: "/a".to_owned(),
        reason: "went missing".to_owned(),
    };
    rows.extend([
        (DONE, "Save Item"),
        (Ok(saved(1)), "CheckLock"),
        (DONE, "Journal ended 0 Done"),
        (DONE, "Tell 0 true"),
        (DONE, "LookAtFinished 1"),
        (Ok(Came::Missing(vec![(0, missing)])), "Journal 1 exceptions"),
        (DONE, "Over 1"),
    ]);
    check(&mut backup, rows);
}

#[test]
fn t90_s02_exceptions_are_named_before_the_snapshot_that_only_counts_them() {
    for (came, end) in [
        (DONE, "Journal ended 0 DoneWithExceptions"),
        // The journal cannot take them: that does not keep the item from being final.
        (
            Ok(Came::NoRoom),
            "Journal 1 exceptions, ended 0 DoneWithExceptions",
        ),
        (Err(fault()), "Journal 1 exceptions, ended 0 DoneWithExceptions"),
    ] {
        let mut backup = backup(1, 1);
        check(&mut backup, received("Journal started 0", "Begin 0"));
        let told = backup.except(FileException {
            path: "/a".to_owned(),
            reason: "in use".to_owned(),
        });
        assert_eq!(told, None);
        let mut rows = looked();
        rows.pop();
        rows.extend([
            (DONE, "JournalIfRoom 1 exceptions"),
            (came, "CheckLock"),
            (DONE, "Save Item"),
            (Ok(saved(1)), "CheckLock"),
            (DONE, end),
        ]);
        go_on(&mut backup, rows);
    }
}

/// Each step from a receiving item on; it was told to leave before the first. The first of several items, or the only one.
fn leaves(items: usize, rows: Vec<Row>) {
    let mut backup = backup(1, items);
    let mut begun = received("Journal started 0", "Begin 0");
    begun.pop();
    check(&mut backup, begun);
    for (number, (came, expected)) in rows.into_iter().enumerate() {
        let told = format!("step {number}, after {came:?}");
        assert_eq!(name(&backup.next(came, Course::Leave)), expected, "{told}");
    }
}

#[test]
fn c08b_an_attempt_that_is_to_leave_makes_a_checkpoint_at_once_and_is_over() {
    let checkpoint = || {
        vec![
            (Ok(Came::CheckpointDue), "AwaitChunks"),
            (DONE, "Settle"),
            (DONE, "SavePartial"),
            (Ok(tree()), "Flush"),
            (DONE, "CheckLock"),
            (DONE, "Save Checkpoint"),
            (Ok(saved(1)), "CheckLock"),
            (DONE, "JournalIfRoom checkpoint"),
        ]
    };
    for last in [(DONE, "Over left"), (Ok(Came::NoRoom), "Remove 1")] {
        let mut rows = checkpoint();
        let is_removed = last.1 != "Over left";
        rows.push(last);
        rows.extend(is_removed.then_some((DONE, "Over left")));
        leaves(2, rows);
    }
    // Nothing is new since the last one, or its client is cut off: that one has to do.
    leaves(
        1,
        vec![
            (Ok(Came::CheckpointDue), "AwaitChunks"),
            (Ok(Came::NotNow), "Over left"),
        ],
    );
}

/// What has come as a whole is not given up: it takes no time any more that a checkpoint would not.
#[test]
fn c08b_an_item_that_has_come_is_finished_and_only_the_next_one_moves() {
    for (items, last) in [(2, "Over left"), (1, "LookAtFinished 1")] {
        leaves(
            items,
            vec![
                (Ok(Came::ItemEnd), "Settle"),
                (DONE, "FinishTree"),
                (Ok(tree()), "Flush"),
                (DONE, "LookAgain"),
                (DONE, "CheckLock"),
                (DONE, "Save Item"),
                (Ok(saved(1)), "CheckLock"),
                (DONE, "Journal ended 0 Done"),
                (DONE, "Tell 0 true"),
                (DONE, last),
            ],
        );
    }
}

#[test]
fn c08b_a_job_that_is_to_stop_stops_and_leaves_nowhere() {
    let mut told = crate::attempt::Told::default();
    assert_eq!(told.course(), Course::On);
    assert!(told.leave("it is drained".to_owned()));
    assert!(!told.leave("again".to_owned()));
    assert_eq!(
        (told.course(), told.leaving()),
        (Course::Leave, Some("it is drained"))
    );
    told.stop_gracefully();
    assert_eq!(told.course(), Course::StopGracefully);
}
