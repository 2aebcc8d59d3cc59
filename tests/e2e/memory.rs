//! What the processes take of the memory, from job to job (the sizes of the day are `tests/scale`'s).

use crate::cluster::{Cluster, wait_until};

const ENTRIES: usize = 150_000;
const JOBS: usize = 4;

/// A line of /proc/PID/status in KiB.
fn kib(pid: i32, of: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(of)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Letters that look random, so that lists of them are long wherever they are.
fn letters(state: &mut u64) -> String {
    let mut letter = || {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        char::from(b"abcdefghijklmnopqrstuvwxyzABCDEF"[(*state >> 32) as usize % 32])
    };
    (0..247).map(|_| letter()).collect()
}

/// Lists of names are some 24 MiB, several to a job; what is freed of them must not lie about until malloc finds a use for it.
#[test]
fn t90_b07_a_client_takes_no_more_memory_with_each_job() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    let mut state = 7;
    for _ in 0..ENTRIES {
        std::fs::write(source.join(letters(&mut state)), b"").unwrap();
    }
    cluster.apply_policy("names", &[&source], "").expect(0);
    let client = cluster.pid("client-1");
    let idle = kib(client, "VmRSS:");
    let mut peaks = Vec::new();
    for _ in 0..JOBS {
        std::fs::write(format!("/proc/{client}/clear_refs"), "5").unwrap();
        let job = cluster.run_job("names", 0);
        assert_eq!(job["attempts"][0]["files"], ENTRIES, "{job:#}");
        peaks.push(kib(client, "VmHWM:"));
    }
    assert_eq!(cluster.pid("client-1"), client);
    assert!(
        peaks[0] > idle + (20 << 10),
        "the lists are not long: {idle} KiB, then {peaks:?}"
    );
    assert!(peaks[JOBS - 1] < peaks[0] / 2 * 3, "{idle} KiB, then {peaks:?}");
    wait_until("the memory of the jobs to be given back", || {
        kib(client, "VmRSS:") < idle + (peaks[0] - idle) / 2
    });
}
