//! The sealed JSON files: index, snapshot, lock. In format version 2 they are `0x02` and zstd, or plain JSON.
//! What the JSON means is known by `index`, `snapshot`, `lock`. Called by those through `repository`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::compress::decompress_object;
use crate::crypto::MasterKey;
use crate::error::{Damage, RepositoryError, Result};
use crate::id::BlobId;

const COMPRESSED: u8 = 2;

/// The name and the bytes of a new file holding `value`.
pub(crate) fn encode(value: &impl Serialize, key: &MasterKey) -> Result<(BlobId, Vec<u8>)> {
    let json = serde_json::to_vec(value).expect("our own types always become JSON");
    let mut text = vec![COMPRESSED];
    let compressed = zstd::bulk::compress(&json, 3).map_err(|error| RepositoryError::Compression {
        length: json.len(),
        reason: error.to_string(),
    })?;
    text.extend_from_slice(&compressed);
    let sealed = key.seal(&text)?;
    Ok((BlobId::of(&sealed), sealed))
}

/// Understands the bytes of the file called `name`: name, signature, compression and JSON must all be right.
pub(crate) fn decode<T: DeserializeOwned>(
    name: &str,
    mut sealed: Vec<u8>,
    key: &MasterKey,
) -> Result<T, Damage> {
    if BlobId::of(&sealed).to_string() != name {
        return Err(Damage::HashMismatch);
    }
    let plain = key.open_in_place(&mut sealed)?;
    let text = &sealed[plain];
    match text.first() {
        Some(b'{' | b'[') => serde_json::from_slice(text).map_err(Damage::malformed),
        Some(&COMPRESSED) => {
            serde_json::from_slice(&decompress_object(&text[1..])?).map_err(Damage::malformed)
        }
        _ => Err(Damage::malformed("neither JSON nor a known encoding")),
    }
}
