//! `Histories`.

use outlast_proto::v1::histories_server::Histories;
use outlast_proto::v1::{ListHistoriesRequest, ListHistoriesResponse};
use outlast_proto::words::{Attempt, JobId, Timestamp};
use tonic::{Request, Response, Status};

use super::Api;
use super::page::Paging;
use crate::view;
use crate::view::errors;

/// The order of the list: by end, then by job and attempt.
type Key = (Timestamp, JobId, Attempt);

#[tonic::async_trait]
impl Histories for Api {
    async fn list(
        &self,
        request: Request<ListHistoriesRequest>,
    ) -> Result<Response<ListHistoriesResponse>, Status> {
        let request = request.into_inner();
        let paging = Paging::parse(request.page, parse_key)?;
        self.fresh(request.stale).await?;
        let state = self.brain.read();
        let of_job = match request.job.as_str() {
            "" => None,
            id => {
                let job = id.parse().ok().and_then(|id| state.job(id));
                Some(job.ok_or_else(|| errors::not_found("job", id))?.id)
            }
        };
        let mut rows: Vec<_> = match of_job {
            Some(job) => state
                .histories_of(job)
                .map(|(attempt, h)| ((h.ended_at, job, attempt), h))
                .collect(),
            None => state
                .histories()
                .map(|(job, attempt, h)| ((h.ended_at, job, attempt), h))
                .collect(),
        };
        rows.sort_by(|(a, _), (b, _)| b.cmp(a));
        let rows = rows
            .into_iter()
            .filter(|(key, _)| paging.after.as_ref().is_none_or(|after| key < after));
        let (rows, next_page_token) = paging.take(rows, |(key, _)| token(key));
        let histories = rows
            .into_iter()
            .map(|((_, job, attempt), row)| view::history::message(&state, job, attempt, row));
        Ok(Response::new(ListHistoriesResponse {
            histories: histories.collect(),
            next_page_token,
        }))
    }
}

fn token((ended_at, job, attempt): &Key) -> String {
    format!("{}.{job}.{attempt}", ended_at.0)
}

fn parse_key(token: &str) -> Option<Key> {
    let mut parts = token.split('.');
    let mut next = || parts.next();
    let key = (
        Timestamp(next()?.parse().ok()?),
        next()?.parse().ok()?,
        Attempt(next()?.parse().ok()?),
    );
    Some(key)
}
