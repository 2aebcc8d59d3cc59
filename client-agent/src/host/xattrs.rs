//! Extended attributes, POSIX ACLs among them, of whatever a directory holds.
//!
//! An entry is named through its directory's descriptor in /proc: links in the path are not followed, and it may be of any length.

use std::os::fd::{AsFd, AsRawFd};

use outlast_proto::v1::ExtendedAttribute;
use rustix::buffer::spare_capacity;
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr, lgetxattr, llistxattr, lsetxattr};
use rustix::io::Errno;

/// The kernel's limits for a list of names and for a value.
const MOST: usize = 64 << 10;
/// Nearly every list and value fits in here; more is asked for when it does not.
const USUAL: usize = 1 << 10;

/// The attributes of the entry `name` of `folder`; the entry itself if it is a link.
pub(crate) fn of_entry(folder: impl AsFd, name: &[u8]) -> Result<Vec<ExtendedAttribute>, Errno> {
    let path = by_descriptor(folder, name);
    let names = growing(|list| llistxattr(path.as_slice(), spare_capacity(list)))?;
    values(&names, |name, value| {
        lgetxattr(path.as_slice(), name, spare_capacity(value))
    })
}

/// The attributes of an open file or directory.
pub(crate) fn of_open(file: impl AsFd) -> Result<Vec<ExtendedAttribute>, Errno> {
    let names = growing(|list| flistxattr(&file, spare_capacity(list)))?;
    values(&names, |name, value| {
        fgetxattr(&file, name, spare_capacity(value))
    })
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

fn values(
    names: &[u8],
    get: impl Fn(&[u8], &mut Vec<u8>) -> Result<usize, Errno>,
) -> Result<Vec<ExtendedAttribute>, Errno> {
    let mut attributes = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match growing(|value| get(name, value)) {
            Ok(value) => attributes.push(ExtendedAttribute {
                name: name.to_vec().into(),
                value: value.into(),
            }),
            // Removed since the list was made.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    // The kernel lists them in no order; the same attributes shall give the same tree.
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(attributes)
}

/// File systems that know no attributes have none.
fn growing(get: impl Fn(&mut Vec<u8>) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    for room in [USUAL, MOST] {
        let mut bytes = Vec::with_capacity(room);
        match get(&mut bytes) {
            Ok(_) => return Ok(bytes),
            Err(Errno::RANGE) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
    }
    Err(Errno::RANGE)
}
