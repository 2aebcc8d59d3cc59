//! Initialises and opens repositories.
//! The order is key first, configuration last: without its configuration nothing is a repository, so an interrupted
//! initialisation is simply done again. The configuration is never replaced, so of several initialisations at the
//! same moment exactly one wins. Called by the media agent.

use std::sync::Arc;

use crate::crypto::{Config, KeyFile, MasterKey, VERSION};
use crate::error::{Damage, RepositoryError, Result};
use crate::password::Password;
use crate::repository::identity::Identity;
use crate::repository::{Hold, Repository};
use crate::storage::{CONFIG_NAME, FileKind, Found, Storage};

/// How a repository is initialised.
#[derive(Debug, Clone, Copy)]
pub struct InitOptions {
    /// scrypt's cost N is 2 to the power of this. Only tests, where speed matters and secrecy does not, lower it.
    pub scrypt_log_n: u8,
}

impl Default for InitOptions {
    fn default() -> InitOptions {
        InitOptions { scrypt_log_n: 15 }
    }
}

impl Repository {
    /// Makes a new repository. Refuses a place that holds one already, or anything else.
    pub fn init(storage: Arc<dyn Storage>, password: &Password) -> Result<Repository> {
        Repository::init_with(storage, password, InitOptions::default())
    }

    pub fn init_with(
        storage: Arc<dyn Storage>,
        password: &Password,
        options: InitOptions,
    ) -> Result<Repository> {
        let location = storage.location().to_owned();
        let exists = || RepositoryError::AlreadyExists {
            location: location.clone(),
        };
        storage.bind(None);
        match storage.exists(FileKind::Config, CONFIG_NAME) {
            Ok(true) => return Err(exists()),
            // The directory itself is made, too.
            Ok(false) | Err(RepositoryError::NotARepository { .. }) => {}
            Err(error) => return Err(error),
        }
        storage.create_layout()?;
        let _hold = Hold::of(&storage)?;
        refuse_lost_config(&*storage)?;
        let found = find_key(&*storage, password, |opened| Ok(Some(opened)))?;
        let (opened, is_ours) = match found {
            Search::Found(left_by_interrupted) => (left_by_interrupted, false),
            _ => {
                let key = MasterKey::generate()?;
                let (name, file) = KeyFile::create(&key, password, options.scrypt_log_n)?;
                storage.write(FileKind::Key, &name, &file)?;
                (OpenedKey { key, name, file }, true)
            }
        };
        let config = Config::generate()?;
        let sealed = config.seal(&opened.key)?;
        match storage.write(FileKind::Config, CONFIG_NAME, &sealed) {
            Ok(()) => {}
            Err(RepositoryError::AlreadyExists { .. }) => {
                let winner = storage.read(FileKind::Config, CONFIG_NAME)?;
                // A repeated request to a file server can report our own file as somebody else's.
                if winner != sealed {
                    if is_ours {
                        remove_useless_key(&*storage, &opened, winner);
                    }
                    return Err(exists());
                }
                storage.list(FileKind::Config)?;
            }
            Err(error) => return Err(error),
        }
        Ok(Repository::new(
            storage,
            opened.identity(location, config, sealed),
        ))
    }

    /// Opens a repository with any of its passwords. Loads no index; see `reload_index`.
    pub fn open(storage: Arc<dyn Storage>, password: &Password) -> Result<Repository> {
        storage.bind(None);
        let _hold = Hold::of(&storage)?;
        let location = storage.location().to_owned();
        let nothing = |found| RepositoryError::NotARepository {
            location: location.clone(),
            found,
        };
        let sealed = match storage.read(FileKind::Config, CONFIG_NAME) {
            Ok(sealed) => sealed,
            Err(error) if error.is_not_found() => return Err(nothing(storage.found()?)),
            Err(error) => return Err(error),
        };
        let config_damaged =
            |damage| RepositoryError::damaged_file(&location, FileKind::Config, CONFIG_NAME, damage);
        let mut not_opened = false;
        let search = find_key(&*storage, password, |opened| {
            match Config::open(sealed.clone(), &opened.key) {
                Ok(config) => Ok(Some((opened, config))),
                // The key of an initialisation that lost against another one; the right key is yet to come.
                Err(Damage::NotAuthentic) => {
                    not_opened = true;
                    Ok(None)
                }
                Err(damage) => Err(config_damaged(damage)),
            }
        })?;
        match search {
            Search::Found((opened, config)) => {
                check_version(&config, &location)?;
                // Durable now, as the key that was listed: nothing in here can be read without.
                storage.list(FileKind::Config)?;
                let identity = opened.identity(location, config, sealed);
                Ok(Repository::new(Arc::clone(&storage), identity))
            }
            Search::NoneFits if not_opened => Err(config_damaged(Damage::NotAuthentic)),
            Search::NoneFits => Err(RepositoryError::WrongPassword { location }),
            Search::AllDamaged(error) => Err(error),
            Search::NoKeys => Err(nothing(Found::NoKey {
                name: None,
                others: 0,
            })),
        }
    }

    /// Opens the repository, or makes it if there is none. Safe when several media agents do it at the same moment.
    pub fn open_or_init(storage: Arc<dyn Storage>, password: &Password) -> Result<Repository> {
        Repository::open_or_init_with(storage, password, InitOptions::default())
    }

    pub fn open_or_init_with(
        storage: Arc<dyn Storage>,
        password: &Password,
        options: InitOptions,
    ) -> Result<Repository> {
        match Repository::open(storage.clone(), password) {
            // One without keys would only be refused.
            Err(RepositoryError::NotARepository { found, .. }) if !matches!(found, Found::NoKey { .. }) => {}
            other => return other,
        }
        match Repository::init_with(storage.clone(), password, options) {
            Err(RepositoryError::AlreadyExists { .. }) => Repository::open(storage, password),
            other => other,
        }
    }
}

/// What looking for the right key gave.
enum Search<T> {
    Found(T),
    NoneFits,
    AllDamaged(RepositoryError),
    NoKeys,
}

/// A key and the file it is in.
struct OpenedKey {
    key: MasterKey,
    name: String,
    file: Vec<u8>,
}

impl OpenedKey {
    fn identity(self, location: String, config: Config, sealed: Vec<u8>) -> Identity {
        Identity {
            location,
            key: self.key,
            config,
            sealed,
            key_name: self.name,
            key_file: self.file,
        }
    }
}

/// Tries the password on every key file until `accept` takes the key.
fn find_key<T>(
    storage: &dyn Storage,
    password: &Password,
    mut accept: impl FnMut(OpenedKey) -> Result<Option<T>>,
) -> Result<Search<T>> {
    let mut result = Search::NoKeys;
    for (name, _) in storage.list(FileKind::Key)? {
        let bytes = match storage.read(FileKind::Key, &name) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        match KeyFile::parse(&name, &bytes).and_then(|file| file.open(password)) {
            Ok(Some(key)) => {
                let file = bytes;
                match accept(OpenedKey { key, name, file })? {
                    Some(found) => return Ok(Search::Found(found)),
                    None => result = Search::NoneFits,
                }
            }
            Ok(None) => result = Search::NoneFits,
            Err(damage) => {
                let error = RepositoryError::damaged_file(storage.location(), FileKind::Key, &name, damage);
                tracing::warn!(%error, "key file passed over");
                if matches!(result, Search::NoKeys) {
                    result = Search::AllDamaged(error);
                }
            }
        }
    }
    Ok(result)
}

/// Data without a configuration is a repository that lost it, and a new one would make the data unreadable.
fn refuse_lost_config(storage: &dyn Storage) -> Result<()> {
    for kind in [FileKind::Snapshot, FileKind::Index, FileKind::Pack] {
        if !storage.list(kind)?.is_empty() {
            let location = storage.location();
            return Err(RepositoryError::damaged_file(
                location,
                FileKind::Config,
                CONFIG_NAME,
                Damage::Missing,
            ));
        }
    }
    Ok(())
}

/// After losing against another initialisation: removes our key file unless the winner uses the same key, which it
/// does if it took ours for the rest of an interrupted initialisation.
fn remove_useless_key(storage: &dyn Storage, written: &OpenedKey, winner: Vec<u8>) {
    if matches!(Config::open(winner, &written.key), Err(Damage::NotAuthentic))
        && let Err(error) = storage.remove(FileKind::Key, &written.name)
    {
        tracing::warn!(%error, "key file of a lost initialisation stays, which does no harm");
    }
}

fn check_version(config: &Config, location: &str) -> Result<()> {
    let (version, location) = (config.version, location.to_owned());
    match version {
        VERSION => Ok(()),
        ..VERSION => Err(RepositoryError::OlderVersion { location, version }),
        _ => Err(RepositoryError::NewerVersion { location, version }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{CONFIG_NAME, FileKind, InitOptions, Password, Repository, RepositoryError};
    use crate::storage::{LocalStorage, Storage};

    /// A sealed configuration of another version can only be made with the master key, hence a test in here.
    #[test]
    fn other_versions_are_refused_with_their_number() {
        for version in [0, 1, 3, 400] {
            let directory = tempfile::tempdir().unwrap();
            let storage: Arc<dyn Storage> = Arc::new(LocalStorage::new(directory.path()));
            let password = Password::new("p".to_owned());
            let options = InitOptions { scrypt_log_n: 4 };
            let repository = Repository::init_with(storage.clone(), &password, options).unwrap();
            storage.bind(None);
            storage.remove(FileKind::Config, CONFIG_NAME).unwrap();
            let other = format!(r#"{{"version":{version},"later":"fields"}}"#);
            let sealed = repository.key().seal(other.as_bytes()).unwrap();
            storage.write(FileKind::Config, CONFIG_NAME, &sealed).unwrap();
            let error = Repository::open(storage, &password).unwrap_err();
            match error {
                RepositoryError::NewerVersion { version: v, .. } => assert!(v == version && v > 2),
                RepositoryError::OlderVersion { version: v, .. } => assert!(v == version && v < 2),
                other => panic!("{other}"),
            }
        }
    }
}
