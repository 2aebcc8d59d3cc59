//! From the system's words to FUSE's and back. Does nothing itself.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, INodeNo, TimeOrNow};
use rustix::fs::{Dev, FileType, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, major, makedev, minor};
use rustix::io::Errno;

use crate::layer::{Changes, Time};

/// The kernel keeps nothing: each question comes to the layer.
pub(crate) const NOT_KEPT: Duration = Duration::ZERO;

pub(crate) fn error(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw_os_error())
}

pub(crate) fn kind(kind: FileType) -> fuser::FileType {
    match kind {
        FileType::Directory => fuser::FileType::Directory,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::Fifo => fuser::FileType::NamedPipe,
        FileType::Socket => fuser::FileType::Socket,
        FileType::CharacterDevice => fuser::FileType::CharDevice,
        FileType::BlockDevice => fuser::FileType::BlockDevice,
        FileType::RegularFile | FileType::Unknown => fuser::FileType::RegularFile,
    }
}

pub(crate) fn attributes(id: u64, stat: &Stat) -> FileAttr {
    FileAttr {
        ino: INodeNo(id),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: SystemTime::UNIX_EPOCH,
        kind: kind(FileType::from_raw_mode(stat.st_mode)),
        perm: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0),
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: device_to_kernel(stat.st_rdev),
        blksize: u32::try_from(stat.st_blksize).unwrap_or(4096),
        flags: 0,
    }
}

fn time(seconds: i64, nanos: u64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let nanos = Duration::from_nanos(nanos);
    if seconds < 0 {
        SystemTime::UNIX_EPOCH - whole + nanos
    } else {
        SystemTime::UNIX_EPOCH + whole + nanos
    }
}

/// As `new_encode_dev` of the kernel has it.
fn device_to_kernel(device: Dev) -> u32 {
    let (major, minor) = (major(device), minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

pub(crate) fn device_from_kernel(device: u32) -> Dev {
    makedev(
        (device & 0xf_ff00) >> 8,
        (device & 0xff) | ((device >> 12) & 0xf_ff00),
    )
}

/// fuser takes nanoseconds of times before 1970 as backwards from the second, the kernel means forwards: what it was told is
/// taken out of it again.
pub(crate) fn asked_time(time: TimeOrNow) -> Time {
    let TimeOrNow::SpecificTime(time) = time else {
        return Time::Now;
    };
    let (whole, sign) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (after, 1),
        Err(before) => (before.duration(), -1),
    };
    let seconds = i64::try_from(whole.as_secs()).unwrap_or(i64::MAX);
    Time::At(sign * seconds, whole.subsec_nanos())
}

/// `None` where both stay.
pub(crate) fn timestamps(changes: &Changes) -> Option<Timestamps> {
    if changes.accessed.is_none() && changes.modified.is_none() {
        return None;
    }
    let spec = |time: Option<Time>| match time {
        None => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        Some(Time::Now) => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
        Some(Time::At(seconds, nanos)) => Timespec {
            tv_sec: seconds,
            tv_nsec: nanos.into(),
        },
    };
    Some(Timestamps {
        last_access: spec(changes.accessed),
        last_modification: spec(changes.modified),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_come_back() {
        for (major, minor) in [(0, 0), (1, 3), (7, 200), (259, 70_000), (4095, 1_048_575)] {
            let device = makedev(major, minor);
            assert_eq!(
                device_from_kernel(device_to_kernel(device)),
                device,
                "{major}:{minor}"
            );
        }
    }

    #[test]
    fn times_before_1970_are_taken_as_the_kernel_means_them() {
        for (seconds, nanos) in [
            (-1_i64, 999_999_999_u32),
            (-1, 0),
            (-2_147_483_648, 1),
            (0, 5),
            (15_032_385_535, 7),
        ] {
            // As fuser does it.
            let whole = Duration::new(seconds.unsigned_abs(), nanos);
            let told = if seconds >= 0 {
                SystemTime::UNIX_EPOCH + whole
            } else {
                SystemTime::UNIX_EPOCH - whole
            };
            assert_eq!(
                asked_time(TimeOrNow::SpecificTime(told)),
                Time::At(seconds, nanos)
            );
        }
    }
}
