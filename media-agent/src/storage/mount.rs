//! Where a folder really lies: which file system is mounted there, as the kernel lists it. For what is said to people, and for
//! folders that nobody but this process sees. Used by `unit` and by `--check`.

use std::fmt;
use std::path::{Path, PathBuf};

/// What systemd names the folders that `PrivateTmp=` puts over `/tmp` and `/var/tmp`.
const PRIVATE: &str = "/systemd-private-";

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    point: PathBuf,
    /// Which folder of the file system is there.
    root: String,
    kind: String,
    source: String,
}

impl Mount {
    /// The one that this folder lies on, or the folder it will be made in.
    pub(crate) fn of(path: &Path) -> Option<Mount> {
        let there = path.ancestors().find_map(|folder| folder.canonicalize().ok())?;
        find(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, &there)
    }

    /// It goes with the service: nobody else sees what is there.
    pub(crate) fn is_private(&self) -> bool {
        self.root.contains(PRIVATE)
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            point, kind, source, ..
        } = self;
        write!(f, "{source} ({kind}), which is mounted at {}", point.display())
    }
}

fn find(mounts: &str, path: &Path) -> Option<Mount> {
    // Of those at one point the last is on top.
    let mounts = mounts.lines().filter_map(parse);
    mounts
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.as_os_str().len())
}

/// A line of mountinfo, see proc(5).
fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    Some(Mount {
        point: unescape(point).into(),
        root: unescape(root),
        kind: after.next()?.to_owned(),
        source: unescape(after.next()?),
    })
}

/// Blanks and the like are written as octal numbers.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 8:1 /tmp/systemd-private-0123-outlast-media-agent.service-x/tmp /tmp rw shared:2 master:1 - ext4 /dev/sda1 rw
41 22 8:17 / /srv/out\\040last rw - xfs /dev/sdb1 rw
42 22 0:50 / /srv/out\\040last rw - nfs4 nas:/vault rw
43 22 0:51 / /srv/out rw - tmpfs tmpfs rw
";

    #[test]
    fn t90_s14a_a_folder_lies_on_the_mount_that_is_nearest_and_on_top() {
        for (path, said) in [
            (
                "/srv/out last/vault",
                "nas:/vault (nfs4), which is mounted at /srv/out last",
            ),
            ("/srv/outlast/vault", "/dev/sda1 (ext4), which is mounted at /"),
            ("/srv/out", "tmpfs (tmpfs), which is mounted at /srv/out"),
            ("/tmpfs", "/dev/sda1 (ext4), which is mounted at /"),
        ] {
            let found = find(MOUNTS, Path::new(path)).unwrap();
            assert_eq!(
                (found.to_string().as_str(), found.is_private()),
                (said, false),
                "{path}"
            );
        }
        assert!(find(MOUNTS, Path::new("/tmp/vault")).unwrap().is_private());
        assert_eq!(find("nonsense\n1 - 2", Path::new("/")), None);
    }

    #[test]
    fn t90_s14a_a_folder_that_systemd_made_for_one_service_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (private, over) = (
            dir.path().join("systemd-private-01-x/tmp"),
            dir.path().join("tmp"),
        );
        std::fs::create_dir_all(&private).unwrap();
        std::fs::create_dir(&over).unwrap();
        let mounted = std::process::Command::new("mount")
            .arg("--bind")
            .args([&private, &over])
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            println!("NOT TESTED: this machine cannot mount");
            return;
        }
        let found = Mount::of(&over.join("vault"));
        std::process::Command::new("umount").arg(&over).status().unwrap();
        assert!(found.as_ref().is_some_and(Mount::is_private), "{found:?}");
        assert!(!Mount::of(&over.join("vault")).unwrap().is_private());
    }

    #[test]
    fn the_kernel_says_where_folders_are() {
        let dir = tempfile::tempdir().unwrap();
        let found = Mount::of(&dir.path().join("not/there")).unwrap();
        assert!(
            dir.path().canonicalize().unwrap().starts_with(&found.point),
            "{found}"
        );
    }
}
