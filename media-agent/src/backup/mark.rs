//! The mark beside the tree of a checkpoint, `.outlast-checkpoint.json`: written by `checkpoint`, read by `resume`. A format (docs/protocol.md): add
//! fields, never rename. Names are there twice: as they are shown, for people, and as bytes in hexadecimal, which can be turned back.

use std::collections::HashMap;

use outlast_proto::v1::FileException;
use outlast_proto::words::Counters;
use outlast_proto::words::limits::MOST_WANTED;
use outlast_repository::{Node, Timestamp};
use serde::{Deserialize, Serialize};

use crate::tree_builder::{Partial, UnderWay, show_bytes};

/// The newest version. The first had names only as they are shown, and a file under way in the tree with its true ctime.
const VERSION: u32 = 2;
/// Of a mark that is read: more than a thousand exceptions and all paths of files under way come to.
pub(super) const MOST_MARK: u32 = 16 << 20;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    version: u32,
    pub(super) item: u32,
    pub(super) made_at: Timestamp,
    /// Where the walk was, relative to the item.
    pub(super) position: String,
    /// Of its bytes. Not in the first version.
    #[serde(default)]
    position_hex: String,
    pub(super) files_under_way: Vec<FileUnderWay>,
    pub(super) counters: Counters,
    pub(super) exceptions: Vec<NamedException>,
}

/// The true stat of a file of which the tree has only the beginning.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FileUnderWay {
    pub(super) path: String,
    /// Of its bytes. Not in the first version.
    #[serde(default)]
    path_hex: String,
    pub(super) size: u64,
    pub(super) mtime: Timestamp,
    pub(super) ctime: Timestamp,
    pub(super) inode: u64,
    pub(super) device_id: u64,
    pub(super) offset: u64,
    /// What was read of it holds as long as its stat stays the same. Not known in the first version.
    #[serde(default)]
    pub(super) is_settled: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NamedException {
    pub(super) path: String,
    reason: String,
}

impl Mark {
    pub(super) fn new(
        item: u32,
        partial: &Partial,
        counters: Counters,
        exceptions: &[FileException],
        made_at: Timestamp,
    ) -> Self {
        let named = |FileException { path, reason }: &FileException| NamedException {
            path: path.clone(),
            reason: reason.clone(),
        };
        Self {
            version: VERSION,
            item,
            made_at,
            position: show_bytes(&partial.position),
            position_hex: hex::encode(&partial.position),
            files_under_way: partial.under_way.iter().map(FileUnderWay::from).collect(),
            counters,
            exceptions: exceptions.iter().map(named).collect(),
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers only")
    }

    /// Reads a mark of any version up to ours.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let broken = |error: serde_json::Error| format!("its mark cannot be understood: {error}");
        let head: Head = serde_json::from_slice(text).map_err(broken)?;
        if !(1..=VERSION).contains(&head.version) {
            return Err(format!(
                "its mark has version {}, and this program reads versions 1 to {VERSION}",
                head.version
            ));
        }
        let mark: Self = serde_json::from_slice(text).map_err(broken)?;
        if mark.files_under_way.len() > MOST_WANTED {
            return Err(format!(
                "its mark names {} files under way, and no attempt has more than {MOST_WANTED}",
                mark.files_under_way.len()
            ));
        }
        let is_other = |file: &&FileUnderWay| mark.version > 1 && file.raw_path().is_none();
        if let Some(file) = mark.files_under_way.iter().find(is_other) {
            return Err(format!("its mark does not say which file \"{}\" is", file.path));
        }
        Ok(mark)
    }

    /// Where the walk was, relative to the item; in the first version as it is shown.
    pub(super) fn raw_position(&self) -> Vec<u8> {
        match hex::decode(&self.position_hex) {
            Ok(position) if !position.is_empty() => position,
            _ => self.position.clone().into_bytes(),
        }
    }

    /// Files under way that can be gone on in, by their paths.
    pub(super) fn begun(&self) -> HashMap<Vec<u8>, UnderWay> {
        let settled = self.files_under_way.iter().filter(|file| file.is_settled);
        let begun = settled.filter_map(|file| {
            let path = file.raw_path()?;
            let node = Node {
                size: file.size,
                mtime: file.mtime,
                ctime: file.ctime,
                inode: file.inode,
                device_id: file.device_id,
                ..Node::default()
            };
            let under_way = UnderWay {
                path: path.clone(),
                node,
                bytes: file.offset,
                is_settled: true,
            };
            Some((path, under_way))
        });
        begun.collect()
    }

    /// Whether the tree itself tells files under way from whole ones.
    pub(super) fn tells_begun_files(&self) -> bool {
        self.version > 1
    }
}

impl From<&UnderWay> for FileUnderWay {
    fn from(file: &UnderWay) -> Self {
        Self {
            path: show_bytes(&file.path),
            path_hex: hex::encode(&file.path),
            size: file.node.size,
            mtime: file.node.mtime,
            ctime: file.node.ctime,
            inode: file.node.inode,
            device_id: file.node.device_id,
            offset: file.bytes,
            is_settled: file.is_settled,
        }
    }
}

impl FileUnderWay {
    /// Relative to the item; none in the first version.
    pub(super) fn raw_path(&self) -> Option<Vec<u8>> {
        let path = hex::decode(&self.path_hex).ok()?;
        (show_bytes(&path) == self.path).then_some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        let node = Node {
            size: 500,
            inode: 7,
            ctime: Timestamp::new(5, 6),
            ..Node::default()
        };
        let under_way = vec![UnderWay {
            path: b"d/\xff\"x".to_vec(),
            node,
            bytes: 90,
            is_settled: true,
        }];
        let partial = Partial {
            root: Node::default(),
            under_way,
            position: b"d/\xff".to_vec(),
        };
        let counters = Counters {
            bytes: 12,
            ..Counters::default()
        };
        let exception = FileException {
            path: "/srv/x".into(),
            reason: "why".into(),
        };
        Mark::new(3, &partial, counters, &[exception], Timestamp::new(9, 0))
    }

    #[test]
    fn f06_a_mark_is_read_as_it_was_written_with_raw_names() {
        let read = Mark::parse(&mark().to_bytes()).unwrap();
        assert_eq!((read.item, read.made_at), (3, Timestamp::new(9, 0)));
        assert_eq!(read.counters.bytes, 12);
        let file = &read.files_under_way[0];
        assert_eq!(file.raw_path().unwrap(), b"d/\xff\"x");
        assert_eq!(
            (file.size, file.offset, file.inode, file.ctime),
            (500, 90, 7, Timestamp::new(5, 6))
        );
        assert_eq!(read.exceptions[0].path, "/srv/x");
        assert!(read.tells_begun_files());
        assert_eq!(read.raw_position(), b"d/\xff");
    }

    /// As the first version was written; never edited.
    const FIRST: &str = r#"{"version":1,"item":3,"made_at":"2026-11-29T10:00:00Z","position":"d","files_under_way":[{"path":"d/x",
        "size":500,"mtime":"2026-11-29T09:00:00Z","ctime":"2026-11-29T09:00:00Z","inode":7,"device_id":1,"offset":90}],
        "counters":{"bytes":90},"exceptions":[{"path":"/srv/x","reason":"why"}]}"#;

    #[test]
    fn f06_a_mark_of_the_first_version_is_read_without_raw_names() {
        let read = Mark::parse(FIRST.as_bytes()).unwrap();
        assert!(!read.tells_begun_files());
        assert_eq!(read.files_under_way[0].raw_path(), None);
        assert_eq!(read.files_under_way[0].path, "d/x");
        assert_eq!(read.raw_position(), b"d");
    }

    #[test]
    fn f06_a_mark_that_cannot_be_right_is_refused_with_a_reason() {
        let good = String::from_utf8(mark().to_bytes()).unwrap();
        let rows: [(String, &str); 6] = [
            (String::new(), "cannot be understood"),
            (good[..good.len() / 2].to_owned(), "cannot be understood"),
            (good.replace("\"version\":2", "\"version\":3"), "has version 3"),
            (good.replace("\"version\":2", "\"version\":0"), "has version 0"),
            (good.replace("\"item\":3", "\"item\":-1"), "cannot be understood"),
            (
                good.replace("path_hex\":\"64", "path_hex\":\"65"),
                "does not say which file",
            ),
        ];
        for (text, reason) in rows {
            let error = Mark::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
