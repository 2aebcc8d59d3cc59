//! What this machine must have for such tests, and what becomes of them where it has not.

use std::io::Write as _;
use std::path::Path;

/// Whether file systems of these tests can be mounted here. Where not, it is said past the test runner, which keeps to itself
/// what a passing test prints; and where `CI` is set it is an error: somewhere all of them have to run.
pub fn can_mount() -> bool {
    let lacks = if !rustix::process::geteuid().is_root() {
        "is not run by root"
    } else if !Path::new("/dev/fuse").exists() {
        "has no /dev/fuse (modprobe fuse; for a container: --device /dev/fuse --cap-add SYS_ADMIN)"
    } else {
        return true;
    };
    not_run(&format!(
        "a test of file systems needs root and FUSE, and this one {lacks}"
    ));
    false
}

/// Says that the calling test, or a part of it, is left out; panics where `CI` is set.
///
/// # Panics
/// Where the environment has `CI`, but for `CI=false`: what is left out there is seen by nobody.
pub fn not_run(why: &str) {
    let is_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    assert!(!is_ci, "NOT RUN, but CI has to: {why}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "\nNOT RUN: {test}: {why}");
}
