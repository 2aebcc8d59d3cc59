//! `tests/chaos` for a short time: load and seeded faults on real processes, and everything is accounted for (docs/chaos.md). The long run is a command of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::{Ran, Turn};

/// The script's exit code where the machine lacks something.
const CANNOT: i32 = 77;
/// Of faults; what is before and behind them takes about as long.
const SECONDS: &str = "100";

/// The program that makes the hosts' disks: cargo builds it with the tests of its own package.
fn disks() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_outlast")).with_file_name("test-disks");
    if !program.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args([
                "build",
                "--locked",
                "-p",
                "outlast-test-filesystems",
                "--bin",
                "test-disks",
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.is_ok_and(|built| built.success()), "building test-disks");
    }
    program
}

/// Another seed in `OUTLAST_SEED`.
#[test]
fn s12_s13_s14_f04_f07_after_random_faults_everything_is_accounted_for() {
    let _turn = Turn::take();
    let seed = std::env::var("OUTLAST_SEED").unwrap_or_else(|_| "1".to_owned());
    let ran = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chaos/run.py"))
        .args(["--outlast", env!("CARGO_BIN_EXE_outlast"), "--disks"])
        .arg(disks())
        .args(["--seconds", SECONDS, "--sample", "8", "--seed", &seed])
        .output()
        .unwrap();
    let ran = Ran::of(ran);
    if ran.code == CANNOT {
        return outlast_test_filesystems::not_run(ran.stderr.trim());
    }
    println!("{}\n{}", ran.stdout, ran.stderr);
    ran.expect(0);
}
