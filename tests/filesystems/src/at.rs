//! Which operations an oddity is meant for.

use std::path::{Path, PathBuf};

use crate::layer::Call;

/// All operations on one path, unless it is said more closely. Paths are below the mount, as the backing folder has them; what
/// has several names is known by the first one that was looked up.
#[derive(Debug, Clone)]
pub struct At {
    path: Option<PathBuf>,
    below: bool,
    calls: Option<Vec<&'static str>>,
    from: u64,
    first: u64,
}

impl At {
    /// The entry itself, also when it is looked up by its name.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self {
            path: Some(path.into()),
            ..Self::anywhere()
        }
    }

    pub fn anywhere() -> Self {
        Self {
            path: None,
            below: false,
            calls: None,
            from: 0,
            first: 0,
        }
    }

    /// And everything below it.
    #[must_use]
    pub fn and_below(self) -> Self {
        Self { below: true, ..self }
    }

    /// Only these, by the names of [`Call::kind`].
    #[must_use]
    pub fn calls(self, kinds: &[&'static str]) -> Self {
        Self {
            calls: Some(kinds.to_vec()),
            ..self
        }
    }

    /// Only reading and writing that reaches this byte or one behind it, and pieces of a listing that begin with this entry or
    /// a later one.
    #[must_use]
    pub fn from(self, place: u64) -> Self {
        Self { from: place, ..self }
    }

    /// Not the first ones of them.
    #[must_use]
    pub fn after(self, times: u64) -> Self {
        Self { first: times, ..self }
    }

    /// `met` counts the calls that were meant.
    pub(crate) fn is_met(&self, call: &Call<'_>, path: Option<&Path>, met: &mut u64) -> bool {
        if !(self.is_here(path) && self.is_such(call) && self.reaches(call)) {
            return false;
        }
        *met += 1;
        *met > self.first
    }

    fn is_here(&self, path: Option<&Path>) -> bool {
        match (&self.path, path) {
            (None, _) => true,
            (Some(wanted), Some(path)) if self.below => path.starts_with(wanted),
            (Some(wanted), Some(path)) => path == wanted,
            (Some(_), None) => false,
        }
    }

    fn is_such(&self, call: &Call<'_>) -> bool {
        self.calls
            .as_ref()
            .is_none_or(|calls| calls.contains(&call.kind()))
    }

    fn reaches(&self, call: &Call<'_>) -> bool {
        let end = match *call {
            Call::Read { offset, length, .. } => offset.saturating_add(length.into()),
            Call::Write { offset, data, .. } => offset.saturating_add(data.len() as u64),
            Call::Readdir { offset, .. } => offset.saturating_add(1),
            _ => 0,
        };
        self.from == 0 || end > self.from
    }
}

impl From<&str> for At {
    fn from(path: &str) -> Self {
        Self::path(path)
    }
}

impl From<&Path> for At {
    fn from(path: &Path) -> Self {
        Self::path(path)
    }
}
