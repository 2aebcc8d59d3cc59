//! Who a process or person is: the subject of its certificate, shown by TLS or handed over to a connection of the same host.

use std::fmt;

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::local::HandedOver;

/// What kind of party holds a certificate: the organisation of its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A node of the primary.
    Primary,
    /// A media agent.
    MediaAgent,
    /// A client agent.
    ClientAgent,
    /// A person at the command line or a program of theirs.
    Operator,
}

impl Kind {
    /// As the certificate spells it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Primary => "primary",
            Kind::MediaAgent => "media-agent",
            Kind::ClientAgent => "client-agent",
            Kind::Operator => "operator",
        }
    }

    /// The kind a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Kind> {
        [Kind::Primary, Kind::MediaAgent, Kind::ClientAgent, Kind::Operator]
            .into_iter()
            .find(|k| k.word() == word)
    }
}

/// The holder of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Organisation of the subject.
    pub kind: Kind,
    /// Common name of the subject.
    pub name: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.kind.word(), self.name)
    }
}

/// A certificate that does not say who its holder is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The connection carried none.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// Not a certificate.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    /// Subject without a known organisation and a common name.
    #[error("the certificate's subject \"{0}\" names no identity of this cluster")]
    NoIdentity(String),
}

impl Identity {
    /// Reads the subject of a DER certificate.
    ///
    /// # Errors
    /// [`IdentityError`] if it is none of ours.
    pub fn of_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (_, cert) =
            X509Certificate::from_der(der).map_err(|e| IdentityError::Unreadable(e.to_string()))?;
        let subject = cert.subject();
        let kind = subject
            .iter_organization()
            .next()
            .and_then(|o| o.as_str().ok())
            .and_then(Kind::from_word);
        let name = subject.iter_common_name().next().and_then(|cn| cn.as_str().ok());
        match (kind, name) {
            (Some(kind), Some(name)) => Ok(Self {
                kind,
                name: name.to_owned(),
            }),
            _ => Err(IdentityError::NoIdentity(subject.to_string())),
        }
    }

    /// Who sent a request: the first certificate of its TLS connection, or of the one that handed over to a local connection.
    ///
    /// # Errors
    /// [`IdentityError`] without one of ours.
    pub fn of_peer<T>(request: &tonic::Request<T>) -> Result<Self, IdentityError> {
        if let Some(HandedOver(identity)) = request.extensions().get() {
            return Ok(identity.clone());
        }
        Self::of_certificate_shown(request)
    }

    /// Who sent a request over TLS.
    ///
    /// # Errors
    /// [`IdentityError`] without a certificate of ours, also where the identity was handed over.
    pub fn of_certificate_shown<T>(request: &tonic::Request<T>) -> Result<Self, IdentityError> {
        let certs = request.peer_certs().ok_or(IdentityError::NoCertificate)?;
        Self::of_certificate(certs.first().ok_or(IdentityError::NoCertificate)?)
    }
}
