//! TLS both ways with the cluster's CA: the settings for servers and for connections.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, ServerTlsConfig};

use crate::identity::{Identity, IdentityError};

/// How long whoever connects may take to show a certificate.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// For ours as a client. Without a limit a peer that vanishes in the middle of it is waited for until TCP gives up, a quarter of an hour
/// later, and nobody tries again.
const CLIENT_HANDSHAKE: Duration = Duration::from_secs(5);

/// The name every primary's certificate carries beside its own.
pub const ANY_PRIMARY: &str = "primary.outlast";

/// The name in a media agent's certificate.
#[must_use]
pub fn media_agent_server_name(name: &str) -> String {
    format!("{name}.media-agent.outlast")
}

/// Where a party's certificates lie; all PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The cluster's CA.
    pub ca: PathBuf,
    /// Our certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not PEM, or not a certificate of ours.
    #[error("{} holds no certificate of this cluster: {reason}", path.display())]
    NotACertificate {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An address that is none.
    #[error("\"{address}\" is not an address of the form host:port")]
    BadAddress {
        /// What was given.
        address: String,
    },
}

/// A party's own certificate and the CA it trusts.
#[derive(Clone)]
pub struct Credentials {
    identity: Identity,
    ca: Certificate,
    own: tonic::transport::Identity,
}

impl Credentials {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let (ca, cert, key) = (read(&files.ca)?, read(&files.cert)?, read(&files.key)?);
        let not_ours = |path: &Path, reason: String| TlsError::NotACertificate {
            path: path.to_owned(),
            reason,
        };
        let der = |path: &Path, pem: &[u8]| {
            x509_parser::pem::parse_x509_pem(pem)
                .map(|(_, pem)| pem.contents)
                .map_err(|error| not_ours(path, error.to_string()))
        };
        der(&files.ca, &ca)?;
        let identity = Identity::of_certificate(&der(&files.cert, &cert)?)
            .map_err(|error: IdentityError| not_ours(&files.cert, error.to_string()))?;
        Ok(Self {
            identity,
            ca: Certificate::from_pem(ca),
            own: tonic::transport::Identity::from_pem(cert, key),
        })
    }

    /// Who we are.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// For our own server: clients must show a certificate of the CA.
    #[must_use]
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.own.clone())
            .client_ca_root(self.ca.clone())
            .timeout(HANDSHAKE)
    }

    /// A connection to `address` (`host:port`) that must prove to be `server_name`. Dead peers are noticed within 15 s.
    ///
    /// # Errors
    /// [`TlsError::BadAddress`].
    pub fn endpoint(&self, address: &str, server_name: &str) -> Result<Endpoint, TlsError> {
        let bad = || TlsError::BadAddress {
            address: address.to_owned(),
        };
        let tls = ClientTlsConfig::new()
            .ca_certificate(self.ca.clone())
            .identity(self.own.clone())
            .domain_name(server_name)
            .timeout(CLIENT_HANDSHAKE);
        if !is_host_and_port(address) {
            return Err(bad());
        }
        Endpoint::from_shared(format!("https://{address}"))
            .and_then(|endpoint| endpoint.tls_config(tls))
            .map(|endpoint| watchful(endpoint.tcp_nodelay(true)))
            .map_err(|_| bad())
    }

    /// As [`Credentials::endpoint`], connected at the first use.
    ///
    /// # Errors
    /// [`TlsError::BadAddress`].
    pub fn channel(&self, address: &str, server_name: &str) -> Result<Channel, TlsError> {
        Ok(self.endpoint(address, server_name)?.connect_lazy())
    }
}

/// Dead peers are noticed within 15 s.
pub(crate) fn watchful(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(Duration::from_secs(3))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
}

/// A name alone would be tried at the port of web servers.
fn is_host_and_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::is_host_and_port;

    #[test]
    fn t90_an_address_has_a_host_and_a_port() {
        for (address, right) in [
            ("primary-1.example.org:7400", true),
            ("10.0.0.1:7400", true),
            ("[::1]:7400", true),
            ("primary-1.example.org", false),
            ("https://primary-1:7400", false),
            ("primary-1:7400/", false),
            ("primary-1:", false),
            ("primary-1:0", false),
            ("primary-1:74000", false),
            (":7400", false),
            ("", false),
        ] {
            assert_eq!(is_host_and_port(address), right, "{address}");
        }
    }
}
