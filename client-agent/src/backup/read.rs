//! The readers: wanted files are opened, read, cut and, if short, hashed. Several readers take files in order, each its own.
//!
//! A file that has just changed is read when the tick of its stamp is over: until then a further change would leave no trace.
//! A file that changes while it is read is read once more if it fits into one slab; of a longer one the first chunks are
//! already offered. If it is still changing, what was read is kept with the stat from *before* reading, so that the next
//! backup finds it changed and reads it again.

use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::{FileEnd, Node, NodeType};
use rustix::fs::{OFlags, Stat, fstat};
use rustix::io::Errno;
use tokio::sync::mpsc::UnboundedSender;

use super::batch::WalkedFile;
use super::budget::{Budget, Stopping};
use super::cut::{LONGEST, Rule, SHORTEST, cut};
use super::event::{ChunkId, Event, FileRead, Hashed};
use super::exception::exception;
use super::health::{Health, Who};
use super::pool::{Job, hash};
use super::slab::{Plain, SLAB, Slab, Slabs, fill};
use super::throttle::Throttle;
use crate::host::beneath::Beneath;
use crate::host::given_stamps::may_be_given;
use crate::host::holes::Holes;
use crate::host::identity;
use crate::host::node::{Seen, kind, node};
use crate::host::open::open_to_read;
use crate::host::owners::Owners;
use crate::host::paths::join;
use crate::host::ticks::Moment;
use crate::host::xattrs;
use crate::places::Place;
use crate::progress::Progress;

/// So much is told at once.
const MOST_UNTOLD: usize = 64;
const MOST_UNTOLD_BYTES: usize = 512 << 10;
/// On slow disks no file waits for more than this and the next one.
const TELL_WITHIN: Duration = Duration::from_millis(20);
/// Who waits for a tick's end looks so often whether the attempt is ending.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What the readers of one item share.
pub(super) struct Shared {
    pub(super) health: Arc<Health>,
    pub(super) owners: Arc<Owners>,
    pub(super) budget: Budget,
    pub(super) throttle: Arc<Throttle>,
    pub(super) slabs: Arc<Slabs>,
    pub(super) progress: Arc<Progress>,
    pub(super) events: UnboundedSender<Event>,
    pub(super) stop: Shutdown,
}

/// One reading thread.
pub(super) struct Reader {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    place: Place,
    beneath: Option<Beneath>,
    /// What the stream's owner was not told yet: waking it for each small file would cost more than the file.
    untold: Vec<Event>,
    untold_bytes: usize,
    told: Instant,
}

/// Why a file's reading ended early.
enum Trouble {
    Stopping,
    /// The file is left out; why.
    Skip(String),
}

/// A file as it was before it was read.
struct Look {
    moment: Moment,
    stat: Stat,
}

/// What was read of a file.
struct Content {
    chunks: u32,
    size: u64,
    /// What it was when it was read.
    look: Look,
    is_steady: bool,
}

impl From<Stopping> for Trouble {
    fn from(_: Stopping) -> Self {
        Trouble::Stopping
    }
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, jobs: Sender<Job>) -> Self {
        Self {
            place: shared.progress.place(),
            shared,
            jobs,
            beneath: None,
            untold: Vec::new(),
            untold_bytes: 0,
            told: Instant::now(),
        }
    }

    /// Reads files until the channel is closed or the attempt ends.
    pub(super) fn work(mut self, files: &Receiver<WalkedFile>) {
        while let Some(file) = self.next(files) {
            if self.shared.health.is_over() {
                return;
            }
            let path = self.path(&file);
            self.shared.progress.set_path(&path);
            self.place.begin(&path);
            let read = self.file(&file, &path);
            self.place.end();
            let read = match read {
                Err(Trouble::Stopping) => return,
                Err(Trouble::Skip(reason)) => skipped(file.number, &path, reason),
                Ok((chunks, end, None)) => FileRead {
                    chunks,
                    end,
                    exception: None,
                },
                Ok((chunks, end, Some(reason))) => FileRead {
                    chunks,
                    end,
                    exception: Some(exception(&path, reason)),
                },
            };
            if self.tell(Event::FileRead(Box::new(read))).is_err() {
                return;
            }
        }
    }

    /// The next file; before it is waited for, everything is told.
    fn next(&mut self, files: &Receiver<WalkedFile>) -> Option<WalkedFile> {
        if let Ok(file) = files.try_recv() {
            return Some(file);
        }
        self.tell_all().ok()?;
        files.recv().ok()
    }

    fn tell(&mut self, event: Event) -> Result<(), Stopping> {
        self.untold.push(event);
        let is_much = self.untold.len() >= MOST_UNTOLD || self.untold_bytes >= MOST_UNTOLD_BYTES;
        if is_much || self.told.elapsed() >= TELL_WITHIN {
            return self.tell_all();
        }
        Ok(())
    }

    fn tell_all(&mut self) -> Result<(), Stopping> {
        if self.untold.is_empty() {
            return Ok(());
        }
        self.untold_bytes = 0;
        self.told = Instant::now();
        let events = std::mem::take(&mut self.untold);
        self.shared
            .events
            .send(Event::Several(events))
            .map_err(|_| Stopping)
    }

    fn file(&mut self, file: &WalkedFile, path: &[u8]) -> Result<(u32, FileEnd, Option<String>), Trouble> {
        let open = self.open(file)?;
        let look = self.look(&open)?;
        if kind(&look.stat) != NodeType::File {
            return Err(Trouble::Skip("is no longer a regular file".to_owned()));
        }
        self.place.at("read", path);
        let content = self.content(file.number, &open, look)?;
        self.shared.health.works(Who::Readers);
        let Look { moment, stat } = content.look;
        let changed = if Seen::of(&stat) == file.seen {
            None
        } else {
            Some(self.changed(file, &open, &stat))
        };
        let reason = (!content.is_steady).then(|| "changed while it was read".to_owned());
        let end = FileEnd {
            node: file.number,
            size: content.size,
            skipped: false,
            changed,
            young: moment.finds_young(&stat) || may_be_given(&stat, &open),
        };
        Ok((content.chunks, end, reason))
    }

    /// The file's path, for people.
    fn path(&self, file: &WalkedFile) -> Vec<u8> {
        let base = self
            .shared
            .health
            .root
            .get()
            .map_or(&b""[..], |root| &root.base_path);
        join(base, &join(&file.folder, &file.name))
    }

    fn open(&mut self, file: &WalkedFile) -> Result<OwnedFd, Trouble> {
        let health = Arc::clone(&self.shared.health);
        match health.patiently(|| self.try_open(file))? {
            Ok(open) => Ok(open),
            Err(error) => {
                self.met(error)?;
                Err(Trouble::Skip(not_opened(error)))
            }
        }
    }

    fn try_open(&mut self, file: &WalkedFile) -> Result<OwnedFd, Errno> {
        if self.beneath.is_none() {
            let root = self.shared.health.root.get();
            self.beneath = root.map(|root| Beneath::new(Arc::clone(&root.base)));
        }
        let beneath = self.beneath.as_mut().ok_or(Errno::NOENT)?;
        let folder = beneath.folder(&file.folder)?;
        let opened = open_to_read(&*folder, &file.name, OFlags::NOCTTY);
        if opened.is_err() {
            beneath.forget();
        }
        opened
    }

    fn content(&mut self, node: u64, open: &OwnedFd, mut look: Look) -> Result<Content, Trouble> {
        let mut is_second = false;
        loop {
            look = self.settled(open, look)?;
            let size = Seen::of(&look.stat).size;
            if size > SLAB as u64 {
                return self.long(node, open, look);
            }
            let room = usize::try_from(size).unwrap_or(SLAB);
            // A short file in a big slab would hold all of it while its chunks wait.
            let mut bytes = if room < SLAB / 2 {
                Vec::with_capacity(room.max(1))
            } else {
                self.shared.slabs.take()
            };
            self.fill(open, &mut bytes, room, 0)
                .map_err(|error| self.failed("cannot be read", error))?;
            let is_steady = bytes.len() == room && self.still_holds(&look, open)?;
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
    fn short(&mut self, node: u64, bytes: Vec<u8>) -> Result<(u32, u64), Stopping> {
        let size = bytes.len();
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

    /// A file of more than one slab, up to the length it had when it was opened.
    fn long(&mut self, node: u64, open: &OwnedFd, look: Look) -> Result<Content, Trouble> {
        let size = Seen::of(&look.stat).size;
        let rule = Rule::of(size);
        let mut holes = Holes::new(open, &look.stat);
        let (mut chunks, mut done, mut rest) = (0, 0_u64, Vec::new());
        loop {
            let begin = done - rest.len() as u64;
            let zeros = holes.length_at(begin) / LONGEST as u64;
            if zeros > 0 {
                chunks = self.zeros(node, chunks, zeros)?;
                done = begin + zeros * LONGEST as u64;
                rest.clear();
            }
            let mut bytes = self.shared.slabs.take();
            bytes.extend_from_slice(&rest);
            let left = usize::try_from(size - done).unwrap_or(usize::MAX);
            let goal = SLAB.min(bytes.len().saturating_add(left));
            let before = bytes.len();
            self.fill(open, &mut bytes, goal, done - before as u64)
                .map_err(|error| self.failed("cannot be read to its end", error))?;
            done += (bytes.len() - before) as u64;
            // Shorter than it was: somebody cut it off.
            let is_last = done >= size || bytes.len() < goal;
            let slab = Slab::pooled(bytes, &self.shared.slabs);
            let (next, end) = self.pieces((node, rule), chunks, Arc::clone(&slab), is_last)?;
            chunks = next;
            if is_last {
                break;
            }
            rest.clear();
            rest.extend_from_slice(&slab.bytes()[end..]);
        }
        let is_steady = done == size && self.still_holds(&look, open)?;
        Ok(Content {
            chunks,
            size: done,
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

    fn look(&mut self, open: &OwnedFd) -> Result<Look, Trouble> {
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
    fn fill(&self, open: &OwnedFd, bytes: &mut Vec<u8>, goal: usize, offset: u64) -> Result<(), Errno> {
        self.place.again();
        fill(open, bytes, goal, offset)
    }

    /// The file is left out, unless more than it is wrong.
    fn failed(&mut self, what: &str, error: Errno) -> Trouble {
        match self.met(error) {
            Ok(()) => Trouble::Skip(format!("{what}: {}", std::io::Error::from(error))),
            Err(Stopping) => Trouble::Stopping,
        }
    }

    fn met(&mut self, error: Errno) -> Result<(), Stopping> {
        // If the item fails with this error, the ones before it say why.
        self.tell_all()?;
        self.shared.health.met(Who::Readers, error)
    }

    fn changed(&self, file: &WalkedFile, open: &OwnedFd, stat: &Stat) -> Node {
        Node {
            number: file.number,
            xattrs: xattrs::of_open(open).unwrap_or_default().attributes,
            device_id: identity::device_id_of_open(open, stat),
            ..node(&file.name, stat, &self.shared.owners)
        }
    }
}

fn skipped(number: u64, path: &[u8], reason: String) -> FileRead {
    FileRead {
        chunks: 0,
        end: FileEnd {
            node: number,
            size: 0,
            skipped: true,
            ..FileEnd::default()
        },
        exception: Some(exception(path, reason)),
    }
}

pub(super) fn not_opened(error: Errno) -> String {
    match error {
        Errno::NOENT | Errno::NOTDIR => "vanished before it was read".to_owned(),
        Errno::LOOP => "is no longer a regular file".to_owned(),
        error => format!("cannot be opened: {}", std::io::Error::from(error)),
    }
}
