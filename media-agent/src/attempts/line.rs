//! The conversation of an engine with its client over one stream after another (F-10): breaks are not the engine's business.
//!
//! Numbers, keeps and repeats messages; what they mean is the engine's. Ends the attempt when no stream came for too long
//! or the client breaks the rules. Used by `conduct`.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::clock::SharedClock;
use outlast_kit::resume::{GettingOn, Incoming, MEDIA_AGENT_KEEPS, Misnumbered, Outgoing, SIGN_OF_LIFE};
use outlast_kit::tasks::Tasks;
use outlast_media_core::Halt;
use outlast_proto::words::StatusCode;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::Status;

use super::control::Control;
use super::entrance::Entrance;
use super::link::{AnyLink, GOODBYE, Link, Protocol};
use super::progress::Progress;
use super::wire::{ANSWERS, MESSAGES, Wire};
use crate::fault::Fault;
use outlast_proto::words::AttemptId;

/// How long a confirmation may wait for a message to go with.
const CONFIRM_WITHIN: Duration = Duration::from_millis(200);

/// What a line has to do with the rest of the attempt.
pub(super) struct Around {
    pub(super) attempt: AttemptId,
    /// For people.
    pub(super) client: String,
    /// Of this process.
    pub(super) start_id: String,
    pub(super) reconnect_for: Duration,
    /// How long an open stream may be without a message of the client.
    pub(super) silence: Duration,
    pub(super) control: Arc<Control>,
    pub(super) progress: Arc<Progress>,
    pub(super) clock: SharedClock,
    pub(super) entrance: Arc<Entrance>,
    pub(super) tasks: Tasks,
}

pub(super) struct Line<P: Protocol> {
    around: Around,
    /// None while it is broken.
    link: Option<Link<P>>,
    broken_since: Instant,
    began: Instant,
    /// When the present stream came, since `began`.
    opened: Duration,
    getting_on: GettingOn,
    outgoing: Outgoing<P::DownBody>,
    incoming: Incoming<P::UpBody>,
    /// A confirmation is due, with a message or without.
    must_confirm: bool,
    /// The last time the client said something, or was not listened to.
    heard: Instant,
    /// The last time it was told something.
    told: Instant,
}

/// The line's ends of the engine's wire.
struct Inner<P: Protocol> {
    to_engine: mpsc::Sender<P::UpBody>,
    from_engine: mpsc::Receiver<P::DownBody>,
}

/// What the loop woke up for.
enum Event<P: Protocol> {
    Halted,
    NewStream(Box<AnyLink>),
    /// The engine's message; none: it has ended.
    Said(Option<P::DownBody>),
    Room(Option<mpsc::OwnedPermit<Result<P::Down, Status>>>),
    Came(Result<Option<P::Up>, Status>),
    /// None: the engine wants no more.
    EngineReady(Option<mpsc::OwnedPermit<P::UpBody>>),
    ConfirmNow,
    BrokenTooLong,
    SilentTooLong,
}

impl<P: Protocol> Line<P> {
    /// A line whose first stream is `link`.
    pub(super) fn open(around: Around, link: Link<P>) -> Self {
        let mut line = Self {
            around,
            link: None,
            broken_since: Instant::now(),
            began: Instant::now(),
            opened: Duration::ZERO,
            getting_on: GettingOn::begin(Duration::ZERO),
            outgoing: Outgoing::new(MEDIA_AGENT_KEEPS),
            incoming: Incoming::default(),
            must_confirm: false,
            heard: Instant::now(),
            told: Instant::now(),
        };
        line.switch_to(link);
        line
    }

    /// Moves messages between the client and `engine` until the engine ends; the stream there is then, for the last word.
    pub(super) async fn carry<T, F>(mut self, engine: impl FnOnce(Wire<P>) -> F) -> (T, Option<AnyLink>)
    where
        F: Future<Output = T>,
    {
        let (to_engine, inbox) = mpsc::channel(MESSAGES);
        let (outbox, from_engine) = mpsc::channel(ANSWERS);
        let wire = Wire {
            inbox,
            outbox,
            control: Arc::clone(&self.around.control),
        };
        let inner = Inner {
            to_engine,
            from_engine,
        };
        let (outcome, ()) = tokio::join!(engine(wire), self.run(inner));
        self.flush().await;
        let (sent, received) = (self.outgoing.written(), self.incoming.tell());
        let link = self.link.map(|mut link| {
            (link.sent, link.received) = (sent, received);
            P::wrap(link)
        });
        (outcome, link)
    }

    /// Until the engine has ended, by itself or because of the control.
    async fn run(&mut self, mut inner: Inner<P>) {
        let control = Arc::clone(&self.around.control);
        let mut halted = pin!(control.wait());
        let mut tick = tokio::time::interval(CONFIRM_WITHIN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = match self.wake(&mut inner, halted.as_mut(), &mut tick).await {
                Event::Halted => true,
                Event::NewStream(link) => self.newcomer(*link),
                Event::Said(Some(body)) => {
                    let bytes = P::down_bytes(&body);
                    self.outgoing.push(body, bytes);
                    false
                }
                Event::Said(None) => return,
                Event::Room(Some(permit)) => self.write(permit),
                Event::Room(None) => self.broken("the connection is gone"),
                Event::Came(came) => self.came(came),
                Event::EngineReady(Some(permit)) => {
                    if let Some(body) = self.incoming.process() {
                        permit.send(body);
                    }
                    false
                }
                // Its last messages are still to be taken.
                Event::EngineReady(None) => true,
                Event::ConfirmNow => {
                    self.must_confirm = true;
                    false
                }
                Event::BrokenTooLong => self.give_up(),
                Event::SilentTooLong => self.stalled(),
            };
            if done {
                break;
            }
        }
        // The engine sees the end when it has taken what was under way. What it still says nobody needs after a halt.
        drop(inner.to_engine);
        while let Some(body) = inner.from_engine.recv().await {
            if control.halted().is_none() && self.outgoing.has_room() {
                let bytes = P::down_bytes(&body);
                self.outgoing.push(body, bytes);
            }
        }
    }

    async fn wake(
        &mut self,
        inner: &mut Inner<P>,
        halted: Pin<&mut impl Future<Output = ()>>,
        tick: &mut Interval,
    ) -> Event<P> {
        let is_open = self.link.is_some();
        let is_listening = is_open && self.incoming.bytes() < P::HOLDS;
        if !is_listening {
            self.heard = Instant::now();
        }
        let must_write = self.outgoing.has_unwritten() || self.must_confirm || self.incoming.should_tell();
        let (up, down) = match &mut self.link {
            Some(link) => (Some(&mut link.up), Some(link.down.clone())),
            None => (None, None),
        };
        let room = async {
            match down {
                Some(down) => down.reserve_owned().await.ok(),
                None => pending().await,
            }
        };
        let message = async {
            match up {
                Some(up) => up.message().await,
                None => pending().await,
            }
        };
        let deadline = self.broken_since + self.around.reconnect_for;
        let to_engine = inner.to_engine.clone();
        tokio::select! {
            () = halted => Event::Halted,
            link = self.around.entrance.take() => Event::NewStream(Box::new(link)),
            said = inner.from_engine.recv(), if self.outgoing.has_room() => Event::Said(said),
            permit = room, if must_write => Event::Room(permit),
            came = message, if is_listening => Event::Came(came),
            permit = to_engine.reserve_owned(), if self.incoming.has_waiting() => Event::EngineReady(permit.ok()),
            _ = tick.tick(), if is_open && self.incoming.has_untold() => Event::ConfirmNow,
            () = tokio::time::sleep_until(self.told + SIGN_OF_LIFE), if is_open && !must_write => Event::ConfirmNow,
            () = tokio::time::sleep_until(self.heard + self.around.silence), if is_listening => Event::SilentTooLong,
            () = tokio::time::sleep_until(deadline), if !is_open => Event::BrokenTooLong,
        }
    }

    /// A further stream of the same client process. Whether the line is over.
    fn newcomer(&mut self, link: AnyLink) -> bool {
        let link = match P::unwrap(link) {
            Ok(link) => link,
            Err(other) => {
                let text = "the ticket is not for this kind of stream: backup and restore have one each";
                self.refuse(*other, Fault::access(text));
                return false;
            }
        };
        match self.outgoing.resume(link.greeting.received) {
            Ok(()) => {
                if self.link.is_some() {
                    self.broken("a newer one has come");
                }
                let is_hopeless = self.broken_since.elapsed() > self.around.reconnect_for;
                self.switch_to(link);
                is_hopeless && self.give_up()
            }
            Err(Misnumbered::Forgotten { .. }) => {
                let text =
                    "the attempt has an open stream already, and this one does not go on from where that is";
                self.refuse(P::wrap(link), Fault::access(text));
                false
            }
            Err(error) => {
                let fault = violation(error);
                // It is told how the attempt has ended when that is durable.
                let _ = self.around.entrance.put(P::wrap(link));
                self.halt(fault)
            }
        }
    }

    /// Takes the stream into use; the one before is dropped, half-open as it may be.
    fn switch_to(&mut self, link: Link<P>) {
        let received = self.incoming.resume();
        link.welcome(&self.around.start_id, received);
        if self.link.is_none() && !link.greeting.peer_start.is_empty() {
            let id = self.around.attempt;
            let broken_ms = u64::try_from(self.broken_since.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(job = %id.job, attempt = %id.attempt, client = %self.around.client, broken_ms,
                "the stream with the client was broken and goes on");
        }
        self.must_confirm = false;
        (self.heard, self.told) = (Instant::now(), Instant::now());
        self.opened = self.began.elapsed();
        self.around.progress.has_client();
        self.link = Some(link);
    }

    fn write(&mut self, permit: mpsc::OwnedPermit<Result<P::Down, Status>>) -> bool {
        self.must_confirm = false;
        self.told = Instant::now();
        let received = self.incoming.tell();
        permit.send(Ok(match self.outgoing.write() {
            Some((sequence, body)) => P::join(sequence, received, Some(body)),
            None => P::join(0, received, None),
        }));
        false
    }

    fn came(&mut self, came: Result<Option<P::Up>, Status>) -> bool {
        self.heard = Instant::now();
        let (sequence, received, body) = match came {
            Ok(Some(message)) => P::split(message),
            // A client that goes away for good says so. A connection that was lost may look like an end, too.
            Ok(None) => return self.broken("it ended without a word"),
            Err(status) if status.code() == tonic::Code::OutOfRange => {
                return self.halt(Fault::access("the client sent a message that is too large"));
            }
            Err(status) => return self.broken(status.message()),
        };
        if let Some(goodbye) = body.as_ref().and_then(P::goodbye) {
            return self.halt(Fault::goodbye(goodbye));
        }
        let taken = self.outgoing.confirm(received).and_then(|()| match body {
            None if sequence == 0 => Ok(()),
            // A newer client may say more than we know; it must not rely on it, and here it would.
            None => Err(Misnumbered::Sequence {
                last: sequence,
                got: sequence,
            }),
            Some(body) => {
                let bytes = P::up_bytes(&body);
                self.incoming.take(sequence, body, bytes)
            }
        });
        taken.is_err_and(|error| self.halt(violation(error)))
    }

    fn broken(&mut self, why: &str) -> bool {
        let id = self.around.attempt;
        tracing::info!(job = %id.job, attempt = %id.attempt, client = %self.around.client, why,
            "the stream with the client is broken; waiting for the client");
        self.link = None;
        let span = (self.opened, self.began.elapsed());
        self.broken_since = self.began + self.getting_on.broken(span, &self.outgoing, &self.incoming);
        self.say_awaited();
        false
    }

    /// For whoever looks at the job.
    fn say_awaited(&self) {
        let Around {
            client,
            reconnect_for,
            ..
        } = &self.around;
        let left = reconnect_for.saturating_sub(self.broken_since.elapsed());
        let reason = format!(
            "the stream with client {client} is broken; if it does not come back the attempt ends with 40"
        );
        let until = crate::stamps::after(self.around.clock.now(), left);
        self.around.progress.awaits_client(reason, until);
    }

    fn give_up(&mut self) -> bool {
        self.halt(Fault::broken(format!(
            "the stream with client \"{}\" broke and did not come back within {} s; check the network between the client \
             and this media agent, and that the client agent runs",
            self.around.client,
            self.around.reconnect_for.as_secs()
        )))
    }

    fn stalled(&mut self) -> bool {
        let text = format!(
            "client \"{}\" said nothing for {} s although its stream is open; its agent stands still",
            self.around.client,
            self.around.silence.as_secs()
        );
        self.halt(Fault::new(StatusCode::NETWORK_TIMED_OUT, text))
    }

    fn halt(&self, fault: Fault) -> bool {
        self.around.control.halt(Halt::Fault(fault));
        true
    }

    fn refuse(&self, link: AnyLink, fault: Fault) {
        tracing::info!(
            code = fault.code.0,
            text = fault.text,
            "a client's stream is refused"
        );
        self.around.tasks.spawn("refusal", link.finish(fault.over()));
    }

    /// What the engine said last goes before the last word, if the client takes it.
    async fn flush(&mut self) {
        if self.around.control.halted().is_some() {
            return;
        }
        let deadline = Instant::now() + GOODBYE;
        while self.outgoing.has_unwritten() {
            let Some(link) = &self.link else { return };
            let room = link.down.clone().reserve_owned();
            match tokio::time::timeout_at(deadline, room).await {
                Ok(Ok(permit)) => drop(self.write(permit)),
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }
}

fn violation(error: Misnumbered) -> Fault {
    Fault::access(format!("the client broke the protocol: {error}"))
}
