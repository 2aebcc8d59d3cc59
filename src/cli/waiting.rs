//! Waiting for a job's end through outages of any length. What is shown meanwhile is the caller's business.

use std::time::Duration;

use outlast_proto::v1;
use outlast_proto::v1::jobs_client::JobsClient;
use tonic::{Code, Streaming};

use crate::connection::{Connection, LARGEST_ANSWER};
use crate::error::CliError;

/// How long to look for a leader before the cluster counts as silent; an election is over well before.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at a silent cluster.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A stream that is quiet for so long is opened anew: who sends it may no longer be the leader.
const QUIET: Duration = Duration::from_secs(30);

/// What the waiting meets.
pub(super) enum Seen<'a> {
    /// The job, now or after a change.
    Job(&'a v1::Job),
    /// The cluster does not answer any more; said once for each outage.
    Silence,
    /// It answers again.
    Back,
}

/// Follows a job until it is done, or held and so not going on by itself.
pub(super) async fn until_done(
    connection: &Connection,
    id: &str,
    mut seen: impl FnMut(Seen<'_>) -> Result<(), CliError>,
) -> Result<v1::Job, CliError> {
    let mut pause = FIRST_PAUSE;
    let mut silent = false;
    loop {
        match open(connection, id).await {
            Ok(mut stream) => {
                while let Some(job) = next(&mut stream).await {
                    if std::mem::take(&mut silent) {
                        seen(Seen::Back)?;
                    }
                    pause = FIRST_PAUSE;
                    seen(Seen::Job(&job))?;
                    if has_ended(&job) {
                        return Ok(job);
                    }
                }
            }
            Err(error) if is_final(&error) => return Err(error),
            Err(_) if !silent => {
                silent = true;
                seen(Seen::Silence)?;
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn open(connection: &Connection, id: &str) -> Result<Streaming<v1::Job>, CliError> {
    connection
        .ask_leader(PATIENCE, |channel| async move {
            let request = v1::GetJobRequest {
                id: id.to_owned(),
                stale: false,
            };
            let mut client = JobsClient::new(channel).max_decoding_message_size(LARGEST_ANSWER);
            client.watch(request).await.map(tonic::Response::into_inner)
        })
        .await
}

/// The next word about the job; none when the stream ended, broke or fell silent, which are all the same to us.
async fn next(stream: &mut Streaming<v1::Job>) -> Option<v1::Job> {
    match tokio::time::timeout(QUIET, stream.message()).await {
        Ok(Ok(job)) => job,
        Ok(Err(_)) | Err(_) => None,
    }
}

fn has_ended(job: &v1::Job) -> bool {
    matches!(job.state(), v1::JobState::Done | v1::JobState::Held)
}

/// Whether asking again cannot help.
fn is_final(error: &CliError) -> bool {
    match error {
        CliError::Refused(status) => matches!(
            status.code(),
            Code::NotFound
                | Code::InvalidArgument
                | Code::FailedPrecondition
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::Unimplemented
        ),
        CliError::NoLeader { .. } => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::is_final;
    use crate::error::CliError;

    #[test]
    fn only_an_answer_about_the_job_ends_the_waiting() {
        for (error, expected) in [
            (
                CliError::NoLeader {
                    answering: 0,
                    tried: vec![],
                },
                false,
            ),
            (CliError::Refused(Status::new(Code::NotFound, "")), true),
            (CliError::Refused(Status::new(Code::PermissionDenied, "")), true),
            (CliError::Refused(Status::new(Code::Internal, "")), false),
            (CliError::Refused(Status::new(Code::DeadlineExceeded, "")), false),
        ] {
            assert_eq!(is_final(&error), expected, "{error}");
        }
    }
}
