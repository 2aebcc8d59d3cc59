//! `Jobs.Watch`: the job now and after every change, until it is done or this node leads no more.

use std::time::Duration;

use outlast_proto::v1;
use outlast_proto::words::{JobId, JobState};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Api;
use crate::view::errors;

/// A watcher is told at most this often; what happens in between is gathered.
const AT_MOST: Duration = Duration::from_millis(100);
/// Without any change the watcher's life and our leadership are checked this often.
const AT_LEAST: Duration = Duration::from_secs(1);

pub(super) fn start(api: &Api, job: JobId) -> ReceiverStream<Result<v1::Job, Status>> {
    let (sender, receiver) = mpsc::channel(4);
    let asker = sender.clone();
    let watching = watch(api.clone(), job, sender);
    api.tasks
        .serving(format!("watch of job {job}"), watching, move |_| async move {
            let _ = asker.send(Err(errors::panicked())).await;
        });
    ReceiverStream::new(receiver)
}

async fn watch(api: Api, id: JobId, sender: mpsc::Sender<Result<v1::Job, Status>>) {
    let (mut state, mut live) = (api.brain.changes(), api.live.changes());
    let mut last = None;
    loop {
        if !api.brain.leads() {
            // A watcher that is gone needs no farewell.
            let _ = sender.send(Err(errors::not_leader_of(&api.brain))).await;
            return;
        }
        state.mark_unchanged();
        live.mark_unchanged();
        let Some(job) = api.brain.read().job(id).cloned() else {
            return;
        };
        let view = api.view(&job);
        if last.as_ref() != Some(&view) {
            if sender.send(Ok(view.clone())).await.is_err() {
                return;
            }
            last = Some(view);
        }
        if job.state == JobState::Done {
            return;
        }
        tokio::select! {
            () = sender.closed() => return,
            _ = state.changed() => {}
            _ = live.changed() => {}
            () = tokio::time::sleep(AT_LEAST) => {}
        }
        tokio::time::sleep(AT_MOST).await;
    }
}
