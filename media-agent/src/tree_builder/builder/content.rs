//! The content of wanted files: offered chunk by chunk, in order, from the beginning of a file or from where a checkpoint ends, until the client says that
//! the file has ended.
//!
//! What is wanted, and where a whole file goes, is the builder's.

use outlast_proto::v1;
use outlast_proto::words::limits::MOST_CHUNKS;
use outlast_repository::{BlobId, NodeKind};

use super::TreeBuilder;
use crate::tree_builder::compare::not_to_be_trusted;
use crate::tree_builder::nodes::node_of_message;
use crate::tree_builder::{BuildError, Trees, violation};

impl<T: Trees> TreeBuilder<T> {
    /// The first offer of a wanted file comes: where it begins, and whether the file was settled then.
    pub(crate) fn begin_file(
        &mut self,
        number: u64,
        offset: u64,
        is_settled: bool,
    ) -> Result<(), BuildError> {
        let Some(file) = self.wanted.get_mut(&number).filter(|file| file.bytes == 0) else {
            return Ok(());
        };
        file.is_settled = is_settled;
        let beginning = file.beginning.take();
        match beginning {
            _ if offset == 0 => {}
            Some(beginning) if beginning.bytes == offset => {
                (file.chunks, file.bytes, file.carried) = (beginning.chunks, offset, offset);
                self.under_way += offset;
                self.counters.bytes_carried_over += offset;
            }
            _ => {
                return violation(format!(
                    "file {number} goes on at offset {offset}, which nobody has said"
                ));
            }
        }
        Ok(())
    }

    /// A chunk of a wanted file, in order.
    pub(crate) fn offer(&mut self, number: u64, id: BlobId, length: u32) -> Result<(), BuildError> {
        if number < self.offering {
            return violation(format!(
                "a chunk of file {number} is offered after a later file's"
            ));
        }
        let Some(file) = self.wanted.get_mut(&number) else {
            return violation(format!(
                "a chunk of file {number} is offered, which is not wanted"
            ));
        };
        self.offering = number;
        if file.chunks.len() >= MOST_CHUNKS {
            file.is_too_long = true;
            file.chunks = Vec::new();
        }
        if !file.is_too_long {
            file.chunks.push(id);
        }
        file.bytes += u64::from(length);
        self.under_way += u64::from(length);
        self.counters.bytes_read += u64::from(length);
        Ok(())
    }

    /// A wanted file was read, or is left out.
    pub(crate) fn file_end(&mut self, end: &v1::FileEnd) -> Result<(), BuildError> {
        let Some(mut file) = self.wanted.remove(&end.node) else {
            return violation(format!("file {} ends but is not under way", end.node));
        };
        if self.ended_through.is_some_and(|through| through > end.node) {
            return violation(format!("file {} ends after a later file", end.node));
        }
        self.ended_through = Some(end.node);
        self.under_way -= file.bytes;
        self.wanted_cost -= file.cost;
        if end.skipped {
            self.counters.bytes_carried_over -= file.carried;
            return self.put(file.place, None);
        }
        if end.size != file.bytes {
            return violation(format!(
                "file {} ends with {} bytes but {} were offered",
                end.node, end.size, file.bytes
            ));
        }
        if file.is_too_long {
            let reason = format!("it is left out: it has more than {MOST_CHUNKS} chunks");
            self.left_out(file.place, &file.node.name, &reason);
            return self.put(file.place, None);
        }
        if let Some(changed) = &end.changed {
            let walked = file.node;
            file.node = node_of_message(changed)?;
            if file.node.kind != NodeKind::File {
                return violation(format!(
                    "file {} became something else while it was read",
                    end.node
                ));
            }
            // With the older ctime the next backup reads it again: what was read may be a mixture.
            (file.node.name, file.node.ctime) = (walked.name, walked.ctime);
        }
        if end.young {
            file.node.ctime = not_to_be_trusted(file.node.ctime);
        }
        file.node.size = end.size;
        file.node.content = Some(file.chunks);
        self.counters.files += 1;
        self.counters.bytes += end.size;
        self.put(file.place, Some(file.node))
    }
}
