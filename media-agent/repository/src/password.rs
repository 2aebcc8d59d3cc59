//! The repository password: kept out of logs, overwritten when dropped.
//! No sources of passwords (files, environment): those are the media agent's. Used by key files.

/// A password. `Debug` does not show it.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    pub fn new(password: String) -> Password {
        Password(password)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        wipe(std::mem::take(&mut self.0).into_bytes());
    }
}

/// Overwrites secret bytes before their memory is given back; `black_box` keeps the compiler from dropping the writes.
pub(crate) fn wipe(mut secret: Vec<u8>) {
    secret.fill(0);
    std::hint::black_box(&secret);
}
