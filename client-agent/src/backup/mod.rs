//! The backup stream: item after item is walked, read and sent, as the media agent asks.
//!
//! Threads do the work (walker, readers, workers), [`item`] holds the conversation, and this file moves messages between them
//! and the line of [`crate::stream`]. Everything in between is bounded: unanswered entries, files, chunks, messages.

mod batch;
mod budget;
mod content;
mod cut;
mod dry_run;
mod event;
mod exception;
mod health;
mod item;
mod lister;
mod mounts;
mod names;
mod pool;
mod read;
mod repository;
mod root;
mod sink;
mod sizes;
mod slab;
mod throttle;
mod walk;
mod walker;
mod work;

use std::collections::VecDeque;
use std::future::pending;
use std::pin::{Pin, pin};
use std::time::Duration;

use outlast_kit::stream::BackupProtocol;
use outlast_proto::v1::backup_down::Body as Down;
use outlast_proto::v1::backup_up::Body as Up;
use outlast_proto::v1::{AttemptOver, BeginItem, CurrentPath, ItemBegin};
use tokio::sync::mpsc;

pub(crate) use self::dry_run::DryRun;
use self::event::Event;
use self::item::Outgoing;
use self::repository::OwnRepository;
use self::work::{Backup, Working};
use crate::admission::{Admission, Work};
use crate::attempt::{AttemptContext, AttemptError, Outcome, THREADS_PATIENCE, Violation};
use crate::connect::Road;
use crate::host::paths::shown;
use crate::stream::{Line, Wire};

/// Events taken up before the stream is looked at again.
const EVENTS_AT_ONCE: usize = 64;
/// How often the media agent is told the current path.
const PATH_EVERY: Duration = Duration::from_secs(1);

/// Runs the conversation until it ends.
pub(crate) async fn run(
    road: Road,
    admission: &Admission,
    context: AttemptContext,
) -> Result<Outcome, AttemptError> {
    let Work::Backup {
        items,
        exclude,
        bandwidth,
    } = &admission.work
    else {
        return Err(Violation::OutOfTurn { what: "a backup" }.into());
    };
    let (mut line, wire) = Line::<BackupProtocol>::new(road, admission, &context);
    let mut stream = Stream {
        backup: Backup::new(items, exclude, *bandwidth, &context),
        context,
        wire,
        out: VecDeque::new(),
        working: None,
        last_path: String::new(),
    };
    let outcome = tokio::select! {
        outcome = stream.run() => outcome,
        error = line.run() => Err(error),
    };
    line.close().await;
    stream.close().await;
    outcome
}

/// One conversation.
struct Stream {
    backup: Backup,
    context: AttemptContext,
    wire: Wire<BackupProtocol>,
    /// Messages ready to be sent.
    out: VecDeque<Outgoing>,
    /// The item begun last.
    working: Option<Working>,
    last_path: String,
}

/// What the stream's loop woke up for.
enum Wake {
    End,
    WorkEnd,
    Room(mpsc::OwnedPermit<Up>),
    Event(Option<Event>),
    Message(Down),
    Tick,
}

impl Stream {
    async fn run(&mut self) -> Result<Outcome, AttemptError> {
        let ends = self.context.ends.clone();
        let mut reached = pin!(ends.reached());
        let mut tick = tokio::time::interval(PATH_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            match self.wake(reached.as_mut(), &mut tick).await {
                Wake::End => return Ok(Outcome::Stopped),
                Wake::WorkEnd => self.end_work().await,
                Wake::Room(permit) => self.send(permit),
                Wake::Event(Some(event)) => self.happened(event),
                Wake::Event(None) => return Err(AttemptError::ThreadFailed),
                Wake::Message(message) => {
                    if let Some(over) = self.message(message).await? {
                        return Ok(over.into());
                    }
                }
                Wake::Tick => self.say_path(),
            }
        }
    }

    async fn wake(
        &mut self,
        reached: Pin<&mut impl Future<Output = ()>>,
        tick: &mut tokio::time::Interval,
    ) -> Wake {
        let Self {
            context,
            wire,
            out,
            working,
            ..
        } = self;
        let has_work = working.is_some();
        let event = async {
            match working {
                Some(working) => working.event().await,
                None => pending().await,
            }
        };
        // The line lives as long as we do: its ends are not closed.
        tokio::select! {
            biased;
            () = reached => Wake::End,
            () = context.ends.work.begun(), if has_work => Wake::WorkEnd,
            Ok(permit) = wire.outbox.clone().reserve_owned(), if !out.is_empty() => Wake::Room(permit),
            Some(message) = wire.inbox.recv() => Wake::Message(message),
            event = event => Wake::Event(event),
            _ = tick.tick(), if has_work => Wake::Tick,
        }
    }

    fn send(&mut self, permit: mpsc::OwnedPermit<Up>) {
        let Some(outgoing) = self.out.pop_front() else {
            return;
        };
        permit.send(outgoing.body);
        if let Some(working) = &self.working {
            working.free(outgoing.frees, outgoing.frees_ahead);
        }
    }

    fn happened(&mut self, event: Event) {
        let Some(working) = &mut self.working else { return };
        working.item.happened(event);
        for _ in 1..EVENTS_AT_ONCE {
            let Some(event) = working.try_event() else { break };
            working.item.happened(event);
        }
        self.out.append(&mut working.item.out);
    }

    /// Takes up a message; the attempt may be over with it.
    async fn message(&mut self, message: Down) -> Result<Option<AttemptOver>, AttemptError> {
        match message {
            Down::Over(over) => return Ok(Some(over)),
            // Nothing else matters any more.
            _ if self.context.ends.work_has_ended() => return Ok(None),
            Down::BeginItem(begin) => self.begin(begin).await?,
            Down::Verdicts(verdicts) => self.current("verdicts")?.item.judged(verdicts)?,
            Down::Needed(needed) => self.current("needed")?.item.needed(&needed)?,
            Down::ItemCommitted(committed) => tracing::debug!(item = committed.item, "item committed"),
            Down::Welcome(_) => return Err(Violation::OutOfTurn { what: "a welcome" }.into()),
        }
        if let Some(working) = &mut self.working {
            self.out.append(&mut working.item.out);
        }
        Ok(None)
    }

    fn current(&mut self, what: &'static str) -> Result<&mut Working, Violation> {
        self.working.as_mut().ok_or(Violation::OutOfTurn { what })
    }

    async fn begin(&mut self, order: BeginItem) -> Result<(), AttemptError> {
        let offer_number = match self.working.take() {
            Some(working) if !working.item.has_ended() => {
                return Err(Violation::OutOfTurn { what: "an item" }.into());
            }
            Some(working) => {
                let number = working.item.offer_number();
                working.end(THREADS_PATIENCE).await;
                number
            }
            None => 0,
        };
        let begin = ItemBegin {
            item: order.item,
            marks_young: true,
            goes_on: true,
        };
        self.out.push_back(Up::ItemBegin(begin).into());
        let own = OwnRepository::of_message(&order.repository_config_sha256);
        self.working = Some(self.backup.begin(order.item, offer_number, own)?);
        Ok(())
    }

    fn say_path(&mut self) {
        let is_running = self
            .working
            .as_ref()
            .is_some_and(|working| !working.item.has_ended());
        if !is_running {
            return;
        }
        for hung in self.context.progress.hung() {
            let path = CurrentPath {
                path: shown(&hung.path),
                waits_for: hung.doing.to_owned(),
                seconds: u32::try_from(hung.since.as_secs()).unwrap_or(u32::MAX),
                ..CurrentPath::default()
            };
            tracing::warn!(path = %path.path, call = hung.doing, seconds = path.seconds, "the file system does not answer");
            self.out.push_back(Up::Path(path).into());
        }
        let path = self.context.progress.path();
        if path == self.last_path {
            return;
        }
        self.last_path.clone_from(&path);
        let path = CurrentPath {
            path,
            ..CurrentPath::default()
        };
        self.out.push_back(Up::Path(path).into());
    }

    async fn end_work(&mut self) {
        self.out.clear();
        if let Some(working) = self.working.take() {
            working.end(THREADS_PATIENCE).await;
        }
    }

    async fn close(mut self) {
        self.end_work().await;
    }
}
