//! Paths as bytes, and as people are shown them.

use std::os::fd::{AsFd, AsRawFd as _};

/// A path as it is shown: bytes that are not UTF-8 as `\xNN`.
pub(crate) fn shown(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for part in path.utf8_chunks() {
        text.push_str(part.valid());
        for byte in part.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// `folder` and `name` with a slash between them; the empty folder is the root of what is walked.
pub(crate) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(folder.len() + 1 + name.len());
    path.extend_from_slice(folder);
    if !folder.is_empty() && !folder.ends_with(b"/") && !name.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// A path that leads to what a descriptor has open, whatever that is called now.
pub(crate) fn by_descriptor(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// Whether `name` names exactly one entry of a directory.
pub(crate) fn is_entry_name(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::{is_entry_name, join, shown};

    #[test]
    fn s02_paths_of_any_bytes_can_be_shown() {
        for (path, text) in [
            (&b"/home/a"[..], "/home/a"),
            ("/h\u{e4}".as_bytes(), "/h\u{e4}"),
            (b"/caf\xe9/x", "/caf\\xe9/x"),
            (b"\xff\xfe", "\\xff\\xfe"),
        ] {
            assert_eq!(shown(path), text);
        }
    }

    #[test]
    fn joins_with_one_slash() {
        for (folder, name, path) in [
            ("", "a", "a"),
            ("a", "b", "a/b"),
            ("/", "b", "/b"),
            ("/a", "", "/a"),
        ] {
            assert_eq!(join(folder.as_bytes(), name.as_bytes()), path.as_bytes());
        }
    }

    #[test]
    fn f17_names_that_lead_elsewhere_are_none() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
            assert!(!is_entry_name(name), "{name:?}");
        }
        for name in [&b"a"[..], b"...", b".a", b"\xff", b" "] {
            assert!(is_entry_name(name), "{name:?}");
        }
    }
}
