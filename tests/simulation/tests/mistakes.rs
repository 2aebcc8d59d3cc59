//! Mistakes that are planted are found: without them a simulation that finds nothing would say nothing.

use outlast_simulation::{Mistakes, run};

/// Runs seeds until one finds the mistake; it breaks the rule that is named.
fn check(name: &str, mistakes: Mistakes, within: u64, rules: &[&str]) {
    let found = (0..within).find_map(|seed| Some((seed, run(seed, mistakes, false).contradiction?)));
    let Some((seed, contradiction)) = found else {
        panic!("{within} seeds do not find: {name}");
    };
    println!("{name}: seed {seed}: {contradiction}");
    assert!(
        rules.iter().any(|rule| contradiction.starts_with(rule)),
        "{name}: seed {seed}: {contradiction}"
    );
}

#[test]
fn r05_a_journal_that_is_not_synced_is_found() {
    let mistakes = Mistakes {
        no_fsync: true,
        ..Mistakes::default()
    };
    check("no fsync of the journal", mistakes, 20, &["R-05", "R-02"]);
}

#[test]
fn r16_submissions_that_count_twice_are_found() {
    let mistakes = Mistakes {
        no_deduplication: true,
        ..Mistakes::default()
    };
    check("no de-duplication", mistakes, 50, &["R-16"]);
}

#[test]
fn r05_events_that_count_twice_are_found() {
    let mistakes = Mistakes {
        no_event_deduplication: true,
        ..Mistakes::default()
    };
    check("no de-duplication of events", mistakes, 200, &["R-05", "S-12"]);
}

#[test]
fn acknowledging_before_the_commit_is_found() {
    let mistakes = Mistakes {
        acknowledge_before_commit: true,
        ..Mistakes::default()
    };
    check("acknowledging before the commit", mistakes, 20, &["DESIGN 3"]);
}

#[test]
fn c07_deciding_by_clock_is_found() {
    let mistakes = Mistakes {
        decide_by_clock: true,
        ..Mistakes::default()
    };
    check("deciding by clock", mistakes, 50, &["DESIGN 3"]);
}

#[test]
fn f04a_a_client_that_forgets_its_highest_attempt_is_found() {
    let mistakes = Mistakes {
        forget_highest_attempt: true,
        ..Mistakes::default()
    };
    check("forgetting the highest attempt", mistakes, 20, &["F-04a"]);
}

#[test]
fn c05_a_welcome_from_a_leader_that_is_none_any_more_is_found() {
    let mistakes = Mistakes {
        welcome_unconfirmed: true,
        ..Mistakes::default()
    };
    check(
        "a welcome that is not confirmed",
        mistakes,
        2000,
        &["DESIGN 3", "S-12", "C-08b"],
    );
}

#[test]
fn r04_a_marked_attempt_that_gives_up_without_a_primary_is_found() {
    let mistakes = Mistakes {
        give_up_without_primary: true,
        ..Mistakes::default()
    };
    check("giving up without a primary", mistakes, 200, &["R-04"]);
}

#[test]
fn r05_a_journal_that_was_set_back_and_went_on_is_found() {
    let mistakes = Mistakes {
        trust_numbers: true,
        ..Mistakes::default()
    };
    check(
        "trusting numbers alone",
        mistakes,
        20_000,
        &["liveness", "S-12", "S-01"],
    );
}

#[test]
fn s14_packs_that_are_not_synced_are_found() {
    let mistakes = Mistakes {
        no_pack_sync: true,
        ..Mistakes::default()
    };
    check("no sync of packs", mistakes, 50, &["DESIGN 4", "F-05"]);
}
