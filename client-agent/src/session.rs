//! The session with the leader, from the client's side: orders in, answers and presence out.
//!
//! Orders may come again at any time; each is answered again and done once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::recollection::Recollection;
use outlast_kit::session::Session;
use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::agent_message::Body as Up;
use outlast_proto::v1::primary_message::Body as Down;
use outlast_proto::v1::{
    AdmitAttempt, Admitted, AgentMessage, Answer, AttemptRef, JobError, Presence, PrimaryMessage, Question,
    Stopped, StreamsSeen, Welcome, answer, question,
};
use outlast_proto::words::{AgentName, Attempt, AttemptId, JobKey, StatusCode};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::admission::Admission;
use crate::attempts::Attempts;
use crate::dry_runs::{DryRuns, OfSession};
use crate::tickets::{TicketError, TicketStore};

/// If the leader does not say.
const USUAL_UPDATES: Duration = Duration::from_secs(2);
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
}

/// The session is over.
struct Gone;

impl Orders {
    /// Serves one session until it ends or the process shuts down.
    pub(crate) async fn serve(self, session: Session) {
        let Session {
            welcome,
            up,
            mut down,
        } = session;
        let every = match welcome.status_updates_ms {
            0 => USUAL_UPDATES,
            ms => Duration::from_millis(ms).max(SHORTEST_UPDATES),
        };
        self.welcomed(&welcome).await;
        let dry_runs = self.dry_runs.of_session(up.clone());
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
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
            };
            if went_on.is_err() {
                tracing::info!("the session with the leader is over");
                return;
            }
        }
    }

    /// Takes up the leader's settings and forgets the jobs that are over.
    async fn welcomed(&self, welcome: &Welcome) {
        if welcome.reconnect_for_seconds > 0 {
            let reconnect_for = Duration::from_secs(welcome.reconnect_for_seconds);
            self.attempts.set_reconnect_for(reconnect_for);
        }
        if let Some(mark) = welcome.mark.clone() {
            self.remember(move |recollection| recollection.take_mark(&mark))
                .await;
        }
        let open = welcome.open.iter().filter_map(parsed);
        let open: BTreeMap<JobKey, Attempt> = open.map(|id| (id.key(), id.attempt)).collect();
        self.attempts.retain(&open);
        let running = self.attempts.running_jobs();
        let earlier = self
            .with_tickets(move |tickets| {
                if let Err(error) = tickets.retain(&open, &running) {
                    tracing::warn!(%error, "tickets of jobs that are over stay");
                }
                Ok(tickets.of_earlier_processes(&open))
            })
            .await;
        // Their media agents wait for a process that is gone: this one shows itself, and it is for them to say what follows (F-09).
        for (admission, addresses) in earlier.unwrap_or_default() {
            self.attempts.start(admission, addresses);
        }
    }

    async fn order(
        &self,
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
            Some(Down::Question(question)) => return asked(question, up, dry_runs).await,
            Some(Down::Answering(said)) => dry_runs.heard(&said),
            Some(Down::Refused(refused)) => {
                tracing::warn!(
                    code = refused.code,
                    text = refused.text,
                    "the leader ended the session"
                );
                return Err(Gone);
            }
            // Not for us, or of a newer leader.
            Some(Down::Welcome(_) | Down::JournalAck(_) | Down::Start(_)) | None => {}
        }
        Ok(())
    }

    /// Keeps the ticket, answers, and opens the data stream.
    async fn admit(&self, order: AdmitAttempt, up: &mpsc::Sender<AgentMessage>) -> Result<(), Gone> {
        let admission = match Admission::of_ticket(order.ticket.unwrap_or_default()) {
            Ok(admission) if admission.client == self.name => admission,
            Ok(admission) => {
                tracing::warn!(client = %admission.client, "an attempt of another client is refused");
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(%error, "an attempt is refused");
                return Ok(());
            }
        };
        let job = admission.id.job.0;
        self.remember(move |recollection| recollection.met_job(job)).await;
        let (kept, addresses) = (admission.clone(), order.data_addresses.clone());
        let admitted = self
            .with_tickets(move |tickets| tickets.admit(&kept, &addresses))
            .await;
        if let Err(error) = admitted {
            tracing::warn!(job = %admission.id.job, attempt = %admission.id.attempt, %error, "an attempt is refused");
            return Ok(());
        }
        let admitted = Admitted {
            attempt: Some(admission.id.to_ref()),
        };
        let said = say(up, Up::Admitted(admitted)).await;
        // Admitted is admitted, also if this session is gone by now.
        self.attempts.start(admission, order.data_addresses);
        said
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

    async fn presence(&self, up: &mpsc::Sender<AgentMessage>) -> Result<(), Gone> {
        let presence = Presence {
            attempts: self.attempts.progress(),
            free_bytes: None,
        };
        say(up, Up::Presence(presence)).await?;
        let streams = self.attempts.streams();
        if streams.is_empty() {
            return Ok(());
        }
        say(up, Up::Streams(StreamsSeen { streams })).await
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
