//! One session from welcome to end.
//!
//! See the module's head. Run by the kit's `session::hold`, which opens the next when this returns.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::session::Session;
use outlast_kit::shutdown::Shutdown;
use outlast_media_core::session::{Opening, Recorded, open};
use outlast_proto::v1::{AgentKind, AgentMessage, Hello, Presence, SettingsChanged, Welcome, agent_message};
use tokio::sync::{mpsc, watch};

use super::{delivery, orders};
use crate::attempts::AttemptManager;
use crate::cluster::WaitingTimes;
use crate::contact::Contact;
use crate::context::Context;

const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// Between two tries to journal what a primary's version means.
const MEET_AGAIN: Duration = Duration::from_secs(1);
const DEFAULT_STATUS_UPDATES: Duration = Duration::from_secs(2);

/// What a session needs; cloned into each.
#[derive(Clone)]
pub(crate) struct SessionServer {
    pub(crate) context: Context,
    pub(crate) manager: AttemptManager,
    pub(crate) contact: Arc<watch::Sender<Contact>>,
    /// What does not change from hello to hello.
    pub(crate) hello: Hello,
    /// Begins when the last events have had their chance.
    pub(crate) end: Shutdown,
}

impl SessionServer {
    /// The first message of a session.
    pub(crate) fn hello(&self) -> Hello {
        let journal = self.context.journal.status();
        let mut hello = Hello {
            kind: AgentKind::MediaAgent.into(),
            start_id: self.context.start_id.clone(),
            running: self.manager.running().iter().map(|r| r.id.to_ref()).collect(),
            journal_id: journal.journal.0,
            journal_first: journal.acknowledged + 1,
            journal_last: journal.last,
            repository_id: self.context.unit.repository_id().unwrap_or_default(),
            sent_at: Some(self.context.clock.now().into()),
            ..self.hello.clone()
        };
        self.context.recollection.say(&mut hello);
        hello
    }

    /// Serves until the session ends.
    pub(crate) async fn serve(self, session: Session) {
        let cluster = &self.context.verifier.cluster;
        if let Err(error) = cluster.learn(&session.welcome) {
            tracing::error!(%error, "this session is not used");
            return self.pause().await;
        }
        if let Some(mark) = session.welcome.mark.clone() {
            self.context.remember(move |known| known.take_mark(&mark)).await;
        }
        let met = self.meet(&session.welcome).await;
        self.contact.send_modify(|contact| {
            contact.lost_at = None;
            contact.take(cluster.waiting_times());
        });
        tokio::select! {
            () = self.exchange(session) => {}
            never = self.meet_later(met) => match never {},
        }
        let now = self.context.clock.monotonic();
        self.contact.send_modify(|contact| contact.lost_at = Some(now));
        if !self.end.has_begun() {
            self.tell_what_goes_on().await;
        }
    }

    /// A primary has said that settings have changed: for attempts that run, too.
    pub(super) fn take_settings(&self, settings: &SettingsChanged) {
        let cluster = &self.context.verifier.cluster;
        if let Err(error) = cluster.take(settings) {
            tracing::error!(%error, "settings have changed, and after a restart those of before will count until a primary answers");
        }
        self.contact
            .send_modify(|contact| contact.take(WaitingTimes::of(settings)));
        let SettingsChanged {
            reconnect_for_seconds,
            disruption_grace_seconds,
        } = settings;
        tracing::info!(
            reconnect_for_seconds,
            disruption_grace_seconds,
            "settings of the cluster have changed"
        );
    }

    /// For whoever reads the log in an outage: what becomes of running attempts.
    async fn tell_what_goes_on(&self) {
        let running = self.manager.running();
        let mut resilient = 0;
        for attempt in &running {
            let is_resilient = self.context.journal.is_resilient(attempt.id).await;
            resilient += usize::from(matches!(is_resilient, Ok(true)));
        }
        if !running.is_empty() {
            let grace_seconds = self.contact.borrow().grace.as_secs();
            tracing::info!(
                resilient,
                others = running.len() - resilient,
                grace_seconds,
                "without a primary resilient attempts go on and the journal keeps what happens; others end after the grace"
            );
        }
    }

    /// Attempts that are open and were marked under a version that is not compatible lose their mark. False: that could not be
    /// written down.
    async fn meet(&self, welcome: &Welcome) -> bool {
        if welcome.primary_version.is_empty() {
            return true;
        }
        let version: Arc<str> = welcome.primary_version.as_str().into();
        self.contact
            .send_modify(|contact| contact.primary_version = Some(version));
        let met = self.context.meet_primary().await;
        if let Err(error) = &met {
            tracing::error!(%error, "it cannot be journalled that attempts are not resilient any more; trying on");
        }
        met.is_ok()
    }

    /// While the journal's disk is full the session is needed all the more: what is acknowledged can go.
    async fn meet_later(&self, mut met: bool) -> Infallible {
        while !met {
            tokio::time::sleep(MEET_AGAIN).await;
            met = self.context.meet_primary().await.is_ok();
            // Attempts look whether they still have their mark.
            self.contact.send_modify(|_| {});
        }
        std::future::pending().await
    }

    async fn exchange(&self, session: Session) {
        let Session { welcome, up, down } = session;
        let journal = &self.context.journal;
        let status = journal.status();
        let recorded = Recorded {
            acknowledged: welcome.journal_acknowledged,
            writer: welcome.journal_writer,
            begin_new: welcome.begin_new_journal,
        };
        let delivery = match open(&status, recorded) {
            Opening::Deliver(delivery) => delivery,
            Opening::BeginNew => {
                // Hello of the next session names the new journal.
                self.begin_new_journal().await;
                return;
            }
        };
        journal.acknowledge(status.journal, recorded.acknowledged).await;
        tokio::select! {
            () = delivery::deliver(journal, &self.context.clock, delivery, &up) => {}
            () = self.presence(&welcome, &up) => {}
            () = orders::follow(self, down, &up) => {}
            () = self.end.begun() => {}
        }
    }

    /// What the primary has of this journal is more than we have: its disk was set back.
    async fn begin_new_journal(&self) {
        tracing::warn!(
            "the primary knows another history of this journal; a new one begins and running attempts end"
        );
        if let Err(error) = self.context.journal.begin_new().await {
            tracing::error!(%error, "a new journal could not be begun");
            return self.pause().await;
        }
        self.manager
            .interrupt_all("the media agent's journal was set back and a new one was begun")
            .await;
    }

    /// Before the next session, which will most likely come to the same.
    async fn pause(&self) {
        tokio::select! {
            () = tokio::time::sleep(AFTER_FAILURE) => {}
            () = self.end.begun() => {}
        }
    }

    async fn presence(&self, welcome: &Welcome, up: &mpsc::Sender<AgentMessage>) {
        let every = match welcome.status_updates_ms {
            0 => DEFAULT_STATUS_UPDATES,
            ms => Duration::from_millis(ms),
        };
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Whoever has come back, this primary or its storage unit: what is said from now on is of now.
        let unit = Arc::clone(&self.context.unit);
        let look = tokio::task::spawn_blocking(move || drop(unit.repository()));
        let _ = tokio::time::timeout(Duration::from_secs(1), look).await;
        loop {
            ticks.tick().await;
            let unit = Arc::clone(&self.context.unit);
            // A file system that is away may not answer for minutes; presence must not wait for it.
            let asked = tokio::task::spawn_blocking(move || unit.room());
            let room = match tokio::time::timeout(Duration::from_secs(1), asked).await {
                Ok(Ok(room)) => room,
                _ => None,
            };
            let now = self.context.clock.monotonic();
            let running = self.manager.running();
            let attempts = running.iter().map(|r| r.progress.report(r.id, now)).collect();
            let presence = agent_message::Body::Presence(Presence {
                attempts,
                free_bytes: room.map(|(free, _)| free),
                total_bytes: room.map(|(_, total)| total),
                storage_problem: self.context.unit.problem().unwrap_or_default(),
                sent_at: Some(self.context.clock.now().into()),
            });
            if up.send(AgentMessage { body: Some(presence) }).await.is_err() {
                return;
            }
        }
    }
}
