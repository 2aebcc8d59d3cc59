//! who shares a host with a primary, and primaries of another version in mid-job.

use outlast_kit::leader::{CallError, Primaries};
use outlast_proto::v1::DescribeMemberRequest;
use outlast_proto::v1::members_client::MembersClient;
use serde_json::Value;

use crate::cluster::{Cluster, PATIENCE, wait_until};
use crate::hostile::{credentials, primaries};
use crate::tree;

const PRIMARIES: [&str; 3] = ["primary-1", "primary-2", "primary-3"];
const MEDIA: [&str; 2] = ["media-1", "media-2"];
const REPORTED: &str = "OUTLAST_PRIMARY__REPORTED_VERSION";

/// The host a child's config says it is on.
fn host_id(cluster: &Cluster, child: &str) -> String {
    let file = cluster.data_dir().join("config").join(format!("{child}.toml"));
    let config: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
    config["host_id"].as_str().unwrap().to_owned()
}

/// The lines of the details that are about resilience.
fn said(cluster: &Cluster, job: &Value) -> Vec<String> {
    let details = cluster.json(&["job", "details", job["id"].as_str().unwrap()]);
    let texts = details.as_array().unwrap().iter();
    texts
        .map(|line| line["text"].as_str().unwrap().to_owned())
        .filter(|text| text.contains("resilient"))
        .collect()
}

/// Starts an agent again, as if on this host, and waits until it is there.
fn move_to(cluster: &Cluster, child: &str, agent: &str, host: &str) {
    cluster.kill(&[child]);
    let section = if agent == "local" {
        "CLIENT_AGENT"
    } else {
        "MEDIA_AGENT"
    };
    cluster.restart_with(child, &[(&format!("OUTLAST_{section}__HOST_ID"), host)]);
    wait_until("the agent to be back on its new host", || {
        let agent = cluster.json(&["agent", "show", agent]);
        agent["host_id"] == host && agent["connected"] != false
    });
}

#[test]
fn r12_on_the_host_of_a_primary_a_job_is_not_resilient_and_says_why() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), "text").unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    // The very first job, moments after the members met: it has waited until they all had said where they run.
    let job = cluster.run_job("home", 0);
    assert_eq!(said(&cluster, &job), ["job is resilient"]);
    assert_eq!(job["resilient"], true);

    let (beside, own) = (host_id(&cluster, "primary-2"), host_id(&cluster, "client-1"));
    for media in MEDIA {
        move_to(&cluster, media, media, &beside);
    }
    let job = cluster.run_job("home", 0);
    let media = job["attempts"][0]["media_agent"].as_str().unwrap().to_owned();
    let beside_media = format!("media agent {media} is on the same host as primary primary-2");
    assert_eq!(
        said(&cluster, &job),
        [format!("job is not resilient: {beside_media}")]
    );
    assert_eq!(job["resilient"], false);

    move_to(&cluster, "client-1", "local", &host_id(&cluster, "primary-3"));
    let job = cluster.run_job("home", 0);
    assert_eq!(
        said(&cluster, &job),
        [format!(
            "job is not resilient: {beside_media}; client local is on the same host as primary primary-3"
        )]
    );

    // A member that has left the group is no primary any more; where it ran means nothing.
    for primary in ["primary-2", "primary-3"] {
        cluster.run(&["cluster", "transfer-leader", "primary-1"]);
        cluster.run(&["cluster", "remove", primary]);
    }
    let job = cluster.run_job("home", 0);
    assert_eq!(said(&cluster, &job), ["job is resilient"]);
    move_to(&cluster, "client-1", "local", &own);
    cluster.check_repository();
}

/// Each primary is stopped in good order and started again with another version, one after the other.
fn upgrade(cluster: &Cluster, version: &str) {
    for primary in PRIMARIES {
        cluster.end(primary);
        cluster.restart_with(primary, &[(REPORTED, version)]);
        cluster.wait_for_all_primaries();
    }
}

/// A job whose data flows for about 40 s.
fn long_job(cluster: &Cluster, seed: u64) -> Value {
    let source = cluster.place("source");
    std::fs::write(source.join("big"), tree::noise(40 << 20, seed)).unwrap();
    let more = "[limits]\nbandwidth = \"1MiB/s\"";
    cluster.apply_policy("long", &[&source], more).expect(0);
    let job = cluster.json(&["job", "run", "long"]);
    wait_until("data to flow", || {
        let job = show(cluster, &job);
        job["progress"]["bytes"].as_u64().unwrap_or(0) > 0
    });
    job
}

fn show(cluster: &Cluster, job: &Value) -> Value {
    cluster.json(&["job", "show", job["id"].as_str().unwrap()])
}

fn end_of(cluster: &Cluster, job: &Value) -> Value {
    let id = job["id"].as_str().unwrap();
    let job = cluster.run(&["-o", "json", "job", "watch", id]).json();
    assert_eq!(job["status"], "successful", "{job:#}");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    job
}

fn snapshots(cluster: &Cluster) -> usize {
    let snapshots = std::fs::read_dir(cluster.data_dir().join("storage/snapshots")).unwrap();
    // Whole, under their own names; before that they have temporary ones.
    snapshots
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().len() == 64))
        .count()
}

#[test]
fn r13_a_patch_release_in_mid_job_leaves_it_resilient_and_it_outlasts_every_primary() {
    let cluster = Cluster::start();
    let job = long_job(&cluster, 21);
    let patch = "0.1.99";
    upgrade(&cluster, patch);
    assert_eq!(cluster.json(&["cluster", "status"])["version"], patch);
    wait_until("the agents to have met the new version", || {
        let agents = cluster.json(&["agent", "list"]);
        let mut agents = agents.as_array().unwrap().iter();
        agents.all(|agent| agent["connected"] == true)
    });
    assert_eq!(show(&cluster, &job)["state"], "active");
    cluster.kill(&PRIMARIES);
    wait_until("the snapshot to be written without a primary", || {
        snapshots(&cluster) == 1
    });
    for primary in PRIMARIES {
        cluster.restart_with(primary, &[(REPORTED, patch)]);
    }
    let job = end_of(&cluster, &job);
    assert_eq!(job["resilient"], true);
    assert_eq!(said(&cluster, &job), ["job is resilient"]);
    cluster.check_repository();
}

#[test]
fn r13_another_version_in_mid_job_takes_its_mark_away_and_it_goes_on() {
    let cluster = Cluster::start();
    let job = long_job(&cluster, 22);
    upgrade(&cluster, "0.2.0");
    let lost = format!(
        "job is not resilient: the primary's version changed from {} to 0.2.0",
        env!("CARGO_PKG_VERSION")
    );
    let expected = ["job is resilient".to_owned(), lost];
    wait_until("the job to have lost its mark", || {
        said(&cluster, &job) == expected
    });
    let now = show(&cluster, &job);
    assert_eq!(
        (&now["state"], &now["resilient"]),
        (&"active".into(), &false.into())
    );
    let job = end_of(&cluster, &job);
    assert_eq!(job["resilient"], false);
    assert_eq!(said(&cluster, &job), expected);
    // The next one is dispatched by the new version.
    let source = cluster.place("small");
    std::fs::write(source.join("file"), "text").unwrap();
    cluster.apply_policy("small", &[&source], "").expect(0);
    let next = cluster.run_job("small", 0);
    assert_eq!(said(&cluster, &next), ["job is resilient"]);
    cluster.check_repository();
}

#[tokio::test(flavor = "multi_thread")]
async fn r12_nobody_but_a_node_itself_says_where_it_runs() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), "text").unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    let elsewhere = || "elsewhere".to_owned();
    for (caller, node_id, host_id, version) in [
        ("operator", 2, elsewhere(), "0.1.0"),
        ("media-1", 2, elsewhere(), "0.1.0"),
        ("client-1", 2, elsewhere(), "0.1.0"),
        ("primary-1", 2, elsewhere(), "0.1.0"),
        ("primary-1", 9, elsewhere(), "0.1.0"),
        ("primary-1", 1, String::new(), "0.1.0"),
        ("primary-1", 1, "x".repeat(257), "0.1.0"),
        ("primary-1", 1, elsewhere(), ""),
    ] {
        let nodes = Primaries::new(credentials(&cluster, caller), &primaries(&cluster)).unwrap();
        let request = DescribeMemberRequest {
            node_id,
            host_id,
            version: version.into(),
            cluster_version: 1,
        };
        let answered = nodes.call(PATIENCE, |channel| {
            let request = request.clone();
            async move { MembersClient::new(channel).describe(request).await }
        });
        let Err(CallError::Refused(status)) = answered.await else {
            panic!("{caller} {request:?}")
        };
        let expected = match (caller, node_id) {
            ("primary-1", 1) => tonic::Code::InvalidArgument,
            _ => tonic::Code::PermissionDenied,
        };
        assert_eq!(
            status.code(),
            expected,
            "{caller} {request:?}: {}",
            status.message()
        );
    }
    let job = cluster.run_job("home", 0);
    assert_eq!(said(&cluster, &job), ["job is resilient"]);
}
