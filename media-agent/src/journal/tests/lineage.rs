//! A journal and the primary that records it, through kills, full disks, lost acknowledgements and disks that are set back: one that is
//! as it was always goes on, one that lost what was recorded never does (R-05, DESIGN 3).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use outlast_media_core::NewRecord;
use outlast_media_core::session::{Delivery, Next, Opening, Recorded, Status, open};
use outlast_proto::v1::journal_event::What;
use outlast_proto::v1::{ItemStarted, JournalEvent};
use outlast_proto::words::JournalId;

use super::{Store, admitted, ended, event, id};

const SEEDS: u64 = 400;
const STEPS: u64 = 80;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    fn percent(&mut self, of_100: u64) -> bool {
        self.below(100) < of_100
    }
}

/// What the primary has of the journal it knows.
#[derive(Default)]
struct Primary {
    journal: Option<JournalId>,
    recorded: Vec<JournalEvent>,
}

impl Primary {
    /// The answer to a hello, as `primary/core` gives it.
    fn welcome(&mut self, status: &Status) -> Recorded {
        if self.journal.as_ref() != Some(&status.journal) {
            self.journal = Some(status.journal.clone());
            self.recorded.clear();
        }
        let acknowledged = self.recorded.len() as u64;
        Recorded {
            acknowledged,
            writer: self.recorded.last().map_or(0, |event| event.writer),
            begin_new: status.last < acknowledged || status.acknowledged > acknowledged,
        }
    }

    fn record(&mut self, events: Vec<JournalEvent>) -> u64 {
        for event in events {
            if event.sequence > self.recorded.len() as u64 {
                assert_eq!(event.sequence, self.recorded.len() as u64 + 1, "a gap");
                self.recorded.push(event);
            }
        }
        self.recorded.len() as u64
    }
}

/// A disk that can be set back, and what truly lies on it.
#[derive(Clone)]
struct Copy {
    folder: PathBuf,
    written: Vec<JournalEvent>,
}

struct World {
    random: Random,
    folder: tempfile::TempDir,
    dir: PathBuf,
    store: Option<Store>,
    /// Every event of the journal on the disk, with those that are not in its files any more.
    written: Vec<JournalEvent>,
    copy: Option<Copy>,
    copies: u64,
    next_job: u64,
    primary: Primary,
    session: Option<Delivery>,
    /// An acknowledgement under way.
    ack: Option<u64>,
    /// How often a journal went on.
    went_on: usize,
    /// The journals that were left.
    left: BTreeSet<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let mut world = Self {
            random: Random(seed + 1),
            dir: folder.path().join("journal"),
            folder,
            store: None,
            written: Vec::new(),
            copy: None,
            copies: 0,
            next_job: 1,
            primary: Primary::default(),
            session: None,
            ack: None,
            went_on: 0,
            left: BTreeSet::new(),
        };
        world.start();
        world
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    fn start(&mut self) {
        let rotate_at = 200 + self.random.below(1500);
        self.store = Some(Store::open(&self.dir, rotate_at).unwrap());
        assert_eq!(self.store().last(), self.written.len() as u64);
    }

    /// Ends the process: mostly without a word, sometimes with half a record behind the last one.
    fn stop(&mut self) {
        let mut store = self.store.take().unwrap();
        if self.random.percent(20) {
            store.close().unwrap();
        } else if self.random.percent(30) {
            let mut files: Vec<_> = std::fs::read_dir(&self.dir).unwrap().collect();
            files.sort_by_key(|file| file.as_ref().unwrap().file_name());
            let newest = files.last().unwrap().as_ref().unwrap().path();
            let mut content = std::fs::read(&newest).unwrap();
            content.extend(vec![0x55; 1 + self.random.below(40) as usize]);
            std::fs::write(newest, content).unwrap();
        }
        self.session = None;
        self.ack = None;
    }

    fn append(&mut self) {
        let mut new: Vec<NewRecord> = Vec::new();
        for _ in 0..=self.random.below(3) {
            let job = self.next_job;
            self.next_job += 1;
            match self.random.below(3) {
                0 => new.extend(admitted(id(job, 1))),
                1 => new.extend(ended(id(job, 1))),
                _ => {
                    let item = u32::try_from(job).unwrap();
                    new.push(event(id(job, 1), What::ItemStarted(ItemStarted { item })));
                }
            }
        }
        let is_full = self.random.percent(15);
        let room = is_full.then(|| self.random.below(60));
        self.store().set_room(room);
        let before = self.written.len() as u64;
        let done = self.store().append(new);
        self.store().set_room(None);
        if done.is_err() {
            return assert_eq!(self.store().last(), before, "all or nothing");
        }
        let (acknowledged, last) = (self.store().acknowledged(), self.store().last());
        assert!(last > before && acknowledged <= before);
        let added = self.store().read(before + 1, 100).unwrap();
        self.written.extend(added);
        assert_eq!(self.written.len() as u64, last);
    }

    fn status(&mut self) -> Status {
        super::super::handle::status_of(self.store())
    }

    /// A session begins: what follows from its welcome must be what truly happened to the disk.
    fn connect(&mut self) {
        let status = self.status();
        // A journal that was left may come back with a disk; the primary knows nothing of it any more.
        let was_left = self.left.contains(&status.journal.0);
        let recorded = self.primary.welcome(&status);
        let is_whole = self.written.starts_with(&self.primary.recorded);
        match open(&status, recorded) {
            Opening::Deliver(delivery) => {
                assert!(is_whole, "{status:?} goes on from {recorded:?}, which it lost");
                self.went_on += 1;
                self.store().acknowledge(recorded.acknowledged).unwrap();
                self.session = Some(delivery);
            }
            Opening::BeginNew => {
                assert!(
                    !is_whole || was_left,
                    "{status:?} is as it was, and is left at {recorded:?}"
                );
                self.left.insert(status.journal.0);
                self.store().begin_new().unwrap();
                self.written.clear();
                self.session = None;
            }
        }
        self.ack = None;
    }

    fn deliver(&mut self) {
        let status = self.status();
        let Some(delivery) = &mut self.session else {
            return self.connect();
        };
        let Next::Send(from) = delivery.next(&status) else {
            return;
        };
        let limit = 1 + self.random.below(5) as usize;
        let events = self.store().read(from, limit).unwrap();
        let first = usize::try_from(from).unwrap() - 1;
        assert_eq!(events, self.written[first..first + events.len()], "from {from}");
        if let Some(delivery) = &mut self.session {
            delivery.sent(events.last().unwrap().sequence);
        }
        // Some are lost with their session, after which nothing of it arrives.
        if self.random.percent(10) {
            self.session = None;
            return;
        }
        self.ack = Some(self.primary.record(events));
        if self.random.percent(10) {
            // Recorded, and the session breaks before the agent hears of it.
            (self.session, self.ack) = (None, None);
        }
    }

    fn copy(&mut self) {
        self.copies += 1;
        let folder = self.folder.path().join(self.copies.to_string());
        copy_folder(&self.dir, &folder);
        let written = self.written.clone();
        self.copy = Some(Copy { folder, written });
    }

    fn set_back(&mut self) {
        let Some(copy) = self.copy.clone() else { return };
        self.stop();
        std::fs::remove_dir_all(&self.dir).unwrap();
        copy_folder(&copy.folder, &self.dir);
        self.written = copy.written;
        self.start();
    }

    fn step(&mut self, sets_back: bool) {
        match self.random.below(100) {
            0..35 => self.append(),
            35..70 => self.deliver(),
            70..82 => {
                if let Some(sequence) = self.ack.take() {
                    self.store().acknowledge(sequence).unwrap();
                }
            }
            82..86 => self.session = None,
            86..94 => {
                self.stop();
                self.start();
            }
            94..97 if sets_back => self.copy(),
            97..100 if sets_back => self.set_back(),
            _ => {}
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn r05_only_a_journal_that_lost_what_was_recorded_is_left_behind() {
    let (mut went_on, mut left) = (0, 0);
    for seed in 0..SEEDS {
        let sets_back = seed % 2 == 1;
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step(sets_back);
        }
        // In the end everything is recorded that is on the disk.
        loop {
            let journal = world.status().journal;
            if world.primary.journal == Some(journal) && world.primary.recorded == world.written {
                break;
            }
            world.deliver();
        }
        assert!(sets_back || world.left.is_empty(), "seed {seed}");
        went_on += world.went_on;
        left += world.left.len();
    }
    assert!(went_on > 1500 && left > 50, "{went_on} went on, {left} were left");
}
