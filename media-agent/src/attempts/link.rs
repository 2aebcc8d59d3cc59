//! The stream with a client: numbered messages both ways, pumped between gRPC and an engine's wire.
//!
//! Knows sequences, not what messages mean. Made by the data service, used by `conduct`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::{self, AttemptOver, StreamHello, StreamWelcome};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::control::{Control, Halt};
use super::wire::{ANSWERS, MESSAGES, Wire};
use crate::fault::Fault;

/// How long a client may take to notice that its attempt is over before the stream is cut.
const GOODBYE: Duration = Duration::from_secs(2);

/// The two kinds of streams differ in their messages only.
pub(crate) trait Protocol: Send + 'static {
    type Up: Send + 'static;
    type UpBody: Send + 'static;
    type Down: Send + 'static;
    type DownBody: Send + 'static;

    /// Sequence, received, body.
    fn split(up: Self::Up) -> (u64, u64, Option<Self::UpBody>);
    fn join(sequence: u64, received: u64, body: Self::DownBody) -> Self::Down;
    fn hello(body: Self::UpBody) -> Option<StreamHello>;
    fn welcome(welcome: StreamWelcome) -> Self::DownBody;
    fn over(over: AttemptOver) -> Self::DownBody;
}

pub(crate) struct BackupProtocol;
pub(crate) struct RestoreProtocol;

macro_rules! protocol {
    ($name:ident, $up:ident, $up_mod:ident, $down:ident, $down_mod:ident) => {
        impl Protocol for $name {
            type Up = v1::$up;
            type UpBody = v1::$up_mod::Body;
            type Down = v1::$down;
            type DownBody = v1::$down_mod::Body;

            fn split(up: Self::Up) -> (u64, u64, Option<Self::UpBody>) {
                (up.sequence, up.received, up.body)
            }
            fn join(sequence: u64, received: u64, body: Self::DownBody) -> Self::Down {
                v1::$down {
                    sequence,
                    received,
                    body: Some(body),
                }
            }
            fn hello(body: Self::UpBody) -> Option<StreamHello> {
                match body {
                    v1::$up_mod::Body::Hello(hello) => Some(hello),
                    _ => None,
                }
            }
            fn welcome(welcome: StreamWelcome) -> Self::DownBody {
                v1::$down_mod::Body::Welcome(welcome)
            }
            fn over(over: AttemptOver) -> Self::DownBody {
                v1::$down_mod::Body::Over(over)
            }
        }
    };
}
protocol!(BackupProtocol, BackupUp, backup_up, BackupDown, backup_down);
protocol!(RestoreProtocol, RestoreUp, restore_up, RestoreDown, restore_down);

/// A client's stream whose hello was read.
pub(crate) struct Link<P: Protocol> {
    pub(crate) up: Streaming<P::Up>,
    pub(crate) down: mpsc::Sender<Result<P::Down, Status>>,
    /// Of the client's process.
    pub(crate) client_start: String,
    sent: u64,
    received: Arc<AtomicU64>,
}

/// A stream of either kind.
pub(crate) enum AnyLink {
    Backup(Link<BackupProtocol>),
    Restore(Link<RestoreProtocol>),
}

impl AnyLink {
    pub(crate) fn client_start(&self) -> &str {
        match self {
            AnyLink::Backup(link) => &link.client_start,
            AnyLink::Restore(link) => &link.client_start,
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
        client_start: String,
    ) -> Self {
        Self {
            up,
            down,
            client_start,
            sent: 0,
            received: Arc::default(),
        }
    }

    /// The first message; like the hello it has number 0.
    pub(crate) async fn welcome(&mut self, start_id: &str) {
        let welcome = P::welcome(StreamWelcome {
            start_id: start_id.to_owned(),
            received: 0,
        });
        // A stream that is gone shows itself when it is read.
        let _ = self.down.send(Ok(P::join(0, 0, welcome))).await;
    }

    /// Moves messages between the stream and `engine`'s wire until the engine ends; a broken stream, a message out of
    /// order or `control` ends it.
    pub(crate) async fn pump<T, F>(&mut self, control: &Arc<Control>, engine: impl FnOnce(Wire<P>) -> F) -> T
    where
        F: Future<Output = T>,
    {
        let (to_engine, inbox) = mpsc::channel(MESSAGES);
        let (outbox, from_engine) = mpsc::channel(ANSWERS);
        let wire = Wire {
            inbox,
            outbox,
            control: Arc::clone(control),
        };
        let (up, down, sent, received) = (&mut self.up, &self.down, &mut self.sent, &self.received);
        let done = Shutdown::new();
        let upward = async {
            tokio::select! {
                fault = read_up::<P>(up, &to_engine, received) => {
                    if let Some(fault) = fault {
                        control.halt(Halt::Fault(fault));
                    }
                }
                () = control.wait() => {}
                () = done.begun() => {}
            }
            // The engine sees the end when it has taken what was under way.
            drop(to_engine);
        };
        let downward = async {
            let too_slow = async {
                done.begun().await;
                tokio::time::sleep(GOODBYE).await;
            };
            tokio::select! {
                () = write_down::<P>(from_engine, down, (sent, received), control) => {}
                () = too_slow => {}
            }
        };
        let work = async {
            let outcome = engine(wire).await;
            done.begin();
            outcome
        };
        tokio::join!(work, upward, downward).0
    }

    /// Says the last word and waits a moment for the client to close.
    pub(crate) async fn finish(mut self, over: AttemptOver) {
        let last = P::join(
            self.sent + 1,
            self.received.load(Ordering::Relaxed),
            P::over(over),
        );
        let said = tokio::time::timeout(GOODBYE, self.down.send(Ok(last))).await;
        drop(self.down);
        if matches!(said, Ok(Ok(()))) {
            let closed = async { while let Ok(Some(_)) = self.up.message().await {} };
            let _ = tokio::time::timeout(GOODBYE, closed).await;
        }
    }
}

/// Reads the client's messages. Returns why the stream cannot go on; `None` when the engine wants no more.
async fn read_up<P: Protocol>(
    up: &mut Streaming<P::Up>,
    to_engine: &mpsc::Sender<P::UpBody>,
    received: &AtomicU64,
) -> Option<Fault> {
    loop {
        let Ok(permit) = to_engine.reserve().await else {
            return None;
        };
        let message = match up.message().await {
            Ok(Some(message)) => message,
            Ok(None) => {
                return Some(Fault::broken(
                    "the client closed the stream before its work was done",
                ));
            }
            Err(status) if status.code() == tonic::Code::OutOfRange => {
                return Some(Fault::access("the client sent a message that is too large"));
            }
            Err(status) => {
                return Some(Fault::broken(format!(
                    "the stream with the client broke: {}",
                    status.message()
                )));
            }
        };
        let (sequence, _, body) = P::split(message);
        let due = received.load(Ordering::Relaxed) + 1;
        let Some(body) = body.filter(|_| sequence == due) else {
            return Some(Fault::access(format!(
                "the client broke the protocol: message {sequence} came where {due} was due"
            )));
        };
        received.store(sequence, Ordering::Relaxed);
        permit.send(body);
    }
}

/// Writes the engine's messages until it ends; once the attempt is to end, what the client does not take is dropped.
async fn write_down<P: Protocol>(
    mut from_engine: mpsc::Receiver<P::DownBody>,
    down: &mpsc::Sender<Result<P::Down, Status>>,
    (sent, received): (&mut u64, &AtomicU64),
    control: &Control,
) {
    while let Some(body) = from_engine.recv().await {
        let permit = tokio::select! {
            biased;
            permit = down.reserve() => permit.ok(),
            () = control.wait() => None,
        };
        if let Some(permit) = permit {
            *sent += 1;
            permit.send(Ok(P::join(*sent, received.load(Ordering::Relaxed), body)));
        }
    }
}
