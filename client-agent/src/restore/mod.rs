//! The restore stream: what the media agent sends is written by one thread, in the order it comes.
//!
//! [`restorer`] holds the conversation, the other files one step of writing each; this file moves messages between the thread
//! and the stream. Both directions are bounded: a slow disk holds the media agent back.

mod account;
mod content;
mod create;
mod faults;
mod filled;
mod folder;
mod linking;
mod links;
mod metadata;
mod names;
mod place;
mod pulse;
mod queue;
mod restorer;
mod settle;
mod step;
mod target;
mod tree;
mod unsynced;
mod way;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::stream::RestoreProtocol;
use outlast_proto::v1::restore_down::Body as Down;
use outlast_proto::v1::restore_up::Body as Up;
use outlast_proto::v1::{JobError, RestoreEnd, RestoreProgress};
use outlast_proto::words::StatusCode;
use tokio::sync::mpsc;

use self::pulse::Pulse;
use self::restorer::{Order, Restorer};
use crate::admission::{Admission, Work};
use crate::attempt::{AttemptContext, AttemptError, Outcome, THREADS_PATIENCE, Violation};
use crate::connect::Road;
use crate::stream::{Line, Wire};
use crate::threads::Threads;

/// Messages of up to 1 MiB between the stream and the thread.
const DOWN_MESSAGES: usize = 8;
const UP_MESSAGES: usize = 64;

/// Gives a directory that a killed restore has made its owner, mode and times. What it cannot have is left.
pub(crate) fn describe_folder(folder: &std::os::fd::OwnedFd, node: &outlast_proto::v1::Node) {
    drop(metadata::without_attributes(folder, node));
}

/// What the writing thread tells the stream.
pub(super) enum Said {
    /// A message for the media agent.
    Up(Up),
    /// The media agent did what it must not.
    Failed(Violation),
}

/// Runs the conversation until it ends.
pub(crate) async fn run(
    road: Road,
    admission: &Admission,
    context: AttemptContext,
) -> Result<Outcome, AttemptError> {
    let Work::Restore { to, overwrite } = &admission.work else {
        return Err(Violation::OutOfTurn { what: "a restore" }.into());
    };
    let pulse = Arc::new(Pulse::new());
    let order = Order {
        job: admission.id.key(),
        to: to.clone(),
        overwrite: *overwrite,
        progress: Arc::clone(&context.progress),
        made: context.made.clone(),
        ends: context.ends.clone(),
        pulse: Arc::clone(&pulse),
    };
    let threads = Threads::new(context.ends.now.child());
    let (to_thread, work) = mpsc::channel(DOWN_MESSAGES);
    let (say, said) = mpsc::channel(UP_MESSAGES);
    threads
        .spawn("restore", move || Restorer::new(order, say).work(work))
        .map_err(AttemptError::Threads)?;
    let (mut line, wire) = Line::<RestoreProtocol>::new(road, admission, &context);
    let mut stream = Stream {
        to: to.clone(),
        context,
        wire,
        pulse,
        told: None,
        settled: RestoreProgress::default(),
        to_thread: Some(to_thread),
        said,
        for_thread: None,
        for_peer: None,
        has_ended: false,
    };
    let outcome = tokio::select! {
        outcome = stream.run() => outcome,
        error = line.run() => Err(error),
    };
    // Without its channel the thread removes what is half written, and ends.
    drop(stream);
    line.close().await;
    if !threads.finished(THREADS_PATIENCE).await {
        tracing::warn!("the restoring thread still hangs in a write; it ends when the write does");
    }
    outcome
}

/// One open stream.
struct Stream {
    to: String,
    context: AttemptContext,
    wire: Wire<RestoreProtocol>,
    pulse: Arc<Pulse>,
    /// The beginning of the step that people were told of, since it does not end.
    told: Option<tokio::time::Instant>,
    /// As the thread has said it last.
    settled: RestoreProgress,
    /// None once the work was stopped.
    to_thread: Option<mpsc::Sender<Down>>,
    said: mpsc::Receiver<Said>,
    /// A message on its way to the thread; no further one is read before it is delivered.
    for_thread: Option<Down>,
    for_peer: Option<Up>,
    /// Whether the thread has said its last word.
    has_ended: bool,
}

/// What the stream's loop woke up for.
enum Wake {
    End,
    WorkEnd,
    /// The target does not answer.
    Silence,
    RoomUp(mpsc::OwnedPermit<Up>),
    Said(Option<Said>),
    /// No room any more if the thread has ended.
    RoomDown(Option<mpsc::OwnedPermit<Down>>),
    Message(Down),
}

impl Stream {
    async fn run(&mut self) -> Result<Outcome, AttemptError> {
        let ends = self.context.ends.clone();
        let mut reached = pin!(ends.reached());
        loop {
            match self.wake(reached.as_mut()).await {
                Wake::End => return Ok(Outcome::Stopped),
                Wake::WorkEnd => (self.to_thread, self.for_thread) = (None, None),
                Wake::Silence => self.target_is_silent(),
                Wake::RoomUp(permit) => self.send(permit),
                Wake::Said(Some(Said::Up(body))) => {
                    self.has_ended |= matches!(body, Up::End(_));
                    if let Up::Progress(progress) = &body {
                        self.settled = progress.clone();
                    }
                    self.for_peer = Some(body);
                }
                Wake::Said(Some(Said::Failed(violation))) => return Err(violation.into()),
                Wake::Said(None) if self.has_ended => (self.to_thread, self.for_thread) = (None, None),
                Wake::Said(None) => return Err(AttemptError::ThreadFailed),
                Wake::RoomDown(permit) => match (permit, self.for_thread.take()) {
                    (Some(permit), Some(body)) => drop(permit.send(body)),
                    _ => self.to_thread = None,
                },
                Wake::Message(Down::Over(over)) => return Ok(over.into()),
                Wake::Message(message) => {
                    if self.to_thread.is_some() {
                        self.for_thread = Some(message);
                    }
                }
            }
        }
    }

    async fn wake(&mut self, reached: Pin<&mut impl Future<Output = ()>>) -> Wake {
        let Self {
            context,
            wire,
            to_thread,
            said,
            pulse,
            told,
            ..
        } = self;
        let has_thread = to_thread.is_some();
        let room_down = async {
            match to_thread {
                Some(to_thread) => to_thread.clone().reserve_owned().await.ok(),
                None => None,
            }
        };
        // The line lives as long as we do: its ends are not closed.
        tokio::select! {
            biased;
            () = reached => Wake::End,
            () = context.ends.work.begun(), if has_thread => Wake::WorkEnd,
            Ok(permit) = wire.outbox.clone().reserve_owned(), if self.for_peer.is_some() => Wake::RoomUp(permit),
            said = said.recv(), if self.for_peer.is_none() && has_thread => Wake::Said(said),
            () = pulse.has_stopped(*told, context.target_patience), if self.for_peer.is_none() && has_thread => Wake::Silence,
            room = room_down, if self.for_thread.is_some() => Wake::RoomDown(room),
            Some(message) = wire.inbox.recv(), if self.for_thread.is_none() => Wake::Message(message),
        }
    }

    /// One step of the thread takes too long: people are told, and later it is given up.
    fn target_is_silent(&mut self) {
        let Some(began) = self.pulse.step_began() else {
            return;
        };
        let (lasts, patience) = (began.elapsed(), self.context.target_patience);
        if lasts >= patience {
            return self.give_up();
        }
        self.told = Some(began);
        let mut path = self.context.progress.path();
        if path.is_empty() {
            path.clone_from(&self.to);
        }
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        self.for_peer = Some(Up::Progress(RestoreProgress {
            path,
            waits_for: "a call to the target of the restore".to_owned(),
            seconds: seconds(lasts),
            patience_seconds: seconds(patience),
            ..self.settled.clone()
        }));
    }

    /// Says that the restore is over, and leaves the thread to itself: it ends when the target answers.
    fn give_up(&mut self) {
        (self.to_thread, self.for_thread) = (None, None);
        self.has_ended = true;
        let seconds = self.context.target_patience.as_secs();
        let mut text = format!("the target {} has not answered for {seconds} s", self.to);
        let path = self.context.progress.path();
        if !path.is_empty() {
            text += &format!("; the last file was {path}");
        }
        let settled = &self.settled;
        self.for_peer = Some(Up::End(RestoreEnd {
            files: settled.files,
            directories: settled.directories,
            bytes: settled.bytes,
            left_alone: settled.left_alone,
            error: Some(JobError {
                code: StatusCode::TARGET_NOT_WRITABLE.0.into(),
                text,
            }),
        }));
    }

    fn send(&mut self, permit: mpsc::OwnedPermit<Up>) {
        let Some(body) = self.for_peer.take() else { return };
        permit.send(body);
    }
}
