//! The API is usable without our code: a Python client made from the .proto files does the main job.

use std::path::Path;
use std::process::Command;

use crate::cluster::{Cluster, Ran};

#[test]
fn a_foreign_client_does_the_main_job() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), b"for everyone").unwrap();
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Where grpcio is installed; the CI puts it into a place of its own.
    let python = std::env::var("OUTLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_grpc = Command::new(&python)
        .args(["-c", "import grpc, grpc_tools"])
        .status();
    assert!(
        has_grpc.is_ok_and(|status| status.success()),
        "this test needs Python with grpcio and grpcio-tools: pip install grpcio grpcio-tools"
    );
    let ran = Command::new(&python)
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
