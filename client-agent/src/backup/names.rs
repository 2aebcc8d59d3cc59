//! The names of one directory in the order of their bytes, within bounds: a list that takes too much memory is read in several
//! passes, each of which keeps the names that come next. One that changes while it is read is read again.
//!
//! Used by the walk, which looks at what the names stand for.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, RawDir, SeekFrom, Stat, StatxFlags, fstat, seek, statx};
use rustix::io::Errno;

use crate::host::node::Seen;
use crate::host::ticks::Moment;

/// What the names of one directory may take.
pub(super) const MOST_NAMES: usize = 24 << 20;
/// What is read of a list at once. The kernel changes no directory of its own meanwhile: a list that fits is that of one moment.
const AT_ONCE: usize = 256 << 10;
/// How often a list is read that changes meanwhile.
const TRIES: usize = 3;
/// Of a name, beside its bytes.
const SPAN: usize = size_of::<Span>();

/// Where lists are read into.
pub(super) struct Buffer(Vec<u8>);

impl Default for Buffer {
    fn default() -> Self {
        Self(Vec::with_capacity(AT_ONCE))
    }
}

/// The names of a directory that were not visited yet.
#[derive(Debug, Default)]
pub(super) struct Names {
    kept: Kept,
    /// How many of those were given out.
    given: usize,
    /// Names up to this one were given out.
    last: Option<Vec<u8>>,
    /// No name stands behind those that are kept.
    is_whole: bool,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Name {
        name: Vec<u8>,
        /// The directory lists it more than once.
        is_repeated: bool,
    },
    /// The directory has to be listed (again).
    List,
    End,
}

/// How a list was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// What cut it short.
    pub(super) error: Option<Errno>,
    /// It changed each time while it was read: names may be missing.
    pub(super) is_unsteady: bool,
}

impl Names {
    pub(super) fn next(&mut self) -> Next {
        let Some(name) = self.kept.name(self.given) else {
            return if self.is_whole { Next::End } else { Next::List };
        };
        let name = name.to_vec();
        self.given += 1;
        let mut is_repeated = false;
        while self.kept.name(self.given).is_some_and(|next| next == name) {
            self.given += 1;
            is_repeated = true;
        }
        self.last = Some(name.clone());
        Next::Name { name, is_repeated }
    }

    /// Reads the names that come next.
    pub(super) fn list(&mut self, folder: &OwnedFd, buffer: &mut Buffer) -> Listed {
        self.list_within(folder, buffer, MOST_NAMES)
    }

    fn list_within(&mut self, folder: &OwnedFd, buffer: &mut Buffer, most: usize) -> Listed {
        let mut pass = Pass::after(self.last.clone(), most);
        let listed = pass.run(folder, buffer);
        (self.kept, self.is_whole) = pass.finish();
        self.given = 0;
        // What could not be listed is not asked for again.
        self.is_whole |= listed.error.is_some();
        listed
    }

    /// No further name can be had.
    pub(super) fn close(&mut self) {
        self.fold();
        self.is_whole = true;
    }

    /// Lets go of the names; they are listed again when they are asked for.
    pub(super) fn fold(&mut self) {
        let is_through = self.given == self.kept.spans.len();
        (self.kept, self.given) = (Kept::default(), 0);
        self.is_whole &= is_through;
    }

    pub(super) fn memory(&self) -> usize {
        self.kept.memory()
    }
}

/// Names without a place of their own in memory for each.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    length: u32,
}

impl Span {
    fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.length as usize
    }
}

impl Kept {
    fn name(&self, at: usize) -> Option<&[u8]> {
        Some(&self.bytes[self.spans.get(at)?.range()])
    }

    fn push(&mut self, name: &[u8]) {
        // Far below 4 GiB: whoever fills it keeps to a bound.
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let (start, length) = (number(self.bytes.len()), number(name.len()));
        self.bytes.extend_from_slice(name);
        self.spans.push(Span { start, length });
    }

    fn memory(&self) -> usize {
        self.bytes.len() + self.spans.len() * SPAN
    }

    fn sort(&mut self) {
        let Self { bytes, spans } = self;
        spans.sort_unstable_by(|a, b| bytes[a.range()].cmp(&bytes[b.range()]));
    }

    /// The same names, each `most` times at most, as far as they take no more than `room`; but those equal to the last one do.
    fn beginning(&self, room: usize, most: usize) -> Self {
        let mut kept = Self::default();
        let mut times = 0;
        for span in &self.spans {
            let name = &self.bytes[span.range()];
            let is_same = kept
                .spans
                .last()
                .is_some_and(|last| &kept.bytes[last.range()] == name);
            times = if is_same { times + 1 } else { 1 };
            if times > most {
                continue;
            }
            let is_full = !kept.spans.is_empty() && kept.memory() + name.len() + SPAN > room;
            if !is_same && is_full {
                break;
            }
            kept.push(name);
        }
        kept
    }
}

/// What the file system says now, not what the kernel has remembered of it for some time.
fn fresh_stat(folder: &OwnedFd) -> Result<Stat, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    // Only asked for so that the next answer is new; older kernels do not know it.
    let _ = statx(folder, "", flags, StatxFlags::MTIME | StatxFlags::CTIME);
    fstat(folder)
}

/// Until a change gets another stamp. The clock of stamps is behind the one that sleeps go by, so one sleep may be too short.
fn wait_for_tick_end(stat: &Stat) {
    loop {
        let left = Moment::now().until_tick_ends(stat);
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left);
    }
}

/// One reading of the whole list, of which the first names after a given one are kept.
struct Pass {
    after: Option<Vec<u8>>,
    /// Names after this one did not fit.
    up_to: Option<Vec<u8>>,
    most: usize,
    kept: Kept,
    /// The list was read more than once: that a name comes again says nothing.
    is_second: bool,
}

impl Pass {
    fn after(after: Option<Vec<u8>>, most: usize) -> Self {
        Self {
            after,
            up_to: None,
            most,
            kept: Kept::default(),
            is_second: false,
        }
    }

    /// Reads until nothing has changed meanwhile. What was found stays: a name that was there all the time is missing in each reading
    /// only by accident.
    fn run(&mut self, folder: &OwnedFd, buffer: &mut Buffer) -> Listed {
        let mut listed = Listed::default();
        for at in 0..TRIES {
            self.is_second = at > 0;
            match self.read(folder, buffer) {
                Ok(true) => return listed,
                Ok(false) => {}
                Err(error) => {
                    listed.error = Some(error);
                    return listed;
                }
            }
        }
        listed.is_unsteady = true;
        listed
    }

    /// Whether the list is that of one moment.
    fn read(&mut self, folder: &OwnedFd, buffer: &mut Buffer) -> Result<bool, Errno> {
        let moment = Moment::now();
        let before = fstat(folder)?;
        seek(folder, SeekFrom::Start(0))?;
        let parts = self.add_all(folder, buffer)?;
        let (after, is_over) = match parts {
            // The kernel let nothing change it meanwhile, as far as the kernel decides.
            0 | 1 => (fstat(folder)?, true),
            _ => (fresh_stat(folder)?, moment.until_tick_ends(&before).is_zero()),
        };
        if is_over && Seen::of(&after) == Seen::of(&before) {
            return Ok(true);
        }
        // A change in this tick would leave no trace in the next reading.
        wait_for_tick_end(&after);
        Ok(false)
    }

    /// In how many parts the list came.
    fn add_all(&mut self, folder: &OwnedFd, buffer: &mut Buffer) -> Result<usize, Errno> {
        let room: &mut [MaybeUninit<u8>] = buffer.0.spare_capacity_mut();
        let mut list = RawDir::new(folder.as_fd(), room);
        let mut calls = 0;
        loop {
            calls += usize::from(list.is_buffer_empty());
            match list.next() {
                // The last call gives nothing.
                None => return Ok(calls - 1),
                Some(Ok(entry)) => self.add(entry.file_name().to_bytes()),
                Some(Err(Errno::INTR)) => {}
                Some(Err(error)) => return Err(error),
            }
        }
    }

    fn add(&mut self, name: &[u8]) {
        let is_given = self.after.as_deref().is_some_and(|after| name <= after);
        let is_beyond = self.up_to.as_deref().is_some_and(|up_to| name > up_to);
        if matches!(name, b"." | b"..") || is_given || is_beyond {
            return;
        }
        self.kept.push(name);
        if self.kept.memory() > self.most {
            self.make_room();
        }
    }

    /// Keeps the first half.
    fn make_room(&mut self) {
        self.kept.sort();
        let beginning = self.kept.beginning(self.most / 2, self.times());
        // Nothing is beyond if that was room enough for each name once.
        let is_all = beginning.spans.last().map(|span| &beginning.bytes[span.range()])
            == self.kept.spans.last().map(|span| &self.kept.bytes[span.range()]);
        if !is_all {
            self.up_to = beginning.name(beginning.spans.len() - 1).map(<[u8]>::to_vec);
        }
        self.kept = beginning;
    }

    /// Twice is enough to know that a name comes more than once.
    fn times(&self) -> usize {
        if self.is_second { 1 } else { 2 }
    }

    /// The names in order, and whether they are all.
    fn finish(mut self) -> (Kept, bool) {
        self.kept.sort();
        if self.is_second {
            self.kept = self.kept.beginning(usize::MAX, 1);
        }
        (self.kept, self.up_to.is_none())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use super::{Buffer, Kept, Listed, Names, Next, Pass};

    fn folder(names: &BTreeSet<String>) -> (tempfile::TempDir, OwnedFd) {
        let temp = tempfile::tempdir().unwrap();
        for name in names {
            File::create(temp.path().join(name)).unwrap();
        }
        let folder = File::open(temp.path()).unwrap().into();
        (temp, folder)
    }

    /// All names, listed within `most` bytes; they are let go of after each `fold_after`.
    fn all(folder: &OwnedFd, most: usize, fold_after: usize) -> (Vec<String>, usize) {
        let (mut names, mut buffer) = (Names::default(), Buffer::default());
        let (mut found, mut passes) = (Vec::new(), 0);
        loop {
            match names.next() {
                Next::Name { name, is_repeated } => {
                    assert!(!is_repeated);
                    found.push(String::from_utf8(name).unwrap());
                    if found.len().is_multiple_of(fold_after) {
                        names.fold();
                    }
                }
                Next::List => {
                    passes += 1;
                    assert_eq!(names.list_within(folder, &mut buffer, most), Listed::default());
                    assert!(names.memory() <= most);
                }
                Next::End => return (found, passes),
            }
        }
    }

    #[test]
    fn t90_s14d_a_long_list_is_read_in_passes() {
        let names: BTreeSet<_> = (0..2000)
            .map(|number: u32| format!("{:x}", number.wrapping_mul(0x9e37_79b9)))
            .collect();
        let sorted: Vec<_> = names.iter().cloned().collect();
        let (_temp, folder) = folder(&names);
        for (most, fold_after, fewest, most_passes) in [
            (1 << 20, usize::MAX, 1, 1),
            (4000, usize::MAX, 8, 20),
            (200, usize::MAX, 150, 400),
            (1 << 20, 100, 20, 21),
            (4000, 77, 26, 50),
        ] {
            let (found, passes) = all(&folder, most, fold_after);
            assert_eq!(found, sorted, "{most} bytes");
            assert!(
                (fewest..=most_passes).contains(&passes),
                "{passes} passes within {most} bytes"
            );
        }
    }

    #[test]
    fn t90_s14d_a_name_that_is_listed_twice_is_given_once() {
        for most in [1 << 20, 100, 60] {
            let mut pass = Pass::after(Some(b"a".to_vec()), most);
            for name in ["d", "b", "a", "c", "b", "e", "c", "c", "f", "e", "e", "e"] {
                pass.add(name.as_bytes());
            }
            let (kept, is_whole) = pass.finish();
            let mut names = Names {
                kept,
                is_whole: true,
                ..Names::default()
            };
            let mut found = Vec::new();
            while let Next::Name { name, is_repeated } = names.next() {
                found.push((String::from_utf8(name).unwrap(), is_repeated));
            }
            let expected = [("b", true), ("c", true), ("d", false), ("e", true), ("f", false)];
            let expected = expected.map(|(name, is_repeated)| (name.to_owned(), is_repeated));
            let whole = if is_whole { found.len() } else { found.len().max(1) };
            assert_eq!(found[..], expected[..whole], "within {most} bytes");
            assert_eq!(is_whole, whole == 5, "within {most} bytes");
        }
    }

    #[test]
    fn what_was_listed_twice_is_no_repetition() {
        let mut pass = Pass::after(None, 1000);
        pass.add(b"a");
        pass.is_second = true;
        pass.add(b"b");
        pass.add(b"a");
        let (kept, _): (Kept, _) = pass.finish();
        assert_eq!(kept.spans.len(), 2);
    }
}
