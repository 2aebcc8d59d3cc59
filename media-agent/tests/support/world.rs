//! Certificates, folders, a primary and media agents of one small cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use outlast_kit::authority::Authority;
use outlast_kit::identity::{Identity, Kind};
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tls::{Credentials, TlsFiles};
use outlast_media_agent::{Agent, Config, RunError, StorageConfig, Timing};
use outlast_proto::v1::{
    AttemptRef, JobKind, Policy, RestoreOrder, SignedTicket, StreamHello, Ticket, TicketItem,
};
use prost::Message as _;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use tokio::task::JoinHandle;

use super::primary::Primary;

pub const PASSWORD: &str = "a password of the tests";
pub const CLUSTER: &str = "test-cluster";
/// Of every job.
pub const NONCE: u64 = 0xc0_ffee;

pub struct World {
    pub dir: tempfile::TempDir,
    authority: Authority,
    key: Ed25519KeyPair,
    pub primary: Primary,
}

/// A media agent that is running.
pub struct RunningAgent {
    pub address: String,
    shutdown: Shutdown,
    ended: JoinHandle<()>,
}

impl RunningAgent {
    /// As SIGTERM.
    pub async fn stop(self) {
        self.shutdown.begin();
        self.ended.await.unwrap();
    }

    /// Waits for the end that it gives itself.
    pub async fn ends_by_itself(self) {
        tokio::time::timeout(PATIENCE, self.ended).await.unwrap().unwrap();
    }
}

impl World {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (authority, ca) = Authority::create().unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.cert).unwrap();
        let password = dir.path().join("password");
        std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
        std::process::Command::new("chmod")
            .arg("600")
            .arg(&password)
            .status()
            .unwrap();
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let files = issue(dir.path(), &authority, Kind::Primary, "primary-1");
        let primary = Primary::start(&Credentials::load(&files).unwrap(), key.public_key().as_ref()).await;
        Self {
            dir,
            authority,
            key,
            primary,
        }
    }

    pub fn storage(&self) -> PathBuf {
        self.dir.path().join("storage")
    }

    pub fn credentials(&self, kind: Kind, name: &str) -> Credentials {
        Credentials::load(&issue(self.dir.path(), &self.authority, kind, name)).unwrap()
    }

    pub fn config(&self, name: &str) -> Config {
        Config {
            name: name.parse().unwrap(),
            data_dir: self.dir.path().join(format!("data-{name}")),
            listen: "127.0.0.1:0".parse().unwrap(),
            advertise: vec![],
            local_socket: true,
            host_id: None,
            fibre_transport: false,
            reported_version: None,
            primaries: vec![self.primary.address.clone()],
            pool: "default".parse().unwrap(),
            tls: issue(self.dir.path(), &self.authority, Kind::MediaAgent, name),
            storage: StorageConfig {
                unit: "unit-1".parse().unwrap(),
                path: self.storage(),
                password_file: self.dir.path().join("password"),
                share_chunks: false,
            },
        }
    }

    /// Starts media agent `name` and waits until the primary has met it.
    pub async fn agent(&self, name: &str) -> RunningAgent {
        self.agent_with(name, Timing::default()).await
    }

    pub async fn agent_with(&self, name: &str, timing: Timing) -> RunningAgent {
        self.agent_of(self.config(name), timing).await
    }

    pub async fn agent_of(&self, config: Config, timing: Timing) -> RunningAgent {
        let met = self.primary.sessions();
        let agent = Self::start(config, timing).await.unwrap();
        self.primary
            .wait_for("a session", |_| self.primary.sessions() > met)
            .await;
        agent
    }

    pub async fn try_agent(&self, name: &str, timing: Timing) -> Result<RunningAgent, RunError> {
        Self::start(self.config(name), timing).await
    }

    async fn start(config: Config, timing: Timing) -> Result<RunningAgent, RunError> {
        let shutdown = Shutdown::new();
        let agent: Agent = outlast_media_agent::start_with(config, shutdown.clone(), timing).await?;
        Ok(RunningAgent {
            address: agent.address().to_string(),
            shutdown,
            ended: tokio::spawn(agent.wait()),
        })
    }

    /// A ticket for a backup by media-1 of client laptop.
    pub fn ticket(&self, job: u64, attempt: u32, items: &[&Path]) -> Ticket {
        Ticket {
            cluster_id: CLUSTER.into(),
            attempt: Some(AttemptRef {
                job: job.to_string(),
                attempt,
                nonce: NONCE,
            }),
            client: "laptop".into(),
            media_agent: "media-1".into(),
            storage_unit: "unit-1".into(),
            kind: JobKind::Backup.into(),
            resilient: true,
            expires_at: Some(in_seconds(3600)),
            policy: Some(Policy {
                name: "home".into(),
                ..Policy::default()
            }),
            full: false,
            items: items
                .iter()
                .map(|path| TicketItem {
                    path: path.to_str().unwrap().into(),
                    ..TicketItem::default()
                })
                .collect(),
            restore: None,
            primary_version: String::new(),
            journal_id: String::new(),
            begun_at: None,
            surveys: false,
            decides_losses: false,
        }
    }

    pub fn restore_ticket(&self, job: u64, snapshot: &[u8], paths: &[&str]) -> Ticket {
        Ticket {
            kind: JobKind::Restore.into(),
            restore: Some(RestoreOrder {
                snapshot: snapshot.to_vec().into(),
                paths: paths.iter().map(|p| (*p).to_owned()).collect(),
                to: "/tmp".into(),
                overwrite: 0,
                content: None,
            }),
            ..self.ticket(job, 1, &[])
        }
    }

    pub fn sign(&self, ticket: &Ticket) -> SignedTicket {
        let ticket = ticket.encode_to_vec();
        SignedTicket {
            signature: self.key.sign(&ticket).as_ref().to_vec().into(),
            ticket: ticket.into(),
        }
    }

    pub fn hello(&self, ticket: &Ticket) -> StreamHello {
        StreamHello {
            ticket: Some(self.sign(ticket)),
            start_id: "client-start-1".into(),
            ..StreamHello::default()
        }
    }
}

pub fn in_seconds(seconds: i64) -> prost_types::Timestamp {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    prost_types::Timestamp {
        seconds: i64::try_from(now.as_secs()).unwrap() + seconds,
        nanos: 0,
    }
}

/// Generous: a test that hits it is broken or the machine is.
pub const PATIENCE: Duration = Duration::from_secs(120);

fn issue(dir: &Path, authority: &Authority, kind: Kind, name: &str) -> TlsFiles {
    let pem = authority
        .issue(&Identity {
            kind,
            name: name.into(),
        })
        .unwrap();
    let file = |end: &str| dir.join(format!("{}-{name}.{end}", kind.word()));
    std::fs::write(file("pem"), pem.cert).unwrap();
    std::fs::write(file("key"), pem.key).unwrap();
    TlsFiles {
        ca: dir.join("ca.pem"),
        cert: file("pem"),
        key: file("key"),
    }
}
