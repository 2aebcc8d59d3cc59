//! Reading configuration: a TOML file, environment variables over it, and one clear sentence when something is wrong.
//!
//! What the keys mean is up to the type that is read. Called by every daemon, by the command line for its context and
//! for policy files.
//!
//! A variable is `OUTLAST_SECTION__KEY`: the section is the daemon's word in capitals with `_` for `-`, the key is the
//! file's, and each further `__` goes one table deeper. `OUTLAST_MEDIA_AGENT__NAME` is the key `name` of a media agent,
//! `OUTLAST_PRIMARY__TLS__CA` the key `ca` in `[tls]` of a primary. A value is read as TOML where that fits the key
//! (`true`, `7400`, `["a", "b"]`) and as plain text otherwise. Lists of tables can only be given whole.

mod environment;
mod sentence;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::DeTable;

use environment::Overrides;

/// Configuration that cannot be used; each is one sentence for the person who wrote it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read at all.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("{place}: {reason}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the reader of TOML says.
        reason: String,
    },
    /// A key that nobody reads.
    #[error("{place}: unknown key \"{key}\"; {}", sentence::known(nearest.as_deref(), known))]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key as it was written.
        key: String,
        /// The known key it resembles most, if any does.
        nearest: Option<String>,
        /// Every key that would be right there.
        known: Vec<String>,
    },
    /// A key that must be there and is not.
    #[error("{place}: the key \"{key}\" is missing")]
    MissingKey {
        /// Where it should be.
        place: Place,
        /// Its name, with the tables it lies in.
        key: String,
    },
    /// A value that its key cannot have.
    #[error("{place}: {}{reason}", key.as_ref().map(|key| format!("\"{key}\": ")).unwrap_or_default())]
    WrongValue {
        /// Where.
        place: Place,
        /// The key, with the tables it lies in, if it has one.
        key: Option<String>,
        /// What was expected.
        reason: String,
    },
}

/// Where in a configuration something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Somewhere in a file.
    File(String),
    /// In a line of it, counted from 1.
    Line(String, usize),
    /// In an environment variable.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(file) => f.write_str(file),
            Place::Line(file, line) => write!(f, "{file} line {line}"),
            Place::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// Reads `file` and the environment variables of `section`, the daemon's word such as `media-agent`.
///
/// # Errors
/// [`ConfigError`] naming the first thing that is wrong.
pub fn load<T: DeserializeOwned>(file: &Path, section: &str) -> Result<T, ConfigError> {
    load_with(file, section, std::env::vars_os())
}

/// As [`load`], with the variables given.
///
/// # Errors
/// As [`load`].
pub fn load_with<T: DeserializeOwned>(
    file: &Path,
    section: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Unreadable {
        path: file.to_owned(),
        source,
    })?;
    let overrides = Overrides::of_section(section, variables)?;
    read(&file.display().to_string(), &text, overrides)
}

/// Reads a text; `file_name` is what errors call it.
///
/// # Errors
/// [`ConfigError`] naming the first thing that is wrong.
pub fn parse_toml<T: DeserializeOwned>(file_name: &str, text: &str) -> Result<T, ConfigError> {
    read(file_name, text, Overrides::default())
}

fn read<T: DeserializeOwned>(
    file_name: &str,
    text: &str,
    mut overrides: Overrides,
) -> Result<T, ConfigError> {
    loop {
        let mut document = DeTable::parse(text).map_err(|error| sentence::syntax(file_name, text, &error))?;
        overrides.apply(document.get_mut(), text.len());
        let deserializer = toml::de::Deserializer::from(document.clone());
        let error = match T::deserialize(deserializer) {
            Ok(value) => return Ok(value),
            Err(error) => sentence::of_error(file_name, text, &document, &overrides, &error),
        };
        // "7" may be a name: what was read as a number and does not fit is tried as text.
        match &error {
            ConfigError::WrongValue {
                place: Place::Variable(name),
                ..
            } if overrides.take_as_text(name) => {}
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
