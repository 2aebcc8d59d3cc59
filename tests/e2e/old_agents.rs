//! Agents whose programs are of before jobs had nonces (S-12b): they are welcome, get no jobs, and an alarm names them until
//! their program is a newer one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outlast_kit::leader::Primaries;
use outlast_kit::session::{Session, hold};
use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::primary_message::Body;
use outlast_proto::v1::{AgentKind, Hello};
use serde_json::{Value, json};

use crate::cluster::{Cluster, wait_until};
use crate::hostile::{credentials, primaries};

/// An older program under the certificate of one of the agents. Counts the orders it gets.
struct Old {
    orders: Arc<AtomicU64>,
    held: tokio::task::JoinHandle<()>,
}

impl Old {
    fn of(cluster: &Cluster, child: &str, kind: AgentKind) -> Self {
        let primaries = Primaries::new(credentials(cluster, child), &primaries(cluster)).unwrap();
        let hello = move || Hello {
            kind: kind.into(),
            start_id: "of before".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            host_id: "elsewhere".into(),
            carries_nonces: false,
            journal_id: "of before".into(),
            journal_first: 1,
            pool: "default".into(),
            storage_unit: "storage".into(),
            data_addresses: vec!["127.0.0.1:9".into()],
            ..Hello::default()
        };
        let orders = Arc::new(AtomicU64::new(0));
        let counted = orders.clone();
        let serve = move |session| count_orders(session, counted.clone());
        let held = hold(Arc::new(primaries), Shutdown::new(), hello, serve);
        Self {
            held: tokio::spawn(held),
            orders,
        }
    }

    /// Ends it; how many orders it got.
    async fn end(self) -> u64 {
        self.held.abort();
        assert!(self.held.await.unwrap_err().is_cancelled());
        self.orders.load(Ordering::SeqCst)
    }
}

async fn count_orders(mut session: Session, orders: Arc<AtomicU64>) {
    while let Ok(Some(message)) = session.down.message().await {
        if matches!(message.body, Some(Body::Admit(_) | Body::Start(_))) {
            orders.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn named_in_alarms(cluster: &Cluster) -> Vec<Value> {
    let status = cluster.json(&["cluster", "status"]);
    let alarms = status["alarms"].as_array().unwrap();
    let old = alarms.iter().filter(|alarm| alarm["kind"] == "old_agent");
    old.map(|alarm| alarm["said_by"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_s12b_agents_of_before_there_were_nonces_get_no_jobs_and_an_alarm() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), "content").unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    cluster.run_job("home", 0);
    for (gone, child, agent, kind) in [
        (&["client-1"][..], "client-1", "local", AgentKind::ClientAgent),
        (
            &["media-1", "media-2"][..],
            "media-1",
            "media-1",
            AgentKind::MediaAgent,
        ),
    ] {
        cluster.kill(gone);
        let old = Old::of(&cluster, child, kind);
        wait_until("the alarm", || named_in_alarms(&cluster) == [json!([agent])]);
        let said = cluster.run(&["cluster", "status"]).stdout;
        assert!(said.contains(&format!("agent {agent} is too old")), "{said}");
        let job = cluster.json(&["job", "run", "home"]);
        let id = job["id"].as_str().unwrap();
        wait_until("the job to wait", || {
            cluster.json(&["job", "show", id])["state"] == "queued"
        });
        // T-08: why, for whom, and what to do.
        let waiting = cluster.json(&["job", "show", id])["waiting"].clone();
        let reason = waiting["reason"].as_str().unwrap();
        for part in [agent, "too old for this group", "install the primary's version"] {
            assert!(reason.contains(part), "{waiting:#}");
        }
        // A change of a setting has the dispatcher look again.
        cluster.run(&["cluster", "set", "--disruption-grace", "21s"]);
        assert_eq!(named_in_alarms(&cluster), [json!([agent])]);
        assert_eq!(cluster.json(&["job", "show", id])["state"], "queued");
        assert_eq!(old.end().await, 0, "{agent}");

        gone.iter().for_each(|name| cluster.restart(name));
        let ended = cluster.try_run(&["-o", "json", "job", "watch", id]).json();
        assert_eq!(ended["status"], "successful", "{ended:#}");
        assert_eq!(ended["attempts"].as_array().unwrap().len(), 1, "{ended:#}");
        assert_eq!(named_in_alarms(&cluster), Vec::<Value>::new());
    }
    cluster.check_repository();
}
