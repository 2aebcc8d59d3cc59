//! Storage units and targets of restores that store files when they are closed, as file systems of FUSE do that keep them elsewhere, and
//! say only then that they could not (S-02, S-14, S-14e).

use std::fs;

use outlast_test_filesystems::{At, Errno, Odd, can_mount, mount};

use crate::cluster::Cluster;
use crate::main_job::inside;
use crate::tree;

/// A sync there is none, and closing what was written below `place` fails.
fn fails_to_store(odd: &Odd, at: At) {
    odd.heals();
    odd.fails(At::anywhere().calls(&["fsync"]), Errno::NOSYS);
    odd.fails(at.calls(&["flush"]), Errno::IO);
}

#[test]
fn t90_s14_a_unit_that_cannot_store_what_is_closed_fails_the_job_with_84() {
    if !can_mount() {
        return;
    }
    let mut cluster = Cluster::unstarted();
    let (backing, storage) = (cluster.place("backing"), cluster.data_dir().join("storage"));
    fs::create_dir_all(&storage).unwrap();
    let odd = Odd::new();
    odd.fails(At::anywhere().calls(&["fsync"]), Errno::NOSYS);
    let _mounted = mount(&backing, &storage, odd.clone()).unwrap();
    cluster.start_dev();
    let source = cluster.place("source");
    for number in 0..20 {
        fs::write(source.join(number.to_string()), format!("{number}").repeat(5000)).unwrap();
    }
    cluster.apply_policy("home", &[&source], "").expect(0);
    for below in ["data", "index", "snapshots"] {
        fails_to_store(&odd, At::path(below).and_below());
        let job = cluster.run_job("home", 1);
        assert_eq!(job["status"], "failed", "{below}: {job:#}");
        assert_eq!(job["status_code"], 84, "{below}: {job:#}");
        odd.heals();
        cluster.check_repository();
        // F-19.
        assert_eq!(
            cluster.json(&["storage", "list"])[0]["state"],
            "suspect",
            "{below}"
        );
        cluster.run(&["storage", "check", "storage"]);
    }
    let job = cluster.run_job("home", 0);
    assert_eq!(job["status"], "successful", "{job:#}");
    cluster.check_repository();
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let to = cluster.place("to");
    cluster.run(&["restore", point, "--to", to.to_str().unwrap(), "--wait"]);
    tree::assert_same(&source, &inside(&to, &source));

    // A target of that kind.
    let [below, to] = ["below", "other"].map(|name| cluster.place(name));
    let odd = Odd::new();
    // Its test, and one more of them.
    odd.fails(At::anywhere().calls(&["flush"]).after(2), Errno::FBIG);
    let _target = mount(&below, &to, odd).unwrap();
    let restore = cluster
        .try_run(&[
            "-o",
            "json",
            "restore",
            point,
            "--to",
            to.to_str().unwrap(),
            "--wait",
        ])
        .expect(3)
        .json();
    assert_eq!(restore["status"], "completed_with_exceptions", "{restore:#}");
    let log = cluster.json(&["job", "log", restore["id"].as_str().unwrap()]);
    let exceptions = log["exceptions"].as_array().unwrap();
    assert_eq!(exceptions.len(), 19, "{exceptions:#?}");
    for exception in exceptions {
        let reason = exception["reason"].as_str().unwrap();
        assert!(reason.contains("its content could not be written"), "{reason}");
    }
    let there = fs::read_dir(inside(&below, &source)).unwrap();
    assert_eq!(there.count(), 1);
}
