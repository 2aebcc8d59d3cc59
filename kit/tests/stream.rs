//! The rules of a conversation over one stream after another (F-10), with a clock of the test's own.

use std::time::Duration;

use outlast_kit::resume::{Misnumbered, SIGN_OF_LIFE};
use outlast_kit::stream::{Conversation, Terms};

const TERMS: Terms = Terms {
    keeps: 1 << 20,
    holds: 1 << 20,
    silence: Some(Duration::from_secs(60)),
    takes_unknown: true,
};

type Talk = Conversation<&'static str, &'static str>;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn opened(terms: Terms) -> Talk {
    let mut talk = Talk::new(terms, at(0));
    talk.opened(at(0));
    talk
}

#[test]
fn f10_what_was_said_while_there_was_no_stream_goes_over_the_next() {
    let mut talk = opened(TERMS);
    talk.say("a", 1);
    assert_eq!(talk.write(at(1)), (1, 0, Some("a")));
    talk.broke(at(2));
    assert!(!talk.must_write() && talk.has_room());
    talk.say("b", 1);
    assert!(!talk.must_write(), "nobody takes it");
    assert_eq!(talk.received(), 0);
    talk.resume(0).unwrap();
    talk.opened(at(3));
    assert!(talk.must_write());
    assert_eq!(talk.write(at(3)), (1, 0, Some("a")));
    assert_eq!(talk.write(at(3)), (2, 0, Some("b")));
    assert!(!talk.must_write());
}

/// What is processed while a stream is looked for was not named in its hello, and comes again.
#[test]
fn f10_what_is_processed_while_there_is_no_stream_is_taken_once() {
    let mut talk = opened(TERMS);
    for (number, body) in [(1, "a"), (2, "b"), (3, "c")] {
        talk.take(at(1), (number, 0, Some(body)), 1).unwrap();
    }
    assert_eq!(talk.process(), Some("a"));
    talk.broke(at(2));
    assert_eq!(talk.received(), 1);
    assert_eq!(talk.process(), Some("b"));
    talk.resume(0).unwrap();
    talk.opened(at(3));
    for (number, body) in [(2, "b"), (3, "c"), (4, "d")] {
        talk.take(at(4), (number, 0, Some(body)), 1).unwrap();
    }
    assert_eq!(
        (talk.process(), talk.process(), talk.process()),
        (Some("c"), Some("d"), None)
    );
}

#[test]
fn f10_a_sign_of_life_is_due_when_nothing_is_said() {
    let mut talk = opened(TERMS);
    assert_eq!(talk.sign_of_life_at(), Some(SIGN_OF_LIFE));
    talk.say("a", 1);
    assert_eq!(talk.sign_of_life_at(), None, "it is said");
    talk.write(at(4));
    assert_eq!(talk.sign_of_life_at(), Some(at(4) + SIGN_OF_LIFE));
    talk.confirm_now();
    assert!(talk.must_write());
    assert_eq!(talk.write(at(14)), (0, 0, None));
    talk.broke(at(15));
    assert_eq!(talk.sign_of_life_at(), None);
}

/// Silence counts from the last message, and not while we do not read (t90: a client whose data waits for a disk does not stand still).
#[test]
fn t90_only_who_is_listened_to_can_be_silent() {
    let mut talk = opened(Terms { holds: 200, ..TERMS });
    assert!(talk.listens(at(1)));
    talk.take(at(10), (1, 0, Some("long")), 300).unwrap();
    assert_eq!(talk.silent_at(), Some(at(70)));
    assert!(!talk.listens(at(50)), "it holds all that it may");
    assert_eq!(talk.process(), Some("long"));
    assert!(talk.listens(at(51)));
    assert_eq!(talk.silent_at(), Some(at(110)));
    talk.broke(at(60));
    assert!(!talk.listens(at(300)));
    talk.opened(at(301));
    assert_eq!(talk.silent_at(), Some(at(361)));
    let patient = opened(Terms {
        silence: None,
        ..TERMS
    });
    assert_eq!(patient.silent_at(), None);
}

/// That nothing can be said any more is not that nothing was said: the last word is heard.
#[test]
fn t90_f10_a_stream_that_takes_nothing_more_is_heard_out() {
    let mut talk = opened(TERMS);
    talk.confirm_now();
    assert!(talk.must_write());
    talk.is_deaf_from(at(5));
    talk.is_deaf_from(at(9));
    assert!(!talk.must_write(), "nobody takes it");
    assert!(talk.is_open() && talk.listens(at(6)));
    assert_eq!(talk.heard_out_at(), Some(at(15)), "not later with each try");
    talk.take(at(7), (1, 0, Some("over")), 4).unwrap();
    talk.end();
    assert!(!talk.is_open() && !talk.listens(at(8)) && !talk.has_room());
    assert_eq!((talk.heard_out_at(), talk.sign_of_life_at()), (None, None));
    assert_eq!(talk.process(), Some("over"));
}

#[test]
fn f10_messages_that_are_not_known_count_or_are_refused() {
    for (takes_unknown, taken) in [
        (true, Ok(())),
        (false, Err(Misnumbered::Sequence { last: 1, got: 1 })),
    ] {
        let mut talk = opened(Terms {
            takes_unknown,
            ..TERMS
        });
        talk.take(at(1), (0, 0, None), 0).unwrap();
        assert_eq!(talk.take(at(1), (1, 0, None), 0), taken);
        if taken.is_ok() {
            talk.take(at(1), (2, 0, Some("known")), 5).unwrap();
            assert_eq!((talk.process(), talk.process()), (None, Some("known")));
        }
    }
}

/// A stream that comes and goes at once is no end of a break.
#[test]
fn t90_a_break_is_as_old_as_the_last_progress() {
    let mut talk = opened(TERMS);
    talk.broke(at(20));
    assert_eq!(talk.broken_since(), at(20), "it lived");
    for second in [21, 25, 29] {
        talk.opened(at(second));
        talk.broke(at(second + 1));
        talk.broke(at(second + 2));
        assert_eq!(talk.broken_since(), at(20), "broke in second {second}");
    }
    talk.opened(at(40));
    talk.take(at(40), (1, 0, Some("a")), 1).unwrap();
    talk.process();
    talk.broke(at(41));
    assert_eq!(talk.broken_since(), at(41), "a message arrived");
}
