//! The two kinds of data streams, which differ in their messages and in how much of them may be under way.

use std::future::Future;

use outlast_proto::v1::data_client::DataClient;
use outlast_proto::v1::{self, AttemptOver, StreamGoodbye, StreamHello, StreamWelcome};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::resume::{CLIENT_KEEPS, RESTORING_CLIENT_KEEPS};

/// A numbered message.
pub trait Frame: Sized + Send + 'static {
    /// What it says.
    type Body: Clone + Send + 'static;

    /// With its number, and that of the last message of the other side that was processed.
    fn join(sequence: u64, received: u64, body: Option<Self::Body>) -> Self;
    /// Sequence, received, body.
    fn split(self) -> (u64, u64, Option<Self::Body>);
    /// As it counts against the limits.
    fn bytes(body: &Self::Body) -> usize;
}

/// A client's message.
pub trait FromClient: Frame {
    /// The first on a stream.
    fn hello(hello: StreamHello) -> Self::Body;
    /// That one.
    fn into_hello(body: Self::Body) -> Option<StreamHello>;
    /// Nobody will go on with this stream.
    fn goodbye(goodbye: StreamGoodbye) -> Self::Body;
    /// That one.
    fn as_goodbye(body: &Self::Body) -> Option<&StreamGoodbye>;
}

/// A media agent's message.
pub trait FromMediaAgent: Frame {
    /// The first on a stream that has a right.
    fn welcome(welcome: StreamWelcome) -> Self::Body;
    /// The last word.
    fn over(over: AttemptOver) -> Self::Body;
    /// What a stream begins with.
    fn first(body: Self::Body) -> First;
    /// Whether it is the last word.
    fn is_over(body: &Self::Body) -> bool;
}

/// What a stream begins with.
pub enum First {
    /// It is taken.
    Welcome(StreamWelcome),
    /// There is nothing to go on with.
    Over(AttemptOver),
    /// What must not be there.
    Other,
}

/// A kind of data stream.
pub trait Protocol: Send + 'static {
    /// A client's message.
    type Up: FromClient;
    /// A media agent's.
    type Down: FromMediaAgent;

    /// Bytes that a client keeps until they are confirmed.
    const CLIENT_KEEPS: usize;
    /// Bytes of a client that may wait at the media agent before no more are read.
    const MEDIA_AGENT_HOLDS: usize;

    /// Opens a stream.
    fn open(
        client: DataClient<Channel>,
        messages: ReceiverStream<Self::Up>,
    ) -> impl Future<Output = Result<Streaming<Self::Down>, Status>> + Send;
}

/// What a message says.
pub type Body<F> = <F as Frame>::Body;
/// What a client's message says.
pub type UpBody<P> = Body<<P as Protocol>::Up>;
/// What a media agent's message says.
pub type DownBody<P> = Body<<P as Protocol>::Down>;

/// Data goes up.
pub struct BackupProtocol;
/// Data comes down.
pub struct RestoreProtocol;

macro_rules! frame {
    ($frame:ident, $module:ident) => {
        impl Frame for v1::$frame {
            type Body = v1::$module::Body;

            fn join(sequence: u64, received: u64, body: Option<Self::Body>) -> Self {
                Self {
                    sequence,
                    received,
                    body,
                }
            }
            fn split(self) -> (u64, u64, Option<Self::Body>) {
                (self.sequence, self.received, self.body)
            }
            fn bytes(body: &Self::Body) -> usize {
                body.encoded_len()
            }
        }
    };
}

macro_rules! protocol {
    ($name:ident, $call:ident, ($up:ident, $up_module:ident), ($down:ident, $down_module:ident), ($keeps:expr, $holds:expr)) => {
        frame!($up, $up_module);
        frame!($down, $down_module);

        impl FromClient for v1::$up {
            fn hello(hello: StreamHello) -> Self::Body {
                v1::$up_module::Body::Hello(hello)
            }
            fn into_hello(body: Self::Body) -> Option<StreamHello> {
                match body {
                    v1::$up_module::Body::Hello(hello) => Some(hello),
                    _ => None,
                }
            }
            fn goodbye(goodbye: StreamGoodbye) -> Self::Body {
                v1::$up_module::Body::Goodbye(goodbye)
            }
            fn as_goodbye(body: &Self::Body) -> Option<&StreamGoodbye> {
                match body {
                    v1::$up_module::Body::Goodbye(goodbye) => Some(goodbye),
                    _ => None,
                }
            }
        }

        impl FromMediaAgent for v1::$down {
            fn welcome(welcome: StreamWelcome) -> Self::Body {
                v1::$down_module::Body::Welcome(welcome)
            }
            fn over(over: AttemptOver) -> Self::Body {
                v1::$down_module::Body::Over(over)
            }
            fn first(body: Self::Body) -> First {
                match body {
                    v1::$down_module::Body::Welcome(welcome) => First::Welcome(welcome),
                    v1::$down_module::Body::Over(over) => First::Over(over),
                    _ => First::Other,
                }
            }
            fn is_over(body: &Self::Body) -> bool {
                matches!(body, v1::$down_module::Body::Over(_))
            }
        }

        impl Protocol for $name {
            type Up = v1::$up;
            type Down = v1::$down;

            const CLIENT_KEEPS: usize = $keeps;
            const MEDIA_AGENT_HOLDS: usize = $holds;

            async fn open(
                mut client: DataClient<Channel>,
                messages: ReceiverStream<Self::Up>,
            ) -> Result<Streaming<Self::Down>, Status> {
                Ok(client.$call(messages).await?.into_inner())
            }
        }
    };
}

// The engine of a backup never waits for the client to take an answer, so its client's confirmations may wait behind data.
// That of a restore does: everything the client may send has room, or confirmations would be stuck behind it.
protocol!(
    BackupProtocol,
    backup,
    (BackupUp, backup_up),
    (BackupDown, backup_down),
    (CLIENT_KEEPS, CLIENT_KEEPS / 8)
);
protocol!(
    RestoreProtocol,
    restore,
    (RestoreUp, restore_up),
    (RestoreDown, restore_down),
    (RESTORING_CLIENT_KEEPS, 2 * RESTORING_CLIENT_KEEPS)
);
