//! The key that seals everything in a repository: AES-256-CTR and Poly1305-AES, as the restic format lays down.
//! No passwords here (see `key_file`). Called by `pack`, `object`, `repository`.

use aes::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher};
use aes::{Aes128, Aes256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ctr::{Ctr128BE, CtrCore};
use poly1305::Poly1305;
use poly1305::universal_hash::UniversalHash;
use serde::{Deserialize, Serialize};

use crate::crypto::{fill_random, random};
use crate::error::{Damage, Result};
use crate::password::wipe;

/// Free bytes in front of a text that is to be sealed in place.
pub(crate) const NONCE: usize = 16;
const TAG: usize = 16;
/// By how much sealing makes a text longer: the nonce in front and the tag behind it.
pub(crate) const OVERHEAD: usize = NONCE + TAG;

/// Seals and opens. The key schedules are computed once.
#[derive(Clone)]
pub(crate) struct MasterKey {
    encrypt: [u8; 32],
    mac_k: [u8; 16],
    mac_r: [u8; 16],
    cipher: Aes256,
    mac_cipher: Aes128,
}

#[derive(Serialize, Deserialize)]
struct KeyJson {
    mac: MacJson,
    encrypt: String,
}

#[derive(Serialize, Deserialize)]
struct MacJson {
    k: String,
    r: String,
}

impl MasterKey {
    pub(crate) fn generate() -> Result<MasterKey> {
        Ok(MasterKey::from_parts(random()?, random()?, random()?))
    }

    /// The key in the 64 bytes a key derivation gives: 32 for AES-256, 16 for AES-128, 16 for Poly1305.
    pub(crate) fn from_derived(bytes: &[u8; 64]) -> MasterKey {
        let (mut encrypt, mut mac_k, mut mac_r) = ([0; 32], [0; 16], [0; 16]);
        encrypt.copy_from_slice(&bytes[..32]);
        mac_k.copy_from_slice(&bytes[32..48]);
        mac_r.copy_from_slice(&bytes[48..]);
        MasterKey::from_parts(encrypt, mac_k, mac_r)
    }

    fn from_parts(encrypt: [u8; 32], mac_k: [u8; 16], mut mac_r: [u8; 16]) -> MasterKey {
        // Poly1305 ignores these bits; the format stores them as zero.
        for (at, mask) in [
            (3, 15),
            (7, 15),
            (11, 15),
            (15, 15),
            (4, 252),
            (8, 252),
            (12, 252),
        ] {
            mac_r[at] &= mask;
        }
        let cipher = Aes256::new(&encrypt.into());
        let mac_cipher = Aes128::new(&mac_k.into());
        MasterKey {
            encrypt,
            mac_k,
            mac_r,
            cipher,
            mac_cipher,
        }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let json = KeyJson {
            mac: MacJson {
                k: STANDARD.encode(self.mac_k),
                r: STANDARD.encode(self.mac_r),
            },
            encrypt: STANDARD.encode(self.encrypt),
        };
        serde_json::to_vec(&json).expect("three strings always become JSON")
    }

    pub(crate) fn from_json(text: &[u8]) -> Result<MasterKey, Damage> {
        let json: KeyJson = serde_json::from_slice(text).map_err(Damage::malformed)?;
        let encrypt = decode(&json.encrypt)?;
        let (mac_k, mac_r) = (decode(&json.mac.k)?, decode(&json.mac.r)?);
        if encrypt == [0; 32] || mac_k == [0; 16] || mac_r == [0; 16] {
            return Err(Damage::malformed("a key of zeros"));
        }
        Ok(MasterKey::from_parts(encrypt, mac_k, mac_r))
    }

    /// Seals in place. `sealed` holds 16 free bytes, the plain text, 16 free bytes.
    pub(crate) fn seal_in_place(&self, sealed: &mut [u8]) -> Result<()> {
        let (nonce, rest) = sealed.split_at_mut(NONCE);
        fill_random(nonce)?;
        let (text, tag) = rest.split_at_mut(rest.len() - TAG);
        let nonce: [u8; NONCE] = (&*nonce).try_into().expect("split at its length");
        self.apply_keystream(nonce, text);
        tag.copy_from_slice(&self.tag(nonce, text));
        Ok(())
    }

    pub(crate) fn seal(&self, plain: &[u8]) -> Result<Vec<u8>> {
        let mut sealed = vec![0u8; plain.len() + OVERHEAD];
        sealed[NONCE..NONCE + plain.len()].copy_from_slice(plain);
        self.seal_in_place(&mut sealed)?;
        Ok(sealed)
    }

    /// Opens in place and gives the range of the plain text. Nothing is decrypted unless the tag is right.
    pub(crate) fn open_in_place(&self, sealed: &mut [u8]) -> Result<std::ops::Range<usize>, Damage> {
        let length = sealed.len();
        if length < OVERHEAD {
            return Err(Damage::TooShort {
                length: length as u64,
            });
        }
        let plain = NONCE..length - TAG;
        let nonce: [u8; NONCE] = sealed[..NONCE].try_into().expect("checked above");
        let tag = self.tag(nonce, &sealed[plain.clone()]);
        must_be(tag, &sealed[plain.end..])?;
        self.apply_keystream(nonce, &mut sealed[plain.clone()]);
        Ok(plain)
    }

    fn apply_keystream(&self, nonce: [u8; NONCE], text: &mut [u8]) {
        self.keystream(nonce).apply(text);
    }

    /// Opens a text in pieces whose tag was checked.
    pub(crate) fn keystream(&self, nonce: [u8; NONCE]) -> Keystream {
        let core = CtrCore::inner_iv_init(self.cipher.clone(), &nonce.into());
        Keystream(Ctr128BE::from_core(core))
    }

    fn tag(&self, nonce: [u8; NONCE], text: &[u8]) -> [u8; TAG] {
        // Whole blocks go through the parallel path; `compute_unpadded` alone takes them one by one.
        let (blocks, rest) = poly1305::Block::slice_as_chunks(text);
        let mut mac = self.mac(nonce);
        mac.update(blocks);
        mac.compute_unpadded(rest).into()
    }

    /// Checks a text in pieces.
    pub(crate) fn check_tag(&self, nonce: [u8; NONCE]) -> TagCheck {
        TagCheck {
            mac: self.mac(nonce),
            rest: Vec::new(),
        }
    }

    fn mac(&self, nonce: [u8; NONCE]) -> Poly1305 {
        let mut pad = nonce.into();
        self.mac_cipher.encrypt_block(&mut pad);
        let mut key = poly1305::Key::default();
        key[..16].copy_from_slice(&self.mac_r);
        key[16..].copy_from_slice(&pad);
        Poly1305::new(&key)
    }
}

/// What opens the pieces of one text, in order.
pub(crate) struct Keystream(Ctr128BE<Aes256>);

impl Keystream {
    pub(crate) fn apply(&mut self, piece: &mut [u8]) {
        self.0.apply_keystream(piece);
    }
}

/// The tag of a text that comes in pieces.
pub(crate) struct TagCheck {
    mac: Poly1305,
    /// Of the last piece, less than a block.
    rest: Vec<u8>,
}

impl TagCheck {
    /// All pieces but the last are whole blocks.
    pub(crate) fn update(&mut self, piece: &[u8]) {
        debug_assert!(self.rest.is_empty(), "a piece follows the last");
        let (blocks, rest) = poly1305::Block::slice_as_chunks(piece);
        self.mac.update(blocks);
        self.rest.extend_from_slice(rest);
    }

    pub(crate) fn finish(self, tag: &[u8]) -> Result<(), Damage> {
        must_be(self.mac.compute_unpadded(&self.rest).into(), tag)
    }
}

/// No early exit: the time must not tell how many bytes were right.
fn must_be(tag: [u8; TAG], sealed: &[u8]) -> Result<(), Damage> {
    let difference = tag.iter().zip(sealed).fold(0, |all, (a, b)| all | (a ^ b));
    if sealed.len() != TAG || std::hint::black_box(difference) != 0 {
        return Err(Damage::NotAuthentic);
    }
    Ok(())
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.encrypt = [0; 32];
        self.mac_k = [0; 16];
        self.mac_r = [0; 16];
        std::hint::black_box((&self.encrypt, &self.mac_k, &self.mac_r));
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

fn decode<const N: usize>(text: &str) -> Result<[u8; N], Damage> {
    let bytes = STANDARD.decode(text).map_err(Damage::malformed)?;
    let key =
        <[u8; N]>::try_from(bytes.as_slice()).map_err(|_| Damage::malformed("a key of the wrong length"));
    wipe(bytes);
    key
}

#[cfg(test)]
mod tests {
    use super::{MasterKey, OVERHEAD};
    use crate::error::Damage;

    /// The test vector of the Poly1305-AES paper, section B, with the two-byte message.
    #[test]
    fn the_tag_is_that_of_the_poly1305_aes_paper() {
        let r = hex::decode("851fc40c3467ac0be05cc20404f3f700").unwrap();
        let k = hex::decode("ec074c835580741701425b623235add6").unwrap();
        let nonce = hex::decode("fb447350c4e868c52ac3275cf9d4327e").unwrap();
        let key = MasterKey::from_parts([1; 32], k.try_into().unwrap(), r.try_into().unwrap());
        let tag = key.tag(nonce.try_into().unwrap(), &[0xf3, 0xf6]);
        assert_eq!(hex::encode(tag), "f4c633c3044fc145f84f335cb81953de");
    }

    #[test]
    fn sealed_texts_open_and_changed_ones_do_not() {
        let key = MasterKey::generate().unwrap();
        for length in [0, 1, 15, 16, 17, 31, 32, 33, 1000, 4096, 100_003] {
            let plain: Vec<u8> = (0..length).map(|i: u32| i.to_le_bytes()[0]).collect();
            let sealed = key.seal(&plain).unwrap();
            assert_eq!(sealed.len(), plain.len() + OVERHEAD);
            let mut copy = sealed.clone();
            let range = key.open_in_place(&mut copy).unwrap();
            assert_eq!(&copy[range], plain);
            for at in [0, 15, sealed.len() / 2, sealed.len() - 1] {
                let mut copy = sealed.clone();
                copy[at] ^= 1;
                assert_eq!(key.open_in_place(&mut copy), Err(Damage::NotAuthentic));
            }
            let mut cut = sealed[..sealed.len() - 1].to_vec();
            assert!(key.open_in_place(&mut cut).is_err());
        }
    }

    #[test]
    fn a_key_survives_its_json() {
        let key = MasterKey::generate().unwrap();
        let same = MasterKey::from_json(&key.to_json()).unwrap();
        let mut sealed = key.seal(b"text").unwrap();
        assert!(same.open_in_place(&mut sealed).is_ok());
        for bad in ["", "{}", r#"{"mac":{"k":"","r":""},"encrypt":""}"#, "[1]"] {
            assert!(MasterKey::from_json(bad.as_bytes()).is_err());
        }
    }
}
