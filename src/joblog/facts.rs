//! The parts of a report as lines for people; the text and the HTML form show the same ones.

use super::{Completion, ItemReport, JobInformation};
use crate::documents::{RestoreOfJob, SubmitterDocument};
use crate::human::{duration, elapsed, nothing, or_dash, rate, size, time};

/// A line of a report: what it is, and its value for people.
pub(super) type Fact = (&'static str, String);

impl JobInformation {
    pub(super) fn facts(&self) -> Vec<Fact> {
        let mut facts = vec![
            ("Job", self.job.clone()),
            ("Kind", or_dash(self.kind.as_ref())),
            ("Policy", or_dash(self.policy.as_ref())),
            ("Client", or_dash(self.client.as_ref())),
            ("Media agent", or_dash(self.media_agent.as_ref())),
            ("Attempt", self.attempt.to_string()),
            ("Started", time(self.started_at)),
            ("By", or_dash(self.by.as_ref().map(SubmitterDocument::shown))),
        ];
        facts.extend(self.restore.iter().flat_map(RestoreOfJob::facts));
        facts
    }
}

impl ItemReport {
    pub(super) fn facts(&self) -> Vec<Fact> {
        let mut facts = vec![
            ("Outcome", or_dash(self.outcome.as_ref())),
            ("Restore point", or_dash(self.restore_point.as_ref())),
            ("Files", or_dash(self.files)),
            ("Directories", or_dash(self.directories)),
            ("Data", or_dash(self.bytes.map(size))),
            ("Read", or_dash(self.bytes_read.map(size))),
            ("New", or_dash(self.bytes_new.map(size))),
            ("Stored", or_dash(self.bytes_stored.map(size))),
            ("Carried over", or_dash(self.bytes_carried_over.map(size))),
            ("Sent again", or_dash(self.bytes_resent.map(size))),
            ("Skipped", or_dash(self.skipped)),
            ("Excluded", or_dash(self.excluded)),
            ("Rate", or_dash(self.rate.map(rate))),
            ("Elapsed", elapsed(self.started_at, self.ended_at)),
        ];
        if let Some(error) = &self.error {
            facts.push(("Error", format!("{} {}", error.code, error.text)));
        }
        facts
    }
}

impl Completion {
    pub(super) fn facts(&self) -> Vec<Fact> {
        let status = match (&self.status, self.running) {
            (Some(status), _) => status.clone(),
            (None, true) => "running".to_owned(),
            (None, false) => nothing(),
        };
        let mut facts = vec![("Status", status), ("Code", or_dash(self.status_code))];
        if let Some(stopped) = &self.stopped {
            facts.push(("Stopped", stopped.clone()));
        }
        if self.items_not_started > 0 {
            facts.push(("Items not started", self.items_not_started.to_string()));
        }
        facts.extend([
            ("Carried over", or_dash(self.bytes_carried_over.map(size))),
            ("Sent again", or_dash(self.bytes_resent.map(size))),
            ("Ended", time(self.ended_at)),
            ("Elapsed", or_dash(self.elapsed_seconds.map(duration))),
        ]);
        facts
    }
}
