//! One stream with a client: its messages, its hello, its last word.
//!
//! Knows sequences, not what messages mean, and nothing of streams before and after it: that is `line`'s. Made by the data
//! service.

use std::time::Duration;

use outlast_kit::resume::{CLIENT_KEEPS, RESTORING_CLIENT_KEEPS};
use outlast_media_core::Greeting;
use outlast_proto::v1::{self, AttemptOver, StreamGoodbye, StreamHello, StreamWelcome};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// How long a client may take to notice that its attempt is over before the stream is cut.
pub(super) const GOODBYE: Duration = Duration::from_secs(2);

/// The two kinds of streams differ in their messages only.
pub(crate) trait Protocol: Sized + Send + 'static {
    type Up: Send + 'static;
    type UpBody: Send + 'static;
    type Down: Send + 'static;
    type DownBody: Clone + Send + 'static;

    /// Bytes of the client's messages that may wait for the engine before no more are read.
    const HOLDS: usize;

    /// Sequence, received, body.
    fn split(up: Self::Up) -> (u64, u64, Option<Self::UpBody>);
    fn join(sequence: u64, received: u64, body: Option<Self::DownBody>) -> Self::Down;
    fn up_bytes(body: &Self::UpBody) -> usize;
    fn down_bytes(body: &Self::DownBody) -> usize;
    fn hello(body: Self::UpBody) -> Option<StreamHello>;
    fn goodbye(body: &Self::UpBody) -> Option<&StreamGoodbye>;
    fn welcome(welcome: StreamWelcome) -> Self::DownBody;
    fn over(over: AttemptOver) -> Self::DownBody;
    fn wrap(link: Link<Self>) -> AnyLink;
    /// The link, if it is of this kind.
    fn unwrap(link: AnyLink) -> Result<Link<Self>, Box<AnyLink>>;
}

pub(crate) struct BackupProtocol;
pub(crate) struct RestoreProtocol;

macro_rules! protocol {
    ($name:ident, $kind:ident, $holds:expr, $up:ident, $up_mod:ident, $down:ident, $down_mod:ident) => {
        impl Protocol for $name {
            type Up = v1::$up;
            type UpBody = v1::$up_mod::Body;
            type Down = v1::$down;
            type DownBody = v1::$down_mod::Body;

            const HOLDS: usize = $holds;

            fn split(up: Self::Up) -> (u64, u64, Option<Self::UpBody>) {
                (up.sequence, up.received, up.body)
            }
            fn join(sequence: u64, received: u64, body: Option<Self::DownBody>) -> Self::Down {
                v1::$down {
                    sequence,
                    received,
                    body,
                }
            }
            fn up_bytes(body: &Self::UpBody) -> usize {
                body.encoded_len()
            }
            fn down_bytes(body: &Self::DownBody) -> usize {
                body.encoded_len()
            }
            fn hello(body: Self::UpBody) -> Option<StreamHello> {
                match body {
                    v1::$up_mod::Body::Hello(hello) => Some(hello),
                    _ => None,
                }
            }
            fn goodbye(body: &Self::UpBody) -> Option<&StreamGoodbye> {
                match body {
                    v1::$up_mod::Body::Goodbye(goodbye) => Some(goodbye),
                    _ => None,
                }
            }
            fn welcome(welcome: StreamWelcome) -> Self::DownBody {
                v1::$down_mod::Body::Welcome(welcome)
            }
            fn over(over: AttemptOver) -> Self::DownBody {
                v1::$down_mod::Body::Over(over)
            }
            fn wrap(link: Link<Self>) -> AnyLink {
                AnyLink::$kind(link)
            }
            fn unwrap(link: AnyLink) -> Result<Link<Self>, Box<AnyLink>> {
                match link {
                    AnyLink::$kind(link) => Ok(link),
                    other => Err(Box::new(other)),
                }
            }
        }
    };
}
// The engine of a backup never waits for the client to take an answer, so its client's confirmations may wait behind data.
// That of a restore does: everything the client may send has room, or confirmations would be stuck behind it.
protocol!(
    BackupProtocol,
    Backup,
    CLIENT_KEEPS / 8,
    BackupUp,
    backup_up,
    BackupDown,
    backup_down
);
protocol!(
    RestoreProtocol,
    Restore,
    2 * RESTORING_CLIENT_KEEPS,
    RestoreUp,
    restore_up,
    RestoreDown,
    restore_down
);

/// A client's stream whose hello was read.
pub(crate) struct Link<P: Protocol> {
    pub(crate) up: Streaming<P::Up>,
    pub(crate) down: mpsc::Sender<Result<P::Down, Status>>,
    pub(crate) greeting: Greeting,
    /// The number of the last message it carried.
    pub(super) sent: u64,
    /// For the last word.
    pub(super) received: u64,
}

/// A stream of either kind.
pub(crate) enum AnyLink {
    Backup(Link<BackupProtocol>),
    Restore(Link<RestoreProtocol>),
}

impl AnyLink {
    pub(crate) fn greeting(&self) -> &Greeting {
        match self {
            AnyLink::Backup(link) => &link.greeting,
            AnyLink::Restore(link) => &link.greeting,
        }
    }

    /// Says that the attempt is over or that the stream has no right to it, and closes it.
    pub(crate) async fn finish(self, over: AttemptOver) {
        match self {
            AnyLink::Backup(link) => link.finish(over).await,
            AnyLink::Restore(link) => link.finish(over).await,
        }
    }
}

impl<P: Protocol> Link<P> {
    pub(crate) fn new(
        up: Streaming<P::Up>,
        down: mpsc::Sender<Result<P::Down, Status>>,
        greeting: Greeting,
    ) -> Self {
        Self {
            up,
            down,
            greeting,
            sent: 0,
            received: 0,
        }
    }

    /// The first message; like the hello it has number 0.
    pub(super) fn welcome(&self, start_id: &str, received: u64) {
        let welcome = P::welcome(StreamWelcome {
            start_id: start_id.to_owned(),
            received,
        });
        // A new channel has room; a stream that is gone shows itself when it is read.
        let _ = self.down.try_send(Ok(P::join(0, received, Some(welcome))));
    }

    /// Says the last word and waits a moment for the client to close.
    async fn finish(mut self, over: AttemptOver) {
        let last = P::join(self.sent + 1, self.received, Some(P::over(over)));
        let said = tokio::time::timeout(GOODBYE, self.down.send(Ok(last))).await;
        drop(self.down);
        if matches!(said, Ok(Ok(()))) {
            let closed = async { while let Ok(Some(_)) = self.up.message().await {} };
            let _ = tokio::time::timeout(GOODBYE, closed).await;
        }
    }
}
