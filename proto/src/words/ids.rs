//! Identities: names people give, numbers the primary gives, random ids processes give themselves.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that a person or a message gave and that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} \"{name}\" is not a usable name: use 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
)]
pub struct InvalidName {
    /// What was to be named, such as `policy`.
    pub what: &'static str,
    /// The text that was given, shortened.
    pub name: String,
}

/// Names travel in certificates, file names, snapshot tags and tables: one plain alphabet serves all.
fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
        && text.as_bytes()[0].is_ascii_alphanumeric()
}

macro_rules! name_type {
    ($(#[$meta:meta])* $name:ident, $what:literal) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if is_name(text) { return Ok(Self(text.to_owned())); }
                Err(InvalidName { what: $what, name: text.chars().take(80).collect() })
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> { text.parse() }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String { name.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(&self.0) }
        }
    };
}

name_type!(/// The name of a media agent or a client agent; one name space for both.
    AgentName, "agent");
name_type!(/// The name of a policy.
    PolicyName, "policy");
name_type!(/// The name of a pool of media agents.
    PoolName, "pool");
name_type!(/// The name of a storage unit.
    StorageUnitName, "storage unit");

/// A job's number: given by the primary when the job is created, never changed. A group that was set back may give one out again; what
/// has to know whether it is the same job asks for its [`super::JobKey`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(JobId)
    }
}

/// The number of a try of a job, from 1: the fencing token. 0 stands for "no attempt was made" (S-12a).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The attempt after this one.
    #[must_use]
    pub const fn next(self) -> Attempt {
        Attempt(self.0 + 1)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub String);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(&self.0) }
        }
    };
}

text_id!(/// Chosen at random by whoever submits; a submission with a known one answers as the first time.
    RequestId);
text_id!(/// Chosen at random by an agent process when it starts (F-10, C-09).
    StartId);
text_id!(/// Chosen at random when a media agent begins a new journal.
    JournalId);

macro_rules! hash_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&hex::encode(self.0)) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }
        impl FromStr for $name {
            type Err = hex::FromHexError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }
        impl TryFrom<String> for $name {
            type Error = hex::FromHexError;
            fn try_from(text: String) -> Result<Self, Self::Error> { text.parse() }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String { id.to_string() }
        }
    };
}

hash_id!(/// The id of a restic snapshot: 32 bytes, written as 64 hex digits. Also the id of a restore point.
    SnapshotId);
hash_id!(/// The id of a snapshot's root tree: it stands for everything that is in the snapshot, and for nothing that is said about it.
    TreeId);

#[cfg(test)]
mod tests {
    use super::PolicyName;

    #[test]
    fn names_are_plain_and_short() {
        for (text, usable) in [
            ("home", true),
            ("db-1.prod_eu", true),
            ("7", true),
            (&"a".repeat(63), true),
            (&"a".repeat(64), false),
            ("", false),
            ("-x", false),
            ("Home", false),
            ("a/b", false),
            ("a b", false),
            ("ä", false),
            ("..", false),
        ] {
            assert_eq!(text.parse::<PolicyName>().is_ok(), usable, "{text:?}");
        }
    }
}
