//! A brain with two media agents, two clients and a policy, and short words for driving it.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use outlast_core::dispatch::{Presence, plan, why_waiting};
use outlast_core::entry::MediaHello;
use outlast_core::invariants::violations;
use outlast_core::rows::{ItemRow, OpenAttempt};
use outlast_core::touched::Touched;
use outlast_core::{AgentHello, ClusterState, Command, Entry, EventKind, JournalEvent, Reply};
use outlast_proto::words::{
    AgentKind, AgentName, Attempt, Counters, ItemNumber, ItemOutcome, JobId, JobNonce, JobState, JournalId,
    Policy, RequestId, SnapshotId, StartId, StatusCode, Timestamp, TreeId,
};

use crate::touched::Seen;

pub(crate) const MEDIA: [&str; 2] = ["media-1", "media-2"];
pub(crate) const CLIENTS: [&str; 2] = ["local", "other"];

pub(crate) struct World {
    pub(crate) state: ClusterState,
    pub(crate) presence: Presence,
    /// Last sequence of each media agent's journal.
    pub(crate) sequences: std::collections::BTreeMap<AgentName, u64>,
    pub(crate) now: i64,
    /// By the last entry.
    pub(crate) touched: Touched,
}

impl World {
    /// Everything registered and connected; policy `home` of client `local` with two items.
    pub(crate) fn new() -> Self {
        let mut world = Self::empty();
        world.populate();
        world
    }

    fn populate(&mut self) {
        for name in MEDIA {
            self.register_media(name, "journal-1");
        }
        for name in CLIENTS {
            self.register_client(name);
        }
        self.apply(Command::ApplyPolicy {
            policy: policy("home", &["/home", "/etc"]),
        });
    }

    pub(crate) fn empty() -> Self {
        Self::of_version(outlast_core::CLUSTER_VERSION)
    }

    /// Without agents and policies, in this cluster version.
    fn of_version(version: u32) -> Self {
        let mut world = Self {
            state: ClusterState::default(),
            presence: Presence::default(),
            sequences: Default::default(),
            now: 1_000_000,
            touched: Touched::default(),
        };
        world.apply(Command::FoundCluster {
            cluster_id: "cluster".into(),
            ticket_key: vec![1, 2, 3],
            timing: outlast_proto::words::Timing::Lan,
            version,
        });
        world
    }

    /// All of whose members speak this version.
    pub(crate) fn speaking(version: u32) -> Self {
        let mut world = Self::of_version(version);
        world.populate();
        world
    }

    /// As a program of before would have founded it.
    pub(crate) fn of_before() -> Self {
        let mut world = Self {
            state: ClusterState::default(),
            ..Self::empty()
        };
        world.apply(Command::EstablishCluster {
            cluster_id: "cluster".into(),
            ticket_key: vec![1, 2, 3],
            timing: outlast_proto::words::Timing::Lan,
        });
        world.populate();
        world
    }

    pub(crate) fn register_media(&mut self, name: &str, journal: &str) -> Reply {
        self.register_media_with(name, journal, |_| {})
    }

    pub(crate) fn register_media_with(
        &mut self,
        name: &str,
        journal: &str,
        change: impl FnOnce(&mut AgentHello),
    ) -> Reply {
        self.presence.connected.insert(agent(name), None);
        let mut hello = AgentHello {
            name: agent(name),
            kind: AgentKind::MediaAgent,
            start_id: StartId(format!("start of {name} with {journal}")),
            version: "0.1.0".into(),
            host_id: format!("host of {name}"),
            fibre_transport: false,
            speaks: 1,
            media: Some(MediaHello {
                journal_id: JournalId(journal.into()),
                pool: "default".parse().unwrap(),
                storage_unit: "storage".parse().unwrap(),
                repository_id: Some("repository".into()),
                data_addresses: vec!["127.0.0.1:1".into()],
            }),
        };
        change(&mut hello);
        self.apply(Command::RegisterAgent { hello })
    }

    pub(crate) fn register_client(&mut self, name: &str) -> Reply {
        self.register_client_as(name, &format!("start of {name}"))
    }

    /// A process of the client that has this start id.
    pub(crate) fn register_client_as(&mut self, name: &str, start: &str) -> Reply {
        self.presence.connected.insert(agent(name), None);
        let hello = AgentHello {
            name: agent(name),
            kind: AgentKind::ClientAgent,
            start_id: StartId(start.into()),
            version: "0.1.0".into(),
            host_id: format!("host of {name}"),
            fibre_transport: false,
            speaks: 1,
            media: None,
        };
        self.apply(Command::RegisterAgent { hello })
    }

    pub(crate) fn apply(&mut self, command: Command) -> Reply {
        self.apply_as(None, command)
    }

    /// Applies with a request id; after every entry the whole state must be sound.
    pub(crate) fn apply_as(&mut self, request: Option<&str>, command: Command) -> Reply {
        self.now += 1_000_000;
        let request_id = request.map(|id| RequestId(id.into()));
        let entry = Entry {
            at: Timestamp(self.now),
            by: "primary-1".into(),
            request_id,
            asked_by: None,
            command,
        };
        // What goes through the log is what is applied.
        let entry = Entry::decode(&entry.encode()).unwrap();
        let before = Seen::of(&self.state);
        let reply = self.state.apply(&entry);
        assert_eq!(violations(&self.state), [], "after {entry:?}");
        self.touched = self.state.take_touched();
        before.check(&Seen::of(&self.state), &self.touched, &entry);
        reply
    }

    pub(crate) fn submit(&mut self) -> JobId {
        match self.apply(backup("home")) {
            Reply::Submitted { jobs } => jobs[0],
            reply => panic!("{reply:?}"),
        }
    }

    /// Dispatches what can be dispatched; how many.
    pub(crate) fn dispatch(&mut self) -> usize {
        let commands = plan(&self.state, &self.presence);
        let planned = commands.iter().map(|command| match command {
            Command::DispatchJob { job, .. } => *job,
            other => panic!("{other:?}"),
        });
        assert_eq!(
            planned.collect::<Vec<_>>(),
            one_by_one(&self.state, &self.presence)
        );
        let count = commands.len();
        for command in commands {
            assert_eq!(self.apply(command), Reply::Done);
        }
        count
    }

    /// A job with its attempt under way and admitted.
    pub(crate) fn running_job(&mut self) -> (JobId, Attempt, AgentName) {
        let job = self.submit();
        self.dispatch();
        let (attempt, media) = self.running(job);
        self.admit(job, attempt);
        self.event(&media, job, attempt, marked());
        (job, attempt, media)
    }

    pub(crate) fn running(&self, job: JobId) -> (Attempt, AgentName) {
        let running = self.open(job);
        (running.attempt, running.media_agent.clone())
    }

    /// The attempt under way.
    pub(crate) fn open(&self, job: JobId) -> &OpenAttempt {
        self.state.running_of(self.state.job(job).unwrap()).unwrap()
    }

    pub(crate) fn item(&self, job: JobId, number: u32) -> &ItemRow {
        self.state.item(job, ItemNumber(number)).unwrap()
    }

    pub(crate) fn admit(&mut self, job: JobId, attempt: Attempt) -> Reply {
        let nonce = self.nonce(job);
        self.apply(Command::RecordAdmission { job, attempt, nonce })
    }

    /// That of the job; none if there is no such job.
    pub(crate) fn nonce(&self, job: JobId) -> JobNonce {
        self.state.job(job).map_or(JobNonce::NONE, |job| job.nonce)
    }

    /// The next event of a media agent's journal.
    pub(crate) fn event(
        &mut self,
        media: &AgentName,
        job: JobId,
        attempt: Attempt,
        what: EventKind,
    ) -> Reply {
        let nonce = self.nonce(job);
        let sequence = self.sequences.entry(media.clone()).or_default();
        *sequence += 1;
        let event = JournalEvent {
            sequence: *sequence,
            at: Timestamp(5),
            job,
            attempt,
            nonce,
            what,
            writer: 7,
        };
        let journal_id = self
            .state
            .agent(media)
            .unwrap()
            .media
            .as_ref()
            .unwrap()
            .journal
            .id
            .clone();
        self.apply(Command::RecordEvents {
            agent: media.clone(),
            journal_id,
            events: vec![event],
        })
    }

    /// The items' events and the end, as a media agent journals them.
    pub(crate) fn finish(&mut self, job: JobId, outcomes: &[ItemOutcome], code: StatusCode) {
        let (attempt, media) = self.running(job);
        for (number, outcome) in outcomes.iter().enumerate() {
            let item = ItemNumber(number as u32);
            if *outcome != ItemOutcome::NotStarted {
                self.event(&media, job, attempt, EventKind::ItemStarted { item });
                self.event(&media, job, attempt, item_ended(job, item, *outcome));
            }
        }
        self.event(&media, job, attempt, ended(code));
    }
}

/// The jobs that can start, as those see it that look at all that wait.
fn one_by_one(state: &ClusterState, presence: &Presence) -> Vec<JobId> {
    let waiting = state
        .jobs_before(None)
        .filter(|job| job.state == JobState::Queued);
    let mut waiting: Vec<_> = waiting.collect();
    waiting.sort_by_key(|job| (Reverse(job.priority), job.created_at, job.id));
    let mut clients = BTreeSet::new();
    let can_start = waiting
        .into_iter()
        .filter(|job| why_waiting(state, presence, job).is_none() && clients.insert(job.client.clone()));
    can_start.map(|job| job.id).collect()
}

pub(crate) fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

pub(crate) fn policy(name: &str, items: &[&str]) -> Policy {
    let items = items.iter().map(|item| (*item).to_owned()).collect();
    Policy::with_defaults(
        name.parse().unwrap(),
        vec![agent("local")],
        items,
        "default".parse().unwrap(),
    )
}

pub(crate) fn backup(policy: &str) -> Command {
    Command::SubmitBackup {
        policy: policy.parse().unwrap(),
        client: None,
        full: false,
        nonce: JobNonce(0xfeed),
    }
}

pub(crate) fn marked() -> EventKind {
    EventKind::Marked {
        resilient: false,
        client_start_id: StartId("start".into()),
    }
}

pub(crate) fn ended(code: StatusCode) -> EventKind {
    let text = if code.0 > 1 {
        format!("cause of {code}")
    } else {
        String::new()
    };
    EventKind::Ended {
        code,
        text,
        counters: Counters {
            bytes: 10,
            ..Counters::default()
        },
        stopped: None,
        storage: None,
    }
}

pub(crate) fn item_ended(job: JobId, item: ItemNumber, outcome: ItemOutcome) -> EventKind {
    let snapshot = outcome
        .is_finished()
        .then(|| (snapshot(job, item, 0), Timestamp(7)));
    let error = (outcome == ItemOutcome::Failed).then(|| outlast_core::JobError {
        code: StatusCode::NO_SUCH_PATH,
        text: "gone".into(),
    });
    let counters = Counters {
        files: 3,
        bytes: 5,
        ..Counters::default()
    };
    EventKind::ItemEnded {
        item,
        outcome,
        counters,
        snapshot,
        error,
        adopted: false,
        tree: snapshot.map(|_| TreeId([7; 32])),
    }
}

/// A snapshot id that is the same for the same arguments.
pub(crate) fn snapshot(job: JobId, item: ItemNumber, salt: u8) -> SnapshotId {
    let mut id = [salt; 32];
    id[..8].copy_from_slice(&job.0.to_be_bytes());
    id[8..12].copy_from_slice(&item.0.to_be_bytes());
    SnapshotId(id)
}
