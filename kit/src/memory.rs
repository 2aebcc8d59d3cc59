//! How malloc keeps what was freed: settled once, when a daemon starts, and given back to the kernel when a job is over. How many
//! arenas it has is the units' business.
//!
//! The only room with calls into C. Who sets malloc's own variables decides; here is what counts otherwise. With another C library than
//! glibc this does nothing. Called by the binary at start and by the agents after each attempt.

#![allow(
    unsafe_code,
    reason = "malloc's settings have no safe interface; each call takes numbers only and touches no memory of ours"
)]

/// Blocks from this size on are mapped one by one, and go back to the kernel when they are freed. Lists of names, indexes, and trees are
/// longer; chunks, which come and go by the thousand and would need fresh pages each time, are not. Without a number malloc raises it to
/// the longest block that was ever freed, up to 32 MiB, and keeps all blocks below that.
pub const MAPPED_FROM: i32 = 4 << 20;
/// So much may be free at the end of an arena before it goes back. Malloc would take twice the size from which blocks are mapped, if that
/// were not a number of ours.
const KEPT_AT_END: i32 = 16 << 20;
/// Settles it for this process, from now on.
pub fn settle() {
    #[cfg(target_env = "gnu")]
    for (variable, tunable, parameter, value) in [
        (
            "MALLOC_MMAP_THRESHOLD_",
            "mmap_threshold",
            libc::M_MMAP_THRESHOLD,
            MAPPED_FROM,
        ),
        (
            "MALLOC_TRIM_THRESHOLD_",
            "trim_threshold",
            libc::M_TRIM_THRESHOLD,
            KEPT_AT_END,
        ),
    ] {
        if is_set(variable, tunable) {
            continue;
        }
        // SAFETY: it takes two numbers and may be called at any time.
        let is_taken = unsafe { libc::mallopt(parameter, value) } == 1;
        if !is_taken {
            tracing::warn!(
                variable,
                value,
                "malloc does not take a setting; more memory may be kept than is needed"
            );
        }
    }
}

/// Gives what is free back to the kernel, wherever it lies. Takes some milliseconds for each 100 MiB: not for an asynchronous thread.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, locks what it looks at, and touches only what nobody holds.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Whether somebody has decided.
#[cfg(target_env = "gnu")]
fn is_set(variable: &str, tunable: &str) -> bool {
    let tunables = std::env::var("GLIBC_TUNABLES").unwrap_or_default();
    std::env::var_os(variable).is_some() || tunables.contains(&format!("glibc.malloc.{tunable}="))
}
