//! The client agent's settings, and what must be right about them before anything starts.

use std::path::PathBuf;

use outlast_kit::identity::{Identity, Kind};
use outlast_kit::tls::{Credentials, TlsError, TlsFiles};
use outlast_proto::words::AgentName;
use serde::Deserialize;

/// Settings of one client agent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The agent's name, as in its certificate.
    pub name: AgentName,
    /// Where it keeps its tickets.
    pub data_dir: PathBuf,
    /// Instead of the hash of the machine id.
    #[serde(default)]
    pub host_id: Option<String>,
    /// Instead of its own version, for tests of R-13.
    #[serde(default)]
    pub reported_version: Option<String>,
    /// `host:port` of the primaries.
    pub primaries: Vec<String>,
    /// Its certificates.
    pub tls: TlsFiles,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate is somebody else's.
    #[error(
        "{} is the certificate of {found}, not of client-agent \"{name}\"; issue one for it or correct `name`",
        path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: Identity,
        /// Whose it should be.
        name: AgentName,
    },
    /// No primaries.
    #[error("`primaries` is empty: name at least one primary as host:port")]
    NoPrimaries,
    /// The data directory.
    #[error("cannot write to the data directory {}: {source}; make it writable or correct `data_dir`", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Config {
    /// Checks everything that can be checked without the network; makes the data directory if it is not there.
    ///
    /// # Errors
    /// [`ConfigError`], a sentence that names the file and what to do.
    pub fn check(&self) -> Result<Credentials, ConfigError> {
        let credentials = Credentials::load(&self.tls)?;
        let found = credentials.identity();
        if found.kind != Kind::ClientAgent || found.name != self.name.as_str() {
            return Err(ConfigError::NotOurs {
                path: self.tls.cert.clone(),
                found: found.clone(),
                name: self.name.clone(),
            });
        }
        if self.primaries.is_empty() {
            return Err(ConfigError::NoPrimaries);
        }
        for address in &self.primaries {
            credentials.endpoint(address, outlast_kit::tls::ANY_PRIMARY)?;
        }
        self.try_data_dir().map_err(|source| ConfigError::DataDir {
            path: self.data_dir.clone(),
            source,
        })?;
        Ok(credentials)
    }

    fn try_data_dir(&self) -> std::io::Result<()> {
        outlast_kit::files::create_folder(&self.data_dir, 0o755)?;
        // Permission bits do not tell the truth about read-only mounts: only writing does.
        let probe = self.data_dir.join(format!(".probe.{}", std::process::id()));
        let tried = std::fs::File::create(&probe).and_then(outlast_kit::files::close);
        let removed = std::fs::remove_file(&probe);
        tried.and(removed)
    }
}
