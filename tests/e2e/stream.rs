//! F-10: the connection between client and media agent is cut, and nobody notices but the log.

use crate::cluster::Cluster;
use crate::outage::slow_job_under_way;
use crate::proxy::Proxy;
use crate::tree;

/// The media agents, in the order of their proxies.
pub(crate) const MEDIA: [&str; 2] = ["media-1", "media-2"];

/// Where a child's config says that it listens.
pub(crate) fn listen(cluster: &Cluster, child: &str) -> String {
    let file = cluster.data_dir().join("config").join(format!("{child}.toml"));
    let text = std::fs::read_to_string(&file).unwrap();
    let line = text.lines().find(|line| line.starts_with("listen"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    line.split('"').nth(1).unwrap().to_owned()
}

/// A cluster whose client reaches each media agent through a proxy.
pub(crate) fn behind_proxies() -> (Cluster, Vec<Proxy>) {
    let cluster = Cluster::start();
    let proxies = with_proxies(&cluster);
    (cluster, proxies)
}

pub(crate) fn with_proxies(cluster: &Cluster) -> Vec<Proxy> {
    let proxies = MEDIA.map(|child| {
        let proxy = Proxy::start();
        proxy.lead_to(&listen(cluster, child));
        cluster.kill(&[child]);
        restart_behind(cluster, child, &proxy);
        proxy
    });
    proxies.into()
}

/// Starts a media agent so that clients go through its proxy.
pub(crate) fn restart_behind(cluster: &Cluster, child: &str, proxy: &Proxy) {
    let advertise = format!("[{:?}]", proxy.address());
    let variables = [
        ("OUTLAST_MEDIA_AGENT__ADVERTISE", advertise.as_str()),
        // Else the data would not go through the proxy.
        ("OUTLAST_MEDIA_AGENT__LOCAL_SOCKET", "false"),
    ];
    cluster.restart_with(child, &variables);
}

#[test]
fn f10_a_hundred_cuts_end_no_attempt_and_spoil_nothing() {
    let (cluster, proxies) = behind_proxies();
    let source = cluster.place("source");
    tree::make(&source);
    std::fs::write(source.join("big"), tree::noise(96 << 20, 5)).unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    // In the middle of messages, and in between; enough gets through for the end to come.
    let bytes = (0..100).map(|n| if n % 4 == 3 { 2_500_000 } else { 20_000 + n * 1_000 });
    for proxy in &proxies {
        proxy.plan(bytes.clone());
    }
    let job = cluster.run_job("home", 0);
    assert_eq!(job["status"], "successful", "{job:#}");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    let cuts: Vec<_> = proxies.iter().map(Proxy::cuts).collect();
    assert_eq!(cuts.iter().sum::<usize>(), 100, "{cuts:?}");
    cluster.check_repository();
    let points = cluster.json(&["restore-point", "list"]);
    let [point] = points.as_array().unwrap().as_slice() else {
        panic!("{points:#}")
    };

    // And back the same way: cut on the way of the data, now and then on that of the answers.
    let before: usize = cuts.iter().sum();
    for proxy in &proxies {
        proxy.cut();
        proxy.plan_down((0..40).map(|n| if n % 4 == 3 { 4_000_000 } else { 5_000 + n * 10_000 }));
    }
    let target = cluster.place("target");
    let point = point["id"].as_str().unwrap();
    let ran = cluster.run(&[
        "-o",
        "json",
        "restore",
        point,
        "--to",
        target.to_str().unwrap(),
        "--wait",
    ]);
    let job = ran.json();
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    let cuts: usize = proxies.iter().map(Proxy::cuts).sum();
    assert!(cuts - before >= 40, "{cuts} after {before}");
    tree::assert_same(&source, &target.join(source.strip_prefix("/").unwrap()));
}

/// How often a child's log has a text.
pub(crate) fn count(cluster: &Cluster, child: &str, text: &str) -> usize {
    cluster.log(child).matches(text).count()
}

/// F-18, where there is nobody to move to: 40, after `reconnect_for` as the cluster has it, which a media agent knows from its
/// disk when it was started again.
#[test]
fn f18_a_network_that_stays_silent_ends_the_attempt_with_40() {
    let cluster = Cluster::start();
    cluster.run(&["cluster", "set", "--reconnect-for", "3s"]);
    cluster.kill(&["client-1"]);
    cluster.restart("client-1");
    let proxies = with_proxies(&cluster);
    let source = cluster.place("source");
    let id = slow_job_under_way(&cluster, &source, 7);
    // Nobody else can take it.
    let (_, other) = crate::failover::agents_of(&cluster, &id);
    cluster.kill(&[other]);
    proxies.iter().for_each(|proxy| proxy.be_silent(true));
    let job = cluster
        .try_run(&["-o", "json", "job", "watch", &id])
        .expect(1)
        .json();
    assert_eq!(job["attempts"][0]["status_code"], 40, "{job:#}");
    let text = job["attempts"][0]["error"]["text"].as_str().unwrap();
    assert!(text.contains("3 s"), "{text}");
    cluster.check_repository();
    // The next job is none the worse for it.
    proxies.iter().for_each(|proxy| proxy.be_silent(false));
    cluster.run_job("slow", 0);
}
