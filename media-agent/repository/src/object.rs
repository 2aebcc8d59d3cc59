//! The sealed JSON files: index, snapshot, lock. In format version 2 they are `0x02` and zstd, or plain JSON.
//! What the JSON means is known by `index`, `snapshot`, `lock`. Called by those through `repository`.

use std::io::BufWriter;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::compress::decompress_object;
use crate::crypto::{MasterKey, NONCE, OVERHEAD};
use crate::error::{Damage, RepositoryError, Result};
use crate::id::BlobId;

const COMPRESSED: u8 = 2;
const LEVEL: i32 = 3;
/// Of JSON.
const AT_ONCE: usize = 64 << 10;

/// The name and the bytes of a new file holding `value`.
pub(crate) fn encode(value: &impl Serialize, key: &MasterKey) -> Result<(BlobId, Vec<u8>)> {
    let failed = |error: std::io::Error| RepositoryError::Compression {
        length: 0,
        reason: error.to_string(),
    };
    // Compressed as it is written, to where it is sealed: an index file's JSON is long.
    let mut sealed = vec![0; NONCE];
    sealed.push(COMPRESSED);
    let encoder = zstd::stream::write::Encoder::new(sealed, LEVEL).map_err(failed)?;
    let mut json = BufWriter::with_capacity(AT_ONCE, encoder);
    serde_json::to_writer(&mut json, value).map_err(|error| failed(error.into()))?;
    let encoder = json.into_inner().map_err(|error| failed(error.into_error()))?;
    let mut sealed = encoder.finish().map_err(failed)?;
    sealed.resize(sealed.len() + OVERHEAD - NONCE, 0);
    key.seal_in_place(&mut sealed)?;
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
