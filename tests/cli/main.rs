//! The built command line as a contract (CLI.md): exit codes, what goes to stdout and stderr, waiting through outages.
//!
//! It is driven as a process. Where it needs a primary, that is a fake one; real clusters are tested elsewhere.

mod fake_primary;
#[path = "../support/ports.rs"]
mod ports;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use outlast_kit::errors;
use outlast_proto::v1;
use serde_json::Value;
use tokio::process::Command;
use tonic::{Code, Status};

use fake_primary::{FakePrimary, context};
use ports::free_ports;

fn outlast(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outlast"));
    command
        .args(args.split_whitespace())
        .env_remove("OUTLAST_CONTEXT")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn run(args: &str) -> Output {
    outlast(args).output().await.expect("the binary starts")
}

async fn run_in(context: &Path, args: &str) -> Output {
    let mut command = outlast(args);
    command.env("OUTLAST_CONTEXT", context);
    command.output().await.expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("all output is UTF-8")
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error} in {}", text(bytes)))
}

/// Exit code and a part of stderr for a command line that needs no cluster.
async fn check_refused(args: &str, code: i32, said: &str) {
    let output = run(args).await;
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args}: {stderr}");
    assert!(stderr.contains(said), "{args}: {said:?} is not in {stderr:?}");
    assert!(output.stdout.is_empty(), "{args}: {}", text(&output.stdout));
}

#[tokio::test]
async fn wrong_usage_is_2_and_no_such_thing_is_6() {
    for (args, code, said) in [
        ("", 2, "Usage: outlast"),
        ("jub", 2, "unrecognized subcommand 'jub'"),
        ("job show", 2, "<ID>"),
        ("job list --state idle", 2, "there are queued, active"),
        ("job list --since yesterday", 2, "expected a time such as"),
        ("job list -o xml", 2, "table, json, jsonl"),
        ("restore abc", 2, "--to <DIR>"),
        ("primary", 2, "--config <FILE>"),
        ("help code x", 2, "invalid value 'x'"),
        ("help code 7", 6, "there is no status code 7"),
        ("help jub", 2, "there is no command \"jub\""),
        ("-o json jub", 2, "{\"error\":{"),
        (
            "job list",
            2,
            "no context file: /nonexistent/.config/outlast/client.toml does not exist; name one with",
        ),
        (
            "--context /nonexistent/c.toml job list",
            2,
            "no context file: /nonexistent/c.toml does not exist",
        ),
    ] {
        check_refused(args, code, said).await;
    }
}

/// Somebody takes a name as `ls` and a shell give it.
#[tokio::test]
async fn t90_a_byte_that_is_not_utf8_is_told_how_it_is_written() {
    use std::os::unix::ffi::OsStrExt as _;
    let argument = std::ffi::OsStr::from_bytes(b"/x/\xc3\xa9-\xff");
    for format in ["", "-o json "] {
        let mut command = outlast(&format!("{format}restore abc"));
        let output = command.arg(argument).args(["--to", "/y"]).output().await.unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        let said = if format.is_empty() {
            r"'/x/é-\xff'"
        } else {
            r"'/x/é-\\xff'"
        };
        assert!(
            stderr.contains("an argument is not UTF-8") && stderr.contains(said),
            "{stderr}"
        );
        assert_eq!(format.is_empty(), stderr.starts_with("error: an"), "{stderr}");
    }
}

#[tokio::test]
async fn help_and_completions_need_no_cluster() {
    for (args, said) in [
        ("help code 84", "# 84: storage write error"),
        ("help job run", "Usage: outlast job run"),
        ("help", "restore-point"),
        ("--version", "outlast 0"),
        ("completions bash", "complete"),
        ("completions fish", "complete"),
        ("completions zsh", "#compdef outlast"),
    ] {
        let output = run(args).await;
        assert_eq!(output.status.code(), Some(0), "{args}");
        assert!(text(&output.stdout).contains(said), "{args}");
        assert!(output.stderr.is_empty(), "{args}: {}", text(&output.stderr));
    }
    let page = json(&run("-o json help code 84").await.stdout);
    assert_eq!(page["code"], 84);
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let mut child = outlast("completions bash")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().await.expect("it ends");
    assert_eq!(
        (output.status.code(), text(&output.stderr).as_str()),
        (Some(0), "")
    );
}

#[tokio::test]
async fn bad_policy_files_are_refused_before_any_call() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("home.toml");
    let good = "name = \"home\"\nclients = [\"laptop\"]\nitems = [\"/home\"]\n";
    for (extra, code, said) in [
        (
            "exlude = []",
            2,
            "home.toml line 4: unknown key \"exlude\"; did you mean \"exclude\"?",
        ),
        ("exclude = [", 2, "home.toml line 4: "),
        (
            "type = \"oracle\"",
            5,
            "this version cannot run policies of type oracle",
        ),
        ("type = \"sybase\"", 5, "there is no policy type \"sybase\""),
    ] {
        std::fs::write(&file, format!("{good}{extra}\n")).expect("the folder can be written");
        check_refused(&format!("policy apply -f {}", file.display()), code, said).await;
    }
}

#[tokio::test]
async fn r16_without_a_leader_the_nodes_tried_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ports = [free_ports(), free_ports(), free_ports()];
    let context = context(folder.path(), &ports);
    let output = run_in(&context, "job run home --timeout 300ms").await;
    assert_eq!(output.status.code(), Some(4));
    let stderr = text(&output.stderr);
    let sentence = "no leader: 0 of 3 primaries answer; --stale shows what it knows";
    assert!(stderr.contains(sentence), "{stderr}");
    for port in ports {
        assert!(stderr.contains(&format!("127.0.0.1:{port}: ")), "{stderr}");
    }

    let output = run_in(&context, "job list --timeout 300ms -o json").await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(4), 0));
    let error = &json(&output.stderr)["error"];
    assert_eq!(error["text"], sentence);
    assert_eq!(error["tried"].as_array().map(Vec::len), Some(3));
    assert_eq!((&error["code"], &error["help"]), (&Value::Null, &Value::Null));

    let output = run_in(&context, "job list --timeout 300ms --stale").await;
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("no primary answers: 0 of 3"));
}

#[tokio::test]
async fn a_cluster_without_a_leader_answers_only_stale() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (up, down) = (free_ports(), free_ports());
    let context = context(folder.path(), &[up, down]);
    let fake = FakePrimary::default();
    fake.script().status = v1::ClusterStatus {
        answered_by: "primary-1".into(),
        members: vec![v1::Member {
            name: "primary-1".into(),
            role: "follower".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let _running = fake.serve(folder.path(), up);

    let output = run_in(&context, "cluster status --timeout 3s").await;
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(
        stderr.contains("no leader: 1 of 2 primaries answer; --stale shows what it knows"),
        "{stderr}"
    );

    let output = run_in(&context, "cluster status --stale -o json").await;
    assert_eq!(output.status.code(), Some(0));
    let status = json(&output.stdout);
    assert_eq!(status["leader"], Value::Null);
    assert_eq!(status["members"][0]["role"], "follower");
    assert_eq!(status["members"][0]["reachable"], Value::Null);

    fake.script().status.leader = "primary-1".into();
    let output = run_in(&context, "cluster status -o json").await;
    assert_eq!(json(&output.stdout)["leader"], "primary-1");
}

#[tokio::test]
async fn t90_a_command_that_the_primaries_do_not_know_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_ports();
    let context = context(folder.path(), &[port]);
    // It has no service for policies, as those of before a call was there.
    let _running = FakePrimary::default().serve(folder.path(), port);
    for args in ["policy test home", "policy list"] {
        let output = run_in(&context, args).await;
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{stderr}");
        assert!(stderr.contains("upgrade the primaries"), "{stderr}");
    }
}

fn job(id: &str, state: v1::JobState, status: v1::CompletionStatus) -> v1::Job {
    v1::Job {
        id: id.into(),
        policy: "home".into(),
        state: state.into(),
        status: status.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn lists_are_bare_arrays_of_all_pages() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_ports();
    let context = context(folder.path(), &[port]);
    let fake = FakePrimary::default();
    let _running = fake.serve(folder.path(), port);

    let output = run_in(&context, "job list").await;
    assert_eq!(text(&output.stdout), "no jobs\n");
    assert_eq!(
        json(&run_in(&context, "job list -o json").await.stdout),
        serde_json::json!([])
    );
    assert_eq!(text(&run_in(&context, "job list -o jsonl").await.stdout), "");

    let done = |id: &str| job(id, v1::JobState::Done, v1::CompletionStatus::Successful);
    fake.script().jobs = vec![done("5"), done("4"), done("3")];
    let list = json(&run_in(&context, "job list -o json").await.stdout);
    let ids: Vec<_> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|job| &job["id"])
        .collect();
    assert_eq!(ids, ["5", "4", "3"]);
    let lines = text(&run_in(&context, "job list -o jsonl --limit 1").await.stdout);
    assert_eq!(lines.lines().count(), 1);
    assert_eq!(json(lines.as_bytes())["status"], "successful");
    let table = text(&run_in(&context, "job list").await.stdout);
    assert!(
        table.starts_with("ID  KIND") && table.lines().count() == 4,
        "{table}"
    );

    let output = run_in(&context, "job show 9 -o json").await;
    assert_eq!(output.status.code(), Some(6));
    assert_eq!(json(&output.stderr)["error"]["text"], "there is no job \"9\"");
}

#[tokio::test]
async fn a_write_keeps_its_request_id_and_a_refusal_its_code() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_ports();
    let context = context(folder.path(), &[port]);
    let fake = FakePrimary::default();
    fake.script().jobs = vec![
        job("8", v1::JobState::Queued, v1::CompletionStatus::Unspecified),
        job("9", v1::JobState::Queued, v1::CompletionStatus::Unspecified),
    ];
    fake.script().run_fails = 2;
    let _running = fake.serve(folder.path(), port);

    let output = run_in(&context, "job run home -o json").await;
    assert_eq!(
        json(&output.stdout),
        serde_json::json!({"id": "8", "ids": ["8", "9"]})
    );
    let ids = fake.script().request_ids.clone();
    assert_eq!(ids.len(), 3);
    assert!(
        ids[0].len() == 36 && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
    assert_eq!(text(&run_in(&context, "job run home").await.stdout), "8\n9\n");
    assert_ne!(
        fake.script().request_ids.last(),
        ids.first(),
        "another run is another request"
    );

    let detail = v1::ErrorDetail {
        code: 1000,
        ..Default::default()
    };
    for (refusal, code) in [
        (
            errors::status(Code::FailedPrecondition, "client is disabled", &detail),
            5,
        ),
        (Status::permission_denied("not yours"), 5),
        (Status::invalid_argument("client: is no name"), 2),
    ] {
        let said = refusal.message().to_owned();
        let help = errors::detail(&refusal).code;
        fake.script().run_refused = Some(refusal);
        let output = run_in(&context, "job run home -o json").await;
        assert_eq!(output.status.code(), Some(code), "{said}");
        let error = &json(&output.stderr)["error"];
        assert_eq!(error["text"], said.as_str());
        if help != 0 {
            assert_eq!(error["help"], format!("outlast help code {help}"));
        }
    }
}

#[tokio::test]
async fn waiting_outlasts_an_outage_and_says_so_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_ports();
    let context = context(folder.path(), &[port]);
    let fake = FakePrimary::default();
    fake.script().jobs = vec![job("7", v1::JobState::Active, v1::CompletionStatus::Unspecified)];
    let running = fake.serve(folder.path(), port);

    let mut command = outlast("job run home --wait -o json");
    command.env("OUTLAST_CONTEXT", &context);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let stderr = child.stderr.take().expect("it is piped");
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stderr));
    let mut line = async || {
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
        line.expect("it speaks in time").expect("it can be read")
    };
    assert_eq!(line().await.as_deref(), Some("job 7: active"));
    running.stop().await;
    let silence = "the cluster does not answer; job 7 goes on without it, still waiting";
    assert_eq!(line().await.as_deref(), Some(silence));
    fake.script().jobs = vec![job(
        "7",
        v1::JobState::Done,
        v1::CompletionStatus::CompletedWithExceptions,
    )];
    let _running = fake.serve(folder.path(), port);
    assert_eq!(line().await.as_deref(), Some("the cluster answers again"));
    assert_eq!(line().await.as_deref(), Some("job 7: completed_with_exceptions"));
    assert_eq!(line().await, None, "nothing else is said");

    let output = child.wait_with_output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(3));
    let document = json(&output.stdout);
    assert_eq!(
        (&document["id"], &document["state"]),
        (&Value::from("7"), &Value::from("done"))
    );
}
