//! Finds a stream to the media agent, the first one and the next after a break, and says when that has taken too long.

use std::marker::PhantomData;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use outlast_client_core::{GaveUp, Patience};
use outlast_kit::stream::Protocol;
use outlast_proto::v1::{AttemptOver, StreamHello, StreamWelcome};
use outlast_proto::words::AttemptId;
use tokio::sync::watch;
use tokio::time::Instant;

use super::opening::{ClientLink, Lost, Opened, Unwelcomed};
use crate::admission::Admission;
use crate::attempt::{AttemptContext, AttemptError};
use crate::connect::Road;

/// Between two attempts to get a stream (F-10).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

pub(super) struct Dialer<P: Protocol> {
    id: AttemptId,
    road: Road,
    /// As the first stream says it.
    hello: StreamHello,
    patience: Patience,
    /// What its times count from.
    began: Instant,
    /// As it is in force now.
    reconnect_for: watch::Receiver<Duration>,
    protocol: PhantomData<fn() -> P>,
}

/// What came of it.
pub(super) enum Found<P: Protocol> {
    /// A stream; the media agent has received so many messages.
    Stream(Box<ClientLink<P>>, u64),
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
            patience: Patience::new(Duration::ZERO, *context.reconnect_for.borrow()),
            reconnect_for: context.reconnect_for.clone(),
            began: Instant::now(),
            protocol: PhantomData,
        }
    }

    /// Tries until there is a stream, or for too long. So many messages of the media agent have been received.
    pub(super) async fn find(
        &mut self,
        received: u64,
        broken_since: Instant,
    ) -> Result<Found<P>, AttemptError> {
        let was_welcomed = self.patience.was_welcomed();
        self.patience
            .broke(broken_since.saturating_duration_since(self.began));
        let mut last_reason = String::new();
        let mut pauses = pauses();
        loop {
            let reconnect_for = *self.reconnect_for.borrow();
            self.patience.set_reconnect_for(reconnect_for);
            let deadline = self.began + self.patience.deadline();
            let why = match tokio::time::timeout_at(deadline, self.dial(received)).await {
                Ok(Ok(stream)) => match self.wait_on(stream).await {
                    Ok(Some(Opened::Welcome(link, welcome))) => {
                        self.tell_of_break(was_welcomed.then_some(broken_since));
                        let received = self.welcomed(&welcome)?;
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
            let deadline = self.began + self.patience.deadline();
            // Either it is over, or the deadline is.
            let _ = tokio::time::timeout_at(deadline, pause).await;
            if let Some(gave_up) = self.patience.given_up(self.began.elapsed()) {
                return Err(error_of(gave_up, last_reason));
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
    async fn dial(&self, received: u64) -> Result<Unwelcomed<P>, Lost> {
        let channel = self
            .road
            .travel()
            .await
            .map_err(|error| Lost::Broken(error.to_string()))?;
        let hello = StreamHello {
            peer_start_id: self.patience.peer_start().to_owned(),
            received,
            ..self.hello.clone()
        };
        Unwelcomed::open(channel, hello).await
    }

    /// Waits to be let in; none: not in time. A connection that dies breaks the stream.
    async fn wait_on(&mut self, stream: Unwelcomed<P>) -> Result<Option<Opened<P>>, Lost> {
        if let Some(by) = self.patience.welcome_by() {
            return match tokio::time::timeout_at(self.began + by, stream.wait()).await {
                Ok(first) => first.map(Some),
                Err(_) => Ok(None),
            };
        }
        let began = Instant::now();
        let first = stream.wait().await;
        self.patience.waited(began.elapsed());
        first.map(Some)
    }

    fn welcomed(&mut self, welcome: &StreamWelcome) -> Result<u64, AttemptError> {
        let welcomed = self.patience.welcomed(&welcome.start_id);
        welcomed.map_err(|gave_up| error_of(gave_up, String::new()))?;
        Ok(welcome.received)
    }
}

/// With the last reason there was no stream for.
fn error_of(gave_up: GaveUp, why: String) -> AttemptError {
    match gave_up {
        GaveUp::Unwelcomed => AttemptError::Unwelcomed(why),
        GaveUp::Broken(patience) => AttemptError::Broken {
            seconds: patience.as_secs(),
            why,
        },
        GaveUp::NewProcess => AttemptError::NewProcess,
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
