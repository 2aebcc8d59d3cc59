//! What has to be true after a power cut: the account of all jobs, restore points and restored bytes. Called by the rounds of `power`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{PRIMARIES, STORAGE, Scene};
use crate::cluster::{Ran, wait_until};
use crate::tree;

impl Scene {
    pub(super) fn wait_for_the_ends(&self) {
        for (id, job) in &self.jobs {
            if job.ended.is_none() {
                wait_until(&format!("job {id} to end"), || {
                    let ran = self.run(&["job", "show", id]);
                    ran.code == 0 && ran.json()["state"] == "done"
                });
            }
        }
    }

    /// Each acknowledged job is there once; what had ended is what it was; what has ended now says how.
    pub(super) fn check_jobs(&mut self) -> Vec<String> {
        let listed = self.json(&["job", "list"]);
        let statuses = statuses(&listed);
        assert_eq!(
            statuses.len(),
            listed.as_array().unwrap().len(),
            "a job is there twice"
        );
        let mut new = Vec::new();
        for (id, job) in &mut self.jobs {
            let Some(status) = statuses.get(id) else {
                panic!("job {id} was acknowledged and is gone");
            };
            assert_ne!(status, "null", "job {id} has ended without a status");
            match &job.ended {
                Some(before) => assert_eq!(before, status, "job {id}"),
                None => {
                    job.ended = Some(status.clone());
                    new.push(id.clone());
                }
            }
        }
        let unknown = statuses.keys().filter(|id| !self.jobs.contains_key(*id)).count();
        assert!(
            unknown <= self.counts.unanswered,
            "{unknown} jobs that nobody submitted"
        );
        for id in &new {
            self.check_new(id);
        }
        new
    }

    /// What a job that has just ended says of itself.
    fn check_new(&mut self, id: &str) {
        let shown = self.json(&["job", "show", id]);
        let (job, status) = (&self.jobs[id], shown["status"].as_str().unwrap().to_owned());
        let attempts = shown["attempts"].as_array().unwrap();
        let numbers: BTreeSet<_> = attempts
            .iter()
            .map(|attempt| attempt["attempt"].as_u64())
            .collect();
        assert_eq!(numbers.len(), attempts.len(), "{shown:#}");
        assert!(
            attempts.iter().all(|attempt| !attempt["status"].is_null()),
            "{shown:#}"
        );
        let counts = match job.to {
            None => &mut self.counts.backups,
            Some(_) => &mut self.counts.restores,
        };
        *counts
            .entry(format!("{status} {}", shown["status_code"]))
            .or_default() += 1;
        match &job.to {
            Some(to) if status == "successful" => self.told.push((job.copy.clone(), to.clone())),
            Some(_) => {}
            None => assert!(
                status != "successful" || shown["items"][0]["restore_point"].is_string(),
                "{shown:#}"
            ),
        }
    }

    /// Each successful backup has its restore point, which is what it was, and whose snapshot restic sees.
    pub(super) fn check_points(&mut self) {
        let listed = self.json(&["restore-point", "list"]);
        let of = |point: &Value, field: &str| point[field].as_str().unwrap().to_owned();
        let mut found = BTreeMap::new();
        for point in listed.as_array().unwrap() {
            let job = of(point, "job");
            let before = found.insert(job, (of(point, "id"), of(point, "snapshot")));
            assert!(
                before.is_none(),
                "a job has two restore points of its one item: {listed:#}"
            );
        }
        for (job, point) in &self.points {
            assert_eq!(found.get(job), Some(point), "job {job}");
        }
        let snapshots = self.restic(&["snapshots", "--json"]).json();
        let ids: BTreeSet<_> = snapshots
            .as_array()
            .unwrap()
            .iter()
            .map(|one| of(one, "id"))
            .collect();
        for (id, job) in &self.jobs {
            if job.to.is_none() && job.ended.as_deref() == Some("successful") {
                let point = found
                    .get(id)
                    .unwrap_or_else(|| panic!("job {id} has no restore point"));
                assert!(ids.contains(&point.1), "the snapshot of job {id} is gone");
                self.points.insert(id.clone(), point.clone());
            }
        }
        let known: BTreeSet<_> = found.values().map(|(_, snapshot)| snapshot).collect();
        let others = ids.iter().filter(|id| !known.contains(id)).count();
        assert_eq!(others, 0, "snapshots that nobody knows: {ids:?}, {known:?}");
    }

    /// Every primary has the same jobs with the same ends.
    pub(super) fn check_primaries(&self) {
        let expected = statuses(&self.json(&["job", "list"]));
        for node in &self.nodes[PRIMARIES] {
            wait_until(&format!("{} to know what the others know", node.name), || {
                let ran = self.hosts.run(&[node], &["job", "list", "--stale"]);
                ran.code == 0 && statuses(&ran.json()) == expected
            });
        }
    }

    /// What plain restic restores of new successful backups is what was backed up.
    pub(super) fn check_backups(&mut self, new: &[String]) {
        let to = self.hosts.path("by-restic");
        for id in new {
            if let Some((_, snapshot)) = self.points.get(id) {
                self.restic(&["restore", snapshot, "--target", to.to_str().unwrap()]);
                self.assert_restored(&self.jobs[id].copy, &to);
                std::fs::remove_dir_all(&to).unwrap();
                self.counts.compared_backups += 1;
            }
        }
    }

    /// What restores said they had restored, before the power went, is there.
    pub(super) fn check_restores(&mut self) {
        for (copy, to) in std::mem::take(&mut self.told) {
            self.assert_restored(&copy, &to);
            std::fs::remove_dir_all(&to).unwrap();
            self.counts.compared_restores += 1;
        }
    }

    fn assert_restored(&self, copy: &Path, to: &Path) {
        let source = self.hosts.path("source");
        tree::assert_same(copy, &to.join(source.strip_prefix("/").unwrap()));
    }

    pub(super) fn restic(&self, args: &[&str]) -> Ran {
        let ran = Command::new("restic")
            .arg("--repo")
            .arg(self.disks[STORAGE].path().join("storage/unit"))
            .arg("--password-file")
            .arg(self.hosts.path("password"))
            .args(["--no-cache", "--quiet", "--no-lock"])
            .args(args)
            .output()
            .expect("restic is installed: apt-get install restic");
        Ran::of(ran).expect(0)
    }
}

/// How each job has ended, by its id.
fn statuses(listed: &Value) -> BTreeMap<String, String> {
    let jobs = listed.as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    jobs.map(|job| (text(&job["id"]), text(&job["status"]))).collect()
}
