//! The backup stream: item after item is walked, read and sent, as the media agent asks.
//!
//! Threads do the work (walker, readers, workers), [`item`] holds the conversation, and this file moves messages between them
//! and the stream. Everything in between is bounded: unanswered entries, files, chunks, messages.

mod batch;
mod budget;
mod cut;
mod event;
mod exclude;
mod item;
mod pool;
mod read;
mod root;
mod slab;
mod throttle;
mod walk;
mod work;

use std::collections::VecDeque;
use std::future::pending;
use std::pin::{Pin, pin};
use std::time::Duration;

use outlast_proto::v1::backup_down::Body as Down;
use outlast_proto::v1::backup_up::Body as Up;
use outlast_proto::v1::data_client::DataClient;
use outlast_proto::v1::{AttemptOver, BackupDown, BackupUp, CurrentPath, ItemBegin, StreamHello};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use self::event::Event;
use self::item::Outgoing;
use self::work::{Backup, Working};
use crate::admission::{Admission, Work};
use crate::attempt::{
    AttemptError, Numbers, Outcome, Surroundings, THREADS_PATIENCE, Violation, first_message,
};

/// Messages of up to 1 MiB between us and the connection.
const UP_MESSAGES: usize = 4;
/// Events taken up before the stream is looked at again.
const EVENTS_AT_ONCE: usize = 64;
/// How often the media agent is told the current path.
const PATH_EVERY: Duration = Duration::from_secs(1);

/// Runs the stream until it ends.
pub(crate) async fn run(
    mut client: DataClient<Channel>,
    hello: StreamHello,
    admission: &Admission,
    around: Surroundings,
) -> Result<Outcome, AttemptError> {
    let Work::Backup {
        items,
        exclude,
        bandwidth,
    } = &admission.work
    else {
        return Err(Violation::OutOfTurn { what: "a backup" }.into());
    };
    let (up, messages) = mpsc::channel(UP_MESSAGES);
    let first = BackupUp {
        body: Some(Up::Hello(hello)),
        ..BackupUp::default()
    };
    up.send(first).await.map_err(|_| AttemptError::Closed)?;
    let down = tokio::select! {
        opened = client.backup(ReceiverStream::new(messages)) => opened.map_err(AttemptError::Unwelcomed)?.into_inner(),
        () = around.ends.reached() => return Ok(Outcome::Stopped),
    };
    let mut stream = Stream {
        backup: Backup::new(items, exclude, *bandwidth, &around),
        around,
        up,
        down,
        numbers: Numbers::default(),
        out: VecDeque::new(),
        working: None,
        last_path: String::new(),
    };
    let outcome = stream.run().await;
    stream.close().await;
    outcome
}

/// One open stream.
struct Stream {
    backup: Backup,
    around: Surroundings,
    up: mpsc::Sender<BackupUp>,
    down: Streaming<BackupDown>,
    numbers: Numbers,
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
    Room(mpsc::OwnedPermit<BackupUp>),
    Event(Option<Event>),
    Message(Option<BackupDown>),
    Tick,
}

impl Stream {
    async fn run(&mut self) -> Result<Outcome, AttemptError> {
        if let Some(outcome) = self.welcome().await? {
            return Ok(outcome);
        }
        let ends = self.around.ends.clone();
        let mut reached = pin!(ends.reached());
        let mut tick = tokio::time::interval(PATH_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            match self.wake(reached.as_mut(), &mut tick).await? {
                Wake::End => return Ok(Outcome::Stopped),
                Wake::WorkEnd => self.end_work().await,
                Wake::Room(permit) => self.send(permit),
                Wake::Event(Some(event)) => self.happened(event),
                Wake::Event(None) => return Err(AttemptError::ThreadFailed),
                Wake::Message(None) => return Err(AttemptError::Closed),
                Wake::Message(Some(message)) => {
                    if let Some(over) = self.message(message).await? {
                        return Ok(over.into());
                    }
                }
                Wake::Tick => self.say_path(),
            }
        }
    }

    /// The first message: a welcome, or the end.
    async fn welcome(&mut self) -> Result<Option<Outcome>, AttemptError> {
        let message = tokio::select! {
            message = self.down.message() => first_message(message)?,
            () = self.around.ends.reached() => return Ok(Some(Outcome::Stopped)),
        };
        self.around.progress.heard();
        match message.body {
            Some(Down::Welcome(_)) => Ok(self.numbers.welcomed(message.sequence).map(|()| None)?),
            Some(Down::Over(over)) => Ok(Some(over.into())),
            _ => Err(Violation::OutOfTurn {
                what: "the first message",
            }
            .into()),
        }
    }

    async fn wake(
        &mut self,
        reached: Pin<&mut impl Future<Output = ()>>,
        tick: &mut tokio::time::Interval,
    ) -> Result<Wake, AttemptError> {
        let Self {
            around,
            up,
            down,
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
        Ok(tokio::select! {
            biased;
            () = reached => Wake::End,
            () = around.ends.work.begun(), if has_work => Wake::WorkEnd,
            permit = up.clone().reserve_owned(), if !out.is_empty() => {
                Wake::Room(permit.map_err(|_| AttemptError::Closed)?)
            }
            message = down.message() => Wake::Message(message.map_err(AttemptError::Broken)?),
            event = event => Wake::Event(event),
            _ = tick.tick(), if has_work => Wake::Tick,
        })
    }

    fn send(&mut self, permit: mpsc::OwnedPermit<BackupUp>) {
        let Some(Outgoing { body, frees }) = self.out.pop_front() else {
            return;
        };
        let (sequence, received) = self.numbers.next();
        permit.send(BackupUp {
            sequence,
            received,
            body: Some(body),
        });
        if let Some(working) = self.working.as_ref().filter(|_| frees > 0) {
            working.free(frees);
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
    async fn message(&mut self, message: BackupDown) -> Result<Option<AttemptOver>, AttemptError> {
        self.numbers.received(message.sequence)?;
        self.around.progress.heard();
        match message.body {
            Some(Down::Over(over)) => return Ok(Some(over)),
            // Nothing else matters any more.
            _ if self.around.ends.work_has_ended() => return Ok(None),
            Some(Down::BeginItem(begin)) => self.begin(begin.item).await?,
            Some(Down::Verdicts(verdicts)) => self.current("verdicts")?.item.judged(verdicts)?,
            Some(Down::Needed(needed)) => self.current("needed")?.item.needed(&needed)?,
            Some(Down::ItemCommitted(committed)) => tracing::debug!(item = committed.item, "item committed"),
            Some(Down::Welcome(_)) => return Err(Violation::OutOfTurn { what: "a welcome" }.into()),
            // A newer media agent may say more than we know; it must not rely on it.
            None => {}
        }
        if let Some(working) = &mut self.working {
            self.out.append(&mut working.item.out);
        }
        Ok(None)
    }

    fn current(&mut self, what: &'static str) -> Result<&mut Working, Violation> {
        self.working.as_mut().ok_or(Violation::OutOfTurn { what })
    }

    async fn begin(&mut self, item: u32) -> Result<(), AttemptError> {
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
        self.out.push_back(Outgoing {
            body: Up::ItemBegin(ItemBegin { item }),
            frees: 0,
        });
        self.working = Some(self.backup.begin(item, offer_number)?);
        Ok(())
    }

    fn say_path(&mut self) {
        let is_running = self
            .working
            .as_ref()
            .is_some_and(|working| !working.item.has_ended());
        let path = self.around.progress.path();
        if !is_running || path == self.last_path {
            return;
        }
        self.last_path.clone_from(&path);
        self.out.push_back(Outgoing {
            body: Up::Path(CurrentPath { path }),
            frees: 0,
        });
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
