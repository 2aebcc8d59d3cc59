//! The media agent's end of a conversation (F-10): the client's streams come in, one after another, and breaks are not the engine's business.
//!
//! The kit's pump moves the messages; what they mean is the engine's. Ends the attempt when no stream came for too long
//! or the client breaks the rules. Used by `conduct`.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::clock::SharedClock;
use outlast_kit::resume::{MEDIA_AGENT_KEEPS, Misnumbered};
use outlast_kit::stream::{Event, Frame as _, FromClient as _, Pump, Terms};
use outlast_kit::tasks::Tasks;
use outlast_media_core::{Greeting, Halt};
use outlast_proto::words::{AttemptId, Interruption, StatusCode};
use tokio::sync::watch;

use super::control::Control;
use super::entrance::Entrance;
use super::link::{AnyLink, GOODBYE, Link, Protocol};
use super::progress::Progress;
use super::wire::{ANSWERS, MESSAGES, Wire};
use crate::contact::Contact;
use crate::fault::Fault;

/// What a line has to do with the rest of the attempt.
pub(super) struct LineContext {
    pub(super) attempt: AttemptId,
    /// For people.
    pub(super) client: String,
    /// Of this process.
    pub(super) start_id: String,
    /// How long a stream may be broken (F-10), as it is in force now.
    pub(super) contact: watch::Receiver<Contact>,
    /// How long an open stream may be without a message of the client.
    pub(super) silence: Duration,
    pub(super) control: Arc<Control>,
    pub(super) progress: Arc<Progress>,
    pub(super) clock: SharedClock,
    pub(super) entrance: Arc<Entrance>,
    pub(super) tasks: Tasks,
}

pub(super) struct Line<P: Protocol> {
    context: LineContext,
    pump: Pump<P::Down, P::Up>,
    /// The engine's.
    wire: Option<Wire<P>>,
}

/// What the loop woke up for.
enum Wake<P: Protocol> {
    Halted,
    NewStream(Box<AnyLink>),
    BrokenTooLong,
    /// What the primary says has changed.
    Told,
    Pump(Event<P::Up>),
}

impl LineContext {
    fn reconnect_for(&self) -> Duration {
        self.contact.borrow().reconnect_for
    }
}

impl<P: Protocol> Line<P> {
    /// A line whose first stream is `link`.
    pub(super) fn open(context: LineContext, link: Link<P>) -> Self {
        let terms = Terms {
            keeps: MEDIA_AGENT_KEEPS,
            holds: P::MEDIA_AGENT_HOLDS,
            silence: Some(context.silence),
            // A newer client may say more than we know; it must not rely on it, and here it would.
            takes_unknown: false,
        };
        let (pump, user) = Pump::new(terms, (ANSWERS, MESSAGES));
        let wire = Some(Wire::new(user, Arc::clone(&context.control)));
        let mut line = Self { context, pump, wire };
        line.switch_to(link);
        line
    }

    /// Moves messages between the client and `engine` until the engine ends; the stream there is then, for the last word.
    pub(super) async fn carry<T, F>(mut self, engine: impl FnOnce(Wire<P>) -> F) -> (T, Option<AnyLink>)
    where
        F: Future<Output = T>,
    {
        let wire = self.wire.take().expect("a line carries one engine");
        let (outcome, ()) = tokio::join!(engine(wire), self.run());
        if self.context.control.halted().is_none() {
            // What the engine said last goes before the last word, if the client takes it.
            self.pump.flush(GOODBYE).await;
        }
        let link = self.pump.take_link().map(|(ends, (sent, received))| {
            let mut link = Link::new(ends, Greeting::default());
            (link.sent, link.received) = (sent, received);
            P::wrap(link)
        });
        (outcome, link)
    }

    /// Until the engine has ended, by itself or because of the control.
    async fn run(&mut self) {
        let control = Arc::clone(&self.context.control);
        let mut halted = pin!(control.wait());
        loop {
            let is_over = match self.wake(halted.as_mut()).await {
                Wake::Halted => true,
                Wake::NewStream(link) => self.newcomer(*link),
                Wake::BrokenTooLong => self.give_up(),
                Wake::Told => false,
                Wake::Pump(Event::Came(message)) => self.came(message),
                // A client that goes away for good says so. A connection that was lost may look like an end, too.
                Wake::Pump(Event::Broke(why)) => self.broke(&why),
                Wake::Pump(Event::TooLarge) => {
                    self.halt(Fault::access("the client sent a message that is too large"))
                }
                Wake::Pump(Event::Silent) => self.stalled(),
                Wake::Pump(Event::UserEnded) => return,
                // Its last messages are still to be taken.
                Wake::Pump(Event::UserGone) => true,
            };
            if is_over {
                break;
            }
        }
        // The engine sees the end when it has taken what was under way. What it still says nobody needs after a halt.
        self.pump.hear_user_out(|| control.halted().is_none()).await;
    }

    async fn wake(&mut self, halted: Pin<&mut impl Future<Output = ()>>) -> Wake<P> {
        let deadline = self.pump.broken_since() + self.context.reconnect_for();
        let is_open = self.pump.is_open();
        tokio::select! {
            () = halted => Wake::Halted,
            link = self.context.entrance.take() => Wake::NewStream(Box::new(link)),
            () = tokio::time::sleep_until(deadline), if !is_open => Wake::BrokenTooLong,
            Ok(()) = self.context.contact.changed(), if !is_open => Wake::Told,
            event = self.pump.event() => Wake::Pump(event),
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
        match self.pump.resume(link.greeting.received) {
            Ok(()) => {
                if self.pump.is_open() {
                    self.pump.lose();
                    self.broke("a newer one has come");
                }
                let is_hopeless = self.pump.broken_since().elapsed() > self.context.reconnect_for();
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
                let _ = self.context.entrance.put(P::wrap(link));
                self.halt(fault)
            }
        }
    }

    /// Takes the stream into use.
    fn switch_to(&mut self, link: Link<P>) {
        let received = self.pump.received();
        link.welcome(&self.context.start_id, received);
        if !link.greeting.peer_start.is_empty() {
            let id = self.context.attempt;
            let broken_ms = self.pump.broken_since().elapsed().as_millis();
            let broken_ms = u64::try_from(broken_ms).unwrap_or(u64::MAX);
            tracing::warn!(job = %id.job, attempt = %id.attempt, client = %self.context.client, broken_ms,
                "the stream with the client was broken and goes on");
        }
        self.context.progress.has_client();
        self.pump.open(link.ends);
    }

    fn came(&mut self, message: P::Up) -> bool {
        let message = message.split();
        if let Some(goodbye) = message.2.as_ref().and_then(P::Up::as_goodbye) {
            return self.halt(Fault::goodbye(goodbye));
        }
        let taken = self.pump.take(message, false);
        taken.is_err_and(|error| self.halt(violation(error)))
    }

    fn broke(&mut self, why: &str) -> bool {
        let id = self.context.attempt;
        tracing::info!(job = %id.job, attempt = %id.attempt, client = %self.context.client, why,
            "the stream with the client is broken; waiting for the client");
        self.say_awaited();
        false
    }

    /// For whoever looks at the job.
    fn say_awaited(&self) {
        let client = &self.context.client;
        let left = self
            .context
            .reconnect_for()
            .saturating_sub(self.pump.broken_since().elapsed());
        let reason =
            format!("the stream with client {client} is broken; if it does not come back the attempt ends");
        let until = crate::stamps::after(self.context.clock.now(), left);
        self.context.progress.awaits_client(reason, until);
    }

    fn give_up(&mut self) -> bool {
        let text = format!(
            "the stream with client \"{}\" broke and did not come back within {} s; check the network between the client \
             and this media agent, and that the client agent runs",
            self.context.client,
            self.context.reconnect_for().as_secs()
        );
        let (cause, code) = (Interruption::ClientUnreachable, StatusCode::CONNECTION_BROKEN);
        self.halt(Fault::interrupting(cause, code, text))
    }

    fn stalled(&mut self) -> bool {
        let text = format!(
            "client \"{}\" said nothing for {} s although its stream is open; its agent stands still",
            self.context.client,
            self.context.silence.as_secs()
        );
        self.halt(Fault::new(StatusCode::NETWORK_TIMED_OUT, text))
    }

    fn halt(&self, fault: Fault) -> bool {
        self.context.control.halt(Halt::Fault(fault));
        true
    }

    fn refuse(&self, link: AnyLink, fault: Fault) {
        tracing::info!(
            code = fault.code.0,
            text = fault.text,
            "a client's stream is refused"
        );
        self.context.tasks.ordinary("refusal", link.finish(fault.over()));
    }
}

fn violation(error: Misnumbered) -> Fault {
    Fault::access(format!("the client broke the protocol: {error}"))
}
