//! What is held against what, when the job of a row is done.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::{INTERVAL, MIB, RATE, Scene, connected, text};
use crate::cluster::wait_until;
use crate::tree;

impl Scene {
    /// A ghost has woken, a host is back: they commit nothing, and leave nothing but what is official.
    pub(super) fn assert_settled(&self, id: &str, job: &Value) {
        let points = self.json(&["restore-point", "list"]);
        wait_until("all to be back", || {
            let listed = self.run(&["agent", "list"]);
            listed.code == 0 && connected(&listed.json()) == 3
        });
        wait_until("only restore points to be there", || {
            let snapshots = self.restic(&["snapshots", "--json"]).json();
            snapshots.as_array().unwrap().len() == points.as_array().unwrap().len()
        });
        assert_eq!(self.json(&["restore-point", "list"]), points);
        assert_eq!(
            self.show(id)["attempts"],
            job["attempts"],
            "nothing of a ghost counts"
        );
        self.restic(&["check", "--read-data"]);
    }

    /// Statuses, links both ways, and as many histories.
    pub(super) fn assert_histories(&self, id: &str, job: &Value, expected: &[&str]) {
        let attempts = job["attempts"].as_array().unwrap();
        let statuses: Vec<_> = attempts
            .iter()
            .map(|attempt| attempt["status"].as_str().unwrap())
            .collect();
        assert_eq!(statuses, expected, "{job:#}");
        assert_eq!(
            self.json(&["history", "list", "--job", id])
                .as_array()
                .unwrap()
                .len(),
            expected.len()
        );
        assert_eq!(attempts.last().unwrap()["failed_over_to"], Value::Null, "{job:#}");
        for pair in attempts.windows(2) {
            assert_eq!(pair[0]["failed_over_to"], pair[1]["id"], "{job:#}");
            let back = [&pair[1]["resumed_from"], &pair[1]["retry_of"]];
            let named = back.iter().filter(|link| ***link == pair[0]["id"]).count();
            assert_eq!(named, 1, "{job:#}");
            let from = if pair[0]["status"] == "resumed" {
                &pair[0]["id"]
            } else {
                &Value::Null
            };
            assert_eq!(&pair[1]["resumed_from"], from, "{job:#}");
            assert_ne!(pair[0]["media_agent"], pair[1]["media_agent"], "{job:#}");
        }
    }

    /// One for each item, written by these attempts; the large one's has every byte, and the tree of a run that nothing disturbed.
    pub(super) fn assert_points(&self, job: &Value, source: &Path, attempts: &[u64]) {
        let listed = self.json(&["restore-point", "list"]);
        let of_job: Vec<_> = listed
            .as_array()
            .unwrap()
            .iter()
            .filter(|point| point["job"] == job["id"])
            .collect();
        assert_eq!(of_job.len(), 3, "{listed:#}");
        let named: Vec<_> = job["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| &item["restore_point"])
            .collect();
        for (id, attempt) in named.iter().zip(attempts) {
            let point = of_job.iter().find(|point| point["id"] == **id).unwrap();
            assert_eq!(point["attempt"], *attempt, "{point:#}, {job:#}");
        }
        self.apply("undisturbed", &[source.to_owned()], "");
        let undisturbed = self.json(&["job", "run", "undisturbed", "--full", "--wait"]);
        let tree = |point: &Value| {
            let listed = self
                .restic(&["snapshots", "--json", point.as_str().unwrap()])
                .json();
            text(&listed[0]["tree"])
        };
        assert_eq!(tree(named[1]), tree(&undisturbed["items"][0]["restore_point"]));
        let target = tempfile::tempdir_in(self.hosts.path("")).unwrap();
        let to = target.path().to_str().unwrap();
        self.restic(&["restore", named[1].as_str().unwrap(), "--target", to]);
        tree::assert_same(source, &target.path().join(source.strip_prefix("/").unwrap()));
    }

    /// Those from before the fault and behind it are the job's, each with the earlier attempt that met it.
    pub(super) fn assert_exceptions(&self, id: &str, expected: &[(&str, Option<u64>)]) {
        let log = self.json(&["job", "log", id]);
        let exceptions = log["exceptions"].as_array().unwrap();
        let name = |path: &Value| text(path).rsplit('/').nth(1).unwrap().to_owned();
        let found: BTreeSet<_> = exceptions
            .iter()
            .map(|met| (name(&met["path"]), met["met_in_attempt"].as_u64()))
            .collect();
        let expected = expected
            .iter()
            .map(|(name, attempt)| ((*name).to_owned(), *attempt));
        assert_eq!(found, expected.collect(), "{log:#}");
    }

    pub(super) fn assert_carried(&self, job: &Value, restart: bool) {
        let second = &job["attempts"][1];
        let number = |field: &str| second[field].as_u64();
        if restart {
            assert!(number("bytes_carried_over") > Some(0), "{job:#}");
            let most = (u64::from(RATE) * INTERVAL + 16) * MIB;
            assert!(number("bytes_resent").unwrap() <= most, "{job:#}");
        } else {
            assert_eq!(number("bytes_carried_over"), Some(0), "{job:#}");
            // All that had been read is read again.
            let read = job["attempts"][0]["bytes"].as_u64().unwrap();
            assert!(number("bytes_resent").unwrap() > read - MIB, "{job:#}");
        }
    }
}
