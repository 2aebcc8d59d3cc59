//! Progress of a job on stderr: a live bar on a terminal, a line for each change of state elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::job_view::progress_line;
use crate::documents::{JobDocument, ProgressDocument};
use crate::human::clean;
use crate::output::remark;

/// What is shown of one job.
pub(crate) struct Progress {
    id: String,
    bar: Option<ProgressBar>,
    last_line: String,
}

impl Progress {
    pub(crate) fn new(id: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style("{spinner} {wide_msg}"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            id: id.to_owned(),
            bar,
            last_line: String::new(),
        }
    }

    /// The job as it is now.
    pub(crate) fn show(&mut self, job: &JobDocument) {
        let line = format!("job {}: {}", self.id, state_line(job));
        match &self.bar {
            Some(bar) => {
                let numbers = job.progress.as_ref().map(progress_line);
                let message = numbers.map_or_else(|| line.clone(), |numbers| format!("{line}, {numbers}"));
                draw(bar, job.progress.as_ref(), clean(&message));
            }
            None if line != self.last_line => remark(&clean(&line)),
            None => {}
        }
        self.last_line = line;
    }

    /// A line that stays.
    pub(crate) fn remark(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| remark(text)),
            None => remark(text),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn state_line(job: &JobDocument) -> String {
    let state = job.status.as_ref().or(job.state.as_ref());
    let mut line = crate::human::or_dash(state);
    match job.last_attempt() {
        Some(attempt) if job.status.is_none() && attempt.status.is_none() => {
            line += &format!(", attempt {}", attempt.attempt);
            if let Some(agent) = &attempt.media_agent {
                line += &format!(" on {agent}");
            }
        }
        _ => {}
    }
    if let Some(reason) = job.waiting.as_ref().and_then(|waiting| waiting.reason.as_ref()) {
        line += &format!(": {reason}");
    }
    line
}

/// Where an end is in sight a bar says how far it is; else only the numbers run.
fn draw(bar: &ProgressBar, progress: Option<&ProgressDocument>, message: String) {
    let total = progress.and_then(|progress| {
        let left = progress.eta_seconds?.checked_mul(progress.rate)?;
        progress.bytes.checked_add(left).filter(|total| *total > 0)
    });
    match total {
        Some(total) => {
            bar.set_style(style("{spinner} [{bar:20}] {percent:>3}% {wide_msg}"));
            bar.set_length(total);
            bar.set_position(progress.map_or(0, |progress| progress.bytes));
        }
        None => bar.set_style(style("{spinner} {wide_msg}")),
    }
    bar.set_message(message);
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("our own templates are well-formed")
        .progress_chars("=> ")
}
