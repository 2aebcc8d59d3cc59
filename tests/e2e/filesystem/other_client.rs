//! Restores to another client, which may have fewer rights than the one the data came from.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::cases::{acl, attribute, set_mode, touch};
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
        let refused = restore(&cluster, point, &[], &closed, &["--client", "other"], 1);
        assert_eq!(refused["status_code"], 1201, "{refused:#}");
        assert_eq!(refused["attempts"][0]["bytes_read"], 0, "{refused:#}");
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

/// Directories that let nobody write.
const CLOSED: [&str; 2] = ["closed", "closed/deeper"];

/// A restore point of them, with a file of two names in each.
fn closed_folders(cluster: &Cluster, source: &Path) -> String {
    for folder in CLOSED {
        fs::create_dir(source.join(folder)).unwrap();
        fs::write(source.join(folder).join("file"), folder).unwrap();
        fs::hard_link(
            source.join(folder).join("file"),
            source.join(folder).join("again"),
        )
        .unwrap();
    }
    for folder in ["closed/deeper", "closed"] {
        touch(&source.join(folder), THEN, 7);
        set_mode(&source.join(folder), 0o555);
    }
    cluster.apply_policy("home", &[source], "").expect(0);
    let job = cluster.run_job("home", 0);
    job["items"][0]["restore_point"].as_str().unwrap().to_owned()
}

#[test]
fn s14e_directories_of_ones_own_are_opened_for_the_time() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    let point = &closed_folders(&cluster, &source);
    let folder = cluster.place("other");
    let target = folder.join("target");
    fs::create_dir(&target).unwrap();
    // What is made in it is closed to its owner, too.
    attribute(
        &target,
        "system.posix_acl_default",
        &acl(&[(1, 5, u32::MAX), (4, 5, u32::MAX), (32, 5, u32::MAX)]),
    );
    set_mode(&target, 0o555);
    let _other = OtherClient::start(&cluster, &folder);
    let there = inside(&target, &source);
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
    for (overwrite, files) in [("never", 4), ("never", 0), ("always", 4)] {
        let more = ["--client", "other", "--overwrite", overwrite];
        let restored = restore(&cluster, point, &[], &target, &more, 0);
        assert_eq!(restored["attempts"][0]["files"], files, "{restored:#}");
        assert_eq!(mode(&target), 0o555);
        for folder in CLOSED {
            assert_eq!(
                fs::read(there.join(folder).join("again")).unwrap(),
                folder.as_bytes()
            );
            let found = there.join(folder).metadata().unwrap();
            assert_eq!(
                (found.mode() & 0o7777, found.mtime()),
                (0o555, THEN),
                "{overwrite}: {folder}"
            );
        }
    }
    // A file that is gone comes back, and the directory around it is not the restore's own.
    fs::remove_file(there.join("closed/deeper/file")).unwrap();
    let restored = restore(&cluster, point, &[], &target, &["--client", "other"], 0);
    assert_eq!(restored["attempts"][0]["files"], 1, "{restored:#}");
    assert_eq!(
        fs::read(there.join("closed/deeper/file")).unwrap(),
        b"closed/deeper"
    );
    assert_eq!(mode(&there.join("closed/deeper")), 0o555);
}

/// As when somebody restores to "/": what is below may take what the target itself does not.
#[test]
fn s14e_a_target_of_others_may_have_folders_of_ones_own() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: root makes files of others");
        return;
    }
    let cluster = Cluster::start();
    let source = cluster.place("source");
    let point = &closed_folders(&cluster, &source);
    let folder = cluster.place("other");
    let _other = OtherClient::start(&cluster, &folder);
    let target = cluster.place("of others");
    let there = inside(&target, &source);
    fs::create_dir_all(&there).unwrap();
    std::os::unix::fs::chown(&there, Some(NOBODY), Some(NOBODY)).unwrap();
    restore(&cluster, point, &[], &target, &["--client", "other"], 0);
    assert_eq!(
        fs::read(there.join("closed/deeper/file")).unwrap(),
        b"closed/deeper"
    );
    // Where nothing below it may either, nothing is read.
    std::os::unix::fs::chown(&there, Some(0), Some(0)).unwrap();
    fs::remove_dir_all(there.join("closed")).unwrap();
    let refused = restore(&cluster, point, &[], &target, &["--client", "other"], 1);
    assert_eq!(refused["status_code"], 1201, "{refused:#}");
    assert_eq!(refused["attempts"][0]["bytes_read"], 0, "{refused:#}");
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
