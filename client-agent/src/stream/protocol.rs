//! The two kinds of data streams, which differ in their messages only.

use std::future::Future;

use outlast_kit::resume::{CLIENT_KEEPS, RESTORING_CLIENT_KEEPS};
use outlast_proto::v1::data_client::DataClient;
use outlast_proto::v1::{self, AttemptOver, StreamHello, StreamWelcome};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// What a stream may begin with.
pub(crate) enum First<B> {
    Welcome(StreamWelcome),
    Over(AttemptOver),
    Other(B),
}

pub(crate) trait Protocol: Sized + Send + 'static {
    type Up: Send + 'static;
    type UpBody: Clone + Send + 'static;
    type Down: Send + 'static;
    type DownBody: Send + 'static;

    /// Bytes of our messages that are kept until they are confirmed.
    const KEEPS: usize;

    fn join(sequence: u64, received: u64, body: Option<Self::UpBody>) -> Self::Up;
    /// Sequence, received, body.
    fn split(down: Self::Down) -> (u64, u64, Option<Self::DownBody>);
    fn up_bytes(body: &Self::UpBody) -> usize;
    fn down_bytes(body: &Self::DownBody) -> usize;
    fn hello(hello: StreamHello) -> Self::UpBody;
    fn goodbye(goodbye: v1::StreamGoodbye) -> Self::UpBody;
    fn first(body: Self::DownBody) -> First<Self::DownBody>;
    fn over(over: AttemptOver) -> Self::DownBody;
    fn is_over(body: &Self::DownBody) -> bool;
    fn open(
        client: DataClient<Channel>,
        messages: ReceiverStream<Self::Up>,
    ) -> impl Future<Output = Result<Streaming<Self::Down>, Status>> + Send;
}

pub(crate) struct BackupProtocol;
pub(crate) struct RestoreProtocol;

macro_rules! protocol {
    ($name:ident, $call:ident, $keeps:expr, $up:ident, $up_mod:ident, $down:ident, $down_mod:ident) => {
        impl Protocol for $name {
            type Up = v1::$up;
            type UpBody = v1::$up_mod::Body;
            type Down = v1::$down;
            type DownBody = v1::$down_mod::Body;

            const KEEPS: usize = $keeps;

            fn join(sequence: u64, received: u64, body: Option<Self::UpBody>) -> Self::Up {
                v1::$up {
                    sequence,
                    received,
                    body,
                }
            }
            fn split(down: Self::Down) -> (u64, u64, Option<Self::DownBody>) {
                (down.sequence, down.received, down.body)
            }
            fn up_bytes(body: &Self::UpBody) -> usize {
                body.encoded_len()
            }
            fn down_bytes(body: &Self::DownBody) -> usize {
                body.encoded_len()
            }
            fn hello(hello: StreamHello) -> Self::UpBody {
                v1::$up_mod::Body::Hello(hello)
            }
            fn goodbye(goodbye: v1::StreamGoodbye) -> Self::UpBody {
                v1::$up_mod::Body::Goodbye(goodbye)
            }
            fn first(body: Self::DownBody) -> First<Self::DownBody> {
                match body {
                    v1::$down_mod::Body::Welcome(welcome) => First::Welcome(welcome),
                    v1::$down_mod::Body::Over(over) => First::Over(over),
                    other => First::Other(other),
                }
            }
            fn over(over: AttemptOver) -> Self::DownBody {
                v1::$down_mod::Body::Over(over)
            }
            fn is_over(body: &Self::DownBody) -> bool {
                matches!(body, v1::$down_mod::Body::Over(_))
            }
            async fn open(
                mut client: DataClient<Channel>,
                messages: ReceiverStream<Self::Up>,
            ) -> Result<Streaming<Self::Down>, Status> {
                Ok(client.$call(messages).await?.into_inner())
            }
        }
    };
}
protocol!(
    BackupProtocol,
    backup,
    CLIENT_KEEPS,
    BackupUp,
    backup_up,
    BackupDown,
    backup_down
);
protocol!(
    RestoreProtocol,
    restore,
    RESTORING_CLIENT_KEEPS,
    RestoreUp,
    restore_up,
    RestoreDown,
    restore_down
);
