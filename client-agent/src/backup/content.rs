//! The content of one file, from its first byte to its end, wherever its stat says that is: read, cut and, if short, hashed.
//!
//! A file that changes while it is read is read once more if it fits into one slab; of a longer one the first chunks are already offered.
//! If it is still changing, what was read is kept with the stat from *before* reading. Called by `read`, which opens files.

use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use outlast_kit::calls::fstat;
use rustix::fs::Stat;
use rustix::io::Errno;

use super::batch::WalkedFile;
use super::budget::Stopping;
use super::cut::{LONGEST, Rule, SHORTEST, cut};
use super::event::{Begun, ChunkId, Event, Hashed};
use super::pool::{Job, hash};
use super::read::{Reader, Trouble};
use super::sizes::Sizes;
use super::slab::{FIRST, Plain, SLAB, Slab, Wanted, fill};
use crate::host::given_stamps::may_be_given;
use crate::host::holes::Holes;
use crate::host::node::Seen;
use crate::host::ticks::Moment;

/// Who waits for a tick's end looks so often whether the attempt is ending.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Bytes of a file whose content is made when it is read. The largest that tell of a host (`kallsyms`, `smaps`) have some ten million;
/// others give a number for each page there could be, or go on for ever.
const MOST_MADE: u64 = 64 << 20;

/// A file as it was before it was read.
pub(super) struct Look {
    pub(super) moment: Moment,
    pub(super) stat: Stat,
}

/// What was read of a file.
pub(super) struct Content {
    pub(super) chunks: u32,
    pub(super) size: u64,
    /// What it was when it was read.
    pub(super) look: Look,
    pub(super) is_steady: bool,
}

/// How far a file was read.
struct Reach {
    /// What its stat says.
    said: u64,
    done: u64,
    /// It is longer than that; what its file system's word is worth.
    beyond: Option<Sizes>,
    /// It was longer, and is growing: what came after the first look is left to the next backup.
    has_grown: bool,
    is_over: bool,
}

impl Reach {
    fn of(look: &Look) -> Self {
        Self {
            said: Seen::of(&look.stat).size,
            done: 0,
            beyond: None,
            has_grown: false,
            is_over: false,
        }
    }

    /// How far it may be read now: one byte further than it should be, to see whether there is more.
    fn limit(&self) -> u64 {
        match self.beyond {
            Some(_) => self.most() + 1,
            // Some files in /proc say all of it in one call, or a part and no more.
            None if self.said == 0 => SLAB as u64,
            None => self.said + 1,
        }
    }

    /// No file is longer.
    fn most(&self) -> u64 {
        match self.beyond {
            Some(Sizes::Made) => MOST_MADE.max(self.said),
            _ => Rule::of(self.said).most(),
        }
    }
}

impl Reader {
    pub(super) fn content(
        &mut self,
        file: &WalkedFile,
        open: &OwnedFd,
        mut look: Look,
    ) -> Result<Content, Trouble> {
        let node = file.number;
        let mut is_second = false;
        loop {
            look = self.settled(open, look)?;
            let mut reach = Reach::of(&look);
            if reach.said > SLAB as u64 {
                // What is before holds only for the file that the walk saw.
                if Seen::of(&look.stat) == file.seen && file.from < reach.said {
                    reach.done = file.from;
                }
                return self.long(node, (open, look), reach, Vec::new());
            }
            let room = usize::try_from(reach.said).unwrap_or(SLAB);
            // A short file in a big slab would hold all of it while its chunks wait.
            let mut bytes = match room {
                0 => Vec::with_capacity(FIRST),
                _ if room < SLAB / 2 => Vec::with_capacity(room + 1),
                _ => self.shared.slabs.take(),
            };
            self.part((open, &look), &mut reach, &mut bytes)?;
            if !reach.is_over {
                return self.long(node, (open, look), reach, bytes);
            }
            let is_steady = is_as_said(open, &reach) && self.still_holds(&look, open)?;
            if is_steady || is_second {
                let (chunks, size) = self.short(node, bytes)?;
                return Ok(Content {
                    chunks,
                    size,
                    look,
                    is_steady,
                });
            }
            is_second = true;
            look = self.look(open)?;
        }
    }

    /// Reads on until `bytes`, which end where the reading stands, are a full slab, or to the end of the file.
    fn part(
        &mut self,
        (open, look): (&OwnedFd, &Look),
        reach: &mut Reach,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        loop {
            let left = usize::try_from(reach.limit() - reach.done).unwrap_or(usize::MAX);
            let goal = SLAB.min(bytes.len().saturating_add(left));
            let before = bytes.len();
            let begin = reach.done - before as u64;
            let wanted = Wanted {
                length: goal,
                offset: begin,
                end: reach.said,
            };
            self.fill(open, bytes, &wanted)
                .map_err(|error| self.unread(open, begin + bytes.len() as u64, error))?;
            reach.done += (bytes.len() - before) as u64;
            reach.is_over = bytes.len() < goal;
            if reach.done <= reach.said {
                return Ok(());
            }
            if reach.beyond.is_none() {
                let sizes = Sizes::of(open);
                if sizes == Sizes::Known && !self.still_holds(look, open)? {
                    bytes.truncate(bytes.len() - usize::try_from(reach.done - reach.said).unwrap_or(0));
                    (reach.done, reach.has_grown, reach.is_over) = (reach.said, true, true);
                    return Ok(());
                }
                reach.beyond = Some(sizes);
            }
            if reach.done > reach.most() {
                return Err(Trouble::Skip(endless(reach)));
            }
            if reach.is_over || bytes.len() == SLAB {
                return Ok(());
            }
        }
    }

    /// A new look at a file that has just changed, when the tick of its stamp is over.
    fn settled(&mut self, open: &OwnedFd, look: Look) -> Result<Look, Trouble> {
        let mut left = look.moment.until_tick_ends(&look.stat);
        if left.is_zero() {
            return Ok(look);
        }
        // Whoever can go on shall.
        self.tell_all()?;
        while !left.is_zero() {
            if self.shared.stop.has_begun() {
                return Err(Trouble::Stopping);
            }
            std::thread::sleep(left.min(LOOK_AGAIN));
            left = Moment::now().until_tick_ends(&look.stat);
        }
        self.look(open)
    }

    /// A file that was read in one piece.
    fn short(&mut self, node: u64, mut bytes: Vec<u8>) -> Result<(u32, u64), Stopping> {
        let size = bytes.len();
        if bytes.capacity() / 2 > size {
            bytes.shrink_to_fit();
        }
        if size == 0 {
            return Ok((0, 0));
        }
        if size > SHORTEST {
            let slab = Slab::pooled(bytes, &self.shared.slabs);
            let chunks = self.pieces((node, Rule::ByContent), 0, slab, true)?.0;
            return Ok((chunks, size as u64));
        }
        self.paid(node, size)?;
        let id = hash(&bytes);
        let data = Plain::new(&Slab::single(bytes), 0..size);
        let hashed = Hashed {
            node,
            index: 0,
            id,
            data,
        };
        self.untold_bytes += size;
        self.tell(Event::Hashed(hashed))?;
        Ok((1, size as u64))
    }

    /// A file of more than one slab, of which `rest` was read.
    fn long(
        &mut self,
        node: u64,
        (open, look): (&OwnedFd, Look),
        mut reach: Reach,
        mut rest: Vec<u8>,
    ) -> Result<Content, Trouble> {
        let rule = Rule::of(reach.said);
        let mut holes = Holes::new(open, &look.stat);
        let mut chunks = 0;
        let begun = Begun {
            node,
            offset: reach.done - rest.len() as u64,
            is_settled: !look.moment.finds_young(&look.stat) && !may_be_given(&look.stat, open),
        };
        // Before anybody hears of a chunk.
        self.tell(Event::Begun(begun))?;
        self.tell_all()?;
        loop {
            let begin = reach.done - rest.len() as u64;
            let zeros = holes.length_at(begin) / LONGEST as u64;
            if zeros > 0 {
                chunks = self.zeros(node, chunks, zeros)?;
                reach.done = begin + zeros * LONGEST as u64;
                rest.clear();
            }
            let mut bytes = self.shared.slabs.take();
            bytes.extend_from_slice(&rest);
            self.part((open, &look), &mut reach, &mut bytes)?;
            let slab = Slab::pooled(bytes, &self.shared.slabs);
            let (next, end) = self.pieces((node, rule), chunks, Arc::clone(&slab), reach.is_over)?;
            chunks = next;
            if reach.is_over {
                break;
            }
            rest.clear();
            rest.extend_from_slice(&slab.bytes()[end..]);
        }
        let is_steady = is_as_said(open, &reach) && self.still_holds(&look, open)?;
        Ok(Content {
            chunks,
            size: reach.done,
            look,
            is_steady,
        })
    }

    /// Cuts a slab and has its chunks hashed; the number of the next chunk, and where the uncut rest begins.
    fn pieces(
        &mut self,
        (node, rule): (u64, Rule),
        first: u32,
        slab: Arc<Slab>,
        is_last: bool,
    ) -> Result<(u32, usize), Stopping> {
        let (mut index, mut end) = (first, 0);
        for range in cut(rule, slab.bytes(), is_last) {
            self.paid(node, range.len())?;
            end = range.end;
            let data = Plain::new(&slab, range);
            self.jobs
                .send(Job::Hash { node, index, data })
                .map_err(|_| Stopping)?;
            index += 1;
        }
        Ok((index, end))
    }

    /// As many longest chunks of a hole: neither read nor hashed, for they all are the same.
    fn zeros(&mut self, node: u64, first: u32, count: u64) -> Result<u32, Stopping> {
        static ZEROS: LazyLock<(ChunkId, Arc<Slab>)> = LazyLock::new(|| {
            let bytes = vec![0; LONGEST];
            (hash(&bytes), Slab::single(bytes))
        });
        let (id, slab) = &*ZEROS;
        let mut index = first;
        for _ in 0..count {
            // Nothing is read, and only the first of them is ever sent: a limit of the bandwidth has nothing to hold back.
            self.room(node, LONGEST)?;
            let data = Plain::new(slab, 0..LONGEST);
            self.tell(Event::Hashed(Hashed {
                node,
                index,
                id: *id,
                data,
            }))?;
            index += 1;
        }
        Ok(index)
    }

    /// Waits for the policy's limit and for room among the chunks that wait for an answer.
    fn paid(&mut self, node: u64, bytes: usize) -> Result<(), Stopping> {
        if self.shared.throttle.is_limited() {
            self.tell_all()?;
            self.place.rest();
            self.shared.throttle.pay(bytes)?;
            self.place.again();
        }
        self.room(node, bytes)
    }

    /// Waits for room among the chunks that wait for an answer.
    fn room(&mut self, node: u64, bytes: usize) -> Result<(), Stopping> {
        if !self.shared.budget.try_take(bytes) {
            // Room comes from chunks the stream's owner knows of.
            self.tell_all()?;
            self.place.rest();
            self.shared.budget.take(node, bytes)?;
            self.place.again();
        }
        self.shared.progress.read(bytes as u64);
        Ok(())
    }

    pub(super) fn look(&mut self, open: &OwnedFd) -> Result<Look, Trouble> {
        self.place.again();
        // Before the stat: what changes after it gets a stamp of this moment or later.
        let moment = Moment::now();
        let stat = fstat(open).map_err(|error| self.failed("cannot be examined", error))?;
        Ok(Look { moment, stat })
    }

    /// Whether the file cannot have changed since.
    fn still_holds(&mut self, look: &Look, open: &OwnedFd) -> Result<bool, Trouble> {
        let after = self.look(open)?;
        let is_over = look.moment.until_tick_ends(&look.stat).is_zero();
        Ok(is_over && Seen::of(&after.stat) == Seen::of(&look.stat))
    }

    /// Reads more; see [`fill`].
    fn fill(&self, open: &OwnedFd, bytes: &mut Vec<u8>, wanted: &Wanted) -> Result<(), Errno> {
        fill(open, bytes, wanted, &|| {
            self.place.again();
            self.shared.health.is_over()
        })
    }

    /// The file cannot be read on from `offset`.
    fn unread(&mut self, open: &OwnedFd, offset: u64, error: Errno) -> Trouble {
        let what = if offset == 0 {
            "cannot be read"
        } else {
            "cannot be read to its end"
        };
        // Many of those that are made give EIO as a matter of course.
        if Sizes::of(open) == Sizes::Made && !self.shared.health.is_over() {
            return Trouble::Skip(format!("{what}: {}", std::io::Error::from(error)));
        }
        self.failed(what, error)
    }
}

/// Whether the file was as long as its stat says, as far as that means something.
fn is_as_said(open: &OwnedFd, reach: &Reach) -> bool {
    if reach.done < reach.said {
        return Sizes::of(open) == Sizes::Made;
    }
    !reach.has_grown && reach.beyond != Some(Sizes::Known)
}

/// Of a file that is longer than any may be.
fn endless(reach: &Reach) -> String {
    let (most, said) = (reach.most(), reach.said);
    let most = match reach.beyond {
        Some(Sizes::Made) => format!("{} MiB", most >> 20),
        _ => format!("{} TiB", most >> 40),
    };
    format!("it is left out: it has no end within {most}, and its file system says that it has {said} bytes")
}
