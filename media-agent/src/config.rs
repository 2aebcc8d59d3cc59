//! What a media agent is told at start, and what can be checked before a port opens.
//!
//! Reading the file is the binary's work. Used by `run` and by `--check`.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use outlast_kit::identity::Kind;
use outlast_kit::tls::{ANY_PRIMARY, Credentials, TlsFiles};
use outlast_proto::words::{AgentName, PoolName, StorageUnitName};
use outlast_repository::Password;
use serde::Deserialize;

use crate::error::RunError;
use crate::storage::Mount;

/// Configuration of a media agent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Its name; the certificate must carry it.
    pub name: AgentName,
    /// Journal and keys; one process at a time.
    pub data_dir: PathBuf,
    /// Where client agents connect.
    pub listen: SocketAddr,
    /// `host:port` as clients reach it; empty: `listen`.
    #[serde(default)]
    pub advertise: Vec<String>,
    /// Whether clients of the same host may come through a Unix socket in the data directory instead of TLS over TCP.
    #[serde(default = "yes")]
    pub local_socket: bool,
    /// Which host this is; by default derived from the machine id.
    #[serde(default)]
    pub host_id: Option<String>,
    /// Whether data travels over Fibre Transport.
    #[serde(default)]
    pub fibre_transport: bool,
    /// The version to report instead of the real one, for tests of.
    #[serde(default)]
    pub reported_version: Option<String>,
    /// `host:port` of the primaries.
    pub primaries: Vec<String>,
    /// The pool it belongs to.
    pub pool: PoolName,
    /// Certificates.
    pub tls: TlsFiles,
    /// Where backups go.
    pub storage: StorageConfig,
}

/// A storage unit in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageConfig {
    /// Its name; media agents that share it use the same one.
    pub unit: StorageUnitName,
    /// The directory of the repository.
    pub path: PathBuf,
    /// A file that holds the repository's password, read as restic reads one: without white space at its ends.
    pub password_file: PathBuf,
    /// Whether a client may name a chunk that only another client has sent, and so need not send it. It saves traffic
    /// among clients that may read one another's data: who knows the hash of a chunk can restore it.
    #[serde(default)]
    pub share_chunks: bool,
}

fn yes() -> bool {
    true
}

impl Config {
    /// Checks everything that can be checked without opening a port or the storage unit: `--check`.
    ///
    /// # Errors
    /// [`RunError`] naming the first thing that is wrong.
    pub fn check(&self) -> Result<(), RunError> {
        let credentials = self.credentials()?;
        self.storage.password()?;
        self.storage.must_outlast_the_service()?;
        if self.primaries.is_empty() {
            return Err(RunError::NoPrimaries);
        }
        for address in self.primaries.iter().chain(&self.advertise) {
            credentials.endpoint(address, ANY_PRIMARY)?;
        }
        if self.listen.ip().is_unspecified() && self.advertise.is_empty() {
            return Err(RunError::NothingToAdvertise { listen: self.listen });
        }
        Ok(())
    }

    /// The certificates, which must be those of this media agent.
    pub(crate) fn credentials(&self) -> Result<Credentials, RunError> {
        let credentials = Credentials::load(&self.tls)?;
        let holder = credentials.identity();
        if holder.kind != Kind::MediaAgent || holder.name != self.name.as_str() {
            return Err(RunError::OtherIdentity {
                file: self.tls.cert.clone(),
                holder: holder.clone(),
                name: self.name.clone(),
            });
        }
        Ok(credentials)
    }
}

impl StorageConfig {
    fn must_outlast_the_service(&self) -> Result<(), RunError> {
        match Mount::of(&self.path) {
            Some(mount) if mount.is_private() => Err(RunError::PrivateStorage {
                path: self.path.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The password of the repository.
    pub(crate) fn password(&self) -> Result<Password, RunError> {
        let path = || self.password_file.clone();
        let unreadable = |source| RunError::PasswordFile { path: path(), source };
        let mode = std::fs::metadata(path())
            .map_err(unreadable)?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            tracing::warn!(
                file = %self.password_file.display(), mode = format!("{:o}", mode & 0o777),
                "the password file can be read by others; set its mode to 600"
            );
        }
        let content = std::fs::read(path()).map_err(unreadable)?;
        let not_text = |error| unreadable(std::io::Error::new(std::io::ErrorKind::InvalidData, error));
        let password = crate::password_file::parse(&content).map_err(not_text)?;
        password
            .map(Password::new)
            .ok_or_else(|| RunError::NoPassword { path: path() })
    }
}
