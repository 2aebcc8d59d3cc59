//! Where a file has holes: nothing is stored there and zeros are read.

use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, Stat, seek};
use rustix::io::Errno;

/// The unit of `st_blocks`, whatever the file system's own block is.
const BLOCK: u64 = 512;

/// Finds the holes of one open file, from its beginning to its end. Moves the file's offset.
pub(crate) struct Holes<'f> {
    /// None for a file without holes, and where the file system cannot tell.
    file: Option<&'f OwnedFd>,
    size: u64,
    /// From here to there was looked at last, and whether it is a hole.
    begin: u64,
    end: u64,
    is_hole: bool,
}

impl<'f> Holes<'f> {
    pub(crate) fn new(file: &'f OwnedFd, stat: &Stat) -> Self {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let stored = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK);
        Self {
            file: (stored < size).then_some(file),
            size,
            begin: 0,
            end: 0,
            is_hole: false,
        }
    }

    /// How many bytes from `offset` on are a hole, up to the size the file had.
    pub(crate) fn length_at(&mut self, offset: u64) -> u64 {
        let Some(file) = self.file else { return 0 };
        if !(self.begin..self.end).contains(&offset) {
            self.look(file, offset);
        }
        if self.is_hole {
            self.end.saturating_sub(offset)
        } else {
            0
        }
    }

    fn look(&mut self, file: &OwnedFd, offset: u64) {
        self.begin = offset;
        match seek(file, SeekFrom::Data(offset)) {
            Ok(data) if data > offset => (self.is_hole, self.end) = (true, data.min(self.size)),
            Ok(_) => {
                self.is_hole = false;
                self.end = seek(file, SeekFrom::Hole(offset)).unwrap_or(self.size);
            }
            // No data to the end of the file.
            Err(Errno::NXIO) => (self.is_hole, self.end) = (true, self.size),
            Err(_) => (self.is_hole, self.file) = (false, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::FileExt as _;

    use outlast_kit::calls::fstat;

    use super::Holes;

    #[test]
    fn holes_are_found_between_data_and_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create_new(folder.path().join("file")).unwrap();
        file.set_len(40 << 20).unwrap();
        file.write_all_at(&[1; 1 << 20], 10 << 20).unwrap();
        let open = OwnedFd::from(file);
        let mut holes = Holes::new(&open, &fstat(&open).unwrap());
        assert_eq!(holes.length_at(0), 10 << 20);
        assert_eq!(holes.length_at(3 << 20), 7 << 20);
        assert_eq!(holes.length_at(10 << 20), 0);
        assert_eq!(holes.length_at((11 << 20) - 1), 0);
        assert_eq!(holes.length_at(11 << 20), 29 << 20);
        assert_eq!(holes.length_at(39 << 20), 1 << 20);
        assert_eq!(holes.length_at(5), (10 << 20) - 5);
    }

    #[test]
    fn a_file_that_is_stored_whole_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create_new(folder.path().join("file")).unwrap();
        file.write_all_at(&vec![0; 2 << 20], 0).unwrap();
        let open = OwnedFd::from(file);
        let mut holes = Holes::new(&open, &fstat(&open).unwrap());
        assert_eq!(holes.length_at(0), 0);
        assert_eq!(holes.length_at(1 << 20), 0);
    }
}
