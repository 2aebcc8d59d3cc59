//! The life of one attempt: preparation, its client, the mark, the engine, the one end.
//!
//! Asynchronous and thin; the work is in the engines on blocking threads. Started by the desk.

use std::sync::Arc;
use std::time::Duration;

use outlast_kit::memory::give_back;
use outlast_kit::shutdown::Shutdown;
use outlast_media_core::contact::lost;
use outlast_media_core::survey::has_predecessors;
use outlast_media_core::{Done, End, Ending, Halt};
use outlast_proto::v1::AttemptMarked;
use outlast_proto::v1::journal_event::What;
use outlast_proto::words::StatusCode;
use outlast_repository::Repository;

use super::control::Control;
use super::ending::{LastEvents, journal_end, log_end, remember_damage, remove_checkpoints};
use super::entrance::Entrance;
use super::line::{Around, Line};
use super::link::{AnyLink, Link, Protocol};
use super::preparing::prepare;
use super::progress::Progress;
use super::record::Recorder;
use super::wire::Wire;
use crate::backup::{self, BackupWork};
use crate::context::Context;
use crate::fault::Fault;
use crate::journal::NewRecord;
use crate::restore::{self, RestoreWork};
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
    /// Superseded attempts of the job that are still ending.
    pub(super) predecessors: Vec<Shutdown>,
}

/// Runs the attempt to its end.
pub(super) async fn conduct(mut assignment: Assignment) {
    for ended in std::mem::take(&mut assignment.predecessors) {
        ended.begun().await;
    }
    let id = assignment.ticket.id;
    tracing::info!(job = %id.job, attempt = %id.attempt, client = %assignment.ticket.client, "attempt begins");
    let recorder = assignment.recorder();
    let prepared = prepare(&assignment).await;
    // The storage unit may take its time; the client's minute begins when it is ready.
    let (outcome, repository, link) = match prepared {
        Err(end) => (Err(end), None, None),
        Ok((repository, lock)) => match assignment.client().await {
            Err(end) => (Err(end), Some((repository, lock)), None),
            Ok(link) => {
                let (outcome, link) = assignment
                    .work((repository.clone(), lock.clone()), &recorder, link)
                    .await;
                (outcome, Some((repository, lock)), link)
            }
        },
    };
    let ending = Ending::of(outcome, assignment.control.halted());
    if let (Ending::Ended(_), Some((repository, lock))) = (&ending, &repository) {
        assignment.remove_checkpoints(repository, lock).await;
    }
    if let Some((repository, _)) = &repository {
        remember_damage(id, repository.clone()).await;
    }
    let last = LastEvents {
        id,
        ending: &ending,
        counters: assignment.progress.counters(),
        unwritten: recorder.take_unwritten(),
        progress: Some(&assignment.progress),
    };
    let durable = journal_end(&assignment.context, last).await;
    log_end(id, &ending);
    if let Some(locked) = repository {
        // Removing a lock file is disk work.
        let _ = tokio::task::spawn_blocking(move || drop(locked)).await;
    }
    // What this one took shall not come on top of what the next one takes.
    tokio::task::spawn_blocking(give_back);
    let over = ending.over(durable);
    let late = assignment.entrance.close(over.clone());
    // Without an end that counts they are dropped.
    let Some(over) = over else { return };
    for link in link.into_iter().chain(late) {
        assignment
            .context
            .tasks
            .spawn(format!("goodbye of {id}"), link.finish(over.clone()));
    }
}

impl Assignment {
    fn recorder(&self) -> Arc<Recorder> {
        let (control, progress) = (Arc::clone(&self.control), Arc::clone(&self.progress));
        let recorder = Recorder::new(self.context.clone(), self.ticket.id, control, progress);
        Arc::new(recorder)
    }

    /// Those of this attempt and of the ones before it: the job ends.
    async fn remove_checkpoints(&self, repository: &Repository, lock: &AttemptLock) {
        let is_backup = matches!(self.ticket.work, Work::Backup);
        if is_backup && (self.progress.may_have_checkpoints() || has_predecessors(self.ticket.id.attempt)) {
            let locked = (repository.clone(), lock.clone());
            remove_checkpoints(
                &self.context.unit,
                &self.ticket.cluster_id,
                self.ticket.id,
                || Ok(locked),
            )
            .await;
        }
    }

    /// Waits for the client's stream.
    async fn client(&self) -> Result<AnyLink, End> {
        let Some(wait) = self.client_wait else {
            return Ok(self.entrance.take().await);
        };
        let reason = format!(
            "client {} has not opened its stream; if it does not the attempt ends with 58",
            self.ticket.client
        );
        let until = crate::stamps::after(self.context.clock.now(), wait);
        self.progress.awaits_client(reason, until);
        let contact =
            crate::contact::lost_too_long(self.context.contact.clone(), Arc::clone(&self.context.clock));
        tokio::select! {
            biased;
            link = self.entrance.take() => Ok(link),
            () = self.control.wait() => Err(End::Halted),
            grace = contact => Err(End::Fault(lost(grace, self.ticket.resilient))),
            () = tokio::time::sleep(wait) => {
                let text = format!(
                    "client \"{}\" did not open its stream within {} s of the start; check that its agent runs and \
                     reaches this media agent", self.ticket.client, wait.as_secs()
                );
                Err(End::Fault(Fault::new(StatusCode::CANNOT_CONNECT_TO_CLIENT, text)))
            }
        }
    }

    /// Marks the attempt and runs its engine over the stream.
    async fn work(
        &self,
        (repository, lock): (Repository, AttemptLock),
        recorder: &Arc<Recorder>,
        link: AnyLink,
    ) -> (Result<Done, End>, Option<AnyLink>) {
        let marked = What::Marked(AttemptMarked {
            resilient: self.ticket.resilient,
            client_start_id: link.greeting().client_start.clone(),
            primary_version: self.ticket.primary_version.clone(),
        });
        let records = vec![
            NewRecord::Admitted(self.ticket.signed.clone()),
            self.context.event(self.ticket.id, marked),
        ];
        if let Err(end) = recorder.records(&records).await {
            return (Err(end), Some(link));
        }
        // A primary of another version may have answered since the attempt was dispatched. A session that opens just now does
        // the same after it has made the version known: one of the two sees the mark.
        if let Err(end) = recorder.with_room(|| self.context.meet_primary()).await {
            return (Err(end), Some(link));
        }
        let base = backup::Base {
            context: self.context.clone(),
            ticket: self.ticket.clone(),
            repository,
            lock: lock.clone(),
            progress: Arc::clone(&self.progress),
            recorder: Arc::clone(recorder),
        };
        match (link, self.ticket.work.clone()) {
            (AnyLink::Backup(link), Work::Backup) => {
                let engine = move |wire| backup::run(BackupWork { base }, wire);
                self.converse(link, lock, engine).await
            }
            (
                AnyLink::Restore(link),
                Work::Restore {
                    snapshot,
                    content,
                    paths,
                    to,
                },
            ) => {
                let work = RestoreWork {
                    base,
                    snapshot,
                    content,
                    paths,
                    to,
                };
                self.converse(link, lock, move |wire| restore::run(work, wire))
                    .await
            }
            (link, _) => {
                let text = "the ticket is not for this kind of stream: backup and restore have one each";
                (Err(End::Fault(Fault::access(text))), Some(link))
            }
        }
    }

    /// Runs the engine on a blocking thread, keeps its lock fresh, and ends it when it may not go on.
    async fn converse<P: Protocol>(
        &self,
        link: Link<P>,
        lock: AttemptLock,
        engine: impl FnOnce(Wire<P>) -> Result<Done, End> + Send + 'static,
    ) -> (Result<Done, End>, Option<AnyLink>) {
        let around = Around {
            attempt: self.ticket.id,
            client: self.ticket.client.to_string(),
            start_id: self.context.start_id.clone(),
            reconnect_for: self.context.contact.borrow().reconnect_for,
            silence: self.context.timing.client_silence,
            control: Arc::clone(&self.control),
            progress: Arc::clone(&self.progress),
            clock: Arc::clone(&self.context.clock),
            entrance: Arc::clone(&self.entrance),
            tasks: self.context.tasks.clone(),
        };
        let started = |wire| async move {
            tokio::task::spawn_blocking(move || engine(wire))
                .await
                .unwrap_or_else(|error| {
                    let text = format!("the media agent failed ({error}); its log says more");
                    Err(End::Fault(Fault::new(StatusCode::STORAGE_WRITE_ERROR, text)))
                })
        };
        tokio::select! {
            ended = Line::open(around, link).carry(started) => ended,
            never = self.attend(lock) => match never {},
        }
    }

    /// What goes on beside the engine until it ends.
    async fn attend(&self, lock: AttemptLock) -> std::convert::Infallible {
        let refresh = async {
            loop {
                tokio::time::sleep(self.context.timing.lock_refresh).await;
                let lock = lock.clone();
                let refreshed = tokio::task::spawn_blocking(move || lock.refresh()).await;
                if let Ok(Err(error)) = refreshed {
                    // The engine checks the lock itself before anything becomes final.
                    tracing::warn!(attempt = %self.ticket.id, %error, "the lock could not be refreshed");
                }
            }
        };
        let primary = async {
            self.without_mark().await;
            let clock = Arc::clone(&self.context.clock);
            let grace = crate::contact::lost_too_long(self.context.contact.clone(), clock).await;
            self.control.halt(Halt::Fault(lost(grace, false)));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            never = refresh => never,
            () = primary => std::future::pending().await,
        }
    }

    /// Returns when the journal says that the attempt is not resilient: at once, or when it has lost its mark.
    async fn without_mark(&self) {
        let mut contact = self.context.contact.clone();
        loop {
            contact.mark_unchanged();
            let is_resilient = self.context.journal.is_resilient(self.ticket.id).await;
            // A journal that does not answer ends the whole agent.
            if matches!(is_resilient, Ok(false)) {
                return;
            }
            if contact.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
