//! Runs restic.

use std::path::Path;
use std::process::{Command, Output};

use super::PASSWORD;

/// Runs restic on a repository; its standard output. Fails the test if restic fails or is missing.
pub(crate) fn restic(repository: &Path, arguments: &[&str]) -> String {
    let output = run(repository, arguments);
    let text = text_of(&output);
    assert!(output.status.success(), "restic {arguments:?} failed: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The same for what restic must refuse; all it said.
pub(crate) fn restic_fails(repository: &Path, arguments: &[&str]) -> String {
    let output = run(repository, arguments);
    assert!(
        !output.status.success(),
        "restic {arguments:?} should have failed: {}",
        text_of(&output)
    );
    text_of(&output)
}

/// restic reads every byte and finds nothing wrong.
pub(crate) fn check(repository: &Path) {
    let said = restic(repository, &["--no-lock", "check", "--read-data"]);
    assert!(said.contains("no errors were found"), "{said}");
}

fn run(repository: &Path, arguments: &[&str]) -> Output {
    let result = Command::new("restic")
        .arg("--no-cache")
        .arg("-r")
        .arg(repository)
        .args(arguments)
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("TZ", "UTC")
        .output();
    match result {
        Ok(output) => output,
        Err(error) => {
            panic!("these tests need restic 0.14 or newer in the path (apt-get install restic): {error}")
        }
    }
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
