//! The disk a journal lies on, and the process that writes to it, over the real `Ledger`. What is not synced is lost in a crash,
//! or some of it is not.

use std::collections::{BTreeMap, VecDeque};

use outlast_media_core::session::Status;
use outlast_media_core::{AttemptId, Known, Ledger, NewRecord, Record};
use outlast_proto::v1::JournalEvent;
use outlast_proto::words::JournalId;

use crate::net::{Cx, MS, Proc, S, Timer};

/// What lies on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    journal: String,
    frames: Vec<Vec<Record>>,
    unsynced: Vec<Vec<Record>>,
}

/// What goes on when records are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    /// The attempt and lower ones have no right any more.
    Fenced(AttemptId),
    /// The next step of the attempt's work.
    Advance(AttemptId),
    /// The attempt's mark is durable.
    Marked(AttemptId),
    /// Its end is.
    Ended(AttemptId),
    /// The next step of a survey.
    Survey,
    /// An attempt that never began has its end.
    Unstarted(AttemptId),
    /// The journal is a new one.
    Begun,
}

enum Op {
    Append(Vec<NewRecord>, Then),
    BeginNew,
}

impl Disk {
    pub(crate) fn new(cx: &mut Cx, known: &Known) -> Self {
        Self {
            journal: format!("journal-{}", cx.fresh()),
            frames: vec![vec![Record::Kept(known.keep(0))]],
            unsynced: Vec::new(),
        }
    }

    pub(crate) fn journal_id(&self) -> &str {
        &self.journal
    }

    /// The machine is gone: of what was not synced the first frames may be there, or none.
    pub(crate) fn crash(&mut self, cx: &mut Cx) {
        let kept = cx.rng.below(self.unsynced.len() + 1);
        self.sync_some(cx, kept);
        self.unsynced.clear();
    }

    fn sync_some(&mut self, cx: &mut Cx, count: usize) {
        for frame in self.unsynced.drain(..count) {
            for record in &frame {
                if let Record::Event(event) = record {
                    cx.oracle.synced(&self.journal, event.sequence);
                    cx.oracle.journalled(event, &cx.unit);
                }
            }
            self.frames.push(frame);
        }
    }

    /// Attempts it knows of.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = AttemptId> {
        let records = self.frames.iter().chain(&self.unsynced).flatten();
        records.filter_map(|record| match record {
            Record::Event(event) => AttemptId::of_message(event.attempt.as_ref()).ok(),
            _ => None,
        })
    }
}

/// The journal of a running process.
pub(crate) struct Journal {
    pub(crate) ledger: Ledger,
    events: BTreeMap<u64, JournalEvent>,
    ops: VecDeque<Op>,
    /// What is being synced.
    writing: Option<(u64, Vec<Record>, Vec<Then>)>,
}

impl Journal {
    /// What the disk says at a start.
    pub(crate) fn open(cx: &mut Cx, disk: &Disk) -> Self {
        let mut ledger = Ledger::replaying(1, cx.fresh());
        let mut events = BTreeMap::new();
        for record in disk.frames.iter().flatten() {
            ledger
                .replay(record)
                .expect("events on disk are numbered without gaps");
            if let Record::Event(event) = record {
                events.insert(event.sequence, event.clone());
            }
        }
        ledger.replayed();
        Self {
            ledger,
            events,
            ops: VecDeque::new(),
            writing: None,
        }
    }

    pub(crate) fn status(&self, disk: &Disk) -> Status {
        Status {
            journal: JournalId(disk.journal.clone()),
            acknowledged: self.ledger.acknowledged(),
            last: self.ledger.last(),
            writers: self.ledger.writers().clone(),
        }
    }

    pub(crate) fn read(&self, from: u64, limit: usize) -> Vec<JournalEvent> {
        self.events
            .range(from..)
            .take(limit)
            .map(|(_, event)| event.clone())
            .collect()
    }

    pub(crate) fn append(
        &mut self,
        cx: &mut Cx,
        disk: &mut Disk,
        me: Proc,
        records: Vec<NewRecord>,
        then: Then,
    ) {
        self.ops.push_back(Op::Append(records, then));
        self.work(cx, disk, me);
    }

    pub(crate) fn begin_new(&mut self, cx: &mut Cx, disk: &mut Disk, me: Proc) {
        self.ops.push_back(Op::BeginNew);
        self.work(cx, disk, me);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.ops.is_empty() && self.writing.is_none()
    }

    /// Writes what waits; one group at a time.
    fn work(&mut self, cx: &mut Cx, disk: &mut Disk, me: Proc) {
        if self.writing.is_some() {
            return;
        }
        let (mut records, mut thens) = (Vec::new(), Vec::new());
        if let Some(Op::BeginNew) = self.ops.front() {
            self.ops.pop_front();
            *disk = Disk::new(cx, self.ledger.known());
            self.ledger = Ledger::begin(self.ledger.known(), self.ledger.writer());
            self.events.clear();
            thens.push(Then::Begun);
        }
        while let Some(Op::Append(..)) = self.ops.front() {
            let Some(Op::Append(more, then)) = self.ops.pop_front() else {
                break;
            };
            records.extend(more);
            thens.push(then);
        }
        if thens.is_empty() {
            return;
        }
        let mut records = self.ledger.number(records);
        records.extend(self.ledger.unwritten_acknowledgement());
        disk.unsynced.push(records.clone());
        let number = cx.fresh();
        self.writing = Some((number, records, thens));
        let slow = cx.rng.percent(3);
        let takes = if slow {
            cx.rng.range(50 * MS, 500 * MS)
        } else {
            cx.rng.range(200, 5 * MS)
        };
        cx.timer(me, takes, Timer::Synced(number));
        if cx.mistakes.no_fsync {
            let later = cx.rng.range(5 * S, 30 * S);
            cx.timer(me, later, Timer::Flush);
        }
    }

    /// The operating system has got round to writing.
    pub(crate) fn flush(disk: &mut Disk, cx: &mut Cx) {
        disk.sync_some(cx, disk.unsynced.len());
    }

    /// The sync has come to its end: what goes on now.
    pub(crate) fn synced(&mut self, cx: &mut Cx, disk: &mut Disk, me: Proc, number: u64) -> Vec<Then> {
        let Some((_, records, thens)) = self.writing.take_if(|(writing, ..)| *writing == number) else {
            return Vec::new();
        };
        if !cx.mistakes.no_fsync {
            Self::flush(disk, cx);
        }
        self.ledger.written(&records);
        for record in records {
            let Record::Event(event) = record else { continue };
            cx.note(|| format!("{me:?} journalled {}", crate::tell::event(&event)));
            self.events.insert(event.sequence, event);
        }
        self.work(cx, disk, me);
        thens
    }
}
