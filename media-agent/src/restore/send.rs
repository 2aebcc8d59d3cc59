//! The content of wanted files: read ahead, cut into pieces, short files together. Called by `engine`.

use bytes::Bytes;
use outlast_proto::v1::restore_down::Body as Down;
use outlast_proto::v1::{FileData, FileEnd, FileEnds, WholeFile, WholeFiles};

use super::content::{Answer, Readers};
use super::engine::{Batch, Engine, File};
use crate::attempts::End;

const PIECE: usize = 1 << 20;
/// Files up to this length go together, many in one message.
const SHORT_FILE: usize = 64 << 10;
const TOGETHER_BYTES: usize = 256 << 10;
/// So many zeros are only counted.
const MANY_ZEROS: usize = 64 << 10;

impl Engine<'_> {
    pub(super) fn send_files(
        &mut self,
        batch: Batch,
        wanted: &[u64],
        readers: &Readers<'_>,
    ) -> Result<(), End> {
        let files: Vec<File> = batch
            .files
            .into_iter()
            .filter(|file| wanted.binary_search(&file.number).is_ok())
            .collect();
        let ids = files.iter().flat_map(File::runs).map(|run| run[0]).collect();
        let mut chunks = readers.read(ids).peekable();
        let mut together = Vec::new();
        let mut bytes = 0;
        for file in &files {
            if self.end.is_some() {
                return Ok(());
            }
            let is_short = |answer: &Answer| matches!(answer, Ok(data) if data.len() <= SHORT_FILE);
            if file.content.len() == 1
                && let Some(Ok(data)) = chunks.next_if(is_short)
            {
                bytes += data.len();
                let node = file.number;
                together.push(WholeFile { node, data });
                if bytes < TOGETHER_BYTES {
                    continue;
                }
                self.send_together(&mut together)?;
            } else {
                self.send_together(&mut together)?;
                self.send_file(file, &mut chunks)?;
            }
            bytes = 0;
        }
        self.send_together(&mut together)
    }

    fn send_together(&mut self, together: &mut Vec<WholeFile>) -> Result<(), End> {
        let files = std::mem::take(together);
        self.take_what_came()?;
        if files.is_empty() {
            return Ok(());
        }
        self.counters.bytes_read += files.iter().map(|file| file.data.len() as u64).sum::<u64>();
        self.wire.send(Down::WholeFiles(WholeFiles { files }))
    }

    fn send_file(&mut self, file: &File, chunks: &mut impl Iterator<Item = Answer>) -> Result<(), End> {
        let mut offset = 0;
        let mut damage = None;
        for run in file.runs() {
            // The client's last word may have come: nothing is of use to it any more.
            if self.end.is_some() {
                return Ok(());
            }
            match chunks.next() {
                Some(Ok(bytes)) if damage.is_none() => {
                    offset = self.send_run(file, offset, &bytes, run.len())?;
                }
                Some(Ok(_)) | None => {}
                Some(Err(error)) if error.is_loss() => damage = damage.or(Some(error)),
                Some(Err(error)) => return Err(self.base.reading_fault(&error).into()),
            }
        }
        let skipped = damage.is_some();
        if let Some(error) = damage {
            let reason = format!("its content is damaged in the storage unit: {error}");
            self.lose(file.path.clone(), reason)?;
            self.repeats.left_out(&file.path);
        }
        let end = FileEnd {
            node: file.number,
            size: offset,
            skipped,
            ..FileEnd::default()
        };
        self.wire.send(Down::FileEnds(FileEnds { ends: vec![end] }))?;
        self.take_what_came()
    }

    /// The same bytes so many times.
    fn send_run(&mut self, file: &File, mut offset: u64, bytes: &Bytes, times: usize) -> Result<u64, End> {
        if bytes.len() >= MANY_ZEROS && bytes.iter().all(|byte| *byte == 0) {
            let zeros = bytes.len() as u64 * times as u64;
            self.take_what_came()?;
            self.wire.send(Down::Data(FileData {
                node: file.number,
                offset,
                zeros,
                ..FileData::default()
            }))?;
            self.counters.bytes_read += zeros;
            return Ok(offset + zeros);
        }
        for _ in 0..times {
            if self.end.is_some() {
                break;
            }
            offset = self.send_data(file, offset, bytes.clone())?;
        }
        Ok(offset)
    }

    fn send_data(&mut self, file: &File, mut offset: u64, mut bytes: Bytes) -> Result<u64, End> {
        while !bytes.is_empty() {
            let data = bytes.split_to(bytes.len().min(PIECE));
            let length = data.len() as u64;
            self.take_what_came()?;
            self.wire.send(Down::Data(FileData {
                node: file.number,
                offset,
                data,
                zeros: 0,
            }))?;
            offset += length;
            self.counters.bytes_read += length;
        }
        Ok(offset)
    }
}
