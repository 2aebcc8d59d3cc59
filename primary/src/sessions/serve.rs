//! One open session: reports up, orders and acknowledgements down.

use std::collections::BTreeSet;
use std::time::Duration;

use outlast_core::orders::Order;
use outlast_core::rows::Job;
use outlast_core::session::agent_clock::AgentClock;
use outlast_core::session::{Said, acknowledgement, lost_by};
use outlast_core::session::{events, witness};
use outlast_core::{ClusterState, Command, Refusal, Reply, units};
use outlast_kit::errors;
use outlast_proto::v1::{
    AgentMessage, AttemptRef, AttemptsClosed, JournalAck, JournalEvents, Presence, PrimaryMessage,
    SettingsChanged, StopAttempt, StreamsSeen, agent_message, primary_message,
};
use outlast_proto::words::{AgentName, AttemptId, JournalId, Timestamp};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::registry::Place;
use super::{key, marks};
use crate::brain::{Brain, BrainError};
use crate::live::Live;
use crate::view;

/// How often an agent is told how far the group has come, while it gets on: what a group that is set back has lost since is not noticed.
const MARK_EVERY: Duration = Duration::from_secs(10);

/// A session under way.
pub(super) struct Serve {
    brain: Brain,
    live: Live,
    agent: AgentName,
    clock: AgentClock,
    place: Place,
    down: mpsc::Sender<Result<PrimaryMessage, Status>>,
    /// Orders sent in this session; each is sent once.
    said: Said,
    /// How many entries the last mark is of.
    marked: u64,
    /// The settings that the agent was told last.
    told: SettingsChanged,
    /// Attempts that the agent's process knows of: those its hello said it runs, and those it was given in this session.
    known: BTreeSet<AttemptId>,
}

/// Why a session ends.
enum End {
    /// The agent went away.
    Gone,
    /// The agent is told this status.
    Told(Status),
}

impl Serve {
    pub(super) fn new(
        brain: Brain,
        live: Live,
        (agent, clock): (AgentName, AgentClock),
        place: Place,
        (down, known, told): (
            mpsc::Sender<Result<PrimaryMessage, Status>>,
            BTreeSet<AttemptId>,
            SettingsChanged,
        ),
    ) -> Self {
        Self {
            brain,
            live,
            agent,
            clock,
            place,
            down,
            said: Said::default(),
            marked: 0,
            told,
            known,
        }
    }

    /// Serves the session to its end.
    pub(super) async fn run(mut self, mut up: Streaming<AgentMessage>) {
        tracing::info!(agent = %self.agent, "session opened");
        let end = self.serve(&mut up).await.err();
        if let Some(End::Told(status)) = end {
            tracing::info!(agent = %self.agent, reason = status.message(), "session ended");
            // If the agent cannot be told, it notices by itself.
            let _ = self.down.try_send(Err(status));
        } else {
            tracing::info!(agent = %self.agent, "session ended by the agent");
        }
    }

    async fn serve(&mut self, up: &mut Streaming<AgentMessage>) -> Result<(), End> {
        let wake = self.brain.wakes().for_agent(&self.agent);
        let over = self.place.over().clone();
        let mut marks = tokio::time::interval(MARK_EVERY);
        loop {
            self.is_welcome()?;
            self.send_settings().await?;
            self.send_orders().await?;
            tokio::select! {
                message = up.message() => self.take(message).await?,
                () = wake.woken() => {}
                _ = marks.tick() => {
                    self.send_mark().await?;
                    self.send_refusals().await?;
                    self.send_lost_tickets().await?;
                }
                () = over.begun() => return Err(End::Told(view::errors::not_leader_of(&self.brain))),
            }
        }
    }

    async fn take(&mut self, message: Result<Option<AgentMessage>, Status>) -> Result<(), End> {
        let Ok(Some(message)) = message else {
            return Err(End::Gone);
        };
        self.place.heard(self.brain.clock().now());
        match message.body {
            Some(agent_message::Body::Presence(presence)) => self.take_presence(presence),
            Some(agent_message::Body::Journal(journal)) => self.take_events(journal).await?,
            Some(agent_message::Body::Admitted(admitted)) => {
                let AttemptId { job, nonce, attempt } = self.own_attempt(admitted.attempt.as_ref())?;
                self.propose(Command::RecordAdmission { job, attempt, nonce })
                    .await?;
            }
            Some(agent_message::Body::AdmissionRefused(refused)) => {
                let id = self.own_attempt(refused.attempt.as_ref())?;
                if self.is_witness(id) {
                    let mut refusal = refused.error.unwrap_or_default();
                    refusal.text = events::text(refusal.text);
                    self.live.refuse(id.job, id.attempt, refusal);
                }
            }
            Some(agent_message::Body::Answer(answer)) => self.place.answer(answer).await,
            Some(agent_message::Body::Streams(seen)) => self.take_words(&seen).await?,
            Some(agent_message::Body::Fenced(fenced)) => {
                let AttemptId { job, nonce, attempt } =
                    AttemptId::of_message(fenced.attempt.as_ref()).map_err(|error| invalid(error.into()))?;
                let agent = self.agent.clone();
                self.propose(Command::RecordFence {
                    agent,
                    job,
                    nonce,
                    through: attempt,
                })
                .await?;
            }
            Some(agent_message::Body::Hello(_)) => {
                return Err(End::Told(Status::invalid_argument("a session has one hello")));
            }
            // A message of a newer version.
            None => {}
        }
        Ok(())
    }

    /// The second witness (C-08).
    async fn take_words(&mut self, seen: &StreamsSeen) -> Result<(), End> {
        let (words, attempts) = {
            let state = self.brain.read();
            let words = witness::words(&state, &self.agent, seen);
            (words, witness::closed(&state, seen))
        };
        self.place.report_words(words);
        match attempts.is_empty() {
            true => Ok(()),
            false => {
                self.send(primary_message::Body::Closed(AttemptsClosed { attempts }))
                    .await
            }
        }
    }

    /// An attempt of a job of this client.
    fn own_attempt(&self, attempt: Option<&AttemptRef>) -> Result<AttemptId, End> {
        let id = AttemptId::of_message(attempt).map_err(|error| invalid(error.into()))?;
        let state = self.brain.read();
        let is_own = state.job(id.job).is_some_and(|row| row.client == self.agent);
        is_own
            .then_some(id)
            .ok_or_else(|| End::Told(Status::permission_denied("that job is another client's")))
    }

    /// Whether it is for this agent to say how the attempt is doing: until its client has taken it up, for the client.
    fn is_witness(&self, id: AttemptId) -> bool {
        let state = self.brain.read();
        let job = state.job(id.job).filter(|row| row.running_id() == Some(id));
        let running = job.and_then(|job| Some((job, state.running_of(job)?)));
        running.is_some_and(|(job, running)| match running.client_admitted {
            true => running.media_agent == self.agent,
            false => job.client == self.agent,
        })
    }

    fn take_presence(&mut self, presence: Presence) {
        if let Some(sent_at) = &presence.sent_at {
            let ahead = self
                .clock
                .ahead(Timestamp::from(sent_at), self.brain.clock().now());
            self.place.report_clock(ahead);
        }
        self.place.report_storage(units::Seen {
            free: presence.free_bytes,
            total: presence.total_bytes,
            problem: events::text(presence.storage_problem),
        });
        for progress in presence.attempts {
            let Ok(id) = AttemptId::of_message(progress.attempt.as_ref()) else {
                continue;
            };
            if self.is_witness(id) {
                self.live.report(id.job, id.attempt, progress);
            }
        }
    }

    async fn take_events(&mut self, journal: JournalEvents) -> Result<(), End> {
        let journal_id = JournalId(journal.journal_id.clone());
        let sent_at = journal.sent_at.as_ref().map(Timestamp::from);
        let mut events: Vec<_> = journal
            .events
            .into_iter()
            .map(events::parse)
            .collect::<Result<_, _>>()
            .map_err(invalid)?;
        if let Some(sent_at) = sent_at {
            self.clock
                .set_right(&mut events, sent_at, self.brain.clock().now());
        }
        let command = Command::RecordEvents {
            agent: self.agent.clone(),
            journal_id,
            events,
        };
        // Only what is committed has a reply.
        let reply = self.propose(command).await?;
        let acknowledged = acknowledgement(reply).map_err(|refusal| {
            End::Told(match refusal {
                Some(refusal) => Status::failed_precondition(refusal.to_string()),
                None => Status::internal("the journal got another command's reply"),
            })
        })?;
        let ack = JournalAck {
            journal_id: journal.journal_id,
            sequence: acknowledged,
        };
        self.send(primary_message::Body::JournalAck(ack)).await
    }

    /// Who was removed is not (C-08a).
    fn is_welcome(&self) -> Result<(), End> {
        let is_removed = self.brain.read().removed(&self.agent).is_some();
        let name = self.agent.clone();
        match is_removed {
            false => Ok(()),
            true => Err(End::Told(view::errors::of_refusal(&Refusal::AgentRemoved {
                name,
            }))),
        }
    }

    /// Tells the agent what it has to know of settings, if that is something else than before.
    async fn send_settings(&mut self) -> Result<(), End> {
        let now = settings_of(&self.brain.read());
        if now == self.told {
            return Ok(());
        }
        self.told = now;
        self.send(primary_message::Body::Settings(now)).await
    }

    /// Sends what the state says is owed and was not sent in this session.
    async fn send_orders(&mut self) -> Result<(), End> {
        let orders: Vec<_> = {
            let state = self.brain.read();
            let due = self.said.due(&state, &self.agent).into_iter();
            due.filter_map(|order| {
                let body = key::order_message(&state, &order)?;
                Some((order, body))
            })
            .collect()
        };
        for (order, body) in orders {
            self.send(body).await?;
            if let Order::Admit { job, .. } = &order {
                let id = self.brain.read().job(*job).and_then(Job::running_id);
                self.known.extend(id);
            }
            self.said.say(order);
        }
        Ok(())
    }

    async fn send_lost_tickets(&mut self) -> Result<(), End> {
        let is_awaited = |id: AttemptId| {
            let report = self.live.of(id.job, id.attempt);
            report.is_some_and(|report| report.awaits_client)
        };
        let lost: Vec<_> = {
            let state = self.brain.read();
            let lost = lost_by(&state, &self.agent, &self.known, is_awaited);
            lost.into_iter()
                .filter_map(|(id, order)| Some((id, key::order_message(&state, &order)?)))
                .collect()
        };
        for (id, body) in lost {
            tracing::info!(attempt = %id, client = %self.agent, "the client has lost a ticket and gets it again");
            self.send(body).await?;
            self.known.insert(id);
        }
        Ok(())
    }

    async fn send_mark(&mut self) -> Result<(), End> {
        let (entries, mark) = {
            let state = self.brain.read();
            let entries = state.mark_of_now().map_or(0, |mark| mark.entries);
            let is_new = entries != self.marked;
            (entries, is_new.then(|| marks::of_now(&state)).flatten())
        };
        self.marked = entries;
        match mark {
            Some(mark) => self.send(primary_message::Body::Mark(mark)).await,
            None => Ok(()),
        }
    }

    /// Gives attempts that their clients refused to their media agent, which journals their end. Again and again, for it may not be here.
    async fn send_refusals(&mut self) -> Result<(), End> {
        let refused: Vec<_> = {
            let state = self.brain.read();
            let on_it = state.running_on(&self.agent);
            on_it
                .filter_map(|job| {
                    let id = job.running_id()?;
                    let is_media_agents = state.running_of(job)?.media_agent == self.agent;
                    let fault = is_media_agents.then(|| self.live.refusal(id.job, id.attempt))??;
                    Some((id, fault))
                })
                .collect()
        };
        for (id, fault) in refused {
            let order = StopAttempt {
                attempt: Some(id.to_ref()),
                fault: Some(fault),
                ..StopAttempt::default()
            };
            self.send(primary_message::Body::Stop(order)).await?;
        }
        Ok(())
    }

    async fn propose(&self, command: Command) -> Result<Reply, End> {
        self.brain
            .propose(command)
            .await
            .map_err(|error: BrainError| End::Told(view::errors::of_brain(&error)))
    }

    async fn send(&self, body: primary_message::Body) -> Result<(), End> {
        self.down
            .send(Ok(PrimaryMessage { body: Some(body) }))
            .await
            .map_err(|_| End::Gone)
    }
}

/// What agents are told of the settings in force.
pub(super) fn settings_of(state: &ClusterState) -> SettingsChanged {
    let settings = state.settings();
    SettingsChanged {
        reconnect_for_seconds: settings.reconnect_for.0,
        disruption_grace_seconds: settings.disruption_grace.0,
    }
}

fn invalid(error: outlast_proto::convert::InvalidField) -> End {
    let detail = outlast_proto::v1::ErrorDetail {
        field: error.field.to_owned(),
        ..Default::default()
    };
    End::Told(errors::status(
        tonic::Code::InvalidArgument,
        error.to_string(),
        &detail,
    ))
}
