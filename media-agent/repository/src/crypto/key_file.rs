//! Key files: the master key, sealed under a key derived from a password by scrypt.
//! Which key of several is the right one is decided in `repository::open`. Called from there.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::crypto::{MasterKey, random};
use crate::error::{Damage, Result};
use crate::id::BlobId;
use crate::password::{Password, wipe};
use crate::time::Timestamp;

/// scrypt is asked for at most this much memory, however large the numbers in a key file are.
const MEMORY_LIMIT: u64 = 1 << 30;
/// And to fill at most this much in all its rounds: half a minute, about. restic chooses the numbers by what its host did in half a second,
/// and a measurement gone wrong makes `p` large.
const WORK_LIMIT: u64 = 16 << 30;

#[derive(Serialize, Deserialize)]
pub(crate) struct KeyFile {
    created: Timestamp,
    #[serde(default)]
    username: String,
    #[serde(default)]
    hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

impl KeyFile {
    /// Seals `key` under `password`; the name and the bytes of the new file. N is 2 to the power of `log_n`.
    pub(crate) fn create(key: &MasterKey, password: &Password, log_n: u8) -> Result<(String, Vec<u8>)> {
        let salt = random::<64>()?;
        let mut file = KeyFile {
            created: Timestamp::now(),
            username: "outlast".to_owned(),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            kdf: "scrypt".to_owned(),
            n: 1 << log_n,
            r: 8,
            p: 1,
            salt: STANDARD.encode(salt),
            data: String::new(),
        };
        let user_key = file
            .derive(password, &salt)
            .expect("the numbers above are within the limits");
        let json = key.to_json();
        file.data = STANDARD.encode(user_key.seal(&json)?);
        wipe(json);
        let bytes = serde_json::to_vec(&file).expect("plain fields always become JSON");
        Ok((BlobId::of(&bytes).to_string(), bytes))
    }

    /// Understands the bytes of the key file called `name`. Key files are not sealed, so their name is their checksum.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<KeyFile, Damage> {
        if BlobId::of(bytes).to_string() != name {
            return Err(Damage::HashMismatch);
        }
        serde_json::from_slice(bytes).map_err(Damage::malformed)
    }

    /// The master key, or nothing if the password is a wrong one.
    pub(crate) fn open(&self, password: &Password) -> Result<Option<MasterKey>, Damage> {
        let salt = STANDARD.decode(&self.salt).map_err(Damage::malformed)?;
        let mut data = STANDARD.decode(&self.data).map_err(Damage::malformed)?;
        let user_key = self.derive(password, &salt)?;
        match user_key.open_in_place(&mut data) {
            Ok(plain) => {
                let key = MasterKey::from_json(&data[plain]);
                wipe(data);
                key.map(Some)
            }
            Err(Damage::NotAuthentic) => Ok(None),
            Err(damage) => Err(damage),
        }
    }

    /// Bytes that a derivation fills at most.
    fn work(&self) -> Option<u64> {
        self.memory()?.checked_mul(u64::from(self.p))
    }

    /// Bytes that it holds at once, without what it begins and ends with: as much for each `p` as for each `N`.
    fn memory(&self) -> Option<u64> {
        let blocks = self.n.max(u64::from(self.p)).checked_mul(u64::from(self.r))?;
        blocks.checked_mul(128)
    }

    /// Whether it is opened in a moment.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_cheap(&self) -> bool {
        self.work()
            .is_none_or(|work| work <= 1 << 16 || work > WORK_LIMIT)
    }

    fn derive(&self, password: &Password, salt: &[u8]) -> Result<MasterKey, Damage> {
        if self.kdf != "scrypt" {
            return Err(Damage::malformed(format_args!(
                "unknown key derivation {:?}",
                self.kdf
            )));
        }
        let unusable = || Damage::malformed("unusable scrypt parameters");
        let limited = self.memory().is_some_and(|memory| memory <= MEMORY_LIMIT)
            && self.work().is_some_and(|work| work <= WORK_LIMIT);
        if !limited || self.p == 0 || !self.n.is_power_of_two() || self.n < 2 {
            return Err(unusable());
        }
        let log_n = u8::try_from(self.n.trailing_zeros()).map_err(|_| unusable())?;
        let params = scrypt::Params::new(log_n, self.r, self.p).map_err(|_| unusable())?;
        let mut derived = vec![0u8; 64];
        scrypt::scrypt(password.as_bytes(), salt, &params, &mut derived).map_err(|_| unusable())?;
        let key = MasterKey::from_derived(derived.as_slice().try_into().expect("64 bytes above"));
        wipe(derived);
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::KeyFile;
    use crate::crypto::MasterKey;
    use crate::password::Password;

    #[test]
    fn hostile_parameters_are_refused_without_allocating() {
        let password = Password::new("p".to_owned());
        let (_, bytes) = KeyFile::create(&MasterKey::generate().unwrap(), &password, 4).unwrap();
        let good: KeyFile = serde_json::from_slice(&bytes).unwrap();
        assert!(matches!(good.open(&password), Ok(Some(_))));
        assert!(matches!(good.open(&Password::new("q".to_owned())), Ok(None)));
        for (n, r, p) in [
            (1 << 40, 8, 1),
            (u64::MAX, u32::MAX, 1),
            (16, 8, 0),
            (16, 8, u32::MAX),
            (2, 1, 1 << 24),
            (1 << 21, 8, 1),
            (1 << 20, 8, 17),
            (0, 8, 1),
            (17, 8, 1),
            (16, 0, 1),
        ] {
            let mut file: KeyFile = serde_json::from_slice(&bytes).unwrap();
            (file.n, file.r, file.p) = (n, r, p);
            assert!(file.open(&password).is_err(), "{n} {r} {p}");
        }
    }

    #[test]
    fn t90_a_key_that_was_made_by_an_odd_measurement_is_opened() {
        let password = Password::new("p".to_owned());
        let (_, bytes) = KeyFile::create(&MasterKey::generate().unwrap(), &password, 4).unwrap();
        for (n, r, p) in [(16, 8, 17), (2, 8, 1000), (16, 1, 500)] {
            let mut file: KeyFile = serde_json::from_slice(&bytes).unwrap();
            (file.n, file.r, file.p) = (n, r, p);
            // Another key comes out of them, and nothing is wrong with the file.
            assert!(matches!(file.open(&password), Ok(None)), "{n} {r} {p}");
        }
    }
}
