//! One stream: its opening up to the media agent's first word, and its end in order.

use std::time::Duration;

use outlast_kit::stream::{First, Frame as _, FromClient as _, FromMediaAgent as _, Link, Protocol};
use outlast_proto::v1::data_client::DataClient;
use outlast_proto::v1::{AttemptOver, StreamGoodbye, StreamHello, StreamWelcome};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::attempt::{AttemptError, Violation};

/// Messages of up to 1 MiB between us and the connection.
const UP_MESSAGES: usize = 4;
/// Room for the longest chunk (8 MiB) and what surrounds it.
const MOST_MESSAGE: usize = 12 << 20;
/// How long the media agent may take to hear that we are going.
const GOODBYE: Duration = Duration::from_secs(1);

/// The client's end of a stream.
pub(super) type ClientLink<P> = Link<<P as Protocol>::Up, <P as Protocol>::Down>;

/// Why a stream does not go on.
#[derive(Debug)]
pub(super) enum Lost {
    /// Another may.
    Broken(String),
    /// None may.
    Final(AttemptError),
}

/// How a stream began.
pub(super) enum Opened<P: Protocol> {
    Welcome(Box<ClientLink<P>>, StreamWelcome),
    /// There is nothing to go on with.
    Over(AttemptOver),
}

/// A stream that the media agent has taken and not yet said anything on.
pub(super) struct Unwelcomed<P: Protocol>(ClientLink<P>);

impl<P: Protocol> Unwelcomed<P> {
    /// Opens a stream over `channel`.
    pub(super) async fn open(channel: Channel, hello: StreamHello) -> Result<Self, Lost> {
        let client = DataClient::new(channel)
            .max_decoding_message_size(MOST_MESSAGE)
            .max_encoding_message_size(MOST_MESSAGE);
        let (out, messages) = mpsc::channel(UP_MESSAGES);
        let first = P::Up::join(0, 0, Some(P::Up::hello(hello)));
        out.send(first)
            .await
            .map_err(|_| Lost::Broken("it could not be opened".to_owned()))?;
        let incoming = P::open(client, ReceiverStream::new(messages))
            .await
            .map_err(|status| lost(&status))?;
        Ok(Self(Link { out, incoming }))
    }

    /// Waits for the first word. It comes when the storage unit is ready.
    pub(super) async fn wait(self) -> Result<Opened<P>, Lost> {
        let Self(mut link) = self;
        let message = match link.incoming.message().await {
            Ok(Some(message)) => message,
            Ok(None) => {
                return Err(Lost::Broken(
                    "the media agent closed it without a word".to_owned(),
                ));
            }
            Err(status) => return Err(lost(&status)),
        };
        let (sequence, _, body) = message.split();
        match body.map(P::Down::first) {
            Some(First::Welcome(welcome)) if sequence == 0 => Ok(Opened::Welcome(Box::new(link), welcome)),
            Some(First::Over(over)) => Ok(Opened::Over(over)),
            _ => {
                let what = "the first message";
                Err(Lost::Final(Violation::OutOfTurn { what }.into()))
            }
        }
    }
}

/// Tells the media agent that nobody will go on with this stream: unlike a break, nothing is to be waited for.
pub(super) async fn close<P: Protocol>(mut link: ClientLink<P>, goodbye: StreamGoodbye) {
    let goodbye = P::Up::join(0, 0, Some(P::Up::goodbye(goodbye)));
    let rest = async {
        // One that cannot be said is a break, and the media agent finds out in time.
        let _ = link.out.send(goodbye).await;
        drop(link.out);
        while let Ok(Some(_)) = link.incoming.message().await {}
    };
    let _ = tokio::time::timeout(GOODBYE, rest).await;
}

/// No message may be so long.
pub(super) fn too_large() -> AttemptError {
    let what = "bytes in a message";
    Violation::TooMuch { what }.into()
}

fn lost(status: &Status) -> Lost {
    match status.code() {
        Code::OutOfRange => Lost::Final(too_large()),
        _ => Lost::Broken(status.message().to_owned()),
    }
}
