//! The desk: owner of the list of attempts that run here. Decides who may start and who is told to end.
//!
//! A cloneable handle, a bounded channel, one loop. What an attempt does is `conduct`'s; whether a ticket is genuine is
//! `tickets`' and was checked before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::{AttemptOver, Stopped};
use outlast_proto::words::StatusCode;
use tokio::sync::{mpsc, oneshot, watch};

use super::conduct::{self, Assignment};
use super::control::{Control, Halt};
use super::ending::{Ending, journal_end};
use super::entrance::Entrance;
use super::link::AnyLink;
use super::progress::Progress;
use crate::attempt_id::AttemptId;
use crate::context::Context;
use crate::fault::Fault;
use crate::journal::{NewRecord, Standing};
use crate::tickets::Ticket;

const REQUESTS: usize = 64;
/// Endings kept for clients whose stream broke before they heard.
const ENDINGS: usize = 256;

/// A running attempt, for presence and hello.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) id: AttemptId,
    pub(crate) progress: Arc<Progress>,
}

/// Everything that can be asked of the desk.
enum Request {
    /// The primary's order (the ticket was checked).
    Start(Box<Ticket>),
    /// A client's stream with a ticket that is genuine and its own.
    Attach(Box<Ticket>, Box<AnyLink>),
    /// The primary's order cannot be followed.
    CannotStart(AttemptId, Fault),
    Stop(AttemptId, Stopped),
    /// Answered when nothing of the attempt runs any more and that is durable.
    Fence(AttemptId, oneshot::Sender<()>),
    /// The journal these attempts were admitted in is no more, or the agent ends.
    InterruptAll(&'static str),
}

#[derive(Clone)]
pub(crate) struct Desk {
    requests: mpsc::Sender<Request>,
    running: watch::Receiver<Vec<Running>>,
}

impl Desk {
    /// Opens the desk.
    pub(crate) fn open(context: Context) -> Self {
        let (requests, received) = mpsc::channel(REQUESTS);
        let (publish, running) = watch::channel(Vec::new());
        // Not bounded by itself but by the number of attempts, each of which sends once.
        let (over, ended) = mpsc::unbounded_channel();
        let desk = Self { requests, running };
        let owner = Owner {
            context: context.clone(),
            entries: BTreeMap::new(),
            endings: VecDeque::new(),
            publish,
            over,
        };
        context.tasks.spawn("desk", owner.run(received, ended));
        desk
    }

    pub(crate) async fn start(&self, ticket: Ticket) {
        self.ask(Request::Start(Box::new(ticket))).await;
    }

    pub(crate) async fn attach(&self, ticket: Ticket, link: AnyLink) {
        self.ask(Request::Attach(Box::new(ticket), Box::new(link))).await;
    }

    /// An attempt that was ordered and may not run here; it ends with `fault` unless it is known already.
    pub(crate) async fn cannot_start(&self, id: AttemptId, fault: Fault) {
        self.ask(Request::CannotStart(id, fault)).await;
    }

    pub(crate) async fn stop(&self, id: AttemptId, how: Stopped) {
        self.ask(Request::Stop(id, how)).await;
    }

    /// Returns when nothing of the attempt runs any more; whether that is durable.
    pub(crate) async fn fence(&self, id: AttemptId) -> bool {
        let (reply, done) = oneshot::channel();
        self.ask(Request::Fence(id, reply)).await;
        done.await.is_ok()
    }

    pub(crate) async fn interrupt_all(&self, why: &'static str) {
        self.ask(Request::InterruptAll(why)).await;
    }

    pub(crate) fn running(&self) -> Vec<Running> {
        self.running.borrow().clone()
    }

    /// Returns when no attempt runs.
    pub(crate) async fn wait_idle(&self) {
        let _ = self.running.clone().wait_for(Vec::is_empty).await;
    }

    async fn ask(&self, request: Request) {
        // The desk closes only when the whole agent does; then nobody needs an answer.
        let _ = self.requests.send(request).await;
    }
}

struct Entry {
    control: Arc<Control>,
    progress: Arc<Progress>,
    entrance: Arc<Entrance>,
    /// Of the client process whose stream it has.
    client_start: Option<String>,
    /// Begun when the attempt's task has ended.
    ended: Shutdown,
}

/// How an attempt ended, for the client process that had its stream.
struct Remembered {
    id: AttemptId,
    client_start: String,
    over: AttemptOver,
}

struct Owner {
    context: Context,
    entries: BTreeMap<AttemptId, Entry>,
    endings: VecDeque<Remembered>,
    publish: watch::Sender<Vec<Running>>,
    over: mpsc::UnboundedSender<AttemptId>,
}

impl Owner {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut ended: mpsc::UnboundedReceiver<AttemptId>,
    ) {
        loop {
            tokio::select! {
                Some(id) = ended.recv() => self.is_over(id),
                request = requests.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => return,
                },
            }
        }
    }

    async fn serve(&mut self, request: Request) {
        match request {
            Request::Start(ticket) => self.start(*ticket).await,
            Request::Attach(ticket, link) => self.attach(*ticket, *link).await,
            Request::CannotStart(id, fault) => {
                let known = self.entries.contains_key(&id);
                if !known && matches!(self.context.journal.standing(id).await, Ok(Standing::New)) {
                    self.end_unstarted(id, Ending::fault(fault));
                }
            }
            Request::Stop(id, how) => self.stop(id, how).await,
            Request::Fence(id, reply) => self.fence(id, reply).await,
            Request::InterruptAll(why) => {
                for entry in self.entries.values() {
                    entry.control.halt(Halt::Interrupted(why.to_owned()));
                }
            }
        }
    }

    fn is_over(&mut self, id: AttemptId) {
        if let Some(entry) = self.entries.remove(&id) {
            entry.ended.begin();
            if let (Some(client_start), Some(over)) = (entry.client_start, entry.entrance.ending()) {
                self.endings.truncate(ENDINGS - 1);
                self.endings.push_front(Remembered {
                    id,
                    client_start,
                    over,
                });
            }
        }
        self.publish();
    }

    async fn start(&mut self, ticket: Ticket) {
        let id = ticket.id;
        if self.entries.contains_key(&id) || self.context.shutdown.has_begun() {
            return;
        }
        match self.admissible(&ticket).await {
            Ok(()) => {
                let client_wait = Some(self.context.timing.client_wait);
                self.begin(ticket, client_wait).await;
            }
            Err(refusal) if refusal.is_harmless => {}
            Err(refusal) => self.end_unstarted(id, Ending::fault(refusal.fault)),
        }
    }

    async fn attach(&mut self, ticket: Ticket, link: AnyLink) {
        let id = ticket.id;
        if self.context.shutdown.has_begun() {
            let fault = Fault::new(StatusCode::FAILED_OVER, "the media agent is shutting down");
            return self.refuse(link, fault);
        }
        let peer_start = &link.greeting().peer_start;
        let is_foreign = !peer_start.is_empty() && *peer_start != self.context.start_id;
        if let Some(entry) = self.entries.get_mut(&id).filter(|_| !is_foreign) {
            let start = &link.greeting().client_start;
            if entry.client_start.get_or_insert_with(|| start.clone()) != start {
                let text = "the client agent's process ended in mid-job and a new one has come";
                let fault = Fault::new(StatusCode::CLIENT_PROCESS_ABORTED, text);
                entry.control.halt(Halt::Fault(fault.clone()));
                self.refuse(link, fault);
            } else if let Some((link, over)) = entry.entrance.put(link) {
                self.tell(link, over);
            }
            return;
        }
        if let Some(over) = self.remembered(id, &link).filter(|_| !is_foreign) {
            return self.tell(link, over);
        }
        match self.admissible(&ticket).await {
            // What that process welcomed is not here to go on with (F-10).
            Ok(()) if is_foreign => self.refuse(link, restarted()),
            Ok(()) => {
                let start = link.greeting().client_start.clone();
                let entry = self.begin(ticket, None).await;
                entry.client_start = Some(start);
                // A new entrance is open: nothing comes back.
                drop(entry.entrance.put(link));
            }
            Err(refusal) => self.refuse(link, refusal.fault),
        }
    }

    /// How the attempt ended, if this stream goes on from one that it had.
    fn remembered(&self, id: AttemptId, link: &AnyLink) -> Option<AttemptOver> {
        let greeting = link.greeting();
        let is_it = |ending: &&Remembered| ending.id == id && ending.client_start == greeting.client_start;
        let ending = self.endings.iter().find(is_it)?;
        (!greeting.peer_start.is_empty()).then(|| ending.over.clone())
    }

    /// Whether the journal lets the attempt start.
    async fn admissible(&self, ticket: &Ticket) -> Result<(), Refusal> {
        let id = ticket.id;
        let harmless = |fault| Refusal {
            fault,
            is_harmless: true,
        };
        match self.context.journal.standing(id).await {
            Ok(Standing::New) => ticket
                .check_first_showing(self.context.clock.now())
                .map_err(|error| Refusal {
                    fault: Fault::access(error.to_string()),
                    is_harmless: false,
                }),
            Ok(Standing::Open) => Err(harmless(restarted())),
            Ok(Standing::Closed) => Err(harmless(Fault::new(
                StatusCode::SUPERSEDED,
                format!("attempt {id} is over"),
            ))),
            Ok(Standing::Superseded) => Err(harmless(Fault::new(
                StatusCode::SUPERSEDED,
                format!("attempt {id} was superseded by a later one"),
            ))),
            Err(error) => Err(harmless(error.into())),
        }
    }

    /// Starts the attempt's task. Lower attempts of the job have lost their right by its existence.
    async fn begin(&mut self, ticket: Ticket, client_wait: Option<std::time::Duration>) -> &mut Entry {
        let id = ticket.id;
        let predecessors: Vec<Shutdown> = self
            .entries
            .iter()
            .filter(|(other, _)| other.job == id.job && other.attempt < id.attempt)
            .map(|(_, entry)| {
                entry.control.halt(Halt::Fenced);
                entry.ended.clone()
            })
            .collect();
        let entry = Entry {
            control: Arc::new(Control::new()),
            progress: Arc::default(),
            entrance: Arc::default(),
            client_start: None,
            ended: Shutdown::new(),
        };
        let assignment = Assignment {
            context: self.context.clone(),
            ticket,
            control: Arc::clone(&entry.control),
            progress: Arc::clone(&entry.progress),
            entrance: Arc::clone(&entry.entrance),
            client_wait,
            predecessors,
        };
        let over = self.over.clone();
        self.context.tasks.spawn(format!("attempt {id}"), async move {
            let _over = OnDrop(over, id);
            conduct::conduct(assignment).await;
        });
        self.entries.insert(id, entry);
        self.publish();
        self.entries.get_mut(&id).expect("it was put there just now")
    }

    async fn stop(&mut self, id: AttemptId, how: Stopped) {
        if let Some(entry) = self.entries.get(&id) {
            match how {
                Stopped::Graceful => entry.control.stop_gracefully(),
                Stopped::Immediate | Stopped::Unspecified => entry.control.halt(Halt::Stopped(how)),
            }
            return;
        }
        // An attempt that ended, or that is being surveyed, ends by itself.
        if let Ok(Standing::New) = self.context.journal.standing(id).await {
            self.end_unstarted(id, Ending::canceled(how));
        }
    }

    async fn fence(&mut self, id: AttemptId, reply: oneshot::Sender<()>) {
        let mut ended = Vec::new();
        for (_, entry) in self
            .entries
            .iter()
            .filter(|(other, _)| other.job == id.job && other.attempt <= id.attempt)
        {
            entry.control.halt(Halt::Fenced);
            ended.push(entry.ended.clone());
        }
        let at = self.context.clock.now();
        let fenced = NewRecord::Fenced { id, at };
        if let Err(error) = self.context.journal.append(vec![fenced]).await {
            tracing::error!(attempt = %id, %error, "a fence could not be journalled");
            return;
        }
        self.context.tasks.spawn(format!("fence of {id}"), async move {
            for entry in ended {
                entry.begun().await;
            }
            let _ = reply.send(());
        });
    }

    /// Journals the end of an attempt that never ran here.
    fn end_unstarted(&self, id: AttemptId, ending: Ending) {
        let context = self.context.clone();
        self.context.tasks.spawn(format!("end of {id}"), async move {
            journal_end(&context, id, &ending, &Default::default()).await;
        });
    }

    fn refuse(&self, link: AnyLink, fault: Fault) {
        tracing::info!(
            code = fault.code.0,
            text = fault.text,
            "a client's stream is refused"
        );
        self.tell(link, fault.over());
    }

    fn tell(&self, link: AnyLink, over: AttemptOver) {
        self.context.tasks.spawn("refusal", link.finish(over));
    }

    fn publish(&self) {
        let running = self.entries.iter().map(|(id, entry)| Running {
            id: *id,
            progress: Arc::clone(&entry.progress),
        });
        self.publish.send_replace(running.collect());
    }
}

fn restarted() -> Fault {
    Fault::new(
        StatusCode::FAILED_OVER,
        "the media agent was restarted; the attempt ends and goes on in a new one",
    )
}

/// Why an attempt may not start here.
struct Refusal {
    fault: Fault,
    /// The order is a repetition or outdated, and nothing is journalled for it.
    is_harmless: bool,
}

/// Tells the desk that the attempt's task is over, also when it panicked.
struct OnDrop(mpsc::UnboundedSender<AttemptId>, AttemptId);

impl Drop for OnDrop {
    fn drop(&mut self) {
        // A desk that is gone needs no word.
        let _ = self.0.send(self.1);
    }
}
