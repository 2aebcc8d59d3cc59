//! The file `config`: format version, repository id, chunker polynomial.
//! Called by `repository` when it initialises and opens.

use serde::{Deserialize, Serialize};

use crate::crypto::polynomial::random_irreducible;
use crate::crypto::{MasterKey, random};
use crate::error::{Damage, Result};

/// The only format version we write and read.
pub(crate) const VERSION: u64 = 2;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) version: u64,
    // Optional, so that the version of a configuration from the future can be named.
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    chunker_polynomial: String,
}

impl Config {
    pub(crate) fn generate() -> Result<Config> {
        Ok(Config {
            version: VERSION,
            id: hex::encode(random::<32>()?),
            chunker_polynomial: format!("{:x}", random_irreducible()?),
        })
    }

    /// The bytes of the file. Unlike all other sealed files it is never compressed.
    pub(crate) fn seal(&self, key: &MasterKey) -> Result<Vec<u8>> {
        key.seal(&serde_json::to_vec(self).expect("plain fields always become JSON"))
    }

    pub(crate) fn open(mut sealed: Vec<u8>, key: &MasterKey) -> Result<Config, Damage> {
        let plain = key.open_in_place(&mut sealed)?;
        serde_json::from_slice(&sealed[plain]).map_err(Damage::malformed)
    }
}
