//! The API is usable without our code: a Python client made from the .proto files does the main job.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::{Cluster, Ran};

#[test]
fn a_foreign_client_does_the_main_job() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), b"for everyone").unwrap();
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = Command::new(python_with_grpc())
        .arg(home.join("tests/foreign/client.py"))
        .arg(home.join("proto/proto"))
        .arg(cluster.data_dir())
        .arg(&source)
        .output()
        .unwrap();
    let said = Ran::of(ran).expect(0).json();
    assert_eq!(said["created"], true);
    assert_eq!(said["ids"][0], said["ids"][1], "one request, one job");
    assert_eq!(said["status"], "COMPLETION_STATUS_SUCCESSFUL");
    assert_eq!(
        said["states"].as_array().unwrap().last().unwrap(),
        "JOB_STATE_DONE"
    );
    assert_eq!(said["restore_points"].as_array().unwrap().len(), 1);
    assert_eq!(said["restore_points"][0], said["item"]);
    cluster.check_repository();
}

/// Python with grpcio, in a place of its own in the target folder; made once.
fn python_with_grpc() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign-client");
    let python = place.join("bin/python");
    // Two test runs at once make it one after the other.
    std::fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let lock = std::fs::File::create(place.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let run = |program: &Path, args: &[&str]| {
        let ran = Command::new(program).args(args).output();
        ran.unwrap_or_else(|error| panic!("{}: {error}; this test needs python3", program.display()))
    };
    if python.exists() && run(&python, &["-c", "import grpc, grpc_tools"]).status.success() {
        return python;
    }
    for (program, args) in [
        (Path::new("python3"), vec!["-m", "venv", place.to_str().unwrap()]),
        (
            &python,
            vec![
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--retries=10",
                "grpcio",
                "grpcio-tools",
            ],
        ),
    ] {
        Ran::of(run(program, &args)).expect(0);
    }
    python
}
