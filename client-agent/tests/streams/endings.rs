//! How backups end that do not come to their end: a media agent that breaks the protocol or the stream, and stops.

use std::fs;
use std::time::Duration;

use outlast_client_agent::attempt::{AttemptError, Ends, Outcome, Violation};
use outlast_kit::resume::Misnumbered;
use outlast_proto::v1::entry::Kind;
use outlast_proto::v1::{BeginItem, Needed, NodeType, Overwrite, Verdicts, backup_down};

use crate::backup::backup;
use crate::media_agent::{MediaAgent, Script, backup_ticket, restore_ticket};
use crate::restore::{entries, node};
use crate::trees::noise;

#[tokio::test]
async fn a_media_agent_that_breaks_the_protocol_ends_the_attempt() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), b"content").unwrap();
    let verdicts = |through, wanted| {
        backup_down::Body::Verdicts(Verdicts {
            through,
            wanted,
            begun: Vec::new(),
        })
    };
    let needed = |number, indexes| backup_down::Body::Needed(Needed { number, indexes });
    let begin = |item| {
        backup_down::Body::BeginItem(BeginItem {
            item,
            ..Default::default()
        })
    };
    for (instead, violation) in [
        (verdicts(1, vec![7]), Violation::UnknownNode { node: 7 }),
        (verdicts(1, vec![0]), Violation::UnknownNode { node: 0 }),
        (verdicts(0, vec![1]), Violation::UnknownNode { node: 1 }),
        (needed(3, vec![]), Violation::UnknownOffers { number: 3 }),
        (begin(0), Violation::OutOfTurn { what: "an item" }),
    ] {
        let script = Script {
            instead: Some(instead.clone()),
            ..Script::default()
        };
        let (outcome, _) = backup(temp.path(), &[], script).await;
        match outcome {
            Err(AttemptError::Violation(found)) => assert_eq!(found, violation),
            other => panic!("{instead:?} came to {other:?}"),
        }
    }
    let script = Script {
        skips_a_number: true,
        ..Script::default()
    };
    let (outcome, _) = backup(temp.path(), &[], script).await;
    let violation = AttemptError::Violation(Violation::Numbers(Misnumbered::Sequence { last: 0, got: 2 }));
    assert_eq!(outcome.unwrap_err().to_string(), violation.to_string());
}

#[tokio::test]
async fn a_broken_stream_is_no_result() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), b"content").unwrap();
    let script = Script {
        hangs_up: true,
        ..Script::default()
    };
    let (outcome, _) = backup(temp.path(), &[], script).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, AttemptError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn an_attempt_can_be_ended_at_any_time() {
    let temp = tempfile::tempdir().unwrap();
    // Nothing is answered: the walker and the readers are all waiting for something.
    let content = noise(1, 3 << 20);
    for number in 0..40 {
        fs::write(temp.path().join(number.to_string()), &content).unwrap();
    }
    for is_silent in [true, false] {
        let agent = MediaAgent::new(Script {
            items: 1,
            is_silent,
            answers_from: Some((u64::MAX, Box::new(|| {}))),
            ..Script::default()
        });
        let ends = Ends::default();
        let ticket = backup_ticket(&[temp.path().to_owned()], &[]);
        let (ended, told) = (ends.clone(), agent.told.clone());
        let end = async move {
            while told.lock().unwrap().offers < usize::from(!is_silent) || told.lock().unwrap().streams == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            ended.now.begin();
        };
        let run = tokio::time::timeout(Duration::from_secs(60), agent.run(&ticket, ends));
        let (outcome, ()) = tokio::join!(run, end);
        assert_eq!(outcome.expect("it hangs").unwrap(), Outcome::Stopped);
    }
}

#[tokio::test]
async fn x01_stopped_work_waits_for_the_media_agents_last_word() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), b"content").unwrap();
    let over = std::sync::Arc::new(tokio::sync::Notify::new());
    let agent = MediaAgent::new(Script {
        items: 1,
        answers_from: Some((u64::MAX, Box::new(|| {}))),
        over: Some(over.clone()),
        ..Script::default()
    });
    let ends = Ends::default();
    let (ended, told) = (ends.clone(), agent.told.clone());
    let end = async move {
        while told.lock().unwrap().offers == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        ended.work.begin();
        over.notify_one();
    };
    let ticket = backup_ticket(&[temp.path().to_owned()], &[]);
    let run = tokio::time::timeout(Duration::from_secs(60), agent.run(&ticket, ends));
    let (outcome, ()) = tokio::join!(run, end);
    let over = Outcome::Over {
        code: 150,
        text: "canceled".to_owned(),
    };
    assert_eq!(outcome.expect("it hangs").unwrap(), over);
}

/// The media agent ends the stream with its last word, while the client still has something to say: what came counts, not that nothing
/// can be said any more. Without that word the client would look for another stream, and wait there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t90_f10_the_last_word_is_heard_though_nothing_can_be_said_any_more() {
    for round in 0..200 {
        let temp = tempfile::tempdir().unwrap();
        let asked = |number| entries(vec![Kind::Node(node(number, b"file", NodeType::File))]);
        let agent = MediaAgent::new(Script {
            restores: (0..20).map(asked).collect(),
            ends_at_once: true,
            ..Script::default()
        });
        let ticket = restore_ticket(temp.path(), Overwrite::Never);
        let run = tokio::time::timeout(Duration::from_secs(60), agent.run(&ticket, Ends::default()));
        let outcome = run.await.expect("it waits for another stream");
        assert!(
            matches!(outcome, Ok(Outcome::Over { .. })),
            "round {round}: {outcome:?}"
        );
        assert_eq!(agent.told().streams, 1, "round {round}");
    }
}
