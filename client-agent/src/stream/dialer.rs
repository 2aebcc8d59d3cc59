//! Finds a stream to the media agent, the first one and the next after a break, and says when that has taken too long.

use std::marker::PhantomData;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use outlast_kit::stream::Protocol;
use outlast_proto::v1::{AttemptOver, StreamHello, StreamWelcome};
use outlast_proto::words::AttemptId;
use tokio::time::Instant;

use super::opening::{ClientLink, Door, Lost, Opened};
use crate::admission::Admission;
use crate::attempt::{AttemptContext, AttemptError};
use crate::connect::{PATIENCE, Road};

/// Between two attempts to get a stream (F-10).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

pub(super) struct Dialer<P: Protocol> {
    id: AttemptId,
    road: Road,
    /// As the first stream says it.
    hello: StreamHello,
    reconnect_for: Duration,
    /// The media agent's process, once it has welcomed a stream.
    peer_start: Option<String>,
    protocol: PhantomData<fn() -> P>,
}

/// What came of it.
pub(super) enum Found<P: Protocol> {
    /// A stream; the media agent has received so many messages.
    Stream(ClientLink<P>, u64),
    /// The media agent's last word.
    Over(AttemptOver),
}

impl<P: Protocol> Dialer<P> {
    pub(super) fn new(road: Road, admission: &Admission, context: &AttemptContext) -> Self {
        Self {
            id: admission.id,
            road,
            hello: StreamHello {
                ticket: Some(admission.signed.clone()),
                start_id: context.start_id.0.clone(),
                ..StreamHello::default()
            },
            reconnect_for: context.reconnect_for,
            peer_start: None,
            protocol: PhantomData,
        }
    }

    /// Tries until there is a stream, or for too long. So many messages of the media agent have been received.
    pub(super) async fn find(
        &mut self,
        received: u64,
        broken_since: Instant,
    ) -> Result<Found<P>, AttemptError> {
        // One that runs and never welcomed us has given up on us by then; for one that is started later the leader asks again.
        let patience = self.peer_start.as_ref().map_or(PATIENCE, |_| self.reconnect_for);
        let was_welcomed = self.peer_start.is_some();
        let mut deadline = broken_since + patience;
        let mut last_reason = String::new();
        let mut pauses = pauses();
        loop {
            let why = match tokio::time::timeout_at(deadline, self.knock(received)).await {
                Ok(Ok(door)) => match self.wait_at(door, &mut deadline).await {
                    Ok(Some(Opened::Welcome(link, welcome))) => {
                        self.tell_of_break(was_welcomed.then_some(broken_since));
                        let received = self.welcomed(welcome)?;
                        return Ok(Found::Stream(link, received));
                    }
                    Ok(Some(Opened::Over(over))) => return Ok(Found::Over(over)),
                    Ok(None) => String::new(),
                    Err(Lost::Final(error)) => return Err(error),
                    Err(Lost::Broken(why)) => why,
                },
                Ok(Err(Lost::Final(error))) => return Err(error),
                Ok(Err(Lost::Broken(why))) => why,
                Err(_) => String::new(),
            };
            let AttemptId { job, attempt, .. } = self.id;
            if !why.is_empty() && why != last_reason {
                tracing::info!(%job, %attempt, why, "there is no data stream to the media agent yet; trying on");
                last_reason = why;
            }
            let pause = tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE));
            if tokio::time::timeout_at(deadline, pause).await.is_err() {
                return Err(if was_welcomed {
                    let seconds = patience.as_secs();
                    let why = last_reason;
                    AttemptError::Broken { seconds, why }
                } else {
                    AttemptError::Unwelcomed(last_reason)
                });
            }
        }
    }

    fn tell_of_break(&self, broken_since: Option<Instant>) {
        let AttemptId { job, attempt, .. } = self.id;
        if let Some(since) = broken_since {
            let broken_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(%job, %attempt, broken_ms, "the data stream was broken and goes on");
        }
    }

    /// Reaches the media agent.
    async fn knock(&mut self, received: u64) -> Result<Door<P>, Lost> {
        let channel = self
            .road
            .travel()
            .await
            .map_err(|error| Lost::Broken(error.to_string()))?;
        let hello = StreamHello {
            peer_start_id: self.peer_start.clone().unwrap_or_default(),
            received,
            ..self.hello.clone()
        };
        Door::open(channel, hello).await
    }

    /// Waits to be let in; none: not until the deadline. The time before the first welcome moves the deadline: the media agent is
    /// there, and waits for its storage unit or for somebody's lock on it, for as long as it wants. A connection that dies breaks
    /// the stream.
    async fn wait_at(&self, door: Door<P>, deadline: &mut Instant) -> Result<Option<Opened<P>>, Lost> {
        if self.peer_start.is_some() {
            return match tokio::time::timeout_at(*deadline, door.wait()).await {
                Ok(first) => first.map(Some),
                Err(_) => Ok(None),
            };
        }
        let began = Instant::now();
        let first = door.wait().await;
        *deadline += began.elapsed();
        first.map(Some)
    }

    fn welcomed(&mut self, welcome: StreamWelcome) -> Result<u64, AttemptError> {
        let start = self.peer_start.get_or_insert_with(|| welcome.start_id.clone());
        if *start != welcome.start_id {
            return Err(AttemptError::NewProcess);
        }
        Ok(welcome.received)
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}
