//! Thousands of seeds without a contradiction; one of them twice; one of them in full.
//!
//! `OUTLAST_SEED=17 cargo test -p outlast-simulation --test seeds one_seed -- --nocapture` shows everything that happens in it.
//! `OUTLAST_SEEDS=100000` runs so many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use outlast_simulation::{Mistakes, Report, run};

/// As many as run in half a minute.
const SEEDS: u64 = 5_000;
/// Lines of a failing run that are shown.
const LAST: usize = 60;

/// How attempts end in such a world: done, with exceptions, without a primary for too long, with the client's process gone, with
/// the media agent's gone, canceled.
const ENDINGS: [u16; 6] = [0, 1, 40, 50, 1111, 150];

/// What came of many runs.
#[derive(Default)]
struct Sums {
    steps: u64,
    jobs: usize,
    events: u64,
    checkpoints: u64,
    failovers: u64,
    moves: u64,
    endings: BTreeMap<u16, usize>,
    failed: Vec<String>,
}

impl Sums {
    fn add(&mut self, seed: u64, report: &Report) {
        let mine = Self {
            steps: report.steps,
            jobs: report.jobs,
            events: report.events,
            checkpoints: report.checkpoints,
            failovers: report.failovers,
            moves: report.moves,
            endings: report.endings.clone(),
            failed: told(seed, report).into_iter().collect(),
        };
        self.take(mine);
    }

    fn take(&mut self, other: Self) {
        self.steps += other.steps;
        self.jobs += other.jobs;
        self.events += other.events;
        self.checkpoints += other.checkpoints;
        self.failovers += other.failovers;
        self.moves += other.moves;
        self.failed.extend(other.failed);
        for (code, count) in other.endings {
            *self.endings.entry(code).or_default() += count;
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The failure of a seed, with what happened last.
fn told(seed: u64, report: &Report) -> Option<String> {
    let contradiction = report.contradiction.as_ref()?;
    let trace = run(seed, Mistakes::default(), true).trace;
    let lines: Vec<&str> = trace.lines().collect();
    let last = lines[lines.len().saturating_sub(LAST)..].join("\n");
    Some(format!(
        "seed {seed}: {contradiction}\n{last}\nseed {seed}: {contradiction}"
    ))
}

/// S-12, R-05, F-04, F-04a, F-10, C-07, R-16 and what else `check` looks at; then that everything comes to its end.
#[test]
fn s12_no_seed_finds_a_contradiction() {
    let seeds = number("OUTLAST_SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let worker = || {
        let mut sums = Sums::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || sums.failed.len() >= 3 {
                return sums;
            }
            sums.add(seed, &run(seed, Mistakes::default(), false));
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let mut all = Sums::default();
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for handle in handles {
            all.take(handle.join().unwrap());
        }
    });
    println!(
        "{seeds} seeds in {:?}: {} steps, {} jobs, {} events, {} states with a checkpoint, {} failovers, {} moves",
        began.elapsed(),
        all.steps,
        all.jobs,
        all.events,
        all.checkpoints,
        all.failovers,
        all.moves
    );
    println!("attempts by status code: {:?}", all.endings);
    assert!(all.failed.is_empty(), "{}", all.failed.join("\n\n"));
    // A world in which nothing goes wrong shows nothing.
    assert!(all.failovers > 0 || seeds < SEEDS, "nobody lost a media agent");
    assert!(all.moves > 0 || seeds < SEEDS, "nobody was drained");
    assert!(all.checkpoints > 0 || seeds < SEEDS, "nobody made a checkpoint");
    for code in ENDINGS.into_iter().filter(|_| seeds >= SEEDS) {
        assert!(
            all.endings.contains_key(&code),
            "no attempt ended with {code}: {:?}",
            all.endings
        );
    }
}

#[test]
fn one_seed_run_twice_gives_the_same_bytes() {
    for seed in 0..20 {
        let [first, second] = [(); 2].map(|()| run(seed, Mistakes::default(), true));
        assert!(first.trace.len() > 1000, "something happens in seed {seed}");
        assert!(
            first.trace == second.trace,
            "seed {seed} is not the same when run twice"
        );
    }
}

#[test]
fn one_seed() {
    let Some(seed) = number("OUTLAST_SEED") else {
        return;
    };
    let report = run(seed, Mistakes::default(), true);
    println!("{}", report.trace);
    println!("seed {seed}: {:?}, {} steps", report.contradiction, report.steps);
    assert_eq!(report.contradiction, None);
}
