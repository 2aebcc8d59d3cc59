//! The file systems that users have, each in a file of its own, and what each cannot hold of the cases (docs/file-systems.md).

use std::fs;
use std::path::{Path, PathBuf};

use outlast_test_filesystems::{Mounted, Passthrough, can_mount, mount, not_run};

use super::compare::Fractions;
use crate::cluster::Cluster;
use crate::mounts::Mount;

const SIZE: u64 = 640 << 20;

pub(super) struct Kind {
    pub(super) name: &'static str,
    /// As the kernel calls it, and what makes an image of it; `None` where it needs none.
    driver: &'static str,
    image: Option<Image>,
    pub(super) fractions: Fractions,
    /// Of the cases that ext4 of today holds, what becomes of those which this one does not.
    pub(super) cannot: &'static [&'static str],
}

struct Image {
    command: &'static [&'static str],
    package: &'static str,
}

pub(super) const KINDS: [Kind; 5] = [
    Kind {
        name: "ext4 with inodes of 128 bytes",
        driver: "ext4",
        image: Some(Image {
            command: &["mkfs.ext4", "-q", "-I", "128"],
            package: "e2fsprogs",
        }),
        fractions: Fractions::Lost,
        cannot: &[
            "times/2038: time",
            "times/2106: time",
            "times/2262: time",
            "times/2446: time",
            "times/folder 2038: time",
            "times/folder 2038/link: time",
            "times/folder 2106: time",
            "times/folder 2106/link: time",
            "times/folder 2262: time",
            "times/folder 2262/link: time",
            "times/folder 2446: time",
            "times/folder 2446/link: time",
        ],
    },
    Kind {
        name: "xfs",
        driver: "xfs",
        image: Some(Image {
            command: &["mkfs.xfs", "-q"],
            package: "xfsprogs",
        }),
        fractions: Fractions::Count,
        cannot: &["devices/large numbers: missing", "links/long: missing"],
    },
    Kind {
        name: "btrfs",
        driver: "btrfs",
        image: Some(Image {
            command: &["mkfs.btrfs", "-q"],
            package: "btrfs-progs",
        }),
        fractions: Fractions::Count,
        cannot: &[],
    },
    Kind {
        name: "tmpfs",
        driver: "tmpfs",
        image: None,
        fractions: Fractions::Count,
        cannot: &[],
    },
    Kind {
        name: "fuse",
        driver: "fuse",
        image: None,
        fractions: Fractions::Count,
        cannot: &[],
    },
];

/// One that is mounted, with a folder of its own in it.
pub(super) struct Disk {
    pub(super) kind: &'static Kind,
    folder: PathBuf,
    _mount: Option<Mount>,
    _mirror: Option<Mounted>,
}

/// All that this machine can mount; those it cannot are named, and are an error in CI.
pub(super) fn mount_all(cluster: &Cluster) -> Vec<Disk> {
    if !can_mount() {
        return Vec::new();
    }
    static ALL: [Kind; KINDS.len()] = KINDS;
    ALL.iter()
        .filter_map(|kind| kind.mount(&cluster.place("disks").join(kind.name)))
        .collect()
}

impl Kind {
    fn mount(&'static self, place: &Path) -> Option<Disk> {
        if !is_known(self.driver) {
            not_run(&format!(
                "the kernel does not know {}: /proc/filesystems",
                self.driver
            ));
            return None;
        }
        let at = place.join("at");
        fs::create_dir_all(&at).unwrap();
        let (mut mounted, mut mirror) = (None, None);
        if let Some(image) = &self.image {
            let file = place.join("image");
            Mount::make_image_by(&file, SIZE, image.command, image.package);
            mounted = Some(Mount::image(&at, &file, "rw"));
        } else if self.driver == "tmpfs" {
            mounted = Some(Mount::tmpfs(&at, &SIZE.to_string()));
        } else {
            let backing = place.join("backing");
            fs::create_dir(&backing).unwrap();
            mirror = Some(mount(&backing, &at, Passthrough).unwrap());
        }
        Some(Disk {
            kind: self,
            folder: at,
            _mount: mounted,
            _mirror: mirror,
        })
    }
}

/// Has it, or can load it.
fn is_known(driver: &str) -> bool {
    let known = || {
        let all = fs::read_to_string("/proc/filesystems").unwrap();
        all.lines()
            .any(|line| line.split('\t').next_back() == Some(driver))
    };
    let load = || {
        std::process::Command::new("modprobe")
            .args(["-q", driver])
            .status()
    };
    known() || (load().is_ok() && known())
}

impl Disk {
    pub(super) fn place(&self, name: &str) -> PathBuf {
        let place = self.folder.join(name);
        fs::create_dir_all(&place).unwrap();
        place
    }
}
