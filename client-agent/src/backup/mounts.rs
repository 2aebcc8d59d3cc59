//! What mounts make of a tree: file systems that only look like files, and places hidden by a mount over them.

use std::os::fd::AsFd;

use outlast_kit::calls::{fstatfs, statat, statx};
use rustix::fs::{AtFlags, Stat, StatxAttributes, StatxFlags};

/// File systems whose files are a view into the kernel: proc, sysfs, cgroup, cgroup2, devpts, debugfs, tracefs,
/// securityfs, bpf, configfs, efivarfs, pstore, mqueue, binfmt_misc, selinux, autofs, fusectl, rpc_pipefs, nsfs, smackfs, xenfs, resctrl.
pub(super) const PSEUDO: [u64; 22] = [
    0x9fa0,
    0x6265_6572,
    0x27_e0eb,
    0x6367_7270,
    0x1cd1,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
    0x6265_6570,
    0xde5e_81e4,
    0x6165_676c,
    0x1980_0202,
    0x4249_4e4d,
    0xf97c_ff8c,
    0x0187,
    0x6573_5543,
    0x6759_6969,
    0x6e73_6673,
    0x4341_5d53,
    0xabba_1974,
    0x0765_5821,
];

/// Whether the directory belongs to a file system that only looks like files.
pub(super) fn is_pseudo(folder: impl AsFd) -> bool {
    file_system(folder).is_some_and(|number| PSEUDO.contains(&number))
}

/// The kernel's number of the file system that this is on.
pub(super) fn file_system(file: impl AsFd) -> Option<u64> {
    // The numbers have 32 bits; the word that carries them is signed on some machines.
    Some(fstatfs(file).ok()?.f_type as u64 & 0xffff_ffff)
}

/// Whether such a file system begins at this directory; within one, what an item names is walked.
pub(super) fn is_pseudo_root(folder: impl AsFd, stat: &Stat) -> bool {
    let folder = folder.as_fd();
    let begins_here = || {
        statat(folder, "..", AtFlags::empty()).map_or(true, |above| {
            above.st_dev != stat.st_dev || above.st_ino == stat.st_ino
        })
    };
    is_pseudo(folder) && (is_mount_root(folder, b"") || begins_here())
}

/// Whether something of mode 0000 is mounted over `name`: how a host's administrator, or systemd for a service (`InaccessiblePaths`,
/// `ProtectHome`), hides what is there. Root could read it, and would find nothing.
pub(super) fn is_hidden(folder: impl AsFd, name: &[u8], stat: &Stat) -> bool {
    stat.st_mode & 0o7777 == 0 && is_mount_root(folder, name)
}

fn is_mount_root(folder: impl AsFd, name: &[u8]) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    statx(folder, name, flags, StatxFlags::TYPE)
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
