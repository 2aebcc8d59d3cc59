//! The configuration of a primary node, and what can be checked of it before a port opens.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use outlast_core::rows::MemberFacts;
use outlast_kit::identity::Kind;
use outlast_kit::tls::{ANY_PRIMARY, Credentials, TlsError, TlsFiles};
use outlast_proto::words::Timing;
use serde::Deserialize;

/// Longest host id; it goes through Raft.
const MAX_HOST_ID: usize = 256;

/// A member of the group as it is first formed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberConfig {
    /// Its number, never used twice.
    pub node_id: u64,
    /// Its name, as in its certificate.
    pub name: String,
    /// `host:port` at which the others and all agents reach it.
    pub address: String,
}

/// A primary node's configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// As in its certificate.
    pub name: String,
    /// Its number in the group, never used twice.
    pub node_id: u64,
    /// Where it keeps its state.
    pub data_dir: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// `host:port` at which the others and all agents reach it; without it, the address it listens on.
    #[serde(default)]
    pub advertise: Option<String>,
    /// The members the group is first formed of; all of them name the same ones. Without any the node waits for
    /// `outlast cluster init` or `join`.
    #[serde(default)]
    pub initial_members: Vec<MemberConfig>,
    /// Patience of elections.
    #[serde(default)]
    pub timing: Timing,
    /// Host id, if not this machine's.
    #[serde(default)]
    pub host_id: Option<String>,
    /// The version to report instead of the real one, for tests of R-13.
    #[serde(default)]
    pub reported_version: Option<String>,
    /// Certificates.
    pub tls: TlsFiles,
}

/// A configuration that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigProblem {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate is somebody else's.
    #[error("{} is the certificate of {found}, not of primary \"{expected}\"", file.display())]
    ForeignCertificate {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// The host id is none.
    #[error("host_id: has 1 to {MAX_HOST_ID} bytes")]
    HostId,
    /// The members make no group.
    #[error("initial_members: {0}")]
    Members(String),
}

impl Config {
    /// Everything that can be checked before a port opens; also what `--check` runs.
    ///
    /// # Errors
    /// [`ConfigProblem`], the first found.
    pub fn check(&self) -> Result<Credentials, ConfigProblem> {
        let credentials = Credentials::load(&self.tls)?;
        let found = credentials.identity();
        if found.kind != Kind::Primary || found.name != self.name {
            return Err(ConfigProblem::ForeignCertificate {
                file: self.tls.cert.clone(),
                found: found.to_string(),
                expected: self.name.clone(),
            });
        }
        credentials.endpoint(&self.me().address, ANY_PRIMARY)?;
        if matches!(&self.host_id, Some(id) if id.is_empty() || id.len() > MAX_HOST_ID) {
            return Err(ConfigProblem::HostId);
        }
        let members = &self.initial_members;
        if members.is_empty() {
            return Ok(credentials);
        }
        let problem = |text: String| Err(ConfigProblem::Members(text));
        if ![1, 3, 5].contains(&members.len()) {
            return problem(format!("a group has 1, 3 or 5 nodes, not {}", members.len()));
        }
        let ids: BTreeSet<_> = members.iter().map(|m| m.node_id).collect();
        let names: BTreeSet<_> = members.iter().map(|m| &m.name).collect();
        let addresses: BTreeSet<_> = members.iter().map(|m| &m.address).collect();
        if [ids.len(), names.len(), addresses.len()] != [members.len(); 3] {
            return problem("a node_id, name or address is there twice".into());
        }
        for member in members {
            credentials.endpoint(&member.address, ANY_PRIMARY)?;
        }
        match members.iter().find(|m| m.node_id == self.node_id) {
            Some(me) if me.name == self.name => Ok(credentials),
            Some(me) => problem(format!(
                "node {} is \"{}\" there, not \"{}\"",
                self.node_id, me.name, self.name
            )),
            None => problem(format!("node {} itself is missing", self.node_id)),
        }
    }

    /// What this node says of itself.
    pub(crate) fn facts(&self, cluster_version: u32) -> MemberFacts {
        let version = env!("CARGO_PKG_VERSION");
        MemberFacts {
            host_id: self.host_id.clone().unwrap_or_else(outlast_kit::host::host_id),
            version: self
                .reported_version
                .clone()
                .unwrap_or_else(|| version.to_owned()),
            cluster_version,
        }
    }

    /// This node as the others see it.
    pub(crate) fn me(&self) -> MemberConfig {
        let initial = self.initial_members.iter().find(|m| m.node_id == self.node_id);
        initial.cloned().unwrap_or_else(|| MemberConfig {
            node_id: self.node_id,
            name: self.name.clone(),
            address: self.advertise.clone().unwrap_or_else(|| self.listen.to_string()),
        })
    }
}
