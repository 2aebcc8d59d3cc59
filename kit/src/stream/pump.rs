//! Moves messages between a stream and whoever means something by them, as the [`Conversation`] says.
//!
//! What is not the same at both ends comes out as an [`Event`]. Used by the lines of both agents.

use std::future::pending;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::{Code, Status, Streaming};

use super::conversation::{Conversation, Terms};
use super::protocol::{Body, Frame};
use crate::resume::Misnumbered;

/// How long a confirmation may wait for a message to go with.
const CONFIRM_WITHIN: Duration = Duration::from_millis(200);

/// One stream: what goes out, what comes in.
pub struct Link<O, I> {
    /// To the other side.
    pub out: mpsc::Sender<O>,
    /// From it.
    pub incoming: Streaming<I>,
}

/// The end that whoever means something by the messages holds.
pub struct User<O: Frame, I: Frame> {
    /// Messages for the other side.
    pub outbox: mpsc::Sender<Body<O>>,
    /// Messages of the other side.
    pub inbox: mpsc::Receiver<Body<I>>,
}

/// What is for the line to decide.
pub enum Event<I> {
    /// A message: it counts when it is taken.
    Came(I),
    /// The stream is lost, and why.
    Broke(String),
    /// The other side sent a message that is longer than any may be.
    TooLarge,
    /// The stream is open, and the other side says nothing.
    Silent,
    /// The user says nothing more.
    UserEnded,
    /// The user hears nothing more.
    UserGone,
}

/// One end of a conversation with its present stream.
pub struct Pump<O: Frame, I: Frame> {
    conversation: Conversation<Body<O>, Body<I>>,
    link: Option<Link<O, I>>,
    /// None: the user is to end.
    to_user: Option<mpsc::Sender<Body<I>>>,
    from_user: mpsc::Receiver<Body<O>>,
    began: Instant,
    tick: Interval,
}

/// What the loop woke up for.
enum Wake<O, I: Frame, S> {
    Said(Option<S>),
    Room(Option<mpsc::OwnedPermit<O>>),
    Came(Result<Option<I>, Status>),
    UserReady(Option<mpsc::OwnedPermit<Body<I>>>),
    Confirm,
    /// Nothing more comes from a stream that takes nothing more, and no end either.
    HeardOut,
    Silent,
}

impl<O: Frame, I: Frame> Pump<O, I> {
    /// One without a stream; up to so many messages of each direction wait between it and its user.
    #[must_use]
    pub fn new(terms: Terms, (from_user, to_user): (usize, usize)) -> (Self, User<O, I>) {
        let (outbox, from_user) = mpsc::channel(from_user);
        let (to_user, inbox) = mpsc::channel(to_user);
        let mut tick = tokio::time::interval(CONFIRM_WITHIN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let pump = Self {
            conversation: Conversation::new(terms, Duration::ZERO),
            link: None,
            to_user: Some(to_user),
            from_user,
            began: Instant::now(),
            tick,
        };
        (pump, User { outbox, inbox })
    }

    /// As [`Conversation::received`].
    pub fn received(&mut self) -> u64 {
        self.conversation.received()
    }

    /// As [`Conversation::resume`].
    ///
    /// # Errors
    /// [`Misnumbered`].
    pub fn resume(&mut self, through: u64) -> Result<(), Misnumbered> {
        self.conversation.resume(through)
    }

    /// Takes a stream into use; one before is dropped, half-open as it may be.
    pub fn open(&mut self, link: Link<O, I>) {
        self.conversation.opened(self.began.elapsed());
        self.link = Some(link);
    }

    /// Gives the present stream up.
    pub fn lose(&mut self) {
        self.link = None;
        self.conversation.broke(self.began.elapsed());
    }

    /// Whether there is a stream.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.link.is_some()
    }

    /// Since when the conversation does not get on, unless a stream is open.
    #[must_use]
    pub fn broken_since(&self) -> Instant {
        self.began + self.conversation.broken_since()
    }

    /// A message counts; `is_last`: nothing is said and heard after it.
    ///
    /// # Errors
    /// [`Misnumbered`].
    pub fn take(&mut self, message: (u64, u64, Option<Body<I>>), is_last: bool) -> Result<(), Misnumbered> {
        let bytes = message.2.as_ref().map_or(0, I::bytes);
        let taken = self.conversation.take(self.began.elapsed(), message, bytes);
        if is_last {
            self.conversation.end();
        }
        taken
    }

    /// Tells the user what did not come as a message of the conversation.
    pub async fn tell_user(&self, body: Body<I>) {
        if let Some(to_user) = &self.to_user {
            // A user that is gone needs it no more.
            let _ = to_user.send(body).await;
        }
    }

    /// Moves messages until the line has something to decide. Nothing is lost if it is not waited for to its end.
    pub async fn event(&mut self) -> Event<I> {
        loop {
            match self.wake().await {
                Wake::Said(Some(body)) => self.say(body),
                Wake::Said(None) => return Event::UserEnded,
                Wake::Room(Some(permit)) => self.write(permit),
                Wake::Room(None) => self.conversation.is_deaf_from(self.began.elapsed()),
                Wake::HeardOut => return self.broke("the connection is gone"),
                Wake::Came(Ok(Some(message))) => return Event::Came(message),
                Wake::Came(Ok(None)) => return self.broke("it ended without a last word"),
                Wake::Came(Err(status)) if status.code() == Code::OutOfRange => return Event::TooLarge,
                Wake::Came(Err(status)) => return self.broke(status.message()),
                Wake::UserReady(Some(permit)) => {
                    if let Some(body) = self.conversation.process() {
                        permit.send(body);
                    }
                }
                Wake::UserReady(None) => return Event::UserGone,
                Wake::Confirm => self.conversation.confirm_now(),
                Wake::Silent => return Event::Silent,
            }
        }
    }

    /// Serves the user while there is no stream.
    pub async fn serve_user(&mut self) -> std::convert::Infallible {
        while !self.is_open() {
            // Whatever it is, a user that has ended does not wait for us.
            if matches!(self.event().await, Event::UserEnded | Event::UserGone) {
                break;
            }
        }
        pending().await
    }

    /// Lets the user end: it gets nothing more, and what it still says counts while `counts` and there is room.
    pub async fn hear_user_out(&mut self, counts: impl Fn() -> bool) {
        self.to_user = None;
        while let Some(body) = self.from_user.recv().await {
            if counts() && self.conversation.has_room() {
                self.say(body);
            }
        }
    }

    /// Writes what was said, if the other side takes it within that time.
    pub async fn flush(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        while self.conversation.has_unwritten() {
            let Some(link) = &self.link else { return };
            let room = link.out.clone().reserve_owned();
            match tokio::time::timeout_at(deadline, room).await {
                Ok(Ok(permit)) => self.write(permit),
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    /// The present stream, if there is one, and the numbers for its last word: those of [`Conversation::numbers`].
    pub fn take_link(&mut self) -> Option<(Link<O, I>, (u64, u64))> {
        let link = self.link.take()?;
        Some((link, self.conversation.numbers()))
    }

    fn say(&mut self, body: Body<O>) {
        let bytes = O::bytes(&body);
        self.conversation.say(body, bytes);
    }

    fn write(&mut self, permit: mpsc::OwnedPermit<O>) {
        let (sequence, received, body) = self.conversation.write(self.began.elapsed());
        permit.send(O::join(sequence, received, body));
    }

    fn broke(&mut self, why: &str) -> Event<I> {
        self.lose();
        Event::Broke(why.to_owned())
    }

    async fn wake(&mut self) -> Wake<O, I, Body<O>> {
        let listens = self.conversation.listens(self.began.elapsed());
        let talk = &self.conversation;
        let began = self.began;
        let until = |at: Option<Duration>| async move {
            match at {
                Some(at) => tokio::time::sleep_until(began + at).await,
                None => pending().await,
            }
        };
        let (out, incoming) = match &mut self.link {
            Some(link) => (Some(link.out.clone()), Some(&mut link.incoming)),
            None => (None, None),
        };
        let room = async {
            match out {
                Some(out) => out.reserve_owned().await.ok(),
                None => pending().await,
            }
        };
        let message = async {
            match incoming {
                Some(incoming) => incoming.message().await,
                None => pending().await,
            }
        };
        let to_user = self.to_user.as_ref().filter(|_| talk.has_waiting()).cloned();
        let user_ready = async {
            match to_user {
                Some(to_user) => to_user.reserve_owned().await.ok(),
                None => pending().await,
            }
        };
        tokio::select! {
            said = self.from_user.recv(), if talk.has_room() => Wake::Said(said),
            permit = room, if talk.must_write() => Wake::Room(permit),
            came = message, if listens => Wake::Came(came),
            permit = user_ready => Wake::UserReady(permit),
            _ = self.tick.tick(), if talk.has_unconfirmed() => Wake::Confirm,
            () = until(talk.sign_of_life_at()) => Wake::Confirm,
            () = until(talk.heard_out_at()) => Wake::HeardOut,
            () = until(talk.silent_at().filter(|_| listens)) => Wake::Silent,
        }
    }
}
