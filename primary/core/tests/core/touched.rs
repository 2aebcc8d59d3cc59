//! B-10: an entry touches whom it concerns and nobody else. Nobody whose orders have changed is forgotten: looked at after every entry
//! of every test here.

use std::collections::BTreeSet;

use outlast_core::dispatch::{Presence, plan};
use outlast_core::orders::owed_to;
use outlast_core::recovery::{self, Clients};
use outlast_core::touched::{Rows, Touched};
use outlast_core::{ClusterState, Command, EventKind};
use outlast_proto::words::{AgentName, Attempt, ItemNumber, StartId, StatusCode, Timestamp};

use crate::world::{World, agent, backup, ended};

/// What those who are woken look at.
pub(crate) struct Seen {
    orders: Vec<(AgentName, String)>,
    plan: Vec<Command>,
    due: Vec<String>,
    members: String,
    settings: String,
}

/// What is due about which jobs, of any version of theirs.
fn due(state: &ClusterState, presence: &Presence) -> Vec<String> {
    let due = recovery::plan(state, presence, Clients { had_time: true }, Timestamp(i64::MAX));
    let said = due.commands.into_iter().map(|command| match command {
        Command::SettleLoss { job, verdict, .. } => format!("{job} {verdict:?}"),
        Command::BeginFollowUp { job, .. } => format!("{job} begins"),
        Command::EndFollowUp { job, .. } => format!("{job} ends"),
        other => panic!("{other:?}"),
    });
    said.collect()
}

impl Seen {
    pub(crate) fn of(state: &ClusterState) -> Self {
        let agents: Vec<_> = state.agents().map(|(name, _)| name.clone()).collect();
        let everybody = Presence {
            connected: agents.iter().map(|name| (name.clone(), None)).collect(),
            ..Presence::default()
        };
        let orders = agents.into_iter().map(|name| {
            let owed = format!("{:?}", owed_to(state, &name));
            (name, owed)
        });
        Self {
            orders: orders.collect(),
            plan: plan(state, &everybody),
            due: due(state, &everybody),
            members: format!("{:?}", state.members().collect::<Vec<_>>()),
            settings: format!("{:?} {:?}", state.settings(), state.cluster().map(|c| c.version)),
        }
    }

    /// Whatever is different now was touched.
    pub(crate) fn check(&self, now: &Self, touched: &Touched, entry: &dyn std::fmt::Debug) {
        for owed in &now.orders {
            let known = touched.agents.contains(&owed.0) || self.orders.contains(owed);
            assert!(known, "{} was not touched by {entry:?}", owed.0);
        }
        let touches = |rows: &[Rows]| rows.iter().any(|rows| touched.rows.contains(rows));
        let dispatching = [Rows::Queue, Rows::Agents, Rows::Settings];
        assert!(self.plan == now.plan || touches(&dispatching), "{entry:?}");
        let waking = [Rows::FollowUps, Rows::Queue, Rows::Agents, Rows::Settings];
        assert!(self.due == now.due || touches(&waking), "{entry:?}");
        assert!(
            self.members == now.members || touches(&[Rows::Members]),
            "{entry:?}"
        );
        assert!(
            self.settings == now.settings || touches(&[Rows::Settings]),
            "{entry:?}"
        );
    }
}

#[test]
fn b10_an_entry_touches_whom_it_concerns_and_nobody_else() {
    let mut world = World::new();
    world.register_client("third");
    let last = |world: &mut World, what: &str, rows: &[Rows], agents: &[&str]| {
        let touched = std::mem::take(&mut world.touched);
        assert_eq!(
            touched.rows,
            rows.iter().copied().collect::<BTreeSet<_>>(),
            "{what}"
        );
        let agents: BTreeSet<_> = agents.iter().map(|name| agent(name)).collect();
        assert_eq!(touched.agents, agents, "{what}");
    };
    last(&mut world, "a client has come", &[Rows::Agents], &["third"]);
    world.apply(backup("home"));
    let job = outlast_proto::words::JobId(1);
    last(&mut world, "a job waits", &[Rows::Queue, Rows::Jobs], &[]);
    world.dispatch();
    let pair = ["media-1", "local"];
    last(&mut world, "it was dispatched", &[Rows::Queue, Rows::Jobs], &pair);
    world.admit(job, Attempt(1));
    last(&mut world, "it was admitted", &[Rows::Jobs], &pair);
    let media = agent("media-1");
    let marked = EventKind::Marked {
        resilient: true,
        client_start_id: StartId("start".into()),
    };
    world.event(&media, job, Attempt(1), marked);
    last(&mut world, "it was marked", &[Rows::Jobs], &pair);
    let item = ItemNumber(0);
    world.event(&media, job, Attempt(1), EventKind::ItemStarted { item });
    last(&mut world, "its item was begun", &[Rows::Jobs], &pair);
    world.register_media("media-1", "journal-1");
    last(&mut world, "its media agent came again", &[Rows::Agents], &pair);
    world.event(&media, job, Attempt(1), ended(StatusCode::STORAGE_WRITE_ERROR));
    last(&mut world, "it has ended", &[Rows::Queue, Rows::Jobs], &pair);
    world.event(&media, job, Attempt(1), ended(StatusCode::STORAGE_WRITE_ERROR));
    last(&mut world, "it is said again", &[], &[]);
}
