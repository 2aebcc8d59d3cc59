//! Calls to the primaries: to the leader, or with `--stale` to whoever answers. Knows no command and prints nothing.

use std::future::Future;
use std::time::{Duration, Instant};

use outlast_kit::errors::{cause_of, is_of_connection};
use outlast_kit::leader::Primaries;
use outlast_kit::tls::Credentials;
use outlast_proto::v1;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::context::Context;
use crate::error::CliError;

/// Answers may be as large as this; a job log can name a thousand files.
pub(crate) const LARGEST_ANSWER: usize = 64 << 20;
/// How long one node may take to answer a stale read.
const STALE_TRY: Duration = Duration::from_secs(2);
/// How long the leader may take for a slow change.
const SLOW_TRY: Duration = Duration::from_secs(90);
const STALE_PAUSE: Duration = Duration::from_millis(100);

/// The way to the cluster of one context.
pub(crate) struct Connection {
    primaries: Primaries,
    timeout: Duration,
    stale: bool,
}

/// `rpc!(connection, read | write, Client, method, request)`: one unary call, repeated as the connection sees fit.
macro_rules! rpc {
    ($connection:expr, $way:ident, $client:ident, $method:ident, $request:expr) => {{
        let request = $request;
        $connection
            .$way(|channel| {
                let request = request.clone();
                async move {
                    $client::new(channel)
                        .max_decoding_message_size($crate::connection::LARGEST_ANSWER)
                        .$method(request)
                        .await
                        .map(tonic::Response::into_inner)
                }
            })
            .await
    }};
}
pub(crate) use rpc;

impl Connection {
    /// Prepares the connections; the first call opens them.
    pub(crate) fn new(context: &Context, timeout: Duration, stale: bool) -> Result<Self, CliError> {
        let credentials = Credentials::load(&context.tls)?;
        Ok(Self {
            primaries: Primaries::new(credentials, &context.primaries)?,
            timeout,
            stale,
        })
    }

    /// Whether reads may be answered by any node.
    pub(crate) fn stale(&self) -> bool {
        self.stale
    }

    /// Asks the leader, or any node if stale answers will do.
    pub(crate) async fn read<T, F, Fut>(&self, call: F) -> Result<T, CliError>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        if self.stale {
            return self.ask_anyone(call).await;
        }
        self.ask_leader(self.timeout, call).await
    }

    /// Asks the leader. The request carries its id, so that repeating it is harmless.
    pub(crate) async fn write<T, F, Fut>(&self, call: F) -> Result<T, CliError>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        self.ask_leader(self.timeout, call).await
    }

    /// As [`Connection::write`], for changes that take the leader a while, such as a new node catching up.
    pub(crate) async fn write_slowly<T, F, Fut>(&self, call: F) -> Result<T, CliError>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        Ok(self.primaries.call_with(self.timeout, SLOW_TRY, call).await?)
    }

    /// Asks the leader for as long as is said; for those who have their own way to wait.
    pub(crate) async fn ask_leader<T, F, Fut>(&self, patience: Duration, call: F) -> Result<T, CliError>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        Ok(self.primaries.call(patience, call).await?)
    }

    async fn ask_anyone<T, F, Fut>(&self, call: F) -> Result<T, CliError>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let start = Instant::now();
        loop {
            let mut tried = Vec::new();
            for (address, channel) in self.primaries.channels() {
                let said = match tokio::time::timeout(STALE_TRY.min(self.timeout), call(channel)).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(status)) if is_silence(&status) => cause_of(&status),
                    Ok(Err(status)) => return Err(CliError::Refused(status)),
                    Err(_) => "no answer in time".to_owned(),
                };
                tried.push((address, said));
            }
            if start.elapsed() >= self.timeout {
                return Err(CliError::NoPrimary { tried });
            }
            tokio::time::sleep(STALE_PAUSE).await;
        }
    }
}

/// Whether a status means that the node did not answer, rather than what it answered.
pub(crate) fn is_silence(status: &Status) -> bool {
    is_of_connection(status) || matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
}

/// A fresh id for a write; the same for all its repetitions.
pub(crate) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Fetches a paged list whole, or up to `limit` entries of it.
pub(crate) async fn all_pages<T, F, Fut>(limit: Option<usize>, fetch: F) -> Result<Vec<T>, CliError>
where
    F: Fn(v1::Page) -> Fut,
    Fut: Future<Output = Result<(Vec<T>, String), CliError>>,
{
    let wanted = limit.unwrap_or(usize::MAX);
    let mut entries = Vec::new();
    let mut token = String::new();
    while entries.len() < wanted {
        let size = limit.map_or(0, |limit| {
            u32::try_from(limit - entries.len()).unwrap_or(u32::MAX)
        });
        let (page, next) = fetch(v1::Page { size, token }).await?;
        entries.extend(page);
        if next.is_empty() {
            break;
        }
        token = next;
    }
    entries.truncate(wanted);
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::all_pages;

    #[tokio::test]
    async fn lists_are_fetched_whole_or_up_to_the_limit() {
        for (limit, expected) in [
            (None, vec![0, 1, 2, 3, 4]),
            (Some(3), vec![0, 1, 2]),
            (Some(9), vec![0, 1, 2, 3, 4]),
            (Some(0), vec![]),
        ] {
            let got = all_pages(limit, |page| async move {
                let first: u32 = page.token.parse().unwrap_or(0);
                let entries: Vec<u32> = (first..(first + 2).min(5)).collect();
                let next = if first + 2 < 5 {
                    (first + 2).to_string()
                } else {
                    String::new()
                };
                Ok((entries, next))
            })
            .await
            .unwrap();
            assert_eq!(got, expected, "{limit:?}");
        }
    }
}
