//! Following jobs to their end on behalf of a person: progress and remarks on stderr, the ended jobs on stdout.
//!
//! Called by `job run` and `restore` with `--wait`, by `job watch`, and by `dev`.

use outlast_proto::v1;
use outlast_proto::words::JobState;

use super::job_view;
use super::progress::Progress;
use super::waiting::{Seen, until_done};
use crate::connection::Connection;
use crate::documents::JobDocument;
use crate::error::{CliError, exit};
use crate::output::{Output, remark};

/// Waits for all of the jobs and prints how they ended; the exit code of the worst.
pub(crate) async fn follow_to_end(
    connection: &Connection,
    output: &Output,
    ids: &[String],
) -> Result<u8, CliError> {
    let mut ended = Vec::new();
    for id in ids {
        let job = follow(connection, id, |_| Ok(())).await?;
        ended.push(JobDocument::from(&job));
    }
    let code = worst(ended.iter().map(JobDocument::exit_code));
    let printed = match ended.as_slice() {
        [job] => output.one(job, job_view::one),
        jobs => output.list("jobs", jobs, |jobs| {
            jobs.iter().map(job_view::one).collect::<Vec<_>>().join("\n")
        }),
    };
    match printed {
        // How the jobs ended counts, also when nobody reads it any more.
        Ok(()) | Err(CliError::OutputClosed) => Ok(code),
        Err(error) => Err(error),
    }
}

/// Waits for a job's end, with progress and remarks on stderr.
pub(super) async fn follow(
    connection: &Connection,
    id: &str,
    mut on_job: impl FnMut(&v1::Job) -> Result<(), CliError>,
) -> Result<v1::Job, CliError> {
    let mut progress = Progress::new(id);
    let ended = until_done(connection, id, |seen| {
        match seen {
            Seen::Job(job) => {
                progress.show(&JobDocument::from(job));
                return on_job(job);
            }
            Seen::Silence => progress.remark(&format!(
                "the cluster does not answer; job {id} goes on without it, still waiting"
            )),
            Seen::Back => progress.remark("the cluster answers again"),
        }
        Ok(())
    })
    .await;
    progress.finish();
    if let Ok(job) = &ended
        && job.state == JobState::Held.to_wire()
    {
        remark(&format!(
            "job {id} is held; it does not go on until it is released"
        ));
    }
    ended
}

/// Of several jobs the worst one decides.
fn worst(codes: impl Iterator<Item = u8>) -> u8 {
    let rank = |code: &u8| match *code {
        exit::SUCCESSFUL => 0,
        exit::EXCEPTIONS => 1,
        _ => 2,
    };
    codes.max_by_key(rank).unwrap_or(exit::SUCCESSFUL)
}

#[cfg(test)]
mod tests {
    use super::worst;

    #[test]
    fn the_worst_job_decides() {
        for (codes, expected) in [(vec![], 0), (vec![0, 0], 0), (vec![0, 3], 3), (vec![3, 1, 0], 1)] {
            assert_eq!(worst(codes.clone().into_iter()), expected, "{codes:?}");
        }
    }
}
