//! Extended attributes, POSIX ACLs among them, of whatever a directory holds.
//!
//! An entry is named through its directory's descriptor in /proc: links in the path are not followed, and it may be of any length.

use std::os::fd::{AsFd, AsRawFd};

use outlast_kit::calls::{again, fsetxattr, lsetxattr};
use outlast_proto::v1::ExtendedAttribute;
use outlast_proto::words::limits::MOST_XATTRS;
use rustix::buffer::spare_capacity;
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, lgetxattr, listxattr, llistxattr};
use rustix::io::Errno;

use super::paths::shown;

/// The kernel's limits for a list of names and for a value.
const MOST: usize = 64 << 10;
/// Nearly every list and value fits in here; more is asked for when it does not.
const USUAL: usize = 1 << 10;

/// What was found on a file.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) attributes: Vec<ExtendedAttribute>,
    /// Why some are left out.
    pub(crate) left_out: Option<String>,
}

/// The attributes of the entry `name` of `folder`; the entry itself if it is a link.
pub(crate) fn of_entry(folder: impl AsFd, name: &[u8]) -> Result<Found, Errno> {
    let path = by_descriptor(folder, name);
    let names = growing(|list| llistxattr(path.as_slice(), spare_capacity(list)))?;
    values(&names, |name, value| {
        lgetxattr(path.as_slice(), name, spare_capacity(value))
    })
}

/// The attributes of an open file or directory.
pub(crate) fn of_open(file: impl AsFd) -> Result<Found, Errno> {
    let names = growing(|list| flistxattr(&file, spare_capacity(list)))?;
    values(&names, |name, value| {
        fgetxattr(&file, name, spare_capacity(value))
    })
}

/// The names of an open file's attributes.
pub(crate) fn names_of_open(file: impl AsFd) -> Result<Vec<u8>, Errno> {
    growing(|list| flistxattr(&file, spare_capacity(list)))
}

/// The names of the attributes of what a path in /proc leads to.
pub(crate) fn names_of_path(path: &str) -> Result<Vec<u8>, Errno> {
    growing(|list| listxattr(path, spare_capacity(list)))
}

/// Removes what is not among `kept`: access lists that came with the directory a file was made in, and what a directory
/// had before it was restored. What the system's own guards put on files is theirs.
pub(crate) fn remove_others(
    names: Result<Vec<u8>, Errno>,
    kept: &[ExtendedAttribute],
    remove: impl Fn(&[u8]) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let is_other = |name: &[u8]| {
        let is_ours = name.starts_with(b"user.")
            || name.starts_with(b"system.posix_acl_")
            || name.starts_with(b"trusted.")
            || name == b"security.capability";
        is_ours && !kept.iter().any(|attribute| attribute.name == name)
    };
    for name in split(&names?).filter(|name| is_other(name)) {
        match remove(name) {
            Ok(()) | Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sets one attribute of an open file or directory.
pub(crate) fn set_open(file: impl AsFd, attribute: &ExtendedAttribute) -> Result<(), Errno> {
    let (name, value) = (attribute.name.as_ref(), attribute.value.as_ref());
    fsetxattr(file, name, value, XattrFlags::empty())
}

/// Sets one attribute of the entry `name` of `folder`; of the entry itself if it is a link.
pub(crate) fn set_entry(folder: impl AsFd, name: &[u8], attribute: &ExtendedAttribute) -> Result<(), Errno> {
    let (key, value) = (attribute.name.as_ref(), attribute.value.as_ref());
    lsetxattr(by_descriptor(folder, name), key, value, XattrFlags::empty())
}

fn by_descriptor(folder: impl AsFd, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

fn values(names: &[u8], get: impl Fn(&[u8], &mut Vec<u8>) -> Result<usize, Errno>) -> Result<Found, Errno> {
    let mut found = Found::default();
    let (mut bytes, mut left_out) = (0, Vec::new());
    // The kernel lists them in no order; the same attributes shall give the same tree.
    let mut names: Vec<_> = split(names).collect();
    names.sort_unstable();
    for name in names {
        let value = match growing(|value| get(name, value)) {
            Ok(value) => value,
            // Removed since the list was made.
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error),
        };
        if bytes + name.len() + value.len() > MOST_XATTRS {
            left_out.push(format!("{}: more than {MOST_XATTRS} bytes in all", shown(name)));
        } else if std::str::from_utf8(name).is_err() {
            left_out.push(format!("{}: its name is not UTF-8", shown(name)));
        } else {
            bytes += name.len() + value.len();
            found.attributes.push(ExtendedAttribute {
                name: name.to_vec().into(),
                value: value.into(),
            });
        }
    }
    if let Some(first) = left_out.first() {
        let more = left_out.len() - 1;
        found.left_out = Some(match more {
            0 => first.clone(),
            more => format!("{first}; and {more} more"),
        });
    }
    Ok(found)
}

/// Those that are a file's own: root sees the access lists of xfs a second time, as xfs has them on its disk, and elsewhere
/// that would be an attribute which means nothing. They come and go with `system.posix_acl_access` and `..._default`.
pub(crate) fn own(attributes: &[ExtendedAttribute]) -> impl Iterator<Item = &ExtendedAttribute> {
    attributes
        .iter()
        .filter(|attribute| !is_of_xfs(attribute.name.as_ref()))
}

fn is_of_xfs(name: &[u8]) -> bool {
    [&b"trusted.SGI_ACL_FILE"[..], b"trusted.SGI_ACL_DEFAULT"].contains(&name)
}

fn split(names: &[u8]) -> impl Iterator<Item = &[u8]> {
    names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !is_of_xfs(name))
}

/// File systems that know no attributes have none.
fn growing(get: impl Fn(&mut Vec<u8>) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    for room in [USUAL, MOST] {
        let mut bytes = Vec::with_capacity(room);
        match again(|| get(&mut bytes)) {
            Ok(_) => return Ok(bytes),
            Err(Errno::RANGE) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
    }
    Err(Errno::RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t90_access_lists_of_xfs_are_kept_once() {
        let listed =
            b"user.a\0system.posix_acl_access\0trusted.SGI_ACL_FILE\0trusted.SGI_ACL_DEFAULT\0trusted.b\0";
        let found = values(listed, |_, _| Ok(0)).unwrap().attributes;
        let names: Vec<_> = found.iter().map(|attribute| &attribute.name[..]).collect();
        assert_eq!(names, [&b"system.posix_acl_access"[..], b"trusted.b", b"user.a"]);
        // Restore points of before have them twice.
        let attribute = |name: &str| ExtendedAttribute {
            name: name.as_bytes().to_vec().into(),
            value: Vec::new().into(),
        };
        let kept = ["trusted.SGI_ACL_FILE", "trusted.b", "trusted.SGI_ACL_DEFAULT"].map(attribute);
        let own: Vec<_> = own(&kept).map(|attribute| &attribute.name[..]).collect();
        assert_eq!(own, [b"trusted.b"]);
        // Removing one would remove the access list.
        remove_others(Ok(listed.to_vec()), &[], |name| {
            assert!(!is_of_xfs(name));
            Ok(())
        })
        .unwrap();
    }
}
