//! Which host this is: hosts are compared by id, not by name; and which running kernel, for processes that could meet
//! without a network.

use sha2::{Digest, Sha256};

/// A stable id of this machine: a hash of its machine id, so that the id itself is not shown around.
#[must_use]
pub fn host_id() -> String {
    let machine = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .filter(|id| !id.trim().is_empty())
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    host_id_from(machine.trim())
}

/// The host id of a given text; `dev` gives every child its own.
#[must_use]
pub fn host_id_from(text: &str) -> String {
    hashed(b"outlast host id", text)
}

/// The same for all processes on one running kernel, whatever their host ids were set to; other with every start of the machine,
/// and on a copy of it. None where the kernel does not say.
#[must_use]
pub fn kernel_id() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let boot = boot.trim();
    (!boot.is_empty()).then(|| hashed(b"outlast kernel id", boot))
}

fn hashed(what: &[u8], text: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(what);
    hash.update(text.as_bytes());
    hex::encode(&hash.finalize()[..16])
}
