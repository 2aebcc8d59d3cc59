//! The scripted conversation of a backup, over one stream after another.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use outlast_proto::v1::{
    AttemptOver, BackupDown, BackupUp, BeginItem, BegunFile, Entries, ItemBegin, ItemCommitted, ItemEnd,
    Needed, Offers, StreamWelcome, Verdicts, backup_down, backup_up,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{MediaAgent, START, Script, Stored, Told, nodes};

/// One backup, over all its streams, seen from the media agent.
pub(super) struct Backup {
    pub(super) script: Arc<Script>,
    pub(super) told: Arc<Mutex<Told>>,
    pub(super) down: mpsc::Sender<Result<BackupDown, Status>>,
    pub(super) sent: u64,
    /// Sent and not confirmed.
    pub(super) kept: Vec<BackupDown>,
    pub(super) received: u64,
    pub(super) next_node: u64,
    pub(super) needed: HashSet<[u8; 32]>,
    pub(super) unanswered: Vec<Offers>,
    pub(super) offered: u64,
    pub(super) last_offered: Option<u64>,
}

impl Backup {
    pub(super) fn new(agent: &MediaAgent, down: mpsc::Sender<Result<BackupDown, Status>>) -> Self {
        Self {
            script: Arc::clone(&agent.script),
            told: Arc::clone(&agent.told),
            down,
            sent: 0,
            kept: Vec::new(),
            received: 0,
            next_node: 0,
            needed: HashSet::new(),
            unanswered: Vec::new(),
            offered: 0,
            last_offered: None,
        }
    }

    pub(super) async fn welcome(&mut self, goes_on_from: Option<u64>) {
        let is_other = goes_on_from.is_some() && self.script.is_anew;
        let welcome = StreamWelcome {
            start_id: if is_other { "another" } else { START }.to_owned(),
            received: self.received,
        };
        self.write(0, Some(backup_down::Body::Welcome(welcome))).await;
        match goes_on_from {
            None if self.script.is_silent => {}
            None => {
                self.sent += u64::from(self.script.skips_a_number);
                self.begin(0).await;
            }
            Some(received) => {
                assert!(received <= self.sent);
                for message in self.kept.clone() {
                    if message.sequence > received {
                        let _ = self.down.send(Ok(message)).await;
                    }
                }
            }
        }
    }

    pub(super) async fn carry(&mut self, mut up: Streaming<BackupUp>) {
        let over = self.script.over.clone().unwrap_or_default();
        let mut last_on_stream = 0;
        loop {
            let message = tokio::select! {
                message = up.message() => message,
                () = over.notified() => {
                    let text = "canceled".to_owned();
                    self.say(backup_down::Body::Over(AttemptOver { code: 150, text })).await;
                    return;
                }
            };
            let Ok(Some(message)) = message else { return };
            assert!(message.received <= self.sent, "acknowledges what was sent");
            self.kept.retain(|kept| kept.sequence > message.received);
            let Some(body) = message.body else {
                assert_eq!(message.sequence, 0, "only a confirmation");
                continue;
            };
            if let backup_up::Body::Goodbye(_) = body {
                return;
            }
            assert!(
                message.sequence > last_on_stream,
                "nothing comes twice on a stream"
            );
            last_on_stream = message.sequence;
            if message.sequence <= self.received {
                continue;
            }
            self.received += 1;
            assert_eq!(message.sequence, self.received, "numbers without gaps");
            if !self.message(body).await {
                return;
            }
            if self.received.is_multiple_of(4) {
                self.write(0, None).await;
            }
        }
    }

    /// False ends the connection.
    async fn message(&mut self, body: backup_up::Body) -> bool {
        match body {
            backup_up::Body::ItemBegin(begin) => self.item_begin(&begin),
            backup_up::Body::Entries(entries) => return self.entries(entries).await,
            backup_up::Body::Offers(offers) => {
                self.told.lock().unwrap().offers += 1;
                self.offered += offers
                    .offers
                    .iter()
                    .map(|offer| u64::from(offer.length))
                    .sum::<u64>();
                self.unanswered.push(offers);
                if let Some((bytes, act)) = &self.script.answers_from {
                    if self.offered < *bytes {
                        return true;
                    }
                    act();
                }
                for offers in std::mem::take(&mut self.unanswered) {
                    self.answer(offers).await;
                }
            }
            backup_up::Body::Chunks(chunks) => {
                let plain: usize = chunks.chunks.iter().map(|chunk| chunk.length as usize).sum();
                assert!(
                    plain <= 1 << 20 || chunks.chunks.len() == 1,
                    "messages of up to 1 MiB"
                );
                for chunk in chunks.chunks {
                    let data = if chunk.compressed {
                        zstd::bulk::decompress(&chunk.data, chunk.length as usize).unwrap()
                    } else {
                        chunk.data.to_vec()
                    };
                    let id: [u8; 32] = Sha256::digest(&data).into();
                    assert_eq!(chunk.id.as_ref(), id);
                    assert_eq!(chunk.length as usize, data.len());
                    assert!(self.needed.remove(&id), "only what is needed");
                    let data = if self.script.forgets { Vec::new() } else { data };
                    self.told.lock().unwrap().chunks.insert(id, data);
                }
            }
            backup_up::Body::FileEnds(ends) => {
                let mut told = self.told.lock().unwrap();
                let item = told.items.last_mut().unwrap();
                for end in ends.ends {
                    assert!(item.ends.insert(end.node, end).is_none(), "one end for each file");
                }
            }
            backup_up::Body::Exceptions(exceptions) => {
                let mut told = self.told.lock().unwrap();
                told.items
                    .last_mut()
                    .unwrap()
                    .exceptions
                    .extend(exceptions.exceptions);
            }
            backup_up::Body::ItemEnd(end) => self.item_end(end).await,
            backup_up::Body::Path(path) => self.told.lock().unwrap().paths.push(path),
            backup_up::Body::Hello(_) | backup_up::Body::Goodbye(_) => {
                panic!("a second hello, or a message after the last")
            }
        }
        true
    }

    fn item_begin(&self, begin: &ItemBegin) {
        let mut told = self.told.lock().unwrap();
        // An attempt that is shown again begins from the front.
        told.items.truncate(begin.item as usize);
        assert_eq!(begin.item as usize, told.items.len());
        told.items.push(Stored {
            marks_young: begin.marks_young,
            ..Stored::default()
        });
    }

    async fn entries(&mut self, entries: Entries) -> bool {
        assert!(entries.entries.len() <= 256);
        if self.next_node == 0
            && let Some(act) = &self.script.before_verdicts
        {
            act();
        }
        let mut wanted = Vec::new();
        for node in nodes(&entries.entries) {
            assert_eq!(node.number, self.next_node, "nodes are counted");
            self.next_node += 1;
            if !self.script.wants_nothing
                && node.size > 0
                && node.r#type() == outlast_proto::v1::NodeType::File
            {
                wanted.push(node.number);
            }
        }
        {
            let mut told = self.told.lock().unwrap();
            let item = told.items.last_mut().unwrap();
            item.content.extend(wanted.iter().map(|node| (*node, Vec::new())));
            item.entries.extend(entries.entries);
        }
        if self.script.hangs_up {
            return false;
        }
        let begun = self.script.begun.into_iter();
        let begun = begun.flat_map(|offset| wanted.iter().map(move |node| BegunFile { node: *node, offset }));
        let begun = begun.collect();
        let verdicts = backup_down::Body::Verdicts(Verdicts {
            through: self.next_node.saturating_sub(1),
            wanted,
            begun,
        });
        self.say(self.script.instead.clone().unwrap_or(verdicts)).await;
        true
    }

    async fn answer(&mut self, offers: Offers) {
        let mut indexes = Vec::new();
        for (index, offer) in offers.offers.iter().enumerate() {
            assert!(
                self.last_offered <= Some(offer.node),
                "files are offered in order"
            );
            self.last_offered = Some(offer.node);
            let id: [u8; 32] = offer.id.as_ref().try_into().unwrap();
            let mut told = self.told.lock().unwrap();
            let item = told.items.last_mut().unwrap();
            let begins = (offer.offset, offer.is_settled);
            item.begun.entry(offer.node).or_insert(begins);
            let content = item.content.get_mut(&offer.node);
            content.expect("only wanted files are offered").push(id);
            let is_known = self.script.has.contains(&id) || told.chunks.contains_key(&id);
            if !is_known && self.needed.insert(id) {
                indexes.push(index as u32);
            }
        }
        let number = offers.number;
        self.say(backup_down::Body::Needed(Needed { number, indexes }))
            .await;
    }

    async fn item_end(&mut self, end: ItemEnd) {
        let item = end.item;
        let has_failed = end.error.is_some();
        assert!(
            has_failed || self.needed.is_empty(),
            "everything needed came before the end"
        );
        {
            let mut told = self.told.lock().unwrap();
            let stored = told.items.last_mut().unwrap();
            let has_ended = stored.content.keys().all(|node| stored.ends.contains_key(node));
            assert!(has_failed || has_ended, "every wanted file has an end");
            stored.end = Some(end);
        }
        self.say(backup_down::Body::ItemCommitted(ItemCommitted {
            item,
            ..Default::default()
        }))
        .await;
        if item + 1 < self.script.items {
            self.begin(item + 1).await;
        } else {
            self.say(backup_down::Body::Over(AttemptOver::default())).await;
        }
    }

    async fn begin(&mut self, item: u32) {
        (self.next_node, self.last_offered) = (0, None);
        self.say(backup_down::Body::BeginItem(BeginItem {
            item,
            repository_config_sha256: self.script.repository.clone().into(),
        }))
        .await;
    }

    async fn say(&mut self, body: backup_down::Body) {
        self.sent += 1;
        self.write(self.sent, Some(body)).await;
    }

    async fn write(&mut self, sequence: u64, body: Option<backup_down::Body>) {
        let message = BackupDown {
            sequence,
            received: self.received,
            body,
        };
        if sequence > 0 {
            self.kept.push(message.clone());
        }
        let _ = self.down.send(Ok(message)).await;
    }
}
