//! Who is in a `dev` cluster and at which ports. Made once; the same folder goes on with the same.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use serde::{Deserialize, Serialize};

use super::error::DevError;
use super::layout::Layout;
use crate::cli::DevStart;

/// Between the first primary's port and the first media agent's.
const MEDIA_PORTS: u16 = 10;

/// What a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// A node of the primary.
    Primary,
    /// A media agent.
    MediaAgent,
    /// A client agent.
    ClientAgent,
}

impl Role {
    /// The daemon's command.
    pub(crate) const fn command(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::MediaAgent => "media-agent",
            Role::ClientAgent => "client-agent",
        }
    }
}

/// One process of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Member {
    /// Of its pid file, log and configuration.
    pub(crate) child: String,
    /// As the cluster knows it.
    pub(crate) name: String,
    /// What it is.
    pub(crate) role: Role,
    /// Where it listens; none: nowhere.
    #[serde(default)]
    pub(crate) address: Option<SocketAddr>,
}

/// All processes of the cluster, in the order they are started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    pub(crate) members: Vec<Member>,
}

impl Plan {
    /// The folder's plan, or a new one as the options say.
    pub(crate) fn load_or_make(layout: &Layout, options: &DevStart) -> Result<Self, DevError> {
        if let Some(plan) = Self::load(layout)? {
            let counts = (plan.of(Role::Primary).count(), plan.of(Role::MediaAgent).count());
            let same = |given: Option<u32>, there: usize| given.is_none_or(|given| given as usize == there);
            if !same(options.primaries, counts.0) || !same(options.media_agents, counts.1) {
                return Err(DevError::OtherCluster {
                    data_dir: layout.root().to_owned(),
                    primaries: counts.0,
                    media_agents: counts.1,
                });
            }
            return Ok(plan);
        }
        refuse_foreign_folder(layout)?;
        let primaries = options.primaries.unwrap_or(3);
        if ![1, 3, 5].contains(&primaries) {
            return Err(DevError::Primaries(primaries));
        }
        let media_agents = options.media_agents.unwrap_or(2);
        if !(1..=9).contains(&media_agents) {
            return Err(DevError::MediaAgents(media_agents));
        }
        let plan = Self::make(primaries, media_agents, options.port)?;
        layout.create()?;
        let text = toml::to_string_pretty(&plan).expect("a plan is plain data");
        let path = layout.plan();
        outlast_kit::files::write_durably(&path, text.as_bytes(), 0o644)
            .map_err(DevError::io("cannot write", path))?;
        Ok(plan)
    }

    /// The folder's plan, if it has one.
    pub(crate) fn load(layout: &Layout) -> Result<Option<Self>, DevError> {
        let path = layout.plan();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(outlast_kit::config::parse_toml(
                &path.display().to_string(),
                &text,
            )?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DevError::io("cannot read", path)(error)),
        }
    }

    /// Members of one role.
    pub(crate) fn of(&self, role: Role) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.role == role)
    }

    fn make(primaries: u32, media_agents: u32, port: u16) -> Result<Self, DevError> {
        let mut ports = Ports::new(port);
        let mut members = Vec::new();
        for number in 1..=primaries {
            let name = format!("primary-{number}");
            let address = Some(ports.take((number - 1) as u16)?);
            members.push(Member {
                child: name.clone(),
                name,
                role: Role::Primary,
                address,
            });
        }
        for number in 1..=media_agents {
            let name = format!("media-{number}");
            let address = Some(ports.take(MEDIA_PORTS + (number - 1) as u16)?);
            members.push(Member {
                child: name.clone(),
                name,
                role: Role::MediaAgent,
                address,
            });
        }
        let (child, name) = ("client-1".to_owned(), "local".to_owned());
        members.push(Member {
            child,
            name,
            role: Role::ClientAgent,
            address: None,
        });
        Ok(Self { members })
    }
}

/// A folder with other things in it is somebody else's; only the storage may be there first, as a mount of its own.
fn refuse_foreign_folder(layout: &Layout) -> Result<(), DevError> {
    let root = layout.root();
    let foreign =
        |entry: std::io::Result<std::fs::DirEntry>| entry.is_ok_and(|e| e.path() != layout.storage());
    match std::fs::read_dir(root) {
        Ok(mut entries) => {
            let is_foreign = entries.any(foreign);
            if is_foreign {
                Err(DevError::ForeignFolder {
                    data_dir: root.to_owned(),
                })
            } else {
                Ok(())
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DevError::io("cannot read", root)(error)),
    }
}

/// Below the range from which systems take ports for outgoing connections: such a port stays free until its process binds it.
const UNASSIGNED: std::ops::Range<u16> = 10_240..32_768;
/// Tries to find a free port; on a machine where so many are taken, `--port` has to say which.
const TRIES: usize = 200;

/// Gives out ports that are free right now. Those given out stay bound until all are, so that none is given twice.
struct Ports {
    first: u16,
    held: Vec<TcpListener>,
}

impl Ports {
    fn new(first: u16) -> Self {
        Self {
            first,
            held: Vec::new(),
        }
    }

    fn take(&mut self, offset: u16) -> Result<SocketAddr, DevError> {
        if self.first != 0 {
            return self.bind(self.first.saturating_add(offset));
        }
        for _ in 1..TRIES {
            if let Ok(address) = self.bind(random_port()) {
                return Ok(address);
            }
        }
        self.bind(random_port())
    }

    fn bind(&mut self, port: u16) -> Result<SocketAddr, DevError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address).map_err(|_| DevError::PortInUse { address })?;
        self.held.push(listener);
        Ok(address)
    }
}

fn random_port() -> u16 {
    let random = uuid::Uuid::new_v4().as_u128() % UNASSIGNED.len() as u128;
    UNASSIGNED.start + u16::try_from(random).unwrap_or(0)
}
