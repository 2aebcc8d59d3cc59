//! Which repository this is: what tells it from every other one, and from what is left of it (S-14a).
//! Made when a repository is opened or initialised; the storage asks it before anything is read or written.

use crate::crypto::{Config, MasterKey};
use crate::error::{Damage, RepositoryError, Result};
use crate::storage::{CONFIG_NAME, FileKind, Found, Place, Recognise};

/// What a repository was opened with.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(super) location: String,
    pub(super) key: MasterKey,
    pub(super) config: Config,
    /// The configuration as it was read.
    pub(super) sealed: Vec<u8>,
    /// The key file that the password opened.
    pub(super) key_name: String,
    pub(super) key_file: Vec<u8>,
}

impl Recognise for Identity {
    fn recognise(&self, place: &dyn Place) -> Result<()> {
        let sealed = match place.read(FileKind::Config, CONFIG_NAME) {
            Err(error) if error.is_not_found() => return Err(self.replaced(place.found()?)),
            sealed => sealed?,
        };
        // It may have been written anew, as a migration does; then it is opened by the same key and has the same id.
        if sealed != self.sealed {
            match Config::open(sealed, &self.key) {
                Ok(config) if config.id == self.config.id => {}
                Ok(config) => return Err(self.replaced(Found::Other { id: Some(config.id) })),
                Err(_) => return Err(self.replaced(Found::Other { id: None })),
            }
        }
        match place.read(FileKind::Key, &self.key_name) {
            Ok(bytes) if bytes == self.key_file => Ok(()),
            Ok(_) => {
                let (kind, damage) = (FileKind::Key, Damage::HashMismatch);
                Err(RepositoryError::damaged_file(
                    &self.location,
                    kind,
                    &self.key_name,
                    damage,
                ))
            }
            Err(error) if error.is_not_found() => {
                let name = Some(self.key_name.clone());
                let others = place.list(FileKind::Key)?.len();
                Err(self.replaced(Found::NoKey { name, others }))
            }
            Err(error) => Err(error),
        }
    }

    fn replaced(&self, found: Found) -> RepositoryError {
        RepositoryError::Replaced {
            location: self.location.clone(),
            expected: self.config.id.clone(),
            found,
        }
    }
}
