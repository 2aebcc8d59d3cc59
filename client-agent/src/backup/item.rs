//! The conversation about one item, as a state machine: events of the threads and answers of the media agent go in,
//! messages come out. No I/O and no clock; driven by the stream.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::Sender;
use outlast_proto::v1::backup_up::Body;
use outlast_proto::v1::{
    Chunks, CurrentPath, Entries, Exceptions, FileEnd, FileEnds, FileException, ItemEnd, JobError, Needed,
    Offer, Offers, Verdicts,
};
use prost::Message as _;

use super::batch::{Batch, Limits, WalkedFile};
use super::event::{Begun, ChunkId, Event, FileRead, Hashed, Packed};
use super::exception;
use super::pool::Job;
use super::read::Shared;
use super::slab::Plain;
use crate::attempt::Violation;
use crate::host::paths::shown;

/// Offers are sent when so many chunks or bytes are gathered, or when none is waiting for an answer.
const MOST_OFFERS: usize = 128;
const MOST_OFFERED: usize = 2 << 20;
const MOST_ENDS: usize = 256;
/// Bytes of the ends or the exceptions of one message.
const MOST_SAID: usize = 256 << 10;
/// Plain bytes of the chunks compressed into one message.
const MOST_PACKED: usize = 1 << 20;

/// A message to send, and what it gives back when it is gone.
pub(super) struct Outgoing {
    pub(super) body: Body,
    /// Of the budget of chunks.
    pub(super) frees: usize,
    /// Of what the walk may run ahead.
    pub(super) frees_ahead: usize,
}

impl From<Body> for Outgoing {
    fn from(body: Body) -> Self {
        Self {
            body,
            frees: 0,
            frees_ahead: 0,
        }
    }
}

/// The item's state.
pub(super) struct Item {
    number: u32,
    shared: Arc<Shared>,
    limits: Arc<Limits>,
    files: Sender<WalkedFile>,
    jobs: Sender<Job>,
    pub(super) out: VecDeque<Outgoing>,

    walk_ended: bool,
    /// Left out by the policy's patterns.
    excluded: u64,
    /// The last node number of each batch without an answer.
    batches: VecDeque<u64>,
    /// The last node number of each batch, and what it holds of [`Limits::ahead`] until none of its files is awaited any more.
    ahead: VecDeque<(u64, usize)>,
    /// Files without a verdict.
    unjudged: VecDeque<WalkedFile>,
    /// Wanted files in order, until their end is said.
    wanted: VecDeque<u64>,
    reading: HashMap<u64, Reading>,
    exceptions: Vec<FileException>,

    offers: Vec<Offered>,
    offered_bytes: usize,
    ends: Vec<FileEnd>,
    /// Of `ends` and `exceptions`.
    said_bytes: usize,
    offer_number: u64,
    unanswered: BTreeMap<u64, Vec<Offered>>,
    packing: usize,
    /// Everything is done, and it is asked or known what that is worth.
    is_judged: bool,
    ended: bool,
}

/// What is known of a wanted file.
#[derive(Default)]
struct Reading {
    next: u32,
    hashed: BTreeMap<u32, (ChunkId, Plain)>,
    read: Option<FileRead>,
    begun: Option<Begun>,
}

struct Offered {
    node: u64,
    id: ChunkId,
    data: Plain,
    /// Of the first of a long file.
    begun: Option<Begun>,
}

impl Item {
    /// `offer_number` is the number of the last offers of this stream.
    pub(super) fn new(
        number: u32,
        offer_number: u64,
        shared: Arc<Shared>,
        limits: Arc<Limits>,
        (files, jobs): (Sender<WalkedFile>, Sender<Job>),
    ) -> Self {
        Self {
            number,
            shared,
            limits,
            files,
            jobs,
            out: VecDeque::new(),
            walk_ended: false,
            excluded: 0,
            batches: VecDeque::new(),
            ahead: VecDeque::new(),
            unjudged: VecDeque::new(),
            wanted: VecDeque::new(),
            reading: HashMap::new(),
            exceptions: Vec::new(),
            offers: Vec::new(),
            offered_bytes: 0,
            ends: Vec::new(),
            said_bytes: 0,
            offer_number,
            unanswered: BTreeMap::new(),
            packing: 0,
            is_judged: false,
            ended: false,
        }
    }

    /// Whether everything of the item was said, though perhaps not yet sent.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn offer_number(&self) -> u64 {
        self.offer_number
    }

    /// Takes up what a thread has done.
    pub(super) fn happened(&mut self, event: Event) {
        if self.ended {
            return;
        }
        match event {
            Event::Failed(error) => return self.end(Some(error)),
            Event::Judged(error) => return self.end(error),
            event => self.note(event),
        }
        self.go_on();
    }

    fn note(&mut self, event: Event) {
        match event {
            // They end the item before anything is noted.
            Event::Failed(_) | Event::Judged(_) => {}
            Event::Several(events) => events.into_iter().for_each(|event| self.note(event)),
            Event::Remark(path, remark) => self.remark(path, remark),
            Event::Walked(batch) => self.walked(batch),
            Event::WalkEnded { excluded } => {
                (self.walk_ended, self.excluded) = (true, excluded);
                let root = self.shared.health.root.get();
                let path = root.map(|root| shown(&root.path)).unwrap_or_default();
                if excluded > 0 {
                    let counted = "a directory counts as one, with all below it";
                    let remark = format!("left out by \"exclude\": {excluded} ({counted})");
                    self.remark(path, remark);
                }
            }
            Event::Begun(begun) => {
                if let Some(reading) = self.reading.get_mut(&begun.node) {
                    reading.begun = Some(begun);
                }
            }
            Event::Hashed(hashed) => self.hashed(hashed),
            Event::FileRead(read) => self.file_read(*read),
            Event::Packed(packed) => self.packed(packed),
        }
    }

    /// The media agent's verdicts: wanted files are read, the others are done.
    pub(super) fn judged(&mut self, verdicts: Verdicts) -> Result<(), Violation> {
        let Verdicts {
            through,
            mut wanted,
            begun,
        } = verdicts;
        let begun: HashMap<u64, u64> = begun.iter().map(|file| (file.node, file.offset)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut wanted = wanted.into_iter().peekable();
        while self.batches.front().is_some_and(|last| *last <= through) {
            self.batches.pop_front();
            self.limits.batches.give(1);
        }
        while self.unjudged.front().is_some_and(|file| file.number <= through) {
            let Some(mut file) = self.unjudged.pop_front() else {
                break;
            };
            if wanted.next_if_eq(&file.number).is_some() {
                self.wanted.push_back(file.number);
                self.reading.insert(file.number, Reading::default());
                file.from = begun.get(&file.number).copied().unwrap_or(0);
                // Closed only when the readers are gone, and then the item is over.
                let _ = self.files.send(file);
            } else {
                self.shared.progress.file_done(file.seen.size);
                self.shared.health.done(1);
                self.limits.files.give(1);
            }
        }
        if let Some(node) = wanted.next() {
            return Err(Violation::UnknownNode { node });
        }
        self.shared.budget.set_head(self.wanted.front().copied());
        self.go_on();
        Ok(())
    }

    /// The media agent's answer to offers: needed chunks are compressed and sent, the others let go.
    pub(super) fn needed(&mut self, answer: &Needed) -> Result<(), Violation> {
        let unknown = Violation::UnknownOffers {
            number: answer.number,
        };
        let offered = self.unanswered.remove(&answer.number).ok_or(unknown)?;
        let mut is_needed = vec![false; offered.len()];
        for index in &answer.indexes {
            let place = usize::try_from(*index)
                .ok()
                .and_then(|index| is_needed.get_mut(index));
            *place.ok_or(Violation::UnknownOffers {
                number: answer.number,
            })? = true;
        }
        let (mut pack, mut bytes, mut let_go) = (Vec::new(), 0, 0);
        for (offer, is_needed) in offered.into_iter().zip(is_needed) {
            let length = offer.data.len();
            if !is_needed {
                let_go += length;
                continue;
            }
            if bytes + length > MOST_PACKED && !pack.is_empty() {
                self.pack(std::mem::take(&mut pack));
                bytes = 0;
            }
            bytes += length;
            pack.push((offer.id, offer.data));
        }
        if !pack.is_empty() {
            self.pack(pack);
        }
        self.shared.budget.give(let_go);
        self.go_on();
        Ok(())
    }

    fn pack(&mut self, chunks: Vec<(ChunkId, Plain)>) {
        self.packing += 1;
        // Closed only when the workers are gone, and then the item is over.
        let _ = self.jobs.send(Job::Compress(chunks));
    }

    fn walked(&mut self, batch: Batch) {
        let progress = &self.shared.progress;
        self.shared.health.done(batch.others);
        progress.walked(batch.folders, batch.others, batch.exceptions.len() as u64);
        if !batch.exceptions.is_empty() {
            let exceptions = batch.exceptions;
            self.out.push_back(Outgoing {
                frees_ahead: batch.exceptions_cost,
                ..Body::Exceptions(Exceptions { exceptions }).into()
            });
        }
        if batch.entries.is_empty() {
            return;
        }
        self.batches.push_back(batch.last);
        self.ahead.push_back((batch.last, batch.cost));
        self.unjudged.extend(batch.files);
        let entries = batch.entries;
        self.say(Body::Entries(Entries { entries }));
    }

    fn hashed(&mut self, hashed: Hashed) {
        let Hashed {
            node,
            index,
            id,
            data,
        } = hashed;
        match self.reading.get_mut(&node) {
            Some(reading) => drop(reading.hashed.insert(index, (id, data))),
            // Of a file that was given up in the middle.
            None => self.shared.budget.give(data.len()),
        }
    }

    fn file_read(&mut self, read: FileRead) {
        if let Some(reading) = self.reading.get_mut(&read.end.node) {
            reading.read = Some(read);
        }
    }

    fn packed(&mut self, packed: Packed) {
        self.packing -= 1;
        let Packed { chunks, plain } = packed;
        self.out.push_back(Outgoing {
            frees: plain,
            ..Body::Chunks(Chunks { chunks }).into()
        });
    }

    /// Says what can be said now.
    fn go_on(&mut self) {
        // Nothing may follow the item's end.
        if self.ended {
            return;
        }
        self.offer_in_order();
        self.free_ahead();
        let full = self.offers.len() >= MOST_OFFERS
            || self.offered_bytes >= MOST_OFFERED
            || self.ends.len() >= MOST_ENDS
            || self.exceptions.len() >= MOST_ENDS
            || self.said_bytes >= MOST_SAID;
        // While an answer is on its way, small files gather; its arrival brings us back here.
        if full || self.unanswered.is_empty() {
            self.flush();
        }
        let all_done = self.walk_ended
            && self.unjudged.is_empty()
            && self.wanted.is_empty()
            && self.unanswered.is_empty()
            && self.packing == 0;
        if all_done && !self.is_judged {
            self.is_judged = true;
            if self.shared.health.is_in_doubt() {
                // Closed only when the workers are gone, and then the item is over.
                let _ = self.jobs.send(Job::Judge(Arc::clone(&self.shared.health)));
            } else {
                self.end(None);
            }
        }
    }

    /// Lets the walk go on by what no file is before any more.
    fn free_ahead(&mut self) {
        let unanswered = self.batches.front().copied().unwrap_or(u64::MAX);
        let awaited = self.wanted.front().copied().unwrap_or(u64::MAX);
        while let Some((_, cost)) =
            (self.ahead).pop_front_if(|(last, _)| *last < unanswered && *last < awaited)
        {
            self.limits.ahead.give(cost);
        }
    }

    /// Moves chunks and ends of files from the front of the queue into the next messages.
    fn offer_in_order(&mut self) {
        while let Some(node) = self.wanted.front().copied() {
            let Some(reading) = self.reading.get_mut(&node) else {
                break;
            };
            while self.offers.len() < MOST_OFFERS
                && self.offered_bytes < MOST_OFFERED
                && let Some((id, data)) = reading.hashed.remove(&reading.next)
            {
                reading.next += 1;
                self.offered_bytes += data.len();
                let begun = reading.begun.take();
                self.offers.push(Offered {
                    node,
                    id,
                    data,
                    begun,
                });
            }
            if self.offers.len() >= MOST_OFFERS || self.offered_bytes >= MOST_OFFERED {
                self.flush();
                continue;
            }
            let is_read = reading.read.as_ref().is_some_and(|read| {
                // A skipped file's chunks count only as far as they were offered.
                read.end.skipped || read.chunks == reading.next
            });
            if !is_read {
                break;
            }
            self.file_ended(node);
        }
    }

    fn file_ended(&mut self, node: u64) {
        self.wanted.pop_front();
        self.shared.budget.set_head(self.wanted.front().copied());
        let Some(reading) = self.reading.remove(&node) else {
            return;
        };
        let unused = reading.hashed.values().map(|(_, data)| data.len()).sum();
        self.shared.budget.give(unused);
        self.limits.files.give(1);
        if let Some(read) = reading.read {
            self.shared.progress.file_done(0);
            self.shared.health.done(u64::from(!read.end.skipped));
            self.shared
                .progress
                .exceptions(u64::from(read.exception.is_some()));
            self.said_bytes += read.end.encoded_len();
            self.said_bytes += read.exception.as_ref().map_or(0, exception::cost);
            self.exceptions.extend(read.exception);
            self.ends.push(read.end);
            if self.said_bytes >= MOST_SAID {
                self.flush();
            }
        }
    }

    /// Sends the gathered offers, then the ends of files that depend on them, then exceptions.
    fn flush(&mut self) {
        if !self.offers.is_empty() {
            self.offer_number += 1;
            let offered = std::mem::take(&mut self.offers);
            self.offered_bytes = 0;
            let offers = offered
                .iter()
                .map(|offer| Offer {
                    node: offer.node,
                    id: Bytes::copy_from_slice(&offer.id),
                    length: u32::try_from(offer.data.len()).unwrap_or(u32::MAX),
                    offset: offer.begun.as_ref().map_or(0, |begun| begun.offset),
                    is_settled: offer.begun.as_ref().is_some_and(|begun| begun.is_settled),
                })
                .collect();
            self.unanswered.insert(self.offer_number, offered);
            let number = self.offer_number;
            self.say(Body::Offers(Offers { number, offers }));
        }
        self.said_bytes = 0;
        if !self.ends.is_empty() {
            let ends = std::mem::take(&mut self.ends);
            self.say(Body::FileEnds(FileEnds { ends }));
        }
        if !self.exceptions.is_empty() {
            let exceptions = std::mem::take(&mut self.exceptions);
            self.say(Body::Exceptions(Exceptions { exceptions }));
        }
    }

    fn end(&mut self, error: Option<JobError>) {
        if error.is_some() {
            // Of what is not finished nothing is wanted any more, but what went wrong before may say why.
            self.offers.clear();
            self.ends.clear();
        }
        self.flush();
        self.ended = true;
        let (item, excluded) = (self.number, self.excluded);
        self.say(Body::ItemEnd(ItemEnd {
            item,
            error,
            excluded,
        }));
    }

    /// Something for the job's details.
    fn remark(&mut self, path: String, remark: String) {
        self.say(Body::Path(CurrentPath {
            path,
            remark,
            ..CurrentPath::default()
        }));
    }

    fn say(&mut self, body: Body) {
        self.out.push_back(body.into());
    }
}
