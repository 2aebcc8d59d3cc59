//! What bad input gets: one clear sentence that names the file, key or host; the right exit code; nothing half-written.

use std::path::Path;

use serde_json::json;

use crate::cluster::{Cluster, Ran, outlast, wait_until};
use crate::mounts::Mount;

#[test]
fn policies_and_names_that_cannot_be() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    for (name, more, code, words) in [
        (
            "unknown-key",
            "exlude = [\"x\"]",
            2,
            vec!["unknown-key.toml", "exlude", "exclude"],
        ),
        ("wrong-type", "exclude = 7", 2, vec!["wrong-type.toml", "exclude"]),
        ("no-pool", "pool = \"nowhere\"", 6, vec!["nowhere", "default"]),
        ("other-type", "type = \"oracle\"", 5, vec!["oracle"]),
        ("twice", "name = \"again\"", 2, vec!["twice.toml", "name"]),
        ("no-toml", "[[[", 2, vec!["no-toml.toml"]),
        (
            "bad-time",
            "[checkpoint]\ninterval = \"soon\"",
            2,
            vec!["bad-time.toml", "interval"],
        ),
    ] {
        let refused = cluster.apply_policy(name, &[&source], more).expect(code);
        for word in words {
            assert!(
                refused.stderr.contains(word),
                "{name}: no {word:?} in: {}",
                refused.stderr
            );
        }
        assert_eq!(
            refused.stderr.trim().lines().count(),
            1,
            "{name}: one sentence: {}",
            refused.stderr
        );
    }
    cluster.apply_policy("double", &[&source, &source], "").expect(2);
    assert_eq!(
        cluster.json(&["policy", "list"]),
        json!([]),
        "nothing half-written"
    );
    for (args, code) in [
        (vec!["policy", "show", "nothing"], 6),
        (vec!["job", "run", "nothing"], 6),
        (vec!["job", "show", "99"], 6),
        (vec!["job", "show", "nonsense"], 6),
        (vec!["job", "log", "99"], 6),
        (vec!["restore-point", "ls", "abcdef"], 6),
        (vec!["restore", "abcdef", "--to", "/tmp/x"], 6),
        (vec!["agent", "show", "nobody"], 6),
        (vec!["pool", "show", "nowhere"], 6),
        (vec!["help", "code", "9999"], 6),
        (vec!["cluster", "acknowledge", "77"], 6),
        (vec!["cluster", "remove", "nobody"], 6),
        (vec!["cluster", "transfer-leader", "nobody"], 6),
        (vec!["job", "details", "99"], 6),
        (vec!["job", "watch", "99"], 6),
        (vec!["job", "cancel", "99"], 6),
        (vec!["history", "list", "--job", "99"], 6),
        (vec!["job", "frob"], 2),
    ] {
        let refused = cluster.try_run(&args).expect(code);
        assert!(
            !refused.stderr.contains("panicked") && !refused.stderr.is_empty(),
            "{args:?}: {}",
            refused.stderr
        );
    }
}

/// A host's own certificate opens a session and its own streams, nothing else (DESIGN 5).
#[test]
fn an_agents_certificate_is_refused_by_the_public_services() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    cluster.apply_policy("home", &[&source], "").expect(0);
    let own = std::fs::read_to_string(cluster.data_dir().join("client.toml")).unwrap();
    for child in ["client-1", "media-1"] {
        let theirs = cluster.data_dir().join(format!("as-{child}.toml"));
        std::fs::write(&theirs, own.replace("tls/operator", &format!("tls/{child}"))).unwrap();
        let theirs = theirs.to_str().unwrap();
        for args in [
            vec!["cluster", "status"],
            vec!["policy", "list"],
            vec!["policy", "delete", "home"],
            vec!["job", "run", "home"],
            vec!["job", "list"],
            vec!["history", "list"],
            vec!["restore-point", "list"],
            vec!["agent", "list"],
            vec!["pool", "list"],
            vec!["job", "list", "--stale"],
        ] {
            let answer = outlast()
                .args(["--context", theirs])
                .args(&args)
                .output()
                .unwrap();
            let refused = Ran::of(answer).expect(5);
            assert!(
                refused.stderr.contains("may not use this service"),
                "{}",
                refused.stderr
            );
        }
    }
    assert_eq!(cluster.json(&["policy", "list"])[0]["name"], json!("home"));
    assert_eq!(cluster.json(&["job", "list"]), json!([]));
}

#[test]
fn dev_refuses_what_it_cannot_do() {
    let cluster = Cluster::unstarted();
    let foreign = cluster.place("foreign");
    std::fs::write(foreign.join("mine"), b"x").unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = port.local_addr().unwrap().port().to_string();
    let dir = cluster.data_dir();
    let dir = dir.to_str().unwrap();
    for (args, code, words) in [
        (
            vec!["dev", "/no/such/path", "--once", "--data-dir", dir],
            6,
            "/no/such/path",
        ),
        (vec!["dev", "--once", "--data-dir", dir], 2, "--once"),
        (vec!["dev", "--data-dir", foreign.to_str().unwrap()], 5, "foreign"),
        (vec!["dev", "--primaries", "2", "--data-dir", dir], 2, "1, 3 or 5"),
        (vec!["dev", "--port", &taken, "--data-dir", dir], 5, "in use"),
        (
            vec!["dev", "restart", "media-1", "--data-dir", dir],
            6,
            "no cluster",
        ),
    ] {
        let refused = Ran::of(outlast().args(&args).output().unwrap()).expect(code);
        assert!(refused.stderr.contains(words), "{args:?}: {}", refused.stderr);
    }
    assert!(!Path::new(dir).exists(), "nothing half-written");
}

#[test]
fn s11_storage_that_cannot_be_used_is_told_apart() {
    let cluster = Cluster::start();
    cluster.kill(&["media-1", "media-2"]);
    let text = std::fs::read_to_string(cluster.data_dir().join("config/media-1.toml")).unwrap();
    let storage = cluster.data_dir().join("storage");
    let storage = storage.to_str().unwrap();
    let foreign = cluster.place("holidays");
    std::fs::write(foreign.join("beach.jpg"), b"x").unwrap();
    let wrong = cluster.place("wrong").join("password-file");
    std::fs::write(&wrong, "not the password\n").unwrap();
    let password = cluster.data_dir().join("repository-password");
    let password = password.to_str().unwrap();
    for (name, text, words) in [
        (
            "wrong password",
            text.replace(password, wrong.to_str().unwrap()),
            vec!["password", "password-file", storage],
        ),
        (
            "no repository",
            text.replace(storage, foreign.to_str().unwrap()),
            vec!["holidays"],
        ),
        (
            "no password file",
            text.replace(password, "/no/such/file"),
            vec!["/no/such/file"],
        ),
    ] {
        // As an agent that was never here before: it has no memory of another repository in this place.
        let (old, fresh) = (cluster.data_dir().join("state/media-1"), cluster.place("fresh"));
        let text = text.replace(old.to_str().unwrap(), fresh.to_str().unwrap());
        let config = cluster.place("configs").join("media-1.toml");
        std::fs::write(&config, text).unwrap();
        let ended = daemon_within_a_minute(&["media-agent", "--config", config.to_str().unwrap()]);
        assert!(
            [1, 2].contains(&ended.code),
            "{name}: {} {}",
            ended.code,
            ended.stderr
        );
        assert!(!ended.stderr.contains("panicked"), "{name}: {}", ended.stderr);
        for word in words {
            assert!(
                ended.stderr.contains(word),
                "{name}: no {word:?} in: {}",
                ended.stderr
            );
        }
    }
    assert_eq!(
        std::fs::read_dir(&foreign).unwrap().count(),
        1,
        "nothing was written into a foreign folder"
    );
}

/// A daemon that has to end by itself.
fn daemon_within_a_minute(args: &[&str]) -> Ran {
    let mut command = std::process::Command::new("timeout");
    command
        .args(["--signal=KILL", "60", env!("CARGO_BIN_EXE_outlast")])
        .args(args);
    Ran::of(command.output().unwrap())
}

#[test]
fn s11_a_storage_unit_that_went_away_fails_the_job_with_2106_and_is_used_again_when_it_is_back() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    std::fs::write(source.join("file"), b"x").unwrap();
    cluster.apply_policy("home", &[&source], "").expect(0);
    cluster.run_job("home", 0);
    let (storage, away) = (
        cluster.data_dir().join("storage"),
        cluster.data_dir().join("away"),
    );
    std::fs::rename(&storage, &away).unwrap();
    let job = cluster.run_job("home", 1);
    assert_eq!(job["status_code"], 2106, "{job:#}");
    let text = job["attempts"][0]["error"]["text"].as_str().unwrap();
    assert!(text.contains(storage.to_str().unwrap()), "{text}");
    std::fs::rename(&away, &storage).unwrap();
    cluster.run_job("home", 0);
    cluster.check_repository();
}

#[test]
fn s07_s11_a_full_storage_unit_is_129_and_leaves_a_clean_repository() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting a small file system needs root");
        return;
    }
    let mut cluster = Cluster::unstarted();
    let storage = cluster.place("cluster/storage");
    let _mounted = Mount::tmpfs(&storage, "24m");
    full_unit(&mut cluster);
    // Before its storage is unmounted; otherwise the folder could not be removed.
    cluster.stop(rustix::process::Signal::TERM);
}

fn full_unit(cluster: &mut Cluster) {
    cluster.start_dev();
    let (small, large) = (cluster.place("small"), cluster.place("large"));
    std::fs::write(small.join("file"), crate::tree::noise(1 << 20, 5)).unwrap();
    std::fs::write(large.join("file"), crate::tree::noise(60 << 20, 6)).unwrap();
    cluster.apply_policy("both", &[&small, &large], "").expect(0);
    let job = cluster.run_job("both", 1);
    assert_eq!(job["status_code"], 129, "{job:#}");
    assert!(
        job["items"][0]["restore_point"].is_string(),
        "what was finished is kept: {job:#}"
    );
    let log = cluster
        .run(&["job", "log", job["id"].as_str().unwrap(), "--format", "text"])
        .stdout;
    assert!(
        log.contains("storage full") && log.contains("outlast help code 129"),
        "{log}"
    );
    cluster.check_repository();
    // With less to store the next job works.
    cluster.apply_policy("little", &[&small], "").expect(0);
    cluster.run_job("little", 0);
}

#[test]
fn a_daemon_checks_its_configuration_and_its_port() {
    let cluster = Cluster::start();
    for (daemon, child) in [
        ("primary", "primary-1"),
        ("media-agent", "media-1"),
        ("client-agent", "client-1"),
    ] {
        let config = cluster.data_dir().join(format!("config/{child}.toml"));
        let run = |more: &[&str], config: &Path| {
            Ran::of(
                outlast()
                    .args([daemon, "--config"])
                    .arg(config)
                    .args(more)
                    .output()
                    .unwrap(),
            )
        };
        run(&["--check"], &config).expect(0);
        let text = std::fs::read_to_string(&config).unwrap();
        let bad = cluster.place("bad").join(format!("{child}.toml"));
        std::fs::write(&bad, text.replace("data_dir", "data_dri")).unwrap();
        let refused = run(&["--check"], &bad).expect(2);
        assert!(
            refused.stderr.contains("data_dri") && refused.stderr.contains("data_dir"),
            "{}",
            refused.stderr
        );
        if daemon != "client-agent" {
            let refused = daemon_within_a_minute(&[daemon, "--config", config.to_str().unwrap()]).expect(1);
            let said = ["in use", "cannot listen", "another process"];
            assert!(
                said.iter().any(|word| refused.stderr.contains(word)),
                "{}",
                refused.stderr
            );
        }
    }
}

#[test]
fn an_oversized_or_malformed_message_gets_a_status_and_harms_nobody() {
    let cluster = Cluster::start();
    let leader = cluster.leader();
    let pid = cluster.pid(&leader);
    let source = cluster.place("source");
    // A policy of several megabytes is more than a request may hold.
    let many: Vec<_> = (0..60_000)
        .map(|n| format!("\"/a/very/long/path/to/exclude/number/{n}\""))
        .collect();
    let refused = cluster.apply_policy("huge", &[&source], &format!("exclude = [{}]", many.join(",")));
    assert_ne!(refused.code, 0);
    assert!(!refused.stderr.contains("panicked"), "{}", refused.stderr);
    // Bytes that are no TLS at all.
    let text = std::fs::read_to_string(cluster.data_dir().join("client.toml")).unwrap();
    let context: toml::Table = text.parse().unwrap();
    for address in context["primaries"].as_array().unwrap() {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(address.as_str().unwrap()).unwrap();
        stream.write_all(&crate::tree::noise(100_000, 8)).ok();
    }
    wait_until("the cluster to answer", || {
        cluster.try_run(&["job", "list"]).code == 0
    });
    assert_eq!(cluster.pid(&leader), pid, "the same process");
    cluster.apply_policy("home", &[&source], "").expect(0);
    cluster.run_job("home", 0);
}

/// Where a daemon's folder should be lies a file.
#[test]
fn t90_a_daemon_that_cannot_start_says_why() {
    let hosts = crate::group::Hosts::new();
    let primary = hosts.node(1, "one");
    let media = hosts.media_agent(&[&primary], "media");
    for mut daemon in [primary, media] {
        std::fs::write(&daemon.data, "in the way").unwrap();
        daemon.launch();
        assert_ne!(daemon.ended(), Some(0));
        let said = daemon.said();
        assert!(
            said.contains("Not a directory") || said.contains("File exists"),
            "{}: {said}",
            daemon.name
        );
    }
}
