//! Client and media agent on one host: data goes through the media agent's socket, and over TLS where it is gone. All clusters
//! of these tests are such; those whose network is to be broken have it switched off (`stream::with_proxies`).

use std::path::{Path, PathBuf};

use crate::cluster::Cluster;
use crate::outage::slow_job_under_way;
use crate::stream::count;
use crate::tree;

const MEDIA: [&str; 2] = ["media-1", "media-2"];

fn socket(cluster: &Cluster, media: &str) -> PathBuf {
    cluster
        .data_dir()
        .join("state")
        .join(media)
        .join("local/outlast.sock")
}

/// How often the client has said that it goes through a socket.
fn ways(cluster: &Cluster) -> usize {
    count(cluster, "client-1", "data goes through its socket")
}

/// Connections that the kernel has at a socket of this path.
fn connections(path: &Path) -> usize {
    let all = std::fs::read_to_string("/proc/net/unix").unwrap();
    let connected =
        |line: &&str| line.ends_with(path.to_str().unwrap()) && line.split(' ').nth(5) == Some("03");
    all.lines().filter(connected).count()
}

#[test]
fn data_of_one_host_goes_through_the_socket_both_ways() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    tree::make(&source);
    let id = slow_job_under_way(&cluster, &source, 11);
    let of_each = MEDIA.map(|media| connections(&socket(&cluster, media)));
    assert_eq!(of_each.iter().sum::<usize>(), 1, "{of_each:?}");
    let job = cluster.run(&["-o", "json", "job", "watch", &id]).json();
    assert_eq!(job["status"], "successful", "{job:#}");
    assert_eq!(ways(&cluster), 1);
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let target = cluster.place("target");
    cluster.run(&["restore", point, "--to", target.to_str().unwrap(), "--wait"]);
    tree::assert_same(&source, &target.join(source.strip_prefix("/").unwrap()));
    assert_eq!(ways(&cluster), 2);
    cluster.check_repository();
}

#[test]
fn where_the_socket_is_gone_data_goes_over_tls() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    tree::make(&source);
    for media in MEDIA {
        std::fs::remove_file(socket(&cluster, media)).unwrap();
    }
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 0);
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let target = cluster.place("target");
    cluster.run(&["restore", point, "--to", target.to_str().unwrap(), "--wait"]);
    tree::assert_same(&source, &target.join(source.strip_prefix("/").unwrap()));
    assert_eq!(ways(&cluster), 0);
    // A killed process leaves its socket behind, and the next puts its own there.
    for media in MEDIA {
        cluster.kill(&[media]);
        std::fs::write(socket(&cluster, media), b"").unwrap();
        cluster.restart(media);
    }
    cluster.run_job("home", 0);
    assert_eq!(ways(&cluster), 1);
    cluster.check_repository();
}
