//! The threads of one item: a walker, readers and workers, with the channels and budgets between them.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::unbounded;
use outlast_kit::shutdown::Shutdown;
use outlast_proto::words::limits::CLIENT_RUNS_AHEAD;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::batch::{Batcher, Limits};
use super::budget::Budget;
use super::event::Event;
use super::health::Health;
use super::item::Item;
use super::pool;
use super::read::{Reader, Shared};
use super::repository::OwnRepository;
use super::slab::Slabs;
use super::throttle::Throttle;
use super::walker::Walker;
use crate::attempt::{AttemptContext, AttemptError, Violation};
use crate::host::owners::Owners;
use crate::progress::Progress;
use crate::threads::Threads;

/// Plain chunk data that waits for an answer or to be sent; part of it is kept for the file whose turn it is.
const WAITING_BYTES: usize = 64 << 20;
const RESERVED_BYTES: usize = 24 << 20;
/// How far the walk runs ahead.
const WAITING_FILES: usize = 16_384;
const WAITING_BATCHES: usize = 64;
/// More readers than this only wait for one another.
const MOST_READERS: usize = 4;
const MOST_WORKERS: usize = 16;

/// What all items of an attempt share.
pub(super) struct Backup {
    items: Vec<String>,
    exclude: Vec<String>,
    owners: Arc<Owners>,
    slabs: Arc<Slabs>,
    throttle: Arc<Throttle>,
    progress: Arc<Progress>,
    stop: Shutdown,
}

/// An item being worked on.
pub(super) struct Working {
    pub(super) item: Item,
    events: UnboundedReceiver<Event>,
    shared: Arc<Shared>,
    limits: Arc<Limits>,
    threads: Threads,
    stop: Shutdown,
}

impl Backup {
    pub(super) fn new(
        items: &[String],
        exclude: &[String],
        bandwidth: Option<u64>,
        context: &AttemptContext,
    ) -> Self {
        let stop = context.ends.now.child();
        Self {
            items: items.to_vec(),
            exclude: exclude.to_vec(),
            owners: Arc::default(),
            slabs: Arc::default(),
            throttle: Arc::new(Throttle::new(bandwidth, stop.clone())),
            progress: Arc::clone(&context.progress),
            stop,
        }
    }

    /// Starts the threads of item `number`.
    pub(super) fn begin(
        &self,
        number: u32,
        offer_number: u64,
        own: Option<OwnRepository>,
    ) -> Result<Working, AttemptError> {
        let unknown = Violation::UnknownItem { item: number };
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let path = self.items.get(index).ok_or(unknown)?.clone();
        let stop = self.stop.child();
        let threads = Threads::new(stop.clone());
        let (told, events) = unbounded_channel();
        let ((files, wanted), (jobs, work)) = (unbounded(), unbounded());
        let shared = Arc::new(Shared {
            health: Arc::new(Health::new(told.clone(), stop.clone())),
            owners: Arc::clone(&self.owners),
            budget: Budget::new(WAITING_BYTES, RESERVED_BYTES, stop.clone()),
            throttle: Arc::clone(&self.throttle),
            slabs: Arc::clone(&self.slabs),
            progress: Arc::clone(&self.progress),
            events: told.clone(),
            stop: stop.clone(),
        });
        let limits = Arc::new(Limits {
            files: Budget::new(WAITING_FILES, 0, stop.clone()),
            batches: Budget::new(WAITING_BATCHES, 0, stop.clone()),
            ahead: Budget::new(CLIENT_RUNS_AHEAD, 0, stop.clone()),
        });
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..cores.clamp(2, MOST_READERS) {
            let (reader, wanted) = (Reader::new(Arc::clone(&shared), jobs.clone()), wanted.clone());
            self.spawn(&threads, "read", move || reader.work(&wanted))?;
        }
        for _ in 0..cores.min(MOST_WORKERS) {
            let (work, told, stop) = (work.clone(), told.clone(), stop.clone());
            self.spawn(&threads, "pack", move || pool::work(&work, &told, &stop))?;
        }
        let walker = Walker {
            path,
            exclude: self.exclude.clone(),
            own,
            health: Arc::clone(&shared.health),
            owners: Arc::clone(&shared.owners),
            place: shared.progress.place(),
            events: told.clone(),
        };
        let ahead = Arc::clone(&limits);
        self.spawn(&threads, "walk", move || {
            let mut send = |batch| drop(told.send(Event::Walked(batch)));
            walker.work(&mut Batcher::new(&ahead, &mut send));
        })?;
        let channels = (files, jobs);
        let item = Item::new(
            number,
            offer_number,
            Arc::clone(&shared),
            Arc::clone(&limits),
            channels,
        );
        Ok(Working {
            item,
            events,
            shared,
            limits,
            threads,
            stop,
        })
    }

    fn spawn(
        &self,
        threads: &Threads,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), AttemptError> {
        threads.spawn(name, work).map_err(AttemptError::Threads)
    }
}

impl Working {
    /// The next event; none once a thread has panicked.
    pub(super) async fn event(&mut self) -> Option<Event> {
        tokio::select! {
            event = self.events.recv() => event,
            () = self.stop.begun() => None,
        }
    }

    /// A further event that is there already.
    pub(super) fn try_event(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Gives back what a message took that is on its way: of the budget of chunks, and of what the walk may run ahead.
    pub(super) fn free(&self, chunks: usize, ahead: usize) {
        if chunks > 0 {
            self.shared.budget.give(chunks);
        }
        if ahead > 0 {
            self.limits.ahead.give(ahead);
        }
    }

    /// Ends the threads and waits for them, but not forever.
    pub(super) async fn end(self, deadline: Duration) {
        let Self {
            item,
            events,
            shared,
            threads,
            stop,
            ..
        } = self;
        stop.begin();
        drop((item, events, shared));
        if !threads.finished(deadline).await {
            tracing::warn!("a thread of the backup still hangs in a read; it ends when the read does");
        }
    }
}
