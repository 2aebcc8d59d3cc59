//! The manager: owner of the list of attempts that run here. Who may start and who is told to end, the core's `Roster` says.
//!
//! A cloneable handle, a bounded channel, one loop. What an attempt does is `conduct`'s; whether a ticket is genuine is
//! `tickets`' and was checked before.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::shutdown::Shutdown;
use outlast_media_core::{Ending, Halt, Judged, Roster, Showing, Stream};
use outlast_proto::v1::{AttemptOver, Stopped};
use tokio::sync::{mpsc, oneshot, watch};

use super::conduct::{self, Assignment};
use super::control::Control;
use super::ending::{journal_end, remove_checkpoints};
use super::entrance::Entrance;
use super::link::AnyLink;
use super::panicked::Remains;
use super::progress::Progress;
use crate::context::Context;
use crate::fault::Fault;
use crate::journal::{NewRecord, Standing};
use crate::tickets::Ticket;
use outlast_proto::words::AttemptId;

const REQUESTS: usize = 64;
const FENCE_AGAIN: Duration = Duration::from_secs(1);

/// A running attempt, for presence and hello.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) id: AttemptId,
    pub(crate) progress: Arc<Progress>,
}

/// Everything that can be asked of the manager.
enum Request {
    /// The primary's order (the ticket was checked).
    Start(Box<Ticket>),
    /// A client's stream with a ticket that is genuine and its own.
    Attach(Box<Ticket>, Box<AnyLink>),
    /// The primary's order cannot be followed.
    CannotStart(AttemptId, Fault),
    Stop(AttemptId, Stopped),
    /// It is to make a checkpoint and end, for this reason (C-08b).
    Leave(AttemptId, String),
    /// Answered when nothing of the attempt runs any more and that is durable.
    Fence(AttemptId, oneshot::Sender<()>),
    /// The journal these attempts were admitted in is no more, or the agent ends.
    InterruptAll(&'static str),
}

#[derive(Clone)]
pub(crate) struct AttemptManager {
    requests: mpsc::Sender<Request>,
    running: watch::Receiver<Vec<Running>>,
}

impl AttemptManager {
    /// Starts the task that owns the list.
    pub(crate) fn start_up(context: Context) -> Self {
        let (requests, received) = mpsc::channel(REQUESTS);
        let (publish, running) = watch::channel(Vec::new());
        // Not bounded by itself but by the number of attempts, each of which sends once.
        let (over, ended) = mpsc::unbounded_channel();
        let owner = Owner {
            again: requests.downgrade(),
            context: context.clone(),
            roster: Roster::new(&context.start_id),
            entries: BTreeMap::new(),
            publish,
            over,
        };
        let manager = Self { requests, running };
        context.tasks.vital("manager of attempts", async move {
            owner.run(received, ended).await;
            Ok::<(), Infallible>(())
        });
        manager
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

    pub(crate) async fn leave(&self, id: AttemptId, why: String) {
        self.ask(Request::Leave(id, why)).await;
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
        // The manager closes only when the whole agent does; then nobody needs an answer.
        let _ = self.requests.send(request).await;
    }
}

/// An attempt's task, from here.
struct Entry {
    control: Arc<Control>,
    progress: Arc<Progress>,
    entrance: Arc<Entrance>,
    /// Begun when the attempt's task has ended.
    ended: Shutdown,
}

struct Owner {
    context: Context,
    roster: Roster,
    /// Of those in the roster that run.
    entries: BTreeMap<AttemptId, Entry>,
    publish: watch::Sender<Vec<Running>>,
    over: mpsc::UnboundedSender<AttemptId>,
    /// For what has to be asked once more.
    again: mpsc::WeakSender<Request>,
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
        let job = match &request {
            Request::Start(ticket) | Request::Attach(ticket, _) => Some(ticket.id.job.0),
            Request::Fence(id, _) => Some(id.job.0),
            Request::CannotStart(..) | Request::Stop(..) | Request::Leave(..) | Request::InterruptAll(_) => {
                None
            }
        };
        if let Some(job) = job {
            self.context.remember(move |known| known.met_job(job)).await;
        }
        match request {
            Request::Start(ticket) => self.start(*ticket).await,
            Request::Attach(ticket, link) => self.attach(*ticket, *link).await,
            Request::CannotStart(id, fault) => {
                let standing = self.context.journal.standing(id).await.ok();
                if let Some(ending) = self.roster.end_unstarted(id, standing, Ending::fault(fault)) {
                    self.end_unstarted(id, ending);
                }
            }
            Request::Stop(id, how) => self.stop(id, how).await,
            Request::Leave(id, why) => self.leave(id, why).await,
            Request::Fence(id, reply) => self.fence(id, reply).await,
            Request::InterruptAll(why) => {
                for entry in self.entries.values() {
                    entry.control.halt(Halt::Interrupted(why.to_owned()));
                }
            }
        }
    }

    fn is_over(&mut self, id: AttemptId) {
        let entry = self.entries.remove(&id);
        let over = entry.as_ref().and_then(|entry| entry.entrance.ending());
        self.roster.over(id, over);
        if let Some(entry) = entry {
            entry.ended.begin();
        }
        self.publish();
    }

    async fn start(&mut self, ticket: Ticket) {
        let id = ticket.id;
        if self.roster.is_running(id) || self.context.shutdown.has_begun() {
            return;
        }
        let standing = self.standing(id).await;
        let known = standing.as_ref().ok().copied();
        match self.roster.judge_order(self.showing(&ticket), standing) {
            Judged::Begin(lower) => {
                let client_wait = Some(self.context.timing.client_wait);
                self.begin(ticket, client_wait, &lower);
            }
            Judged::End(ending) => self.end_unstarted(id, ending),
            Judged::Ignore | Judged::Refuse(_) => {
                let text = "the media agent knows this attempt as over, and the primary does not: its group was set back";
                self.end_again(id, known, Ending::Interrupted(text.to_owned()));
            }
        }
    }

    /// The primary counts as open what is over here (S-12b).
    fn end_again(&mut self, id: AttemptId, standing: Option<Standing>, ending: Ending) {
        let journal = self.context.journal.status();
        let all_is_acknowledged = journal.acknowledged == journal.last;
        if let Some(ending) = self.roster.end_again(id, standing, all_is_acknowledged, ending) {
            tracing::warn!(attempt = %id, "the primary counts an attempt as open that is over here; its end is said again");
            self.end_unstarted(id, ending);
        }
    }

    async fn attach(&mut self, ticket: Ticket, link: AnyLink) {
        let id = ticket.id;
        if self.context.shutdown.has_begun() {
            // What becomes of its attempt the next process knows; the client asks again.
            return;
        }
        match self.roster.stream(id, link.greeting()) {
            Stream::Enter => self.enter(id, link),
            Stream::Over(over) => self.tell(link, over),
            Stream::Halt(fault) => {
                if let Some(entry) = self.entries.get(&id) {
                    entry.control.halt(Halt::Fault(fault));
                    self.tell_at_the_end(link, entry);
                }
            }
            Stream::Judge => {
                let standing = self.standing(id).await;
                let showing = self.showing(&ticket);
                match self.roster.judge_stream(showing, link.greeting(), standing) {
                    Judged::Begin(lower) => {
                        self.begin(ticket, None, &lower);
                        self.enter(id, link);
                    }
                    Judged::Refuse(fault) => self.refuse(link, fault),
                    Judged::Ignore | Judged::End(_) => {}
                }
            }
        }
    }

    /// Lets a stream in to its attempt; one that has just ended gives it back.
    fn enter(&self, id: AttemptId, link: AnyLink) {
        let entry = self.entries.get(&id);
        if let Some((link, over)) = entry.and_then(|entry| entry.entrance.put(link)) {
            self.tell(link, over);
        }
    }

    /// What the journal knows of an attempt.
    async fn standing(&self, id: AttemptId) -> Result<Standing, Fault> {
        self.context.journal.standing(id).await.map_err(Fault::from)
    }

    fn showing(&self, ticket: &Ticket) -> Showing {
        let checked = ticket.check_first_showing(self.context.clock.now());
        Showing {
            id: ticket.id,
            expired: checked.err().map(|error| Fault::access(error.to_string())),
            of_other_journal: !ticket.journal_id.is_empty()
                && ticket.journal_id != self.context.journal.status().journal.0,
        }
    }

    /// Starts the attempt's task; `lower` are those that have lost their right by it.
    fn begin(&mut self, ticket: Ticket, client_wait: Option<Duration>, lower: &[AttemptId]) {
        let id = ticket.id;
        let predecessors = self.halt_fenced(lower);
        let entry = Entry {
            control: Arc::new(Control::new()),
            progress: Arc::default(),
            entrance: Arc::default(),
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
        // Told when neither the attempt's task nor what comes after its panic runs any more.
        let over = Arc::new(OnDrop(self.over.clone(), id));
        let (after, remains) = (Arc::clone(&over), Remains::of(&assignment));
        let conducted = async move {
            let _over = over;
            conduct::conduct(assignment).await;
        };
        let settled = |panic: String| async move {
            let _over = after;
            remains.settle(&panic).await;
        };
        self.context
            .tasks
            .serving(format!("attempt {id}"), conducted, settled);
        self.entries.insert(id, entry);
        self.publish();
    }

    /// Halts attempts that have no right any more; what begins when each has ended.
    fn halt_fenced(&self, ids: &[AttemptId]) -> Vec<(AttemptId, Shutdown)> {
        let entries = ids.iter().filter_map(|id| self.entries.get_key_value(id));
        entries
            .map(|(id, entry)| {
                entry.control.halt(Halt::Fenced);
                (*id, entry.ended.clone())
            })
            .collect()
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
        let standing = self.context.journal.standing(id).await.ok();
        if let Some(ending) = self.roster.end_unstarted(id, standing, Ending::canceled(how)) {
            self.end_unstarted(id, ending);
        }
        self.end_again(id, standing, Ending::canceled(how));
        self.give_up_checkpoints(id);
    }

    /// What is not here any more ends, or has ended, by itself, as when it is stopped.
    async fn leave(&mut self, id: AttemptId, why: String) {
        if let Some(entry) = self.entries.get(&id) {
            return entry.control.leave(why);
        }
        let standing = self.context.journal.standing(id).await.ok();
        let ending = Ending::Left(why);
        if let Some(ending) = self.roster.end_unstarted(id, standing, ending.clone()) {
            self.end_unstarted(id, ending);
        }
        self.end_again(id, standing, ending);
    }

    /// Of a job that is to end and runs nowhere: nobody goes on from what an earlier process made.
    fn give_up_checkpoints(&self, id: AttemptId) {
        let Some((cluster, _)) = self.context.verifier.cluster.known() else {
            return;
        };
        let unit = Arc::clone(&self.context.unit);
        self.context
            .tasks
            .ordinary(format!("checkpoints of {id}"), async move {
                remove_checkpoints(&Arc::clone(&unit), &cluster, id, move || unit.lock()).await;
            });
    }

    async fn fence(&mut self, id: AttemptId, reply: oneshot::Sender<()>) {
        let ended = self.halt_fenced(&self.roster.fenced_by(id));
        let at = self.context.clock.now();
        let fenced = NewRecord::Fenced { id, at };
        match self.context.journal.append(vec![fenced]).await {
            Ok(()) => {}
            Err(error) if error.is_full() => {
                tracing::error!(attempt = %id, %error, "a fence cannot be journalled; trying on");
                return self.fence_again(id, reply);
            }
            Err(error) => {
                tracing::error!(attempt = %id, %error, "a fence could not be journalled");
                return;
            }
        }
        self.context.tasks.ordinary(format!("fence of {id}"), async move {
            for (_, ended) in ended {
                ended.begun().await;
            }
            let _ = reply.send(());
        });
    }

    /// Asks for the fence once more in a while: its disk may have room then.
    fn fence_again(&self, id: AttemptId, reply: oneshot::Sender<()>) {
        let (again, shutdown) = (self.again.clone(), self.context.shutdown.clone());
        self.context
            .tasks
            .ordinary(format!("fence of {id}, again"), async move {
                tokio::select! {
                    () = tokio::time::sleep(FENCE_AGAIN) => {}
                    () = shutdown.begun() => return,
                }
                if let Some(manager) = again.upgrade() {
                    let _ = manager.send(Request::Fence(id, reply)).await;
                }
            });
    }

    /// Journals the end of an attempt that never ran here.
    fn end_unstarted(&self, id: AttemptId, ending: Ending) {
        let (context, over) = (self.context.clone(), self.over.clone());
        // Without it the attempt would stay open until the next process looks.
        self.context.tasks.vital(format!("end of {id}"), async move {
            let _over = OnDrop(over, id);
            let last = ending.event(&Default::default()).into_iter().collect();
            journal_end(&context, id, last, None).await;
            Ok::<(), Infallible>(())
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

    /// Says how the attempt has ended when that is durable.
    fn tell_at_the_end(&self, link: AnyLink, entry: &Entry) {
        let (ended, entrance) = (entry.ended.clone(), Arc::clone(&entry.entrance));
        self.context.tasks.ordinary("refusal", async move {
            ended.begun().await;
            if let Some(over) = entrance.ending() {
                link.finish(over).await;
            }
        });
    }

    fn tell(&self, link: AnyLink, over: AttemptOver) {
        self.context.tasks.ordinary("refusal", link.finish(over));
    }

    fn publish(&self) {
        let running = self.entries.iter().map(|(id, entry)| Running {
            id: *id,
            progress: Arc::clone(&entry.progress),
        });
        self.publish.send_replace(running.collect());
    }
}

/// Tells the manager that the attempt's task is over, also when it panicked.
struct OnDrop(mpsc::UnboundedSender<AttemptId>, AttemptId);

impl Drop for OnDrop {
    fn drop(&mut self) {
        // A manager that is gone needs no word.
        let _ = self.0.send(self.1);
    }
}
