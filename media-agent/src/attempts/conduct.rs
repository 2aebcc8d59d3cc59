//! The life of one attempt: does what the core's `Attempt` says, and tells it what came of it.
//!
//! Asynchronous and thin: what comes after what is decided there, the work is in the engines on blocking threads (`working`). Started by
//! the manager.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::memory::give_back;
use outlast_kit::shutdown::Shutdown;
use outlast_media_core::attempt::{Attempt, Command, Event, Terms, Told, Worked};
use outlast_media_core::{Done, End};
use outlast_proto::v1::AttemptOver;
use outlast_proto::words::AttemptId;
use outlast_repository::Repository;
use tokio::sync::watch;

use super::control::Control;
use super::ending::{journal_end, log_end, remember_damage, remove_checkpoints};
use super::entrance::Entrance;
use super::link::AnyLink;
use super::preparing::prepare;
use super::progress::Progress;
use super::record::Recorder;
use super::working;
use crate::contact::Contact;
use crate::context::Context;
use crate::fault::Fault;
use crate::storage::AttemptLock;
use crate::tickets::{Ticket, Work};

/// What an attempt's task is given.
pub(super) struct Assignment {
    pub(super) context: Context,
    pub(super) ticket: Ticket,
    pub(super) control: Arc<Control>,
    pub(super) progress: Arc<Progress>,
    pub(super) entrance: Arc<Entrance>,
    /// How long to wait for the client; `None` if it is here.
    pub(super) client_wait: Option<Duration>,
    /// Superseded attempts of the job that are still ending, and what begins when each has.
    pub(super) predecessors: Vec<(AttemptId, Shutdown)>,
}

/// The storage unit, as an attempt holds it.
pub(super) type Held = (Repository, AttemptLock);

/// What came of something that takes time.
pub(super) enum Outcome {
    Prepared(Held),
    Locked { by: String, fault: Fault },
    NotPrepared(Fault),
    Marked(Result<bool, End>, AnyLink),
    Worked(Result<Done, End>, Option<AnyLink>),
    Done,
    EndJournalled(bool),
}

type UnderWay<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// Runs the attempt to its end.
pub(super) async fn conduct(assignment: Assignment) {
    let id = assignment.ticket.id;
    tracing::info!(job = %id.job, attempt = %id.attempt, client = %assignment.ticket.client, "attempt begins");
    let mut conductor = Conductor::new(&assignment);
    let mut commands = VecDeque::from(conductor.attempt.begin(conductor.now()));
    loop {
        while let Some(command) = commands.pop_front() {
            if let Command::Over(over) = command {
                return conductor.close(over);
            }
            conductor.perform(command);
        }
        match conductor.events.pop_front() {
            Some(event) => commands.extend(conductor.attempt.handle(conductor.now(), event)),
            None => conductor.wait().await,
        }
    }
}

/// Does what is to be done, one thing that takes time after the other.
struct Conductor<'a> {
    assignment: &'a Assignment,
    attempt: Attempt,
    /// What happened and was not looked at.
    events: VecDeque<Event>,
    recorder: Arc<Recorder>,
    told: watch::Receiver<Told>,
    contact: watch::Receiver<Contact>,
    /// The journal is to be asked whether the mark still holds.
    must_ask: bool,
    predecessors: VecDeque<(AttemptId, Shutdown)>,
    under_way: Option<UnderWay<'a>>,
    held: Option<Held>,
    link: Option<AnyLink>,
}

impl<'a> Conductor<'a> {
    fn new(assignment: &'a Assignment) -> Self {
        let Assignment { context, ticket, .. } = assignment;
        let predecessors = VecDeque::from(assignment.predecessors.clone());
        let terms = Terms {
            id: ticket.id,
            client: ticket.client.to_string(),
            resilient: ticket.resilient,
            decides_losses: ticket.decides_losses,
            is_backup: matches!(ticket.work, Work::Backup),
            client_wait: assignment.client_wait,
            lock_wait: context.timing.lock_wait,
            predecessors: predecessors.iter().map(|(id, _)| *id).collect(),
        };
        let mut contact = context.contact.clone();
        let Contact { lost_at, grace, .. } = *contact.borrow_and_update();
        Self {
            assignment,
            attempt: Attempt::new(terms, lost_at, grace),
            events: VecDeque::new(),
            recorder: Arc::new(assignment.recorder()),
            told: assignment.control.subscribe(),
            contact,
            must_ask: false,
            predecessors,
            under_way: None,
            held: None,
            link: None,
        }
    }

    fn now(&self) -> Duration {
        self.assignment.context.clock.monotonic()
    }

    fn perform(&mut self, command: Command) {
        let assignment = self.assignment;
        let Assignment { progress, ticket, .. } = assignment;
        match command {
            Command::Prepare => self.begin(prepare(&assignment.context, &ticket.work)),
            Command::SayLocked { by } => {
                tracing::info!(attempt = %ticket.id, by, "an attempt waits for the lock of somebody else");
                let unit = &assignment.context.unit.name;
                progress.waits(format!("storage unit \"{unit}\" is locked: there is {by}"));
            }
            Command::SayUnlocked => {
                progress.goes_on();
                tracing::info!(attempt = %ticket.id, "the lock that was waited for is gone");
            }
            Command::SayAwaited { until } => self.say_awaited(until),
            Command::Mark => {
                if let Some(link) = self.link.take() {
                    let recorder = Arc::clone(&self.recorder);
                    self.begin(async move { working::mark(assignment, &recorder, link).await });
                }
            }
            Command::Work => {
                if let (Some(held), Some(link)) = (self.held.clone(), self.link.take()) {
                    let recorder = Arc::clone(&self.recorder);
                    self.begin(working::work(assignment, held, recorder, link));
                }
            }
            Command::Halt(why) => assignment.control.halt(why),
            // The engine sees it where the machine was told it.
            Command::Leave => {}
            Command::RemoveCheckpoints => self.begin(remove(assignment, self.held.clone())),
            Command::RememberDamage => {
                if let Some((repository, _)) = self.held.clone() {
                    self.begin(async move {
                        remember_damage(ticket.id, repository).await;
                        Outcome::Done
                    });
                }
            }
            Command::JournalEnd(events) => self.begin(async move {
                let durable = journal_end(&assignment.context, ticket.id, events, Some(progress)).await;
                Outcome::EndJournalled(durable)
            }),
            Command::SayEnd(ending) => log_end(ticket.id, &ending),
            Command::Release => {
                let held = self.held.take();
                self.begin(release(held));
            }
            // The caller's.
            Command::Over(_) => {}
        }
    }

    fn begin(&mut self, work: impl Future<Output = Outcome> + Send + 'a) {
        self.under_way = Some(Box::pin(work));
    }

    fn say_awaited(&self, until: Duration) {
        let Assignment {
            context,
            ticket,
            progress,
            ..
        } = self.assignment;
        let reason = format!(
            "client {} has not opened its stream; if it does not the attempt ends",
            ticket.client
        );
        let left = until.saturating_sub(self.now());
        progress.awaits_client(reason, crate::stamps::after(context.clock.now(), left));
    }

    /// Waits until something happens; that is in `events` then.
    async fn wait(&mut self) {
        let assignment = self.assignment;
        let (waits_for_client, works) = (self.attempt.waits_for_client(), self.attempt.works());
        let deadline = self.attempt.deadline();
        let wait = deadline.map(|at| at.saturating_sub(self.now()));
        let event = tokio::select! {
            biased;
            // The sender is the assignment's.
            _ = self.told.changed() => None,
            outcome = come(&mut self.under_way) => {
                self.under_way = None;
                Some(self.came(outcome))
            }
            link = assignment.entrance.take(), if waits_for_client => {
                self.link = Some(link);
                Some(Event::ClientCame)
            }
            id = first_over(&mut self.predecessors) => Some(Event::PredecessorOver(id)),
            resilient = is_resilient(assignment), if self.must_ask && works => {
                self.must_ask = false;
                resilient.map(Event::Resilient)
            }
            Ok(()) = self.contact.changed() => {
                self.must_ask = true;
                let Contact { lost_at, grace, .. } = *self.contact.borrow_and_update();
                Some(Event::Contact { lost_at, grace })
            }
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => Some(Event::Woken),
        };
        // What it was told meanwhile counts first.
        self.look_what_was_told();
        self.events.extend(event);
    }

    fn look_what_was_told(&mut self) {
        let (told, known) = (self.told.borrow_and_update().clone(), self.attempt.told());
        if told.is_stopping_gracefully() && !known.is_stopping_gracefully() {
            self.events.push_back(Event::StopGracefully);
        }
        if let (Some(why), None) = (told.leaving(), known.leaving()) {
            self.events.push_back(Event::Leave(why.to_owned()));
        }
        if let (Some(why), None) = (told.halted(), known.halted()) {
            self.events.push_back(Event::Halt(why.clone()));
        }
    }

    /// Keeps what came of something for the next steps.
    fn came(&mut self, outcome: Outcome) -> Event {
        match outcome {
            Outcome::Prepared(held) => {
                self.held = Some(held);
                Event::Prepared
            }
            Outcome::Locked { by, fault } => Event::Locked { by, fault },
            Outcome::NotPrepared(fault) => Event::NotPrepared(fault),
            Outcome::Marked(marked, link) => {
                self.link = Some(link);
                match marked {
                    Ok(resilient) => Event::Marked { resilient },
                    Err(end) => Event::NotMarked(end),
                }
            }
            Outcome::Worked(outcome, link) => {
                self.link = link;
                Event::Worked(Worked {
                    outcome,
                    counters: self.assignment.progress.counters(),
                    unwritten: self.recorder.take_unwritten(),
                    made_checkpoints: self.assignment.progress.may_have_checkpoints(),
                })
            }
            Outcome::Done => Event::Done,
            Outcome::EndJournalled(durable) => Event::EndJournalled(durable),
        }
    }

    /// Tells the client how it ended. Without an end that counts its streams are dropped.
    fn close(self, over: Option<AttemptOver>) {
        let Assignment {
            context,
            ticket,
            entrance,
            ..
        } = self.assignment;
        let late = entrance.close(over.clone());
        let Some(over) = over else { return };
        for link in self.link.into_iter().chain(late) {
            context
                .tasks
                .ordinary(format!("goodbye of {}", ticket.id), link.finish(over.clone()));
        }
    }
}

impl Assignment {
    fn recorder(&self) -> Recorder {
        let (control, progress) = (Arc::clone(&self.control), Arc::clone(&self.progress));
        Recorder::new(self.context.clone(), self.ticket.id, control, progress)
    }
}

/// What is under way comes to its end.
async fn come(under_way: &mut Option<UnderWay<'_>>) -> Outcome {
    match under_way {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

async fn first_over(predecessors: &mut VecDeque<(AttemptId, Shutdown)>) -> AttemptId {
    let Some((id, ended)) = predecessors.front() else {
        return std::future::pending().await;
    };
    ended.begun().await;
    let id = *id;
    predecessors.pop_front();
    id
}

/// The journal's word on the mark. A journal that does not answer ends the whole agent.
async fn is_resilient(assignment: &Assignment) -> Option<bool> {
    let Assignment { context, ticket, .. } = assignment;
    context.journal.is_resilient(ticket.id).await.ok()
}

/// Removes the job's checkpoints under the attempt's own lock, or one that is taken for it.
async fn remove(assignment: &Assignment, held: Option<Held>) -> Outcome {
    let Assignment { context, ticket, .. } = assignment;
    let unit = Arc::clone(&context.unit);
    let locked = move || held.map_or_else(|| unit.lock(), Ok);
    remove_checkpoints(&context.unit, &ticket.cluster_id, ticket.id, locked).await;
    Outcome::Done
}

/// Removing a lock file is disk work.
async fn release(held: Option<Held>) -> Outcome {
    let _ = tokio::task::spawn_blocking(move || drop(held)).await;
    // What this one took shall not come on top of what the next one takes.
    tokio::task::spawn_blocking(give_back);
    Outcome::Done
}
