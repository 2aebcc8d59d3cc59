//! The session with the leader, from the client's side: orders in, answers and presence out.
//!
//! Orders may come again at any time; each is answered again and done once. An attempt that this host cannot take up is answered too: with
//! the reason while that may pass, with a refusal otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::clock::SharedClock;
use outlast_kit::recollection::Recollection;
use outlast_kit::session::Session;
use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::agent_message::Body as Up;
use outlast_proto::v1::primary_message::Body as Down;
use outlast_proto::v1::{
    AdmissionRefused, AdmitAttempt, Admitted, AgentMessage, Answer, AttemptProgress, AttemptRef, JobError,
    Presence, PrimaryMessage, Question, SignedTicket, Stopped, Ticket, Welcome, answer, question,
};
use outlast_proto::words::{AgentName, Attempt, AttemptId, JobKey, StatusCode};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::mpsc;

use crate::admission::Admission;
use crate::attempts::Attempts;
use crate::dry_runs::{DryRuns, OfSession};
use crate::tickets::{TicketError, TicketStore};

/// If the leader does not say.
const USUAL_UPDATES: Duration = Duration::from_secs(2);
/// While a stream is broken the leader waits for nothing but this client's word of it: what it decides by that is not to be older.
const WITNESS: Duration = Duration::from_millis(500);
/// The leader may set any interval; less than this would only keep both sides busy.
const SHORTEST_UPDATES: Duration = Duration::from_millis(50);

/// What the session acts on.
#[derive(Clone)]
pub(crate) struct Orders {
    pub(crate) name: AgentName,
    pub(crate) tickets: Arc<Mutex<TicketStore>>,
    pub(crate) attempts: Attempts,
    pub(crate) shutdown: Shutdown,
    pub(crate) recollection: Recollection,
    pub(crate) dry_runs: DryRuns,
    pub(crate) clock: SharedClock,
    pub(crate) waiting: Waiting,
}

/// Orders of this session whose tickets cannot be kept just now, and why. They are tried again with each presence.
#[derive(Clone, Default)]
pub(crate) struct Waiting(BTreeMap<AttemptId, (AdmitAttempt, String)>);

/// Why an attempt is not taken up.
enum NotAdmitted {
    /// For good.
    Refused(String),
    /// The ticket cannot be kept now.
    Later(String),
}

/// The session is over.
struct Gone;

impl Orders {
    /// Serves one session until it ends or the process shuts down.
    pub(crate) async fn serve(mut self, session: Session) {
        let Session {
            welcome,
            up,
            mut down,
        } = session;
        let every = match welcome.status_updates_ms {
            0 => USUAL_UPDATES,
            ms => Duration::from_millis(ms).max(SHORTEST_UPDATES),
        };
        // The leader orders anew what it is owed.
        self.waiting = Waiting::default();
        self.welcomed(&welcome).await;
        let dry_runs = self.dry_runs.of_session(up.clone());
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_broken = self.attempts.is_a_stream_broken();
            let went_on = tokio::select! {
                () = self.shutdown.begun() => return,
                message = down.message() => match message {
                    Ok(Some(message)) => self.order(message, (&up, &dry_runs)).await,
                    Ok(None) => Err(Gone),
                    Err(error) => {
                        tracing::info!(reason = outlast_kit::errors::cause_of(&error), "the session with the leader broke");
                        return;
                    }
                },
                _ = tick.tick() => self.presence(&up).await,
                () = self.attempts.changed() => self.streams(&up).await,
                () = tokio::time::sleep(WITNESS), if is_broken => self.streams(&up).await,
            };
            if went_on.is_err() {
                tracing::info!("the session with the leader is over");
                return;
            }
        }
    }

    /// Takes up the leader's settings and forgets the jobs that are over.
    async fn welcomed(&self, welcome: &Welcome) {
        self.set_reconnect_for(welcome.reconnect_for_seconds);
        if let Some(mark) = welcome.mark.clone() {
            self.remember(move |recollection| recollection.take_mark(&mark))
                .await;
        }
        let open = welcome.open.iter().filter_map(parsed);
        let open: BTreeMap<JobKey, Attempt> = open.map(|id| (id.key(), id.attempt)).collect();
        let earlier = self
            .with_tickets(move |tickets| Ok(tickets.welcomed(&open)))
            .await;
        self.attempts.forget();
        // Their media agents wait for a process that is gone: this one shows itself, and it is for them to say what follows (F-09).
        for (admission, addresses) in earlier.unwrap_or_default() {
            self.attempts.start(admission, addresses);
        }
    }

    /// 0: the leader did not say.
    fn set_reconnect_for(&self, seconds: u64) {
        if seconds > 0 {
            self.attempts.set_reconnect_for(Duration::from_secs(seconds));
        }
    }

    async fn order(
        &mut self,
        message: PrimaryMessage,
        (up, dry_runs): (&mpsc::Sender<AgentMessage>, &OfSession),
    ) -> Result<(), Gone> {
        match message.body {
            Some(Down::Admit(order)) => return self.admit(order, up).await,
            Some(Down::Stop(order)) => {
                // A graceful stop is the media agent's: it begins no further item.
                let is_graceful = order.how() == Stopped::Graceful && !order.cancel;
                if let Some(id) = order.attempt.as_ref().and_then(parsed).filter(|_| !is_graceful) {
                    self.attempts.stop(id);
                }
            }
            Some(Down::Fence(order)) => self.fence(order.attempt).await,
            Some(Down::Mark(mark)) => self.remember(move |known| known.take_mark(&mark)).await,
            Some(Down::Settings(settings)) => self.set_reconnect_for(settings.reconnect_for_seconds),
            Some(Down::Question(question)) => return asked(question, up, dry_runs).await,
            Some(Down::Answering(said)) => dry_runs.heard(&said),
            Some(Down::Closed(closed)) => {
                self.attempts
                    .closed(&closed.attempts.iter().filter_map(parsed).collect());
            }
            Some(Down::Refused(refused)) => {
                tracing::warn!(
                    code = refused.code,
                    text = refused.text,
                    "the leader ended the session"
                );
                return Err(Gone);
            }
            // Not for us, or of a newer leader.
            Some(Down::Welcome(_) | Down::JournalAck(_) | Down::Start(_) | Down::Leave(_)) | None => {}
        }
        Ok(())
    }

    /// Keeps the ticket, answers, and opens the data stream.
    async fn admit(&mut self, order: AdmitAttempt, up: &mpsc::Sender<AgentMessage>) -> Result<(), Gone> {
        let signed = order.ticket.clone().unwrap_or_default();
        let named = Ticket::decode(signed.ticket.clone()).unwrap_or_default().attempt;
        let Some(id) = named.as_ref().and_then(parsed) else {
            tracing::warn!("an order names no attempt");
            return Ok(());
        };
        let waited = self.waiting.0.remove(&id);
        let admission = match self.admitted(signed, &order.data_addresses).await {
            Ok(admission) => admission,
            Err(NotAdmitted::Refused(reason)) => {
                tracing::warn!(job = %id.job, attempt = %id.attempt, reason, "an attempt is refused");
                let refused = AdmissionRefused {
                    attempt: named,
                    error: Some(JobError {
                        code: StatusCode::ACCESS_NOT_ALLOWED.0.into(),
                        text: format!("client {} refuses the attempt: {reason}", self.name),
                    }),
                };
                return say(up, Up::AdmissionRefused(refused)).await;
            }
            Err(NotAdmitted::Later(reason)) => {
                if waited.is_none_or(|(_, before)| before != reason) {
                    tracing::warn!(job = %id.job, attempt = %id.attempt, reason, "an attempt has to wait");
                }
                self.waiting.0.insert(id, (order, reason));
                return Ok(());
            }
        };
        let said = say(up, Up::Admitted(Admitted { attempt: named })).await;
        // Admitted is admitted, also if this session is gone by now.
        self.attempts.start(admission, order.data_addresses);
        said
    }

    /// Takes up an attempt durably.
    async fn admitted(&self, signed: SignedTicket, addresses: &[String]) -> Result<Admission, NotAdmitted> {
        let refused = |error: &dyn std::error::Error| NotAdmitted::Refused(error.to_string());
        let admission = Admission::of_ticket(signed).map_err(|error| refused(&error))?;
        if admission.client != self.name {
            let reason = format!("it is about client {}", admission.client);
            return Err(NotAdmitted::Refused(reason));
        }
        let job = admission.id.job.0;
        self.remember(move |recollection| recollection.met_job(job)).await;
        let (kept, addresses) = (admission.clone(), addresses.to_vec());
        self.with_tickets(move |tickets| tickets.admit(&kept, &addresses))
            .await
            .map_err(|error| match error {
                TicketError::Io { .. } => NotAdmitted::Later(error.to_string()),
                TicketError::Lower { .. } | TicketError::Fenced { .. } | TicketError::Corrupt { .. } => {
                    refused(&error)
                }
            })?;
        Ok(admission)
    }

    async fn fence(&self, attempt: Option<AttemptRef>) {
        let Some(id) = attempt.as_ref().and_then(parsed) else {
            return;
        };
        self.attempts.fence(id);
        self.remember(move |recollection| recollection.met_job(id.job.0))
            .await;
        if let Err(error) = self.with_tickets(move |tickets| tickets.fence(id)).await {
            tracing::error!(attempt = %id, %error, "a fence is not durable");
        }
    }

    async fn presence(&mut self, up: &mpsc::Sender<AgentMessage>) -> Result<(), Gone> {
        let waiting: Vec<_> = self.waiting.0.values().map(|(order, _)| order.clone()).collect();
        for order in waiting {
            self.admit(order, up).await?;
        }
        let mut attempts = self.attempts.progress();
        attempts.extend(self.waiting.0.iter().map(|(id, (_, reason))| AttemptProgress {
            attempt: Some(id.to_ref()),
            waiting: reason.clone(),
            ..AttemptProgress::default()
        }));
        let presence = Presence {
            attempts,
            sent_at: Some(self.clock.now().into()),
            ..Presence::default()
        };
        say(up, Up::Presence(presence)).await?;
        self.streams(up).await
    }

    /// The second witness (C-08).
    async fn streams(&self, up: &mpsc::Sender<AgentMessage>) -> Result<(), Gone> {
        say(up, Up::Streams(self.attempts.streams())).await
    }

    /// Waits for the disk, too.
    async fn remember(&self, act: impl FnOnce(&Recollection) + Send + 'static) {
        let recollection = self.recollection.clone();
        // It panics nowhere, and nothing depends on it.
        let _ = tokio::task::spawn_blocking(move || act(&recollection)).await;
    }

    /// The ticket store waits for the disk: not on the runtime's threads.
    async fn with_tickets<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut TicketStore) -> Result<T, TicketError> + Send + 'static,
    ) -> Result<T, TicketError> {
        let tickets = Arc::clone(&self.tickets);
        let acted = tokio::task::spawn_blocking(move || act(&mut tickets.lock())).await;
        acted.unwrap_or_else(|error| {
            Err(TicketError::Io {
                path: "tickets".into(),
                source: std::io::Error::other(error),
            })
        })
    }
}

/// Answers a question of a person, beside the session if that takes long.
async fn asked(
    question: Question,
    up: &mpsc::Sender<AgentMessage>,
    dry_runs: &OfSession,
) -> Result<(), Gone> {
    let id = question.id;
    let begun = match question.body {
        Some(question::Body::DryRun(asked)) => dry_runs.start(id, asked),
        _ => Err(JobError {
            code: StatusCode::ACCESS_NOT_ALLOWED.0.into(),
            text: "this client agent does not know the question".to_owned(),
        }),
    };
    let Err(error) = begun else { return Ok(()) };
    let answer = Answer {
        id,
        body: Some(answer::Body::Error(error)),
        last: true,
    };
    say(up, Up::Answer(answer)).await
}

fn parsed(attempt: &AttemptRef) -> Option<AttemptId> {
    AttemptId::of_message(Some(attempt)).ok()
}

async fn say(up: &mpsc::Sender<AgentMessage>, body: Up) -> Result<(), Gone> {
    up.send(AgentMessage { body: Some(body) }).await.map_err(|_| Gone)
}
