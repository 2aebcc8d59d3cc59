//! C-05, F-10: the other end vanishes and no connection is closed. Both ends notice by themselves, and the job goes on. How long it takes
//! is printed; docs/protocol.md says how long it can take.

use std::time::{Duration, Instant};

use outlast_kit::leader::Primaries;
use outlast_proto::v1::ClusterStatusRequest;
use outlast_proto::v1::cluster_client::ClusterClient;

use crate::cluster::{Cluster, PATIENCE, wait_until};
use crate::hostile::credentials;
use crate::outage::{job_under_way, slow_job_under_way};
use crate::proxy::Proxy;
use crate::stream::{MEDIA, behind_proxies, count, listen};

/// Waits until each of these is so, and prints after how long.
fn print_when<const N: usize>(since: Instant, events: [(&str, &dyn Fn() -> bool); N]) {
    let mut left = events.to_vec();
    wait_until("everybody to notice", || {
        left.retain(|(what, is_so)| {
            let is_so = is_so();
            if is_so {
                println!("{what}: after {:.1} s", since.elapsed().as_secs_f64());
            }
            !is_so
        });
        left.is_empty()
    });
}

/// Ends the job well, in one attempt.
fn assert_successful(cluster: &Cluster, id: &str) {
    let job = cluster.run(&["-o", "json", "job", "watch", id]).json();
    assert_eq!(job["status"], "successful", "{job:#}");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    cluster.check_repository();
}

/// What the children say of a broken stream.
const OF_MEDIA: &str = "the stream with the client is broken";
const OF_CLIENT: &str = "the data stream is broken and is opened again";

/// The data stream: what is under way waits for the network, or is lost.
fn a_silent_stream(seed: u64, fall_silent: impl Fn(&Proxy), come_back: impl Fn(&Proxy)) {
    let (cluster, proxies) = behind_proxies();
    let source = cluster.place("source");
    let id = slow_job_under_way(&cluster, &source, seed);
    let since = Instant::now();
    proxies.iter().for_each(fall_silent);
    let of_media = || {
        MEDIA
            .iter()
            .map(|media| count(&cluster, media, OF_MEDIA))
            .sum::<usize>()
            == 1
    };
    let of_client = || count(&cluster, "client-1", OF_CLIENT) == 1;
    print_when(
        since,
        [
            ("media agent, of the client", &of_media),
            ("client, of the media agent", &of_client),
        ],
    );
    assert_eq!(cluster.json(&["job", "show", &id])["state"], "active");
    proxies.iter().for_each(come_back);
    assert_successful(&cluster, &id);
}

#[test]
fn f10_a_network_that_falls_silent_is_noticed_by_both_sides_and_ends_no_attempt() {
    a_silent_stream(6, |proxy| proxy.be_silent(true), |proxy| proxy.be_silent(false));
}

#[test]
fn f10_a_network_that_swallows_everything_is_noticed_by_both_sides_and_ends_no_attempt() {
    a_silent_stream(7, |proxy| proxy.swallow(true), |proxy| proxy.swallow(false));
}

/// The sessions: agents reach the leader through a proxy that becomes a black hole, find another way, and the job goes on. An agent that
/// vanished at that moment is not called connected any more.
#[test]
fn c05_agents_and_leader_that_lose_each_other_without_a_word_notice() {
    const OPEN: &str = "session with the leader is open";
    let cluster = Cluster::start();
    let proxy = Proxy::start();
    proxy.lead_to(&listen(&cluster, &cluster.leader()));
    let primaries = format!("[{:?}]", proxy.address());
    let agents = [
        ("media-1", "MEDIA_AGENT"),
        ("media-2", "MEDIA_AGENT"),
        ("client-1", "CLIENT_AGENT"),
    ];
    for (child, section) in agents {
        let before = count(&cluster, child, OPEN);
        cluster.kill(&[child]);
        let variable = format!("OUTLAST_{section}__PRIMARIES");
        cluster.restart_with(child, &[(&variable, &primaries)]);
        wait_until("the session through the proxy", || {
            count(&cluster, child, OPEN) > before
        });
    }
    let source = cluster.place("source");
    let id = job_under_way(&cluster, &source, 8, 1);
    let job = cluster.json(&["job", "show", &id]);
    let at_work = job["attempts"][0]["media_agent"].as_str().unwrap();
    let idle = *MEDIA.iter().find(|media| **media != at_work).unwrap();
    let before = [at_work, "client-1"].map(|child| count(&cluster, child, OPEN));

    let since = Instant::now();
    proxy.swallow(true);
    // Its end does not come through.
    cluster.kill(&[idle]);
    let of_media = || count(&cluster, at_work, "the session broke") == 1;
    let of_client = || count(&cluster, "client-1", "the session with the leader broke") == 1;
    let of_leader = || cluster.json(&["agent", "show", idle])["connected"] == false;
    let media_is_back = || count(&cluster, at_work, OPEN) > before[0];
    let client_is_back = || count(&cluster, "client-1", OPEN) > before[1];
    print_when(
        since,
        [
            ("media agent, of the leader", &of_media),
            ("client, of the leader", &of_client),
            ("leader, of a media agent", &of_leader),
            ("media agent is back", &media_is_back),
            ("client is back", &client_is_back),
        ],
    );
    assert_eq!(cluster.json(&["job", "show", &id])["state"], "active");
    cluster.restart(idle);
    assert_successful(&cluster, &id);
}

/// A primary that vanished in the middle of the TLS handshake, and is back: whoever had been connecting to it reaches it again.
#[tokio::test(flavor = "multi_thread")]
async fn t90_c05_a_peer_that_vanished_in_the_handshake_is_reached_again_when_it_is_back() {
    let cluster = Cluster::start();
    let proxy = Proxy::start();
    proxy.lead_to(&listen(&cluster, &cluster.leader()));
    let nodes = Primaries::new(credentials(&cluster, "operator"), &[proxy.address()]).unwrap();
    let ask = |channel| async move { ClusterClient::new(channel).status(ClusterStatusRequest {}).await };
    proxy.swallow(true);
    assert!(nodes.call(Duration::from_secs(1), ask).await.is_err());
    proxy.swallow(false);
    let since = Instant::now();
    nodes.call(PATIENCE, ask).await.unwrap();
    println!("reached again after {:.1} s", since.elapsed().as_secs_f64());
}
