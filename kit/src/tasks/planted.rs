//! Panics that tests plant in the tasks of real daemons (B-01). Builds without debug assertions have none of it.

/// Names a file. The next task that is polled and whose name begins with the file's content panics, and the file is gone.
pub const PLANTED: &str = "OUTLAST_PLANTED_PANIC";

/// Panics, if a test has planted that in the task `name`.
#[cfg(debug_assertions)]
pub(super) fn go_off(name: &str) {
    use std::path::PathBuf;
    use std::sync::LazyLock;

    static FILE: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::var_os(PLANTED).map(PathBuf::from));
    let Some(file) = &*FILE else { return };
    let Ok(planted) = std::fs::read_to_string(file) else {
        return;
    };
    let is_meant = !planted.is_empty() && name.starts_with(&planted);
    // Of tasks that are polled at once one finds it.
    if is_meant && std::fs::remove_file(file).is_ok() {
        panic!("planted in {name}");
    }
}

#[cfg(not(debug_assertions))]
pub(super) const fn go_off(_: &str) {}
