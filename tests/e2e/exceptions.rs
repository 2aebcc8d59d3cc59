//! S-02, S-02a, S-07, S-10: what cannot be read is named; what fails is told apart; the rest is kept.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use crate::cluster::{Cluster, outlast, wait_until};

/// The kernel refuses to read some of these files to anyone, root included.
const UNREADABLE: &str = "/sys/devices/virtual/net/lo";

#[test]
fn s02_unreadable_files_are_exceptions_and_named_in_the_log() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("readable"), b"fine").unwrap();
    let items: Vec<&Path> = if rustix::process::geteuid().is_root() {
        vec![&source, Path::new(UNREADABLE)]
    } else {
        std::fs::write(source.join("secret"), b"x").unwrap();
        std::fs::set_permissions(source.join("secret"), std::fs::Permissions::from_mode(0o000)).unwrap();
        vec![&source]
    };
    cluster.apply_policy("mixed", &items, "").expect(0);
    let job = cluster.run_job("mixed", 3);
    assert_eq!(
        (&job["status"], &job["status_code"]),
        (&json!("completed_with_exceptions"), &json!(1)),
        "{job:#}"
    );
    let last = items.len() - 1;
    assert_eq!(job["items"][last]["outcome"], "done_with_exceptions");
    assert!(job["items"][last]["restore_point"].is_string());
    assert!(job["attempts"][0]["exceptions"].as_u64().unwrap() >= 1);
    let log = cluster.json(&["job", "log", job["id"].as_str().unwrap()]);
    let exceptions = log["exceptions"].as_array().unwrap();
    assert!(!exceptions.is_empty(), "{log:#}");
    for exception in exceptions {
        let (path, reason) = (
            exception["path"].as_str().unwrap(),
            exception["reason"].as_str().unwrap(),
        );
        assert!(path.starts_with(items[last].to_str().unwrap()), "{path}");
        assert!(!reason.is_empty());
    }
    cluster.check_repository();
}

#[test]
fn s02a_s07_a_missing_item_fails_alone() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), b"kept").unwrap();
    let missing = cluster.data_dir().join("no such path");
    cluster.apply_policy("home", &[&missing, &source], "").expect(0);
    let job = cluster.run_job("home", 1);
    assert_eq!(
        (&job["status"], &job["status_code"]),
        (&json!("failed"), &json!(71)),
        "{job:#}"
    );
    let outcomes: Vec<_> = job["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["failed", "done"]);
    assert!(job["items"][0]["restore_point"].is_null());
    assert_eq!(
        cluster.json(&["restore-point", "list"]).as_array().unwrap().len(),
        1
    );

    let log = cluster
        .run(&["job", "log", job["id"].as_str().unwrap(), "--format", "text"])
        .stdout;
    assert!(
        log.contains("71") && log.contains("outlast help code 71"),
        "{log}"
    );
    assert!(
        log.contains(missing.to_str().unwrap()),
        "the log names the path:\n{log}"
    );
    let help = outlast().args(["help", "code", "71"]).output().unwrap();
    assert!(help.status.success() && !help.stdout.is_empty());
    cluster.check_repository();
}

#[test]
fn excluded_files_are_left_out() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::create_dir_all(source.join("a/.cache/deep")).unwrap();
    for file in ["keep", "drop.tmp", "a/keep", "a/drop.tmp", "a/.cache/deep/drop"] {
        std::fs::write(source.join(file), file).unwrap();
    }
    cluster
        .apply_policy("home", &[&source], "exclude = [\"**/.cache\", \"*.tmp\"]")
        .expect(0);
    let job = cluster.run_job("home", 0);
    let point = job["items"][0]["restore_point"].as_str().unwrap().to_owned();
    let listed = cluster.restic(&["ls", &point]).stdout;
    let files: Vec<_> = listed
        .lines()
        .filter(|line| line.ends_with("keep") || line.ends_with("drop"))
        .collect();
    assert_eq!(files.len(), 2, "{listed}");
    assert!(!listed.contains("drop"), "{listed}");
    // Two files and a directory: whoever reads the details sees that patterns did something.
    let said = format!("{}: left out by \"exclude\": 3 ", source.display());
    let details = cluster.json(&["job", "details", job["id"].as_str().unwrap()]);
    let told = details.as_array().unwrap().iter();
    let told = told.filter(|line| line["text"].as_str().is_some_and(|text| text.starts_with(&said)));
    assert_eq!(told.count(), 1, "{details:#}");
    // And as a number, of the attempt and of the item.
    assert_eq!(job["attempts"][0]["excluded"], 3, "{job:#}");
    let log = cluster.json(&["job", "log", job["id"].as_str().unwrap()]);
    assert_eq!(log["items"][0]["excluded"], 3, "{log:#}");
}

/// `*.py{}` left out all of `*.py`.
#[test]
fn t90_braces_in_patterns_are_characters() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    for file in ["keep.py", "keep.tmp", "drop.py{}", "drop.{tmp,bak}", "dropZ"] {
        std::fs::write(source.join(file), file).unwrap();
    }
    let exclude = r#"exclude = ["*.py{}", "*.{tmp,bak}", "*[[:upper:]]"]"#;
    let applied = cluster.apply_policy("home", &[&source], exclude).expect(0);
    assert!(
        applied
            .stderr
            .contains(r#"write a line for each: "*.tmp", "*.bak""#),
        "{}",
        applied.stderr
    );
    let job = cluster.run_job("home", 0);
    let point = job["items"][0]["restore_point"].as_str().unwrap().to_owned();
    let listed = cluster.restic(&["ls", &point]).stdout;
    assert_eq!(listed.matches("keep").count(), 2, "{listed}");
    assert!(!listed.contains("drop"), "{listed}");
}

/// A repository would hold itself; a link is what people mean by it, and the details say where it led.
#[test]
fn t90_the_own_repository_is_left_out_and_a_linked_item_followed() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), b"kept").unwrap();
    let link = cluster.place("links").join("link");
    std::os::unix::fs::symlink(&source, &link).unwrap();
    let storage = cluster.data_dir().join("storage");
    cluster.apply_policy("home", &[&link, &storage], "").expect(0);
    let job = cluster.run_job("home", 3);
    let id = job["id"].as_str().unwrap();
    let log = cluster.json(&["job", "log", id]);
    let exceptions = log["exceptions"].as_array().unwrap();
    assert_eq!(exceptions.len(), 1, "{log:#}");
    assert_eq!(exceptions[0]["path"].as_str(), storage.to_str());
    assert!(
        exceptions[0]["reason"].as_str().unwrap().contains("repository"),
        "{log:#}"
    );
    let said = format!(
        "{}: is a symbolic link; what it points to is backed up: {}",
        link.display(),
        source.display()
    );
    let details = cluster.json(&["job", "details", id]);
    let details = details.as_array().unwrap();
    assert!(
        details.iter().any(|line| line["text"] == said.as_str()),
        "{details:#?}"
    );
    for (item, names) in [(0, 1), (1, 0)] {
        let point = job["items"][item]["restore_point"].as_str().unwrap();
        let listed = cluster.restic(&["ls", point]).stdout;
        assert_eq!(
            listed.lines().filter(|line| line.ends_with("/file")).count(),
            names,
            "{listed}"
        );
        assert!(!listed.contains("/keys"), "{listed}");
    }
}

/// What would leave out nothing is refused before anything is kept, with the right spelling.
#[test]
fn t90_patterns_that_leave_nothing_out_are_refused() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    let absolute = format!("{}/cache", source.display());
    for (pattern, said) in [
        (absolute.as_str(), "write \"/cache\""),
        ("./cache", "write \"/cache\""),
        ("~/cache", "write \"/cache\""),
        ("[z-a]", "write \"[a-z]\""),
    ] {
        let more = format!("exclude = [{pattern:?}]");
        let refused = cluster.apply_policy("home", &[&source], &more).expect(2);
        assert!(refused.stderr.contains(said), "{pattern}: {}", refused.stderr);
    }
    let refused = cluster.apply_policy("home", &[&source.join("*")], "").expect(2);
    assert!(
        refused.stderr.contains("looks like a pattern"),
        "{}",
        refused.stderr
    );
    assert_eq!(cluster.json(&["policy", "list"]), serde_json::json!([]));
}

#[test]
fn a_bandwidth_limit_is_kept() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), crate::tree::noise(6 << 20, 9)).unwrap();
    cluster
        .apply_policy("slow", &[&source], "[limits]\nbandwidth = \"2MiB/s\"")
        .expect(0);
    let job = cluster.run_job("slow", 0);
    let time = |key: &str| job[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let took = time("ended_at").duration_since(time("started_at"));
    // 6 MiB at 2 MiB/s; a limit may let a first burst through, but not the file.
    assert!(took.as_secs_f64() > 1.5, "took {took:?}");
}

#[test]
fn l02_progress_is_live_and_says_when_it_will_be_done() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), crate::tree::noise(64 << 20, 10)).unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    cluster.run_job("home", 0);
    cluster
        .apply_policy("home", &[&source], "[limits]\nbandwidth = \"1MiB/s\"")
        .expect(0);
    let id = cluster.json(&["job", "run", "home", "--full"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut progress = serde_json::Value::Null;
    wait_until("progress with an end in sight", || {
        progress = cluster.json(&["job", "show", &id])["progress"].clone();
        progress["eta_seconds"].is_u64()
    });
    assert!(
        progress["bytes"].as_u64().unwrap() > 0 && progress["rate"].as_u64().unwrap() > 0,
        "{progress:#}"
    );
    assert!(
        progress["eta_seconds"].as_u64().unwrap() <= 64 << 20,
        "{progress:#}"
    );
    wait_until("the path of the file under way", || {
        let job = cluster.json(&["job", "show", &id]);
        let path = job["progress"]["path"].as_str().map(ToOwned::to_owned);
        assert_ne!(job["state"], "done", "the job ended before it named a path");
        path.is_some_and(|path| path.ends_with("/file"))
    });
    cluster.run(&["job", "cancel", &id]);
}
