//! Restores to another client, which may have fewer rights than the one the data came from.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::cases::{set_mode, touch};
use super::changes;
use super::restores::{THEN, exceptions, restore};
use crate::cluster::Cluster;
use crate::main_job::inside;

/// A client agent beside the one of the cluster, ended with the test.
struct OtherClient(std::process::Child);

impl OtherClient {
    /// Root starts it as somebody without rights; `folder` is that user's.
    fn start(cluster: &Cluster, folder: &Path) -> Self {
        use std::os::unix::process::CommandExt as _;
        let tls = cluster.data_dir().join("tls");
        let issue = [
            "authority",
            "issue",
            "client-agent",
            "other",
            "--folder",
            tls.to_str().unwrap(),
        ];
        cluster.run(&issue);
        let config = fs::read_to_string(cluster.data_dir().join("config/client-1.toml")).unwrap();
        let config: toml::Table = config.parse().unwrap();
        let mut text = format!(
            "name = \"other\"\ndata_dir = {:?}\nhost_id = \"other\"\nprimaries = {}\n[tls]\n",
            folder.join("state"),
            config["primaries"]
        );
        for (key, file) in [("ca", "ca.pem"), ("cert", "other.pem"), ("key", "other-key.pem")] {
            fs::copy(tls.join(file), folder.join(file)).unwrap();
            text += &format!("{key} = {:?}\n", folder.join(file));
        }
        fs::write(folder.join("client.toml"), text).unwrap();
        let mut command = crate::cluster::outlast();
        command
            .args(["client-agent", "--config"])
            .arg(folder.join("client.toml"));
        command.stderr(fs::File::create(folder.join("log")).unwrap());
        if rustix::process::geteuid().is_root() {
            for entry in fs::read_dir(folder).unwrap() {
                std::os::unix::fs::chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
            }
            std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
            let above = cluster.data_dir();
            set_mode(above.parent().unwrap(), 0o755);
            command.uid(NOBODY).gid(NOBODY);
        }
        let other = Self(command.spawn().unwrap());
        crate::cluster::wait_until("the other client", || {
            let agents = cluster.json(&["agent", "list"]);
            agents
                .as_array()
                .unwrap()
                .iter()
                .any(|agent| agent["name"] == "other" && agent["state"] == "enabled")
        });
        other
    }
}

impl Drop for OtherClient {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

const NOBODY: u32 = 65534;

#[test]
fn s02_another_client_restores_and_says_what_it_may_not() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    fs::create_dir(source.join("folder")).unwrap();
    fs::write(source.join("folder/file"), b"content").unwrap();
    set_mode(&source.join("folder/file"), 0o640);
    fs::write(source.join("with setuid"), b"content").unwrap();
    set_mode(&source.join("with setuid"), 0o4755);
    touch(&source.join("folder"), THEN, 7);
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let null = rustix::fs::makedev(1, 3);
        mknodat(
            CWD,
            source.join("device"),
            FileType::CharacterDevice,
            Mode::RUSR,
            null,
        )
        .unwrap();
    }
    cluster.apply_policy("home", &[&source], "").expect(0);
    let job = cluster.run_job("home", 0);
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let folder = cluster.place("other");
    let other = OtherClient::start(&cluster, &folder);
    let target = folder.join("target");
    let code = if is_root { 3 } else { 0 };
    let restored = restore(&cluster, point, &[], &target, &["--client", "other"], code);
    assert_eq!(restored["attempts"][0]["client"], "other", "{restored:#}");
    let there = inside(&target, &source);
    let mode = |name: &str| there.join(name).metadata().unwrap().mode() & 0o7777;
    assert_eq!(fs::read(there.join("folder/file")).unwrap(), b"content");
    assert_eq!(
        (
            mode("folder/file"),
            there.join("folder").metadata().unwrap().mtime()
        ),
        (0o640, THEN)
    );
    // A program that runs with the rights of its owner must not do so with those of another one.
    assert_eq!(mode("with setuid"), if is_root { 0o755 } else { 0o4755 });
    if is_root {
        assert_eq!(there.join("folder/file").metadata().unwrap().uid(), NOBODY);
        assert_eq!(exceptions(&cluster, &restored), ["device"]);
    }
    // Where it may not write, it says so, and nothing is half done.
    if is_root {
        let closed = cluster.place("closed");
        let refused = restore(&cluster, point, &[], &closed, &["--client", "other"], 3);
        assert!(!exceptions(&cluster, &refused).is_empty());
        assert_eq!(fs::read_dir(&closed).unwrap().count(), 0);
    }
    let nowhere = cluster.place("nowhere");
    let arguments = [
        "restore",
        point,
        "--to",
        nowhere.to_str().unwrap(),
        "--client",
        "nobody",
    ];
    cluster.try_run(&arguments).expect(6);
    drop(other);
}

#[test]
fn s02_what_a_client_may_not_read_is_named() {
    let cluster = Cluster::start();
    let folder = cluster.place("other");
    let source = folder.join("source");
    fs::create_dir(&source).unwrap();
    for sub in ["closed", "listed only", "open"] {
        fs::create_dir(source.join(sub)).unwrap();
        fs::write(source.join(sub).join("file"), b"content").unwrap();
    }
    fs::write(source.join("secret"), b"content").unwrap();
    let _other = OtherClient::start(&cluster, &folder);
    if rustix::process::geteuid().is_root() {
        // The folder was given to the client; what is in it was not.
        assert_eq!(source.join("secret").metadata().unwrap().uid(), 0);
    }
    set_mode(&source.join("closed"), 0);
    set_mode(&source.join("listed only"), 0o444);
    set_mode(&source.join("secret"), 0);
    cluster
        .apply_policy_for("other", "home", &[&source], "")
        .expect(0);
    let job = cluster.run_job("home", 3);
    let found = changes::exceptions(&cluster, &job);
    let found: Vec<_> = found
        .iter()
        .map(|(name, reason)| (name.as_str(), reason.as_str()))
        .collect();
    let denied = "Permission denied (os error 13)";
    assert_eq!(
        found,
        [
            (
                "closed",
                format!("the directory cannot be read: {denied}").as_str()
            ),
            ("file", &format!("cannot be examined: {denied}")),
            ("secret", &format!("cannot be opened: {denied}")),
        ]
    );
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    let target = folder.join("target");
    restore(&cluster, point, &[], &target, &[], 0);
    let there = inside(&target, &source);
    assert_eq!(fs::read(there.join("open/file")).unwrap(), b"content");
    assert!(!there.join("secret").exists() && there.join("closed").is_dir());
    cluster.check_repository();
}
