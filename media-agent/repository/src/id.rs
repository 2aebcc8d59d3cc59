//! Identifiers: 32 bytes, the SHA-256 of what they name, written as 64 hexadecimal digits.
//! Nothing about where the named thing lives. Used everywhere.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The text is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identifier has exactly 64 hexadecimal digits")]
pub struct InvalidId;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The identifier of these bytes: their SHA-256.
            pub fn of(bytes: &[u8]) -> $name {
                $name(Sha256::digest(bytes).into())
            }

            pub const fn from_bytes(bytes: [u8; 32]) -> $name {
                $name(bytes)
            }

            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                with_hex(&self.0, |text| f.write_str(text))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<$name, InvalidId> {
                parse_hex(text).map($name)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                with_hex(&self.0, |text| serializer.serialize_str(text))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                deserializer.deserialize_str(HexVisitor).map($name)
            }
        }
    };
}

id_type!(
    /// Names a blob by the SHA-256 of its plain bytes.
    BlobId
);
id_type!(
    /// Names a pack file by the SHA-256 of its stored bytes.
    PackId
);
id_type!(
    /// Names an index file by the SHA-256 of its stored bytes.
    IndexId
);
id_type!(
    /// Names a snapshot file by the SHA-256 of its stored bytes.
    SnapshotId
);
id_type!(
    /// Names a lock file by the SHA-256 of its stored bytes.
    LockId
);

/// SHA-256 of the blobs' ids: two files have the same if they were cut into the same blobs.
pub fn sha256_of_ids(ids: &[BlobId]) -> [u8; 32] {
    let hashed = ids
        .iter()
        .fold(Sha256::new(), |hashed, id| hashed.chain_update(id.as_bytes()));
    hashed.finalize().into()
}

/// What a blob holds: a piece of a file, or the list of a directory's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobKind {
    Data,
    Tree,
}

impl fmt::Display for BlobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BlobKind::Data => "data blob",
            BlobKind::Tree => "tree blob",
        })
    }
}

fn with_hex<R>(bytes: &[u8; 32], use_text: impl FnOnce(&str) -> R) -> R {
    let mut digits = [0u8; 64];
    hex::encode_to_slice(bytes, &mut digits).expect("64 digits hold 32 bytes");
    use_text(std::str::from_utf8(&digits).expect("hexadecimal digits are ASCII"))
}

fn parse_hex(text: &str) -> Result<[u8; 32], InvalidId> {
    let mut bytes = [0u8; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidId)?;
    Ok(bytes)
}

struct HexVisitor;

impl serde::de::Visitor<'_> for HexVisitor {
    type Value = [u8; 32];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("64 hexadecimal digits")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<[u8; 32], E> {
        parse_hex(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{BlobId, InvalidId};

    #[test]
    fn the_id_of_nothing_is_the_sha256_of_nothing() {
        let id = BlobId::of(b"");
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse::<BlobId>(), Ok(id));
        assert_eq!(
            serde_json::from_str::<BlobId>(&serde_json::to_string(&id).unwrap()).unwrap(),
            id
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "e3",
            "zz",
            &"g".repeat(64),
            &"0".repeat(63),
            &"0".repeat(65),
            "é",
        ] {
            assert_eq!(text.parse::<BlobId>(), Err(InvalidId), "{text}");
        }
    }
}
