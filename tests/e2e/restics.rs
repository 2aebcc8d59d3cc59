//! The versions of restic that read what we write: the one that is installed, and a current one if it was brought.

use std::path::PathBuf;

use outlast_test_filesystems::not_run;

/// That of Debian 12, 0.14.
pub(crate) const INSTALLED: &str = "restic";

/// A current one: what `OUTLAST_CURRENT_RESTIC` names, else what `tests/tools/current-restic` brought. Where there is none,
/// that is said loudly, and it is an error in CI.
pub(crate) fn current() -> Option<PathBuf> {
    let named = std::env::var_os("OUTLAST_CURRENT_RESTIC").map(PathBuf::from);
    let brought = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .with_file_name("tools")
        .join("restic");
    let program = named.unwrap_or(brought);
    if program.is_file() {
        return Some(program);
    }
    not_run(&format!(
        "there is no current restic at {}: run tests/tools/current-restic, or set OUTLAST_CURRENT_RESTIC",
        program.display()
    ));
    None
}
