//! F-10: the connection between client and media agent is cut, and nobody notices but the log.

use crate::cluster::Cluster;
use crate::proxy::Proxy;
use crate::tree;

/// Where a child's config says that it listens.
fn listen(cluster: &Cluster, child: &str) -> String {
    let file = cluster.data_dir().join("config").join(format!("{child}.toml"));
    let text = std::fs::read_to_string(&file).unwrap();
    let line = text.lines().find(|line| line.starts_with("listen"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    line.split('"').nth(1).unwrap().to_owned()
}

/// A cluster whose client reaches each media agent through a proxy.
fn behind_proxies() -> (Cluster, Vec<Proxy>) {
    let cluster = Cluster::start();
    let proxies = ["media-1", "media-2"].map(|child| {
        let proxy = Proxy::start();
        proxy.lead_to(&listen(&cluster, child));
        cluster.kill(&[child]);
        let advertise = format!("[{:?}]", proxy.address());
        cluster.restart_with(child, &[("OUTLAST_MEDIA_AGENT__ADVERTISE", &advertise)]);
        proxy
    });
    (cluster, proxies.into())
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

    // And back the same way.
    for proxy in &proxies {
        proxy.cut();
        proxy.plan([20_000, 3_000, 6_000, 5_000]);
    }
    let target = cluster.place("target");
    let point = point["id"].as_str().unwrap();
    cluster.run(&["restore", point, "--to", target.to_str().unwrap(), "--wait"]);
    tree::assert_same(&source, &target.join(source.strip_prefix("/").unwrap()));
}
