//! One stream with a client: its ends, its hello, its last word.
//!
//! Knows sequences, not what messages mean, and nothing of streams before and after it: that is `line`'s. Made by the data
//! service.

use std::time::Duration;

use outlast_kit::stream::{self, BackupProtocol, Frame as _, FromMediaAgent as _, RestoreProtocol};
use outlast_media_core::Greeting;
use outlast_proto::v1::{AttemptOver, StreamWelcome};

/// How long a client may take to notice that its attempt is over before the stream is cut.
pub(super) const GOODBYE: Duration = Duration::from_secs(2);

/// The media agent's end of a stream.
pub(crate) type Ends<P> = stream::Link<<P as stream::Protocol>::Down, <P as stream::Protocol>::Up>;

/// A kind of stream, and which of both it is.
pub(crate) trait Protocol: stream::Protocol {
    fn wrap(link: Link<Self>) -> AnyLink
    where
        Self: Sized;
    /// The link, if it is of this kind.
    fn unwrap(link: AnyLink) -> Result<Link<Self>, Box<AnyLink>>
    where
        Self: Sized;
}

/// A client's stream whose hello was read.
pub(crate) struct Link<P: stream::Protocol> {
    pub(super) ends: Ends<P>,
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

impl Protocol for BackupProtocol {
    fn wrap(link: Link<Self>) -> AnyLink {
        AnyLink::Backup(link)
    }
    fn unwrap(link: AnyLink) -> Result<Link<Self>, Box<AnyLink>> {
        match link {
            AnyLink::Backup(link) => Ok(link),
            AnyLink::Restore(_) => Err(Box::new(link)),
        }
    }
}

impl Protocol for RestoreProtocol {
    fn wrap(link: Link<Self>) -> AnyLink {
        AnyLink::Restore(link)
    }
    fn unwrap(link: AnyLink) -> Result<Link<Self>, Box<AnyLink>> {
        match link {
            AnyLink::Restore(link) => Ok(link),
            AnyLink::Backup(_) => Err(Box::new(link)),
        }
    }
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

impl<P: stream::Protocol> Link<P> {
    pub(crate) fn new(ends: Ends<P>, greeting: Greeting) -> Self {
        Self {
            ends,
            greeting,
            sent: 0,
            received: 0,
        }
    }

    /// The first message; like the hello it has number 0.
    pub(super) fn welcome(&self, start_id: &str, received: u64) {
        let welcome = P::Down::welcome(StreamWelcome {
            start_id: start_id.to_owned(),
            received,
        });
        // A new channel has room; a stream that is gone shows itself when it is read.
        let _ = self.ends.out.try_send(P::Down::join(0, received, Some(welcome)));
    }

    /// Says the last word and waits a moment for the client to close.
    async fn finish(self, over: AttemptOver) {
        let last = P::Down::join(self.sent + 1, self.received, Some(P::Down::over(over)));
        let mut ends = self.ends;
        let said = tokio::time::timeout(GOODBYE, ends.out.send(last)).await;
        drop(ends.out);
        if matches!(said, Ok(Ok(()))) {
            let closed = async { while let Ok(Some(_)) = ends.incoming.message().await {} };
            let _ = tokio::time::timeout(GOODBYE, closed).await;
        }
    }
}
