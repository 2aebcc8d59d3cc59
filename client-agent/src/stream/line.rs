//! The client's end of a conversation: finds a new stream when one breaks, and says why it cannot go on.

use std::sync::Arc;
use std::time::Duration;

use outlast_kit::resume::{MEDIA_AGENT_KEEPS, Misnumbered};
use outlast_kit::shutdown::Shutdown;
use outlast_kit::stream::{Event, Frame as _, FromMediaAgent as _, Protocol, Pump, Terms, User};
use outlast_proto::v1::StreamGoodbye;
use outlast_proto::words::AttemptId;
use tokio::time::Instant;

use super::dialer::{Dialer, Found};
use super::opening::{ClientLink, Lost, close, too_large};
use crate::admission::Admission;
use crate::attempt::{AttemptContext, AttemptError, Violation};
use crate::connect::Road;
use crate::progress::Progress;

/// Messages of up to 1 MiB between the line and its user.
const UP_MESSAGES: usize = 4;
const DOWN_MESSAGES: usize = 8;
/// Between two streams when the first was welcomed: a break is mended at once, but not more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);

/// The end of a line that backup and restore hold.
pub(crate) type Wire<P> = User<<P as Protocol>::Up, <P as Protocol>::Down>;

pub(crate) struct Line<P: Protocol> {
    id: AttemptId,
    dialer: Dialer<P>,
    pump: Pump<P::Up, P::Down>,
    /// The process ends.
    shutdown: Shutdown,
    progress: Arc<Progress>,
}

impl<P: Protocol> Line<P> {
    /// A line over `road`; nothing happens before it runs.
    pub(crate) fn new(road: Road, admission: &Admission, context: &AttemptContext) -> (Self, Wire<P>) {
        let terms = Terms {
            keeps: P::CLIENT_KEEPS,
            // Everything the media agent may send without a confirmation has room: confirmations of ours would be stuck behind it.
            holds: 2 * MEDIA_AGENT_KEEPS,
            // Pings tell that it stands still.
            silence: None,
            takes_unknown: true,
        };
        let (pump, wire) = Pump::new(terms, (UP_MESSAGES, DOWN_MESSAGES));
        let line = Self {
            id: admission.id,
            dialer: Dialer::new(road, admission, context),
            pump,
            shutdown: context.ends.shutdown.clone(),
            progress: Arc::clone(&context.progress),
        };
        (line, wire)
    }

    /// Keeps the conversation going; returns why it cannot. After the last word it only waits.
    pub(crate) async fn run(&mut self) -> AttemptError {
        loop {
            let link = match self.reopen().await {
                Ok(link) => link,
                Err(error) => return error,
            };
            let opened = Instant::now();
            self.progress.opened();
            self.pump.open(link);
            let why = match self.serve().await {
                Lost::Final(error) => return error,
                Lost::Broken(why) => why,
            };
            self.progress.broken(self.pump.broken_since().elapsed());
            let AttemptId { job, attempt, .. } = self.id;
            tracing::info!(%job, %attempt, why, "the data stream is broken and is opened again");
            tokio::time::sleep_until(opened + SHORTEST_PAUSE).await;
        }
    }

    /// Ends the stream in order: the media agent need not wait for another.
    pub(crate) async fn close(&mut self) {
        if let Some((link, _)) = self.pump.take_link() {
            let is_shutdown = self.shutdown.has_begun();
            close::<P>(link, StreamGoodbye { is_shutdown }).await;
        }
    }

    /// A stream that goes on where the one before broke.
    async fn reopen(&mut self) -> Result<ClientLink<P>, AttemptError> {
        let (received, broken_since) = (self.pump.received(), self.pump.broken_since());
        let found = tokio::select! {
            found = self.dialer.find(received, broken_since) => found?,
            never = self.pump.serve_user() => match never {},
        };
        match found {
            Found::Stream(link, received) => {
                self.pump.resume(received).map_err(violation)?;
                Ok(*link)
            }
            Found::Over(over) => {
                self.progress.heard();
                // The user ends with it, and with the user the line.
                self.pump.tell_user(P::Down::over(over)).await;
                std::future::pending().await
            }
        }
    }

    /// Moves messages over the present stream until it is lost.
    async fn serve(&mut self) -> Lost {
        loop {
            match self.pump.event().await {
                Event::Came(message) => {
                    self.progress.heard();
                    let message = message.split();
                    let is_over = message.2.as_ref().is_some_and(P::Down::is_over);
                    if let Err(error) = self.pump.take(message, is_over) {
                        return Lost::Final(violation(error));
                    }
                }
                Event::Broke(why) => return Lost::Broken(why),
                Event::TooLarge => return Lost::Final(too_large()),
                // Nobody asked for it.
                Event::Silent => {}
                // The user is ending and does not wait for us.
                Event::UserEnded | Event::UserGone => std::future::pending().await,
            }
        }
    }
}

fn violation(error: Misnumbered) -> AttemptError {
    Violation::from(error).into()
}
