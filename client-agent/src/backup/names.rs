//! The names of one directory in the order of their bytes, within bounds: a list that takes too much memory is read in several
//! passes, each of which keeps the names that come next. One that changes while it is read is read again. One that does not end is cut.
//!
//! Used by the walk, which looks at what the names stand for.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use outlast_kit::calls::{fstat, statx};
use outlast_proto::words::limits::MOST_LISTED;
use rustix::fs::{AtFlags, RawDir, SeekFrom, Stat, StatxFlags, seek};
use rustix::io::Errno;

use crate::host::node::Seen;
use crate::host::ticks::Moment;

/// What the names of one directory may take.
pub(super) const MOST_NAMES: usize = 24 << 20;
/// What is read of a list at once. The kernel changes no directory of its own meanwhile: a list that fits is that of one moment.
const AT_ONCE: usize = 256 << 10;
/// How often a list is read that changes meanwhile.
const TRIES: usize = 3;
/// Who waits looks so often whether the walk is to end.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Names that come again more often than so many times all that there are: the list goes in a circle.
const MOST_ROUNDS: usize = 16;
/// Fewer names than that do not count as all there are.
const FEW: usize = 4096;
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
    /// The directory as it was before it was listed for the first time; none afterwards.
    before: Option<Stat>,
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

/// What cut a list short.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Error(Errno),
    /// It has more names than [`MOST_LISTED`].
    Long,
    /// It lists the same names again and again.
    Circle,
    /// Whoever asked is to end.
    Stop,
}

impl From<Errno> for Cut {
    fn from(error: Errno) -> Self {
        Self::Error(error)
    }
}

/// How a list was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) cut: Option<Cut>,
    /// It changed each time while it was read: names may be missing.
    pub(super) is_unsteady: bool,
}

impl Names {
    /// Of a directory that was just opened; `before` is a stat of it.
    pub(super) fn of(before: Stat) -> Self {
        Self {
            before: Some(before),
            ..Self::default()
        }
    }

    /// Whether the directory may have this name, as far as it is listed. Some file systems know names by other cases, too.
    pub(super) fn may_have(&self, name: &[u8]) -> bool {
        let is_it = |span: &Span| self.kept.bytes[span.range()].eq_ignore_ascii_case(name);
        !self.is_whole || self.kept.spans.iter().any(is_it)
    }

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

    /// Reads the names that come next. Before each call `goes_on` is asked whether it is to be made.
    pub(super) fn list(
        &mut self,
        folder: &OwnedFd,
        buffer: &mut Buffer,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Listed {
        self.list_within(folder, (buffer, goes_on), (MOST_NAMES, MOST_LISTED))
    }

    fn list_within(
        &mut self,
        folder: &OwnedFd,
        (buffer, goes_on): (&mut Buffer, &mut dyn FnMut() -> bool),
        (most, most_listed): (usize, usize),
    ) -> Listed {
        let mut pass = Pass::after(self.last.clone(), most);
        (pass.most_listed, pass.before) = (most_listed, self.before.take());
        let listed = pass.run(folder, buffer, goes_on);
        (self.kept, self.is_whole) = pass.finish();
        self.given = 0;
        // What could not be listed is not asked for again.
        self.is_whole |= listed.cut.is_some();
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

    /// The same names, each `most` times at most, as far as they take no more than `room`; but those equal to the last one do. And how
    /// many came too often.
    fn beginning(&self, room: usize, most: usize) -> (Self, usize) {
        let mut kept = Self::default();
        let (mut times, mut too_often) = (0, 0);
        for span in &self.spans {
            let name = &self.bytes[span.range()];
            let is_same = kept
                .spans
                .last()
                .is_some_and(|last| &kept.bytes[last.range()] == name);
            times = if is_same { times + 1 } else { 1 };
            if times > most {
                too_often += 1;
                continue;
            }
            let is_full = !kept.spans.is_empty() && kept.memory() + name.len() + SPAN > room;
            if !is_same && is_full {
                break;
            }
            kept.push(name);
        }
        (kept, too_often)
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
fn wait_for_tick_end(stat: &Stat, goes_on: &mut dyn FnMut() -> bool) -> Result<(), Cut> {
    loop {
        let left = Moment::now().until_tick_ends(stat);
        if left.is_zero() {
            return Ok(());
        }
        if !goes_on() {
            return Err(Cut::Stop);
        }
        std::thread::sleep(left.min(LOOK_AGAIN));
    }
}

/// One reading of the whole list, of which the first names after a given one are kept.
struct Pass {
    after: Option<Vec<u8>>,
    /// Names after this one did not fit.
    up_to: Option<Vec<u8>>,
    most: usize,
    most_listed: usize,
    /// The directory was not listed yet, and this is a stat of it.
    before: Option<Stat>,
    kept: Kept,
    /// Names of this reading, and those among them that came too often.
    listed: usize,
    too_often: usize,
    /// The list was read more than once: that a name comes again says nothing.
    is_second: bool,
}

impl Pass {
    fn after(after: Option<Vec<u8>>, most: usize) -> Self {
        Self {
            after,
            up_to: None,
            most,
            most_listed: MOST_LISTED,
            before: None,
            kept: Kept::default(),
            listed: 0,
            too_often: 0,
            is_second: false,
        }
    }

    /// Reads until nothing has changed meanwhile. What was found stays: a name that was there all the time is missing in each reading
    /// only by accident.
    fn run(&mut self, folder: &OwnedFd, buffer: &mut Buffer, goes_on: &mut dyn FnMut() -> bool) -> Listed {
        let mut listed = Listed::default();
        for at in 0..TRIES {
            self.is_second = at > 0;
            match self.read(folder, buffer, goes_on) {
                Ok(true) => return listed,
                Ok(false) => {}
                Err(cut) => {
                    listed.cut = Some(cut);
                    return listed;
                }
            }
        }
        listed.is_unsteady = true;
        listed
    }

    /// Whether the list is that of one moment.
    fn read(
        &mut self,
        folder: &OwnedFd,
        buffer: &mut Buffer,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<bool, Cut> {
        (self.listed, self.too_often) = (0, 0);
        let moment = Moment::now();
        // There is a list for each directory, so that each call counts.
        let before = match self.before.take() {
            Some(before) => before,
            None => {
                seek(folder, SeekFrom::Start(0))?;
                fstat(folder)?
            }
        };
        let parts = self.add_all(folder, buffer, goes_on)?;
        let (after, is_over) = match parts {
            // The kernel let nothing change it meanwhile, as far as the kernel decides.
            0 | 1 => (fstat(folder)?, true),
            _ => (fresh_stat(folder)?, moment.until_tick_ends(&before).is_zero()),
        };
        if is_over && Seen::of(&after) == Seen::of(&before) {
            return Ok(true);
        }
        // A change in this tick would leave no trace in the next reading.
        wait_for_tick_end(&after, goes_on)?;
        Ok(false)
    }

    /// In how many parts the list came.
    fn add_all(
        &mut self,
        folder: &OwnedFd,
        buffer: &mut Buffer,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<usize, Cut> {
        let room: &mut [MaybeUninit<u8>] = buffer.0.spare_capacity_mut();
        let mut list = RawDir::new(folder.as_fd(), room);
        let mut calls = 0;
        loop {
            if list.is_buffer_empty() {
                calls += 1;
                if !goes_on() {
                    return Err(Cut::Stop);
                }
            }
            match list.next() {
                // The last call gives nothing.
                None => return Ok(calls - 1),
                Some(Ok(entry)) => self.add(entry.file_name().to_bytes())?,
                Some(Err(Errno::INTR)) => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    fn add(&mut self, name: &[u8]) -> Result<(), Cut> {
        self.listed += 1;
        if self.listed > self.most_listed {
            return Err(Cut::Long);
        }
        let is_given = self.after.as_deref().is_some_and(|after| name <= after);
        let is_beyond = self.up_to.as_deref().is_some_and(|up_to| name > up_to);
        if matches!(name, b"." | b"..") || is_given || is_beyond {
            return Ok(());
        }
        self.kept.push(name);
        if self.kept.memory() > self.most {
            self.make_room();
        }
        if self.too_often > MOST_ROUNDS * self.kept.spans.len().max(FEW) {
            return Err(Cut::Circle);
        }
        Ok(())
    }

    /// Keeps the first half.
    fn make_room(&mut self) {
        self.kept.sort();
        let (beginning, too_often) = self.kept.beginning(self.most / 2, self.times());
        self.too_often += too_often;
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
            self.kept = self.kept.beginning(usize::MAX, 1).0;
        }
        (self.kept, self.up_to.is_none())
    }
}

#[cfg(test)]
mod tests;
