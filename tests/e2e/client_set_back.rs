//! A client agent whose disk is set back to an older copy in mid-job.

use std::path::Path;
use std::process::Command;

use crate::cluster::{Cluster, wait_until};
use crate::outage::slow_job_under_way;

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Its new process knows nothing of the attempt, and nobody waits five minutes for the old one (F-09).
#[test]
fn t90_f09_a_client_whose_disk_was_set_back_in_mid_job_ends_its_attempt_with_50() {
    let cluster = Cluster::start();
    let state = cluster.data_dir().join("state/client-1");
    let yesterday = cluster.place("copies").join("yesterday");
    cluster.kill(&["client-1"]);
    copy(&state, &yesterday);
    cluster.restart("client-1");
    let source = cluster.place("source");
    let id = slow_job_under_way(&cluster, &source, 9);
    cluster.kill(&["client-1"]);
    // Whoever looks sees what is waited for, and for how long.
    wait_until("the job to say that it waits", || {
        let waiting = &cluster.json(&["job", "show", &id])["waiting"];
        let reason = waiting["reason"].as_str().unwrap_or_default();
        reason.contains("the stream with client local is broken") && waiting["until"].is_string()
    });
    std::fs::remove_dir_all(&state).unwrap();
    copy(&yesterday, &state);
    cluster.restart("client-1");
    wait_until("the attempt to have ended with 50", || {
        cluster.json(&["job", "show", &id])["attempts"][0]["status_code"] == 50
    });
    // F-09a: that job begins again some time, and keeps nobody waiting.
    cluster.run_job("slow", 0);
    cluster.check_repository();
}
