//! Why a media agent cannot start or go on: one sentence each, with what to do.
//!
//! Faults of a single attempt are in `fault`. Used by `run` and its callers.

use std::net::SocketAddr;
use std::path::PathBuf;

use outlast_kit::identity::Identity;
use outlast_kit::tls::TlsError;
use outlast_proto::words::AgentName;
use outlast_repository::RepositoryError;

use crate::journal::JournalError;

/// The daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate is somebody else's.
    #[error(
        "the certificate {} belongs to {holder}, not to media agent \"{name}\"; use the certificate made for it",
        file.display()
    )]
    OtherIdentity {
        /// The certificate.
        file: PathBuf,
        /// Whose it is.
        holder: Identity,
        /// Who we are to be.
        name: AgentName,
    },
    /// No address of a primary.
    #[error("`primaries` is empty; name at least one primary as host:port")]
    NoPrimaries,
    /// Clients would be sent to an address that is everywhere and nowhere.
    #[error(
        "`listen` is {listen}, every address of this host, which clients on other hosts cannot connect to; \
         name in `advertise` where they reach it, as host:port"
    )]
    NothingToAdvertise {
        /// Where it listens.
        listen: SocketAddr,
    },
    /// The password file cannot be read.
    #[error("cannot read the password file {}: {source}", path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The password file is empty.
    #[error("the password file {} is empty; write the repository's password there", path.display())]
    NoPassword {
        /// The file.
        path: PathBuf,
    },
    /// What is stored there is gone with the service.
    #[error(
        "`storage.path` {} lies in a private folder that systemd made for this service (PrivateTmp): nobody else sees what is stored there, and \
         it is removed when the service stops; choose another folder, or take PrivateTmp out of the unit file",
        path.display()
    )]
    PrivateStorage {
        /// The storage unit's folder.
        path: PathBuf,
    },
    /// The data directory cannot be used.
    #[error("cannot use the data directory {}: {source}", path.display())]
    DataDir {
        /// The directory or a file in it.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("another process uses the data directory {}; stop that one first, or give this agent its own", path.display())]
    DataDirInUse {
        /// The directory.
        path: PathBuf,
    },
    /// Nobody knows whose journal it is.
    #[error(
        "{} is missing, which says to which cluster the journal beside it belongs; put it back, or move the folder away: what the journal has not \
         reported yet is lost then, and running attempts are looked for in the storage unit", path.display()
    )]
    ClusterFileMissing {
        /// The file.
        path: PathBuf,
    },
    /// What was learned of the cluster cannot be read.
    #[error(
        "{} is damaged: {reason}; put a copy back, or move the folder away: what the journal in it has not reported yet is lost then, and running \
         attempts are looked for in the storage unit", path.display()
    )]
    ClusterFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The journal.
    #[error("{0}")]
    Journal(String),
    /// A repository that this configuration can never use.
    #[error("storage unit \"{unit}\" (password file {}): {source}", password_file.display())]
    StorageUnit {
        /// The unit.
        unit: String,
        /// Where its password was read.
        password_file: PathBuf,
        /// Why.
        source: Box<RepositoryError>,
    },
    /// The port.
    #[error(
        "cannot listen at {address}: {source}; choose another address in `listen`, or stop what uses this one"
    )]
    Listen {
        /// What was tried.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server could not be set up.
    #[error("cannot set up the server at {address}: {reason}")]
    Server {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
}

impl From<JournalError> for RunError {
    fn from(error: JournalError) -> Self {
        RunError::Journal(error.to_string())
    }
}
