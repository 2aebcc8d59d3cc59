//! Where an item lies: its absolute path in parts.
//!
//! Used by the builder, by restores and by listings, which all walk from the snapshot's root.

/// An absolute path without empty parts, `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ItemPath {
    parts: Vec<Vec<u8>>,
}

impl ItemPath {
    /// `None` if it is not absolute or goes up.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if !text.starts_with('/') || text.contains('\0') {
            return None;
        }
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => return None,
                part => parts.push(part.as_bytes().to_vec()),
            }
        }
        Some(Self { parts })
    }

    pub(crate) fn parts(&self) -> &[Vec<u8>] {
        &self.parts
    }

    /// The last part; `None` for `/`.
    pub(crate) fn name(&self) -> Option<&[u8]> {
        self.parts.last().map(Vec::as_slice)
    }

    /// The directories above the last part, outermost first.
    pub(crate) fn above(&self) -> &[Vec<u8>] {
        self.parts.split_last().map_or(&[], |(_, above)| above)
    }
}
