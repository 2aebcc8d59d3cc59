//! How jobs and their details look to people. Nothing is fetched here.

use super::history;
use crate::documents::{DetailDocument, JobDocument, ProgressDocument, RestoreOfJob, SubmitterDocument};
use crate::human::{clean, duration, elapsed, or_dash, rate, size, time};
use crate::table::{facts, left, right, table};

/// `job cancel`: what has come of it so far.
pub(super) fn canceled(job: &JobDocument) -> String {
    match &job.waiting {
        _ if job.status.is_some() => format!("job {} is canceled\n", job.id),
        None => format!("job {} is being canceled\n", job.id),
        Some(waiting) => format!(
            "job {} will be canceled: {}\n",
            job.id,
            clean(&or_dash(waiting.reason.as_ref()))
        ),
    }
}

/// `job hold`, `release`, `resume`: what has come of it.
pub(super) fn changed(job: &JobDocument) -> String {
    let state = or_dash(job.state.as_ref());
    match &job.waiting {
        None => format!("job {} is {state}\n", job.id),
        Some(waiting) => format!(
            "job {} is {state}: {}\n",
            job.id,
            clean(&or_dash(waiting.reason.as_ref()))
        ),
    }
}

/// `job list`.
pub(super) fn list(jobs: &[JobDocument]) -> String {
    let rows = jobs.iter().map(|job| {
        let last = job.last_attempt();
        [
            job.id.clone(),
            or_dash(job.kind.as_ref()),
            or_dash(job.policy.as_ref()),
            or_dash(job.client.as_ref()),
            or_dash(job.state.as_ref()),
            job.status_shown(),
            or_dash(job.status_code),
            time(job.created_at),
            elapsed(job.started_at, job.ended_at),
            or_dash(last.map(|last| last.attempt)),
            or_dash(last.and_then(|last| last.media_agent.as_ref())),
        ]
    });
    let columns = [
        right("ID"),
        left("KIND"),
        left("POLICY"),
        left("CLIENT"),
        left("STATE"),
        left("STATUS"),
        right("CODE"),
        left("CREATED"),
        right("ELAPSED"),
        right("ATTEMPT"),
        left("MEDIA AGENT"),
    ];
    table(columns, rows.collect())
}

/// `job show`.
pub(super) fn one(job: &JobDocument) -> String {
    let mut text = facts(&head(job));
    if !job.items.is_empty() {
        let rows = job.items.iter().map(|item| {
            [
                item.path.clone(),
                or_dash(item.outcome.as_ref()),
                or_dash(item.restore_point.as_ref()),
            ]
        });
        let columns = [left("ITEM"), left("OUTCOME"), left("RESTORE POINT")];
        text += &format!("\n{}", table(columns, rows.collect()));
    }
    if !job.attempts.is_empty() {
        text += &format!("\n{}", history::view(&job.attempts));
    }
    for attempt in &job.attempts {
        if let Some(error) = &attempt.error {
            let line = format!("{} {} (help: {})", error.code, error.text, error.help);
            text += &format!(
                "\n{}",
                facts(&[("Error", format!("attempt {}: {line}", attempt.attempt))])
            );
        }
    }
    text
}

fn head(job: &JobDocument) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("Job", job.id.clone()),
        ("Kind", or_dash(job.kind.as_ref())),
        ("Policy", or_dash(job.policy.as_ref())),
        ("Client", or_dash(job.client.as_ref())),
        ("State", or_dash(job.state.as_ref())),
        ("Status", job.status_shown()),
        ("Code", or_dash(job.status_code)),
        (
            "Resilient",
            or_dash(job.resilient.map(|yes| if yes { "yes" } else { "no" })),
        ),
        ("Priority", job.priority.to_string()),
        ("By", or_dash(job.by.as_ref().map(SubmitterDocument::shown))),
        ("Created", time(job.created_at)),
        ("Started", time(job.started_at)),
        ("Ended", time(job.ended_at)),
        ("Elapsed", elapsed(job.started_at, job.ended_at)),
    ];
    rows.extend(job.restore.iter().flat_map(RestoreOfJob::facts));
    if let Some(waiting) = &job.waiting {
        let mut why = or_dash(waiting.reason.as_ref());
        if let Some(what) = &waiting.r#for {
            why += &format!("; for {what}");
        }
        if waiting.until.is_some() {
            why += &format!("; until {}", time(waiting.until));
        }
        rows.push(("Waiting", why));
    }
    if let Some(progress) = &job.progress {
        rows.push(("Progress", progress_line(progress)));
        if progress.checkpoint_at.is_some() {
            rows.push(("Checkpoint", time(progress.checkpoint_at)));
        }
    }
    if let Some(parent) = &job.parent {
        rows.push(("Parent", parent.clone()));
    }
    if !job.children.is_empty() {
        rows.push(("Children", job.children.join(", ")));
    }
    if !job.actions.is_empty() {
        rows.push(("Possible now", job.actions.join(", ")));
    }
    rows
}

/// The live numbers in one line.
pub(super) fn progress_line(progress: &ProgressDocument) -> String {
    let mut line = format!(
        "{} files, {}, {} new, {}",
        progress.files,
        size(progress.bytes),
        size(progress.bytes_new),
        rate(progress.rate)
    );
    if let Some(eta) = progress.eta_seconds {
        line += &format!(", {} left", duration(eta as f64));
    }
    if let Some(path) = &progress.path {
        line += &format!(", {path}");
    }
    line
}

/// `job details`.
pub(super) fn details(lines: &[DetailDocument]) -> String {
    let rows = lines.iter().map(|line| {
        [
            time(line.time),
            or_dash(line.severity.as_ref()),
            or_dash(line.host.as_ref()),
            line.text.clone(),
        ]
    });
    let columns = [left("TIME"), left("SEVERITY"), left("HOST"), left("TEXT")];
    table(columns, rows.collect())
}

#[cfg(test)]
mod tests {
    use outlast_proto::v1;

    use super::{list, one};
    use crate::documents::JobDocument;

    #[test]
    fn a_job_shows_what_it_waits_for_and_what_went_wrong() {
        let job = v1::Job {
            id: "7".into(),
            policy: "home".into(),
            state: v1::JobState::Queued.into(),
            waiting: Some(v1::Waiting {
                reason: "no media agent of the pool is usable".into(),
                r#for: "pool default".into(),
                until: None,
            }),
            attempts: vec![v1::History {
                job: "7".into(),
                attempt: 1,
                media_agent: "media-1".into(),
                status: v1::CompletionStatus::FailedOver.into(),
                status_code: Some(1110),
                error: Some(v1::JobError {
                    code: 1110,
                    text: "media-1 is silent\u{1b}[1m".into(),
                }),
                ..Default::default()
            }],
            ..Default::default()
        };
        let document = JobDocument::from(&job);
        let text = one(&document);
        for expected in [
            "Waiting:    no media agent of the pool is usable; for pool default\n",
            "failed_over",
            "Error:  attempt 1: 1110 media-1 is silent\\x1B[1m (help: outlast help code 1110)",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
        assert!(list(&[document]).lines().count() == 2);
    }
}
