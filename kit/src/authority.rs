//! The cluster's certificate authority: made once, signs the certificate of every party.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::identity::{Identity, Kind};
use crate::tls::{ANY_PRIMARY, media_agent_server_name};

/// A certificate or key could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate: {0}")]
pub struct AuthorityError(#[from] rcgen::Error);

/// A certificate and its private key, both PEM.
pub struct Pem {
    /// The certificate.
    pub cert: String,
    /// The private key.
    pub key: String,
}

/// A CA with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new CA, good until 2099.
    ///
    /// # Errors
    /// [`AuthorityError`] from the cryptography.
    pub fn create() -> Result<(Self, Pem), AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "outlast");
        params
            .distinguished_name
            .push(DnType::CommonName, "Outlast cluster CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2099, 12, 31);
        let cert = params.self_signed(&key)?;
        let pem = Pem {
            cert: cert.pem(),
            key: key.serialize_pem(),
        };
        Ok((
            Self {
                issuer: Issuer::new(params, key),
            },
            pem,
        ))
    }

    /// The CA whose certificate and key are given, both PEM.
    ///
    /// # Errors
    /// [`AuthorityError`] if they are no CA of ours.
    pub fn load(ca: &Pem) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(&ca.key)?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_pem(&ca.cert, key)?,
        })
    }

    /// A certificate for `identity`, with the names and addresses its server is reached by.
    ///
    /// # Errors
    /// [`AuthorityError`] from the cryptography.
    pub fn issue(&self, identity: &Identity) -> Result<Pem, AuthorityError> {
        let names = match identity.kind {
            Kind::Primary => vec![ANY_PRIMARY.to_owned(), format!("{}.{ANY_PRIMARY}", identity.name)],
            Kind::MediaAgent => vec![media_agent_server_name(&identity.name)],
            Kind::ClientAgent | Kind::Operator => Vec::new(),
        };
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, identity.kind.word());
        params
            .distinguished_name
            .push(DnType::CommonName, identity.name.as_str());
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2099, 12, 31);
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Pem {
            cert: cert.pem(),
            key: key.serialize_pem(),
        })
    }
}
