//! S-04, F-07: the media server is gone, and the job goes on where its last checkpoint was.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, wait_until};
use crate::failover::{agents_of, assert_restores, cluster};
use crate::tree;

/// Bytes of the newest checkpoint: in files that are whole or can be gone on in, in the latter, and in all.
fn newest_checkpoint(cluster: &Cluster) -> Option<(u64, u64, u64)> {
    let of_host = [
        "--no-lock",
        "snapshots",
        "--json",
        "--host",
        "local.outlast-checkpoint",
    ];
    let listed = cluster.restic(&of_host).json();
    let mut listed = listed.as_array().unwrap().clone();
    listed.sort_by_key(|snapshot| snapshot["time"].as_str().unwrap().to_owned());
    let id = listed.last()?["id"].as_str().unwrap().to_owned();
    let mark = cluster.try_restic(&["--no-lock", "dump", &id, "/.outlast-checkpoint.json"]);
    // It may have gone meanwhile.
    let mark = (mark.code == 0).then(|| mark.json())?;
    let begun = mark["files_under_way"].as_array().unwrap();
    let offset = |file: &Value| file["offset"].as_u64().unwrap();
    let settled = begun.iter().filter(|file| file["is_settled"] == true);
    let settled: u64 = settled.map(offset).sum();
    let begun: u64 = begun.iter().map(offset).sum();
    let all = mark["counters"]["bytes"].as_u64().unwrap();
    Some((all - begun + settled, settled, all))
}

/// Files before, in and after directories; one that is long, one with two names, one with holes.
pub(crate) fn fill(source: &Path) {
    let write = |name: &str, seed: u64, length: usize| {
        let path = source.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, tree::noise(length, seed)).unwrap();
    };
    for number in 0..12 {
        write(&format!("a{number:02}/one"), number, 900_000);
        write(&format!("a{number:02}/two"), number + 100, 30_000);
    }
    std::fs::hard_link(source.join("a00/one"), source.join("a05/zz-again")).unwrap();
    write("b-long", 500, 40 << 20);
    let sparse = std::fs::File::create(source.join("c-sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    write("z/last", 501, 100_000);
    // What has just changed is read again by every attempt (S-14c).
    let last = source.join("z/last").metadata().unwrap().modified().unwrap();
    wait_until("the files to be settled", || {
        last.elapsed().is_ok_and(|age| age > Duration::from_secs(3))
    });
}

pub(crate) fn tree_of(cluster: &Cluster, job: &Value) -> String {
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let listed = cluster
        .restic(&["--no-lock", "snapshots", "--json", point])
        .json();
    listed[0]["tree"].as_str().unwrap().to_owned()
}

#[test]
fn s04_f07_a_killed_media_agents_job_goes_on_from_its_checkpoint_to_the_same_tree() {
    let cluster = cluster();
    let source = cluster.place("source");
    fill(&source);
    let slow = "[checkpoint]\ninterval = \"1s\"\n[limits]\nbandwidth = \"3MiB/s\"";
    cluster.apply_policy("slow", &[&source], slow).expect(0);
    let submitted = cluster.json(&["job", "run", "slow"]);
    let id = submitted["id"].as_str().unwrap();
    wait_until("a checkpoint with whole files, in the middle of another", || {
        newest_checkpoint(&cluster).is_some_and(|(usable, settled, _)| settled > 0 && usable > settled)
    });
    let (media, other) = agents_of(&cluster, id);
    cluster.kill(&[media.as_str()]);
    let (usable, settled, held) = newest_checkpoint(&cluster).unwrap();

    let job = cluster.run(&["-o", "json", "job", "watch", id]).json();
    assert_eq!(job["status"], "successful", "{job:#}");
    let attempts = job["attempts"].as_array().unwrap();
    let told: Vec<_> = attempts
        .iter()
        .map(|a| (a["status"].as_str().unwrap(), a["media_agent"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [("resumed", media.as_str()), ("successful", other)],
        "{job:#}"
    );
    assert_eq!(attempts[1]["resumed_from"], attempts[0]["id"], "{job:#}");
    let number = |field: &str| attempts[1][field].as_u64().unwrap();
    let (carried, new, all) = (number("bytes_carried_over"), number("bytes_new"), number("bytes"));
    assert!(
        settled > 0 && carried >= usable,
        "{carried} of {usable} are carried over: {job:#}"
    );
    assert!(new <= all - held, "{new} of {all} are new, {held} were held");
    let progress = attempts[0]["bytes"].as_u64().unwrap();
    assert_eq!(
        number("bytes_resent"),
        progress.saturating_sub(carried),
        "{job:#}"
    );
    // One interval of what the client may send, and what is under way.
    assert!(number("bytes_resent") <= (3 + 16) << 20, "{job:#}");
    let details = cluster.run(&["job", "details", id]).stdout;
    assert!(details.contains("goes on from checkpoint"), "{details}");

    cluster.apply_policy("undisturbed", &[&source], "").expect(0);
    let undisturbed = cluster.run_job("undisturbed", 0);
    assert_eq!(tree_of(&cluster, &job), tree_of(&cluster, &undisturbed));
    assert_restores(&cluster, &job, &source);
    cluster.check_repository();
    println!("{carried} of {all} bytes were carried over, {new} were new, the checkpoint held {held}");
}

#[test]
fn s03_without_checkpoint_restart_the_next_attempt_begins_from_zero_and_says_so() {
    let cluster = cluster();
    let source = cluster.place("source");
    fill(&source);
    let slow = "[checkpoint]\nrestart = false\n[limits]\nbandwidth = \"6MiB/s\"";
    cluster.apply_policy("slow", &[&source], slow).expect(0);
    let submitted = cluster.json(&["job", "run", "slow"]);
    let id = submitted["id"].as_str().unwrap();
    wait_until("data to flow", || {
        cluster.json(&["job", "show", id])["progress"]["bytes"].as_u64() > Some(2 << 20)
    });
    let (media, _) = agents_of(&cluster, id);
    cluster.kill(&[media.as_str()]);
    cluster.restart(&media);
    let job = cluster.run(&["-o", "json", "job", "watch", id]).json();
    assert_eq!(job["attempts"][0]["status"], "failed_over", "{job:#}");
    assert_eq!(job["attempts"][1]["bytes_carried_over"], 0, "{job:#}");
    assert_eq!(job["attempts"][1]["bytes_resent"], Value::Null, "{job:#}");
    let details = cluster.run(&["job", "details", id]).stdout;
    assert!(
        details.contains("checkpoint restart is off in the policy"),
        "{details}"
    );
}
