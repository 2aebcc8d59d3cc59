//! Every field of CLI.md is there, and null when it is not known.

use outlast_proto::v1;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    AgentDocument, ClusterDocument, DetailDocument, FileDocument, HistoryDocument, JobDocument,
    PolicyDocument, PoolDocument, RestorePointDocument,
};

/// `names` are the field names of CLI.md, separated by blanks.
fn check_fields(document: &impl Serialize, names: &str) {
    let value = serde_json::to_value(document).unwrap();
    let object = value.as_object().unwrap();
    for name in names.split_whitespace() {
        assert!(object.contains_key(name), "{name} is missing in {value}");
    }
}

fn stamp(seconds: i64, nanos: i32) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos })
}

const JOB: &str = "id policy client kind state status status_code resilient priority created_at started_at \
    ended_at waiting actions progress items attempts parent children";
const HISTORY: &str = "id job attempt media_agent client status status_code stopped items_not_started error \
    started_at ended_at files bytes bytes_new bytes_stored bytes_carried_over bytes_resent exceptions \
    resumed_from failed_over_to retry_of";

#[test]
fn every_field_of_the_contract_is_there_when_nothing_is_known() {
    check_fields(&JobDocument::from(&v1::Job::default()), JOB);
    check_fields(&HistoryDocument::from(&v1::History::default()), HISTORY);
    check_fields(
        &DetailDocument::from(&v1::Detail::default()),
        "time severity host text",
    );
    check_fields(
        &AgentDocument::from(&v1::Agent::default()),
        "name kind state since last_seen version host_id pool active_jobs leaving",
    );
    check_fields(
        &RestorePointDocument::from(&v1::RestorePoint::default()),
        "id job attempt policy client item time files bytes snapshot",
    );
    let member = v1::ClusterStatus {
        members: vec![v1::Member::default()],
        ..Default::default()
    };
    let cluster = ClusterDocument::from(&member);
    check_fields(&cluster, "cluster_id leader term version members");
    check_fields(&cluster.members[0], "name address role reachable lag");
    check_fields(
        &PolicyDocument::from(&v1::PolicyView::default()),
        "name type clients items exclude pool checkpoint limits retry shape schedule retention revision",
    );
    check_fields(
        &PoolDocument::from(&v1::Pool::default()),
        "name media_agents method failover failover_after stalled_after no_communication_after",
    );
    check_fields(
        &FileDocument::from(&v1::FileInfo::default()),
        "path type mode user group size modified_at link_target",
    );
}

#[test]
fn what_is_not_known_is_null() {
    let job = serde_json::to_value(JobDocument::from(&v1::Job::default())).unwrap();
    for name in [
        "policy",
        "status",
        "status_code",
        "resilient",
        "started_at",
        "ended_at",
        "waiting",
        "progress",
        "parent",
    ] {
        assert_eq!(job[name], Value::Null, "{name}");
    }
    assert_eq!((&job["actions"], &job["children"]), (&json!([]), &json!([])));
    let history = serde_json::to_value(HistoryDocument::from(&v1::History::default())).unwrap();
    for name in [
        "media_agent",
        "status",
        "status_code",
        "stopped",
        "error",
        "started_at",
        "ended_at",
        "files",
        "bytes",
        "resumed_from",
        "failed_over_to",
        "retry_of",
    ] {
        assert_eq!(history[name], Value::Null, "{name}");
    }
}

#[test]
fn a_running_job_in_full() {
    let job = v1::Job {
        id: "7".into(),
        policy: "home".into(),
        client: "laptop".into(),
        kind: v1::JobKind::Backup.into(),
        state: v1::JobState::WaitingForRetry.into(),
        resilient: Some(true),
        priority: 5,
        created_at: stamp(1_767_225_600, 0),
        started_at: stamp(1_767_225_601, 250_000_000),
        waiting: Some(v1::Waiting {
            reason: "retry".into(),
            r#for: "time".into(),
            until: stamp(1_767_225_660, 0),
        }),
        actions: vec!["cancel".into()],
        progress: Some(v1::Progress {
            files: 1,
            bytes: 2,
            bytes_new: 3,
            rate: 4,
            path: "/home/x".into(),
            eta_seconds: Some(9),
            checkpoint_at: None,
        }),
        items: vec![v1::Item {
            path: "/home".into(),
            outcome: v1::ItemOutcome::InProgress.into(),
            restore_point: String::new(),
        }],
        attempts: vec![v1::History {
            job: "7".into(),
            attempt: 1,
            ..Default::default()
        }],
        ..Default::default()
    };
    let value = serde_json::to_value(JobDocument::from(&job)).unwrap();
    assert_eq!(value["id"], "7", "ids are text");
    assert_eq!(value["state"], "waiting_for_retry");
    assert_eq!(value["created_at"], "2026-01-01T00:00:00Z");
    assert_eq!(value["started_at"], "2026-01-01T00:00:01.25Z");
    assert_eq!(
        value["waiting"],
        json!({"reason": "retry", "for": "time", "until": "2026-01-01T00:01:00Z"})
    );
    assert_eq!(
        value["progress"],
        json!({"files": 1, "bytes": 2, "bytes_new": 3, "rate": 4, "path": "/home/x", "eta_seconds": 9,
            "checkpoint_at": null})
    );
    assert_eq!(
        value["items"],
        json!([{"path": "/home", "outcome": "in_progress", "restore_point": null}])
    );
    assert_eq!(value["attempts"][0]["status"], Value::Null);
}

#[test]
fn s01_lists_show_a_graceful_stop() {
    let history = v1::History {
        status: v1::CompletionStatus::Successful.into(),
        stopped: v1::Stopped::Graceful.into(),
        items_not_started: 2,
        error: Some(v1::JobError {
            code: 84,
            text: "disk".into(),
        }),
        counters: Some(v1::Counters {
            bytes_stored: 7,
            ..Default::default()
        }),
        ..Default::default()
    };
    let document = HistoryDocument::from(&history);
    assert_eq!(
        document.status_shown(),
        "successful (stopped: graceful, 2 items not started)"
    );
    let value = serde_json::to_value(&document).unwrap();
    assert_eq!(value["stopped"], "graceful");
    assert_eq!((&value["bytes_stored"], &value["files"]), (&json!(7), &json!(0)));
    assert_eq!(
        value["error"],
        json!({"code": 84, "text": "disk", "help": "outlast help code 84"})
    );
}

#[test]
fn the_jobs_status_decides_the_exit_code() {
    for (status, expected) in [
        (v1::CompletionStatus::Successful, 0),
        (v1::CompletionStatus::CompletedWithExceptions, 3),
        (v1::CompletionStatus::Failed, 1),
        (v1::CompletionStatus::Canceled, 1),
        (v1::CompletionStatus::CanceledTimedOut, 1),
        (v1::CompletionStatus::Missed, 1),
        (v1::CompletionStatus::Unspecified, 1),
    ] {
        let job = v1::Job {
            status: status.into(),
            ..Default::default()
        };
        assert_eq!(JobDocument::from(&job).exit_code(), expected, "{status:?}");
    }
}
