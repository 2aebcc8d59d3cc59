//! Everything secret: sealing, key files, the repository's configuration.
//! No files are touched here except through `Storage` in `key_file`. Called by `repository`, `pack`, `object`.

mod config;
mod key_file;
mod master_key;
mod polynomial;

pub(crate) use config::{Config, VERSION};
pub(crate) use key_file::KeyFile;
pub(crate) use master_key::{Keystream, MasterKey, NONCE, OVERHEAD};

use crate::error::{RepositoryError, Result};

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0u8; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

fn fill_random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| RepositoryError::NoRandomness {
        reason: error.to_string(),
    })
}
