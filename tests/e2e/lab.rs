//! `deploy/lab`: the files of `deploy` as they are, on six hosts that are network namespaces. `run`: a backup, a restore, a leader that is
//! cut off. `failover`: a media agent that only the primaries do not hear, a one-way cut, a media agent and the leader that vanish together.
//! `chain`: three of five media agents vanish one after the other. `far`: a client behind 200 ms and 2 % loss.

use std::path::Path;

use crate::cluster::Ran;

/// The script's exit code where no namespaces can be made.
const CANNOT: i32 = 77;

#[test]
fn the_lab_runs_the_files_of_deploy_from_end_to_end() {
    run("run", &["leads now"]);
}

#[test]
fn c08_f02_in_the_lab_jobs_outlive_hosts_that_vanish_and_stay_where_only_the_primaries_are_cut_off() {
    run(
        "failover",
        &["only the primaries do not hear", "vanish without a word"],
    );
}

#[test]
fn s04_f02_in_the_lab_a_job_outlives_three_of_five_media_agents() {
    run("chain", &["its history: resumed resumed resumed successful"]);
}

#[test]
fn s04_f10_in_the_lab_a_client_far_away_on_a_bad_line_loses_its_media_agent() {
    run("far", &["data flows over 200 ms with 2 % loss"]);
}

fn run(command: &str, said: &[&str]) {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/lab");
    let ran = std::process::Command::new(lab)
        .arg(command)
        .env("OUTLAST_BINARY", env!("CARGO_BIN_EXE_outlast"))
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let ran = Ran::of(ran);
    if ran.code == CANNOT {
        return println!("skipped: {}", ran.stderr.trim());
    }
    println!("{}\n{}", ran.stdout, ran.stderr);
    let ran = ran.expect(0);
    for said in said.iter().chain(&["all is as it should be"]) {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
}
