//! `deploy/lab run`: the files of `deploy` as they are, on six hosts that are network namespaces; a backup, a restore, a
//! leader that is cut off.

use std::path::Path;

use crate::cluster::Ran;

/// The script's exit code where no namespaces can be made.
const CANNOT: i32 = 77;

#[test]
fn the_lab_runs_the_files_of_deploy_from_end_to_end() {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/lab");
    let ran = std::process::Command::new(lab)
        .arg("run")
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
    assert!(ran.stderr.contains("leads now"), "{}", ran.stderr);
    assert!(ran.stderr.contains("all is as it should be"), "{}", ran.stderr);
}
