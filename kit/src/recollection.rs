//! What an agent remembers of its group of primaries, over its own restarts and the group's: by it a group notices that it was set
//! back to an older copy of itself (S-12b). Numbers and bytes; what they mean is the primary's.
//!
//! A small file that is replaced as a whole. Written by the agents' sessions, read for their hello.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use outlast_proto::v1::{Hello, SignedMark};
use serde::{Deserialize, Serialize};

use crate::files::write_durably;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    highest_job: u64,
    /// Hexadecimal, as the signature; empty: none yet.
    #[serde(default)]
    mark: String,
    #[serde(default)]
    signature: String,
}

/// A handle to what is remembered. Clones are the same.
#[derive(Clone, Debug)]
pub struct Recollection {
    path: PathBuf,
    content: Arc<Mutex<Content>>,
}

impl Recollection {
    /// Reads what an earlier process remembered. What cannot be read is lost, and said: it is needed for nothing but an alarm.
    #[must_use]
    pub fn open(path: PathBuf) -> Self {
        let content = read(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "what this agent remembered of its group cannot be read; it begins anew");
            Content::default()
        });
        Self {
            path,
            content: Arc::new(Mutex::new(content)),
        }
    }

    /// There was an order for a job of this number. Durable when it returns. Blocks.
    pub fn met_job(&self, number: u64) {
        self.change(|content| content.highest_job = content.highest_job.max(number));
    }

    /// The leader says how far the group has come. Durable when it returns. Blocks.
    pub fn take_mark(&self, mark: &SignedMark) {
        self.change(|content| {
            content.mark = hex::encode(&mark.mark);
            content.signature = hex::encode(&mark.signature);
        });
    }

    /// Puts into a hello what is remembered.
    pub fn say(&self, hello: &mut Hello) {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        hello.highest_job = content.highest_job;
        let bytes = |text: &str| hex::decode(text).ok().filter(|bytes| !bytes.is_empty());
        let mark = bytes(&content.mark).zip(bytes(&content.signature));
        hello.mark = mark.map(|(mark, signature)| SignedMark {
            mark: mark.into(),
            signature: signature.into(),
        });
    }

    fn change(&self, change: impl FnOnce(&mut Content)) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = content.clone();
        change(&mut new);
        if new == *content {
            return;
        }
        let text = toml::to_string(&new).unwrap_or_default();
        if let Err(error) = write_durably(&self.path, text.as_bytes(), 0o600) {
            tracing::warn!(
                path = %self.path.display(), %error,
                "what this agent knows of its group cannot be written down; a group that is set back would notice it less well"
            );
        }
        *content = new;
    }
}

fn read(path: &Path) -> io::Result<Content> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::default()),
        text => text?,
    };
    toml::from_str(&text)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.message().to_owned()))
}

#[cfg(test)]
mod tests {
    use outlast_proto::v1::{Hello, SignedMark};

    use super::Recollection;

    fn said(recollection: &Recollection) -> (u64, Option<SignedMark>) {
        let mut hello = Hello::default();
        recollection.say(&mut hello);
        (hello.highest_job, hello.mark)
    }

    #[test]
    fn s12b_what_was_remembered_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("group.toml");
        let first = Recollection::open(path.clone());
        assert_eq!(said(&first), (0, None));
        let mark = SignedMark {
            mark: vec![1, 2].into(),
            signature: vec![3].into(),
        };
        first.met_job(7);
        first.take_mark(&mark);
        first.met_job(3);
        assert_eq!(said(&first), (7, Some(mark.clone())));
        assert_eq!(said(&Recollection::open(path.clone())), (7, Some(mark)));
        // Damaged or cut short: forgotten, and the agent runs.
        for text in ["", "highest_job = ", "\u{0}"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(said(&Recollection::open(path.clone())), (0, None));
        }
    }
}
