//! The readers: wanted files are opened, read, cut and, if short, hashed. Several readers take files in order, each its own.
//!
//! A file that has just changed is read when the tick of its stamp is over: until then a further change would leave no trace. One that
//! is still changing then, or whose length is not what its stat says, is kept so that the next backup finds it changed and reads it
//! again. How the content is read, `content` says.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::{FileEnd, Node, NodeType};
use rustix::fs::{OFlags, Stat};
use rustix::io::Errno;
use tokio::sync::mpsc::UnboundedSender;

use super::batch::WalkedFile;
use super::budget::{Budget, Stopping};
use super::content::Look;
use super::event::{Event, FileRead};
use super::exception::exception;
use super::health::{Health, Who};
use super::pool::Job;
use super::slab::Slabs;
use super::throttle::Throttle;
use crate::host::beneath::Beneath;
use crate::host::given_stamps::may_be_given;
use crate::host::identity;
use crate::host::node::{Seen, kind, node};
use crate::host::open::open_to_read;
use crate::host::owners::Owners;
use crate::host::paths::join;
use crate::host::xattrs;
use crate::places::Place;
use crate::progress::Progress;

/// So much is told at once.
const MOST_UNTOLD: usize = 64;
const MOST_UNTOLD_BYTES: usize = 512 << 10;
/// On slow disks no file waits for more than this and the next one.
const TELL_WITHIN: Duration = Duration::from_millis(20);

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
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: Sender<Job>,
    pub(super) place: Place,
    beneath: Option<Beneath>,
    /// What the stream's owner was not told yet: waking it for each small file would cost more than the file.
    untold: Vec<Event>,
    pub(super) untold_bytes: usize,
    told: Instant,
}

/// Why a file's reading ended early.
pub(super) enum Trouble {
    Stopping,
    /// The file is left out; why.
    Skip(String),
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

    pub(super) fn tell(&mut self, event: Event) -> Result<(), Stopping> {
        self.untold.push(event);
        let is_much = self.untold.len() >= MOST_UNTOLD || self.untold_bytes >= MOST_UNTOLD_BYTES;
        if is_much || self.told.elapsed() >= TELL_WITHIN {
            return self.tell_all();
        }
        Ok(())
    }

    pub(super) fn tell_all(&mut self) -> Result<(), Stopping> {
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
        let content = self.content(file, &open, look)?;
        self.shared.health.works(Who::Readers);
        let Look { moment, stat } = content.look;
        let changed = if Seen::of(&stat) == file.seen {
            None
        } else {
            Some(self.changed(file, &open, &stat))
        };
        let reason = (!content.is_steady).then(|| "changed while it was read".to_owned());
        // Its size is no size that the next backup could compare.
        let is_other = content.size != Seen::of(&stat).size;
        let end = FileEnd {
            node: file.number,
            size: content.size,
            skipped: false,
            changed,
            young: moment.finds_young(&stat) || is_other || may_be_given(&stat, &open),
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

    /// The file is left out, unless more than it is wrong.
    pub(super) fn failed(&mut self, what: &str, error: Errno) -> Trouble {
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
