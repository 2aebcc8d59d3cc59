//! What somebody puts in the place of a restore point with a current restic is not taken for it.

use std::path::Path;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::main_job::inside;
use crate::{restics, tree};

fn point_of(job: &Value) -> String {
    job["items"][0]["restore_point"].as_str().unwrap().to_owned()
}

/// The restore ends with exceptions, and everything that tells of it says why; the listing, too.
fn is_told(cluster: &Cluster, point: &str, to: &Path) {
    let args = [
        "-o",
        "json",
        "restore",
        point,
        "--to",
        to.to_str().unwrap(),
        "--wait",
    ];
    let job = cluster.try_run(&args).expect(3).json();
    assert_eq!(job["status"], "completed_with_exceptions", "{job:#}");
    let id = job["id"].as_str().unwrap();
    let log = cluster.run(&["job", "log", id]).stdout;
    let details = cluster.run(&["job", "details", id]).stdout;
    let listed = cluster.run(&["restore-point", "ls", point]);
    for text in [log, details, listed.stderr] {
        assert!(text.contains("rewritten outside Outlast"), "{text}");
        assert!(
            text.contains("4 files of 36000000 bytes were backed up"),
            "{text}"
        );
    }
}

/// The next backup reads what is missing again, and what it leaves is whole.
fn is_whole_again(cluster: &Cluster, source: &Path, name: &str) -> String {
    let point = point_of(&cluster.run_job("home", 0));
    let to = cluster.place(name);
    cluster.run(&["restore", &point, "--to", to.to_str().unwrap(), "--wait"]);
    tree::assert_same(source, &inside(&to, source));
    point
}

fn largest_pack(cluster: &Cluster) -> std::path::PathBuf {
    let folders = std::fs::read_dir(cluster.data_dir().join("storage/data")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let sizes = files.map(|file| {
        let file = file.unwrap();
        (file.metadata().unwrap().len(), file.path())
    });
    sizes.max().unwrap().1
}

/// `restic tag` and then `restic rewrite`: the second names a snapshot that Outlast has never heard of.
#[test]
fn t90_a_restore_point_that_restic_changed_twice_is_followed() {
    let Some(restic) = restics::current() else { return };
    let cluster = Cluster::start();
    let source = cluster.place("source");
    for number in 0..4 {
        std::fs::write(source.join(format!("x{number}")), tree::noise(9_000_000, number)).unwrap();
    }
    tree::let_age();
    cluster.apply_policy("home", &[&source], "").expect(0);
    let [first, second] = [(); 2].map(|()| point_of(&cluster.run_job("home", 0)));
    let by_restic = |args: &[&str]| cluster.try_restic_of(&restic, args).expect(0).stdout;
    let now_of = |tag: &str| {
        let listed: Value = serde_json::from_str(&by_restic(&["snapshots", "--json", "--tag", tag])).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), 1, "{listed:#}");
        listed[0].clone()
    };
    by_restic(&["tag", "--add", "monthly", &first]);
    by_restic(&["tag", "--add", "yearly", &second]);
    let tagged = ["monthly", "yearly"].map(|tag| now_of(tag)["id"].as_str().unwrap().to_owned());
    by_restic(&["rewrite", "--forget", "--new-host", "attic", &tagged[0]]);
    by_restic(&["rewrite", "--forget", "--exclude", "x2", &tagged[1]]);
    for (tag, tagged) in ["monthly", "yearly"].iter().zip(&tagged) {
        assert_eq!(
            now_of(tag)["original"],
            tagged.as_str(),
            "restic names the one before, and not the first"
        );
    }
    let to = cluster.place("to");
    cluster.run(&["restore", &first, "--to", to.to_str().unwrap(), "--wait"]);
    tree::assert_same(&source, &inside(&to, &source));
    is_told(&cluster, &second, &cluster.place("less"));
    // Without its tags it is nobody's.
    let now = now_of("monthly");
    by_restic(&["tag", "--set", "mine", now["id"].as_str().unwrap()]);
    let nowhere = cluster.place("nowhere");
    let args = [
        "-o",
        "json",
        "restore",
        &first,
        "--to",
        nowhere.to_str().unwrap(),
        "--wait",
    ];
    let ran = cluster.try_run(&args);
    // The steward may have noticed by then (F-15).
    if ran.code == 5 {
        assert!(ran.stderr.contains("is lost"), "{}", ran.stderr);
    } else {
        let job = ran.expect(1).json();
        assert_eq!(job["status_code"], 71, "{job:#}");
    }
}

#[test]
fn t90_a_restore_point_that_restic_rewrote_or_repaired_is_not_restored_as_if_it_were_whole() {
    let Some(restic) = restics::current() else { return };
    let cluster = Cluster::start();
    let source = cluster.place("source");
    for number in 0..4 {
        std::fs::write(source.join(format!("x{number}")), tree::noise(9_000_000, number)).unwrap();
    }
    tree::let_age();
    cluster.apply_policy("home", &[&source], "").expect(0);
    let first = point_of(&cluster.run_job("home", 0));
    let by_restic = |args: &[&str]| drop(cluster.try_restic_of(&restic, args).expect(0));
    by_restic(&["rewrite", "--forget", "--exclude", "x2", &first]);
    is_told(&cluster, &first, &cluster.place("rewritten"));
    let second = is_whole_again(&cluster, &source, "second");

    std::fs::remove_file(largest_pack(&cluster)).unwrap();
    by_restic(&["repair", "index"]);
    by_restic(&["repair", "snapshots", "--forget", &second]);
    is_told(&cluster, &second, &cluster.place("repaired"));
    is_whole_again(&cluster, &source, "third");
}
