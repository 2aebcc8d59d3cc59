//! One stream: its opening up to the media agent's first word, and its end in order.

use std::time::Duration;

use outlast_proto::v1::data_client::DataClient;
use outlast_proto::v1::{AttemptOver, StreamGoodbye, StreamHello, StreamWelcome};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::protocol::{First, Protocol};
use crate::attempt::{AttemptError, Violation};

/// Messages of up to 1 MiB between us and the connection.
const UP_MESSAGES: usize = 4;
/// Room for the longest chunk (8 MiB) and what surrounds it.
const MOST_MESSAGE: usize = 12 << 20;
/// How long the media agent may take to hear that we are going.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a stream does not go on.
#[derive(Debug)]
pub(super) enum Lost {
    /// Another may.
    Broken(String),
    /// None may.
    Final(AttemptError),
}

pub(super) struct Link<P: Protocol> {
    pub(super) up: mpsc::Sender<P::Up>,
    pub(super) down: Streaming<P::Down>,
}

/// How a stream began.
pub(super) enum Opened<P: Protocol> {
    Welcome(Box<Link<P>>, StreamWelcome),
    /// There is nothing to go on with.
    Over(AttemptOver),
}

/// A stream that the media agent has taken and not yet said anything on.
pub(super) struct Door<P: Protocol>(Link<P>);

impl<P: Protocol> Door<P> {
    /// Opens a stream over `channel`.
    pub(super) async fn open(channel: Channel, hello: StreamHello) -> Result<Self, Lost> {
        let client = DataClient::new(channel)
            .max_decoding_message_size(MOST_MESSAGE)
            .max_encoding_message_size(MOST_MESSAGE);
        let (up, messages) = mpsc::channel(UP_MESSAGES);
        let first = P::join(0, 0, Some(P::hello(hello)));
        up.send(first)
            .await
            .map_err(|_| Lost::Broken("it could not be opened".to_owned()))?;
        let down = P::open(client, ReceiverStream::new(messages))
            .await
            .map_err(|status| lost(&status))?;
        Ok(Self(Link { up, down }))
    }

    /// Waits for the first word. It comes when the storage unit is ready.
    pub(super) async fn wait(self) -> Result<Opened<P>, Lost> {
        let Self(Link { up, mut down }) = self;
        let message = heard(down.message().await)?;
        let (sequence, _, body) = P::split(message);
        match body.map(P::first) {
            Some(First::Welcome(welcome)) if sequence == 0 => {
                Ok(Opened::Welcome(Box::new(Link { up, down }), welcome))
            }
            Some(First::Over(over)) => Ok(Opened::Over(over)),
            _ => Err(Lost::Final(
                Violation::OutOfTurn {
                    what: "the first message",
                }
                .into(),
            )),
        }
    }
}

impl<P: Protocol> Link<P> {
    /// Tells the media agent that nobody will go on with this: unlike a break, nothing is to be waited for.
    pub(super) async fn close(mut self, goodbye: StreamGoodbye) {
        let goodbye = P::join(0, 0, Some(P::goodbye(goodbye)));
        let rest = async {
            // One that cannot be said is a break, and the media agent finds out in time.
            let _ = self.up.send(goodbye).await;
            drop(self.up);
            while let Ok(Some(_)) = self.down.message().await {}
        };
        let _ = tokio::time::timeout(GOODBYE, rest).await;
    }
}

/// A message, or why there is none.
pub(super) fn heard<T>(message: Result<Option<T>, Status>) -> Result<T, Lost> {
    match message {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(Lost::Broken(
            "the media agent closed it without a last word".to_owned(),
        )),
        Err(status) => Err(lost(&status)),
    }
}

fn lost(status: &Status) -> Lost {
    match status.code() {
        Code::OutOfRange => Lost::Final(
            Violation::TooMuch {
                what: "bytes in a message",
            }
            .into(),
        ),
        _ => Lost::Broken(status.message().to_owned()),
    }
}
