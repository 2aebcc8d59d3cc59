//! The line: keeps what is not confirmed, and finds a new stream when one breaks.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use outlast_kit::resume::{GettingOn, Incoming, MEDIA_AGENT_KEEPS, Misnumbered, Outgoing, SIGN_OF_LIFE};
use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::{StreamGoodbye, StreamHello, StreamWelcome};
use outlast_proto::words::{Attempt, JobId};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::Status;

use super::link::{Door, Link, Lost, Opened, heard};
use super::protocol::Protocol;
use crate::admission::Admission;
use crate::attempt::{AttemptError, Surroundings, Violation};
use crate::connect::{PATIENCE, Road};
use crate::progress::Progress;

/// Messages of up to 1 MiB between the line and its user.
const UP_MESSAGES: usize = 4;
const DOWN_MESSAGES: usize = 8;
/// Everything the media agent may send without a confirmation has room: confirmations of ours would be stuck behind it.
const HOLDS: usize = 2 * MEDIA_AGENT_KEEPS;
/// How long a confirmation may wait for a message to go with.
const CONFIRM_WITHIN: Duration = Duration::from_millis(200);
/// Between two streams when the first was welcomed: a break is mended at once, but not more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// How long what is left of a stream that takes nothing more is waited for: its end comes with it, as a rule.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Between two attempts to get a stream (F-10).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The end of a line that backup and restore hold.
pub(crate) struct Wire<P: Protocol> {
    pub(crate) up: mpsc::Sender<P::UpBody>,
    pub(crate) down: mpsc::Receiver<P::DownBody>,
}

pub(crate) struct Line<P: Protocol> {
    job: JobId,
    attempt: Attempt,
    road: Road,
    /// As the first stream says it.
    hello: StreamHello,
    reconnect_for: Duration,
    /// The process ends.
    shutdown: Shutdown,
    progress: Arc<Progress>,
    link: Option<Link<P>>,
    /// The media agent's process, once it has welcomed a stream.
    peer_start: Option<String>,
    outgoing: Outgoing<P::UpBody>,
    /// None: a message of a newer media agent that we do not know. It counts.
    incoming: Incoming<Option<P::DownBody>>,
    to_user: mpsc::Sender<P::DownBody>,
    from_user: mpsc::Receiver<P::UpBody>,
    must_confirm: bool,
    /// The last time something was said.
    told: Instant,
    /// The last word has come.
    is_over: bool,
    /// Since when the stream takes nothing more. What it has brought is heard all the same: that may be the last word.
    deaf_since: Option<Instant>,
}

/// What the loop woke up for.
enum Event<P: Protocol> {
    /// None: the user is gone.
    Said(Option<P::UpBody>),
    Room(Option<mpsc::OwnedPermit<P::Up>>),
    /// Nothing more comes from a stream that takes nothing more, and no end either.
    Silent,
    Came(Result<Option<P::Down>, Status>),
    UserReady(Option<mpsc::OwnedPermit<P::DownBody>>),
    ConfirmNow,
}

impl<P: Protocol> Line<P> {
    /// A line over `road`; nothing happens before it runs.
    pub(crate) fn new(road: Road, admission: &Admission, around: &Surroundings) -> (Self, Wire<P>) {
        let (up, from_user) = mpsc::channel(UP_MESSAGES);
        let (to_user, down) = mpsc::channel(DOWN_MESSAGES);
        let line = Self {
            job: admission.id.job,
            attempt: admission.id.attempt,
            road,
            hello: StreamHello {
                ticket: Some(admission.signed.clone()),
                start_id: around.start_id.0.clone(),
                ..StreamHello::default()
            },
            reconnect_for: around.reconnect_for,
            shutdown: around.ends.shutdown.clone(),
            progress: Arc::clone(&around.progress),
            link: None,
            peer_start: None,
            outgoing: Outgoing::new(P::KEEPS),
            incoming: Incoming::default(),
            to_user,
            from_user,
            must_confirm: false,
            told: Instant::now(),
            is_over: false,
            deaf_since: None,
        };
        (line, Wire { up, down })
    }

    /// Keeps the conversation going; returns why it cannot. After the last word it only waits.
    pub(crate) async fn run(&mut self) -> AttemptError {
        let began = Instant::now();
        let mut getting_on = GettingOn::begin(Duration::ZERO);
        let mut broken_since = began;
        loop {
            let link = match self.reopen(broken_since).await {
                Ok(link) => link,
                Err(error) => return error,
            };
            let opened = Instant::now();
            self.link = Some(link);
            let why = match self.serve().await {
                Lost::Final(error) => return error,
                Lost::Broken(why) => why,
            };
            self.link = None;
            tracing::info!(job = %self.job, attempt = %self.attempt, why, "the data stream is broken and is opened again");
            let span = (opened - began, began.elapsed());
            broken_since = began + getting_on.broken(span, &self.outgoing, &self.incoming);
            self.progress.broken(broken_since.elapsed());
            tokio::time::sleep_until(opened + SHORTEST_PAUSE).await;
        }
    }

    /// Ends the stream in order: the media agent need not wait for another.
    pub(crate) async fn close(&mut self) {
        if let Some(link) = self.link.take() {
            let is_shutdown = self.shutdown.has_begun();
            link.close(StreamGoodbye { is_shutdown }).await;
        }
    }

    /// Tries until there is a stream, or for too long.
    async fn reopen(&mut self, broken_since: Instant) -> Result<Link<P>, AttemptError> {
        // One that runs and never welcomed us has given up on us by then; for one that is started later the leader asks again.
        let patience = self.peer_start.as_ref().map_or(PATIENCE, |_| self.reconnect_for);
        let was_welcomed = self.peer_start.is_some();
        let mut deadline = broken_since + patience;
        let mut last_reason = String::new();
        let mut pauses = pauses();
        loop {
            let why = match tokio::time::timeout_at(deadline, self.knock()).await {
                Ok(Ok(door)) => match self.wait_at(door, &mut deadline).await {
                    Ok(Some(link)) => {
                        self.tell_of_break(was_welcomed.then_some(broken_since));
                        return Ok(link);
                    }
                    Ok(None) => String::new(),
                    Err(Lost::Final(error)) => return Err(error),
                    Err(Lost::Broken(why)) => why,
                },
                Ok(Err(Lost::Final(error))) => return Err(error),
                Ok(Err(Lost::Broken(why))) => why,
                Err(_) => String::new(),
            };
            if !why.is_empty() && why != last_reason {
                tracing::info!(job = %self.job, attempt = %self.attempt, why, "there is no data stream to the media agent yet; trying on");
                last_reason = why;
            }
            let pause = tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE));
            if tokio::time::timeout_at(deadline, pause).await.is_err() {
                return Err(if was_welcomed {
                    let seconds = patience.as_secs();
                    let why = last_reason;
                    AttemptError::Broken { seconds, why }
                } else {
                    AttemptError::Unwelcomed(last_reason)
                });
            }
        }
    }

    fn tell_of_break(&self, broken_since: Option<Instant>) {
        if let Some(since) = broken_since {
            let broken_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(job = %self.job, attempt = %self.attempt, broken_ms, "the data stream was broken and goes on");
        }
        self.progress.opened();
    }

    /// Reaches the media agent.
    async fn knock(&mut self) -> Result<Door<P>, Lost> {
        let channel = self
            .road
            .travel()
            .await
            .map_err(|error| Lost::Broken(error.to_string()))?;
        let hello = StreamHello {
            peer_start_id: self.peer_start.clone().unwrap_or_default(),
            received: self.incoming.resume(),
            ..self.hello.clone()
        };
        Door::open(channel, hello).await
    }

    /// Waits to be let in; none: not until the deadline. The time before the first welcome moves the deadline: the media agent is
    /// there, and waits for its storage unit or for somebody's lock on it, for as long as it wants. A connection that dies breaks
    /// the stream.
    async fn wait_at(&mut self, door: Door<P>, deadline: &mut Instant) -> Result<Option<Link<P>>, Lost> {
        let opened = Instant::now();
        let first = if self.peer_start.is_some() {
            match tokio::time::timeout_at(*deadline, door.wait()).await {
                Ok(first) => first,
                Err(_) => return Ok(None),
            }
        } else {
            let first = door.wait().await;
            *deadline += opened.elapsed();
            first
        };
        let opened = first?;
        self.progress.heard();
        match opened {
            Opened::Welcome(link, welcome) => {
                self.welcomed(welcome).map_err(Lost::Final)?;
                Ok(Some(*link))
            }
            Opened::Over(over) => {
                self.is_over = true;
                // The user ends with it, and with the user the line.
                let _ = self.to_user.send(P::over(over)).await;
                std::future::pending().await
            }
        }
    }

    fn welcomed(&mut self, welcome: StreamWelcome) -> Result<(), AttemptError> {
        let start = self.peer_start.get_or_insert_with(|| welcome.start_id.clone());
        if *start != welcome.start_id {
            return Err(AttemptError::NewProcess);
        }
        self.outgoing
            .resume(welcome.received)
            .map_err(|error| Violation::from(error).into())
    }

    /// Moves messages over the present stream until it is lost.
    async fn serve(&mut self) -> Lost {
        let mut tick = tokio::time::interval(CONFIRM_WITHIN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.must_confirm = false;
        self.told = Instant::now();
        self.deaf_since = None;
        loop {
            let event = self.wake(&mut tick).await;
            let done = match event {
                Event::Said(Some(body)) => {
                    let bytes = P::up_bytes(&body);
                    self.outgoing.push(body, bytes);
                    Ok(())
                }
                // The user is ending and does not wait for us.
                Event::Said(None) | Event::UserReady(None) => std::future::pending().await,
                Event::Room(Some(permit)) => {
                    self.write(permit);
                    Ok(())
                }
                Event::Room(None) => {
                    self.deaf_since = Some(Instant::now());
                    Ok(())
                }
                Event::Silent => Err(Lost::Broken("the connection is gone".to_owned())),
                Event::Came(message) => heard(message).and_then(|message| self.take(message)),
                Event::UserReady(Some(permit)) => {
                    if let Some(Some(body)) = self.incoming.process() {
                        permit.send(body);
                    }
                    Ok(())
                }
                Event::ConfirmNow => {
                    self.must_confirm = true;
                    Ok(())
                }
            };
            if let Err(lost) = done {
                return lost;
            }
        }
    }

    async fn wake(&mut self, tick: &mut Interval) -> Event<P> {
        let must_write = self.outgoing.has_unwritten() || self.must_confirm || self.incoming.should_tell();
        let is_open = !self.is_over;
        let (up, down) = match &mut self.link {
            Some(link) => {
                let up = self.deaf_since.is_none().then(|| link.up.clone());
                (up, Some(&mut link.down))
            }
            None => (None, None),
        };
        let room = async {
            match up {
                Some(up) => up.reserve_owned().await.ok(),
                None => std::future::pending().await,
            }
        };
        let deaf_since = self.deaf_since;
        let silent = async {
            match deaf_since {
                Some(since) => tokio::time::sleep_until(since + LAST_WORDS).await,
                None => std::future::pending().await,
            }
        };
        let message = async {
            match down {
                Some(down) => down.message().await,
                None => std::future::pending().await,
            }
        };
        let to_user = self.to_user.clone();
        tokio::select! {
            said = self.from_user.recv(), if is_open && self.outgoing.has_room() => Event::Said(said),
            permit = room, if is_open && must_write => Event::Room(permit),
            () = silent, if is_open => Event::Silent,
            came = message, if is_open && self.incoming.bytes() < HOLDS => Event::Came(came),
            permit = to_user.reserve_owned(), if self.incoming.has_waiting() => Event::UserReady(permit.ok()),
            _ = tick.tick(), if is_open && self.incoming.has_untold() => Event::ConfirmNow,
            () = tokio::time::sleep_until(self.told + SIGN_OF_LIFE), if is_open && !must_write => Event::ConfirmNow,
            // The last word is with the user, who ends us.
            else => std::future::pending().await,
        }
    }

    fn write(&mut self, permit: mpsc::OwnedPermit<P::Up>) {
        self.must_confirm = false;
        self.told = Instant::now();
        let received = self.incoming.tell();
        permit.send(match self.outgoing.write() {
            Some((sequence, body)) => P::join(sequence, received, Some(body)),
            None => P::join(0, received, None),
        });
    }

    fn take(&mut self, message: P::Down) -> Result<(), Lost> {
        self.progress.heard();
        let (sequence, received, body) = P::split(message);
        let refused = |error: Misnumbered| Lost::Final(Violation::from(error).into());
        self.outgoing.confirm(received).map_err(refused)?;
        if sequence == 0 && body.is_none() {
            // Only a confirmation.
            return Ok(());
        }
        self.is_over = body.as_ref().is_some_and(P::is_over);
        let bytes = body.as_ref().map_or(0, P::down_bytes);
        self.incoming.take(sequence, body, bytes).map_err(refused)
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}
