//! What malloc keeps of what was freed. Alone in its process, whose memory is what is looked at.

#![cfg(target_env = "gnu")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy sees test functions but not what they call"
)]

use outlast_kit::memory::{MAPPED_FROM, give_back, settle};

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}

#[test]
fn t90_b07_what_was_freed_goes_back_to_the_kernel() {
    settle();
    let before = resident();
    // Long ones go at once, also if longer ones were freed before.
    for length in [31 << 20, MAPPED_FROM as usize + 1] {
        for _ in 0..4 {
            let long = vec![1_u8; length];
            assert!(resident() > before + length / 2);
            drop(std::hint::black_box(long));
            assert!(resident() < before + length / 2, "{length} bytes are kept");
        }
    }
    // Short ones behind which something stays, when somebody says so.
    let mut short: Vec<Vec<u8>> = (0..2000).map(|_| vec![1_u8; 60_000]).collect();
    let last = short.pop();
    let full = resident();
    drop(std::hint::black_box(short));
    give_back();
    let after = resident();
    assert!(
        full - after > 60 << 20,
        "{full} bytes before, {after} bytes after"
    );
    drop(last);
}
