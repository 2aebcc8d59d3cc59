//! A client agent by hand: numbered messages over the real service, and the whole of a backup or restore on top.

use std::collections::BTreeMap;

use outlast_kit::tls::{Credentials, media_agent_server_name};
use outlast_proto::v1::data_client::DataClient;
use outlast_proto::v1::{
    AttemptOver, BackupDown, BackupUp, Chunk, Chunks, Entries, FileEnd, FileEnds, ItemBegin, ItemEnd, Offer,
    Offers, RestoreDown, RestoreEnd, RestoreUp, StreamHello, Verdicts, backup_down, backup_up, entry,
    restore_down, restore_up,
};
use outlast_repository::BlobId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::source::{Source, walk};
use super::world::PATIENCE;

const CHUNK: usize = 1 << 20;

pub async fn data_client(credentials: &Credentials, address: &str) -> DataClient<Channel> {
    let channel = credentials
        .channel(address, &media_agent_server_name("media-1"))
        .unwrap();
    client_over(channel)
}

pub fn client_over(channel: Channel) -> DataClient<Channel> {
    DataClient::new(channel)
        .max_decoding_message_size(9 << 20)
        .max_encoding_message_size(32 << 20)
}

pub struct BackupStream {
    up: mpsc::Sender<BackupUp>,
    down: Streaming<BackupDown>,
    sequence: u64,
    due: u64,
    offers: u64,
    /// What was sent, for a stream that goes on.
    kept: Vec<BackupUp>,
    peer_start: String,
}

impl BackupStream {
    /// Opens the stream and says hello.
    pub async fn open(credentials: &Credentials, address: &str, hello: StreamHello) -> Self {
        Self::open_over(data_client(credentials, address).await, hello).await
    }

    /// As [`BackupStream::open`], over a connection that is there.
    pub async fn open_over(client: DataClient<Channel>, hello: StreamHello) -> Self {
        let stream = Self::connect_over(client).await;
        let first = BackupUp {
            body: Some(backup_up::Body::Hello(hello)),
            ..BackupUp::default()
        };
        // One whose hello is refused while it is still under way shows it when it is read.
        let _ = stream.up.send(first).await;
        stream
    }

    /// Opens the stream and says nothing.
    pub async fn connect(credentials: &Credentials, address: &str) -> Self {
        Self::connect_over(data_client(credentials, address).await).await
    }

    async fn connect_over(mut client: DataClient<Channel>) -> Self {
        let (up, messages) = mpsc::channel(64);
        let answered = client.backup(ReceiverStream::new(messages)).await.unwrap();
        Self {
            up,
            down: answered.into_inner(),
            sequence: 0,
            due: 0,
            offers: 0,
            kept: Vec::new(),
            peer_start: String::new(),
        }
    }

    /// Goes on over a new stream: says what it has, and sends again what the media agent has not.
    pub async fn reopen(self, credentials: &Credentials, address: &str, hello: StreamHello) -> Self {
        self.reopen_over(data_client(credentials, address).await, hello)
            .await
    }

    /// As [`BackupStream::reopen`], over a connection that is there.
    pub async fn reopen_over(self, client: DataClient<Channel>, hello: StreamHello) -> Self {
        let hello = StreamHello {
            peer_start_id: self.peer_start.clone(),
            received: self.due,
            ..hello
        };
        let mut stream = Self::open_over(client, hello).await;
        (stream.sequence, stream.due, stream.offers) = (self.sequence, self.due, self.offers);
        (stream.kept, stream.peer_start) = (self.kept, self.peer_start.clone());
        let backup_down::Body::Welcome(welcome) = stream.receive().await else {
            panic!("no welcome")
        };
        assert_eq!(welcome.start_id, stream.peer_start);
        assert!(welcome.received <= stream.sequence);
        // The old one is still open so far, as far as the media agent can see.
        drop((self.up, self.down));
        for message in stream.kept.clone() {
            if message.sequence > welcome.received {
                stream.up.send(message).await.unwrap();
            }
        }
        stream
    }

    /// Ends the stream as one ends whose process is killed: without a word.
    pub fn lose(mut self) -> Self {
        let (up, _) = mpsc::channel(1);
        self.up = up;
        self
    }

    /// The last message of the media agent that was read.
    pub fn received(&self) -> u64 {
        self.due
    }

    /// The media agent's process.
    pub fn peer_start(&self) -> &str {
        &self.peer_start
    }

    pub async fn send(&mut self, body: backup_up::Body) {
        self.sequence += 1;
        self.send_as(self.sequence, body).await;
    }

    pub async fn send_as(&mut self, sequence: u64, body: backup_up::Body) {
        let message = BackupUp {
            sequence,
            received: self.due,
            body: Some(body),
        };
        self.kept.push(message.clone());
        // After the end of the attempt, and of the stream, nobody takes it.
        let _ = self.up.send(message).await;
    }

    /// A message that only confirms.
    pub async fn confirm(&mut self) {
        let message = BackupUp {
            received: self.due,
            ..BackupUp::default()
        };
        let _ = self.up.send(message).await;
    }

    pub async fn receive(&mut self) -> backup_down::Body {
        let (message, body) = loop {
            let message = tokio::time::timeout(PATIENCE, self.down.message())
                .await
                .expect("the media agent says nothing")
                .expect("the stream broke")
                .expect("the stream ended without a last word");
            match message.body.clone() {
                Some(body) => break (message, body),
                // Only a confirmation.
                None => assert_eq!(message.sequence, 0),
            }
        };
        if matches!(body, backup_down::Body::Welcome(_)) {
            assert_eq!(message.sequence, 0);
        } else {
            assert_eq!(message.sequence, self.due + 1);
            self.due += 1;
        }
        body
    }

    pub async fn welcome(&mut self) {
        match self.receive().await {
            backup_down::Body::Welcome(welcome) => self.peer_start = welcome.start_id,
            other => panic!("{other:?} is no welcome"),
        }
    }

    /// Reads on to the end of the attempt.
    pub async fn over(mut self) -> AttemptOver {
        loop {
            if let backup_down::Body::Over(over) = self.receive().await {
                let rest = self.down.message().await;
                assert!(matches!(rest, Ok(None)), "after the last word: {rest:?}");
                return over;
            }
        }
    }

    /// Up to the verdicts of one item: which files are wanted.
    pub async fn begin(
        &mut self,
        item: u32,
        source: &Source,
        name: &str,
    ) -> (Vec<u64>, BTreeMap<u64, Vec<u8>>) {
        match self.receive().await {
            backup_down::Body::BeginItem(begin) => assert_eq!(begin.item, item),
            other => panic!("{other:?} begins no item"),
        }
        self.send(backup_up::Body::ItemBegin(ItemBegin {
            item,
            marks_young: true,
        }))
        .await;
        let (entries, contents) = walk(name, source);
        let mut wanted = Vec::new();
        for batch in entries.chunks(256) {
            let entries = batch.to_vec();
            self.send(backup_up::Body::Entries(Entries { entries })).await;
            match self.receive().await {
                backup_down::Body::Verdicts(verdicts) => wanted.extend(verdicts.wanted),
                other => panic!("{other:?} is no verdict"),
            }
        }
        (wanted, contents)
    }

    /// Offers the files; the chunks that are needed.
    pub async fn offer(&mut self, files: &[(u64, &[u8])]) -> Vec<Chunk> {
        // Numbered through all items of the stream.
        self.offers += 1;
        let number = self.offers;
        let mut offers = Vec::new();
        let mut chunks = Vec::new();
        for (node, content) in files {
            for piece in content.chunks(CHUNK) {
                let chunk = chunk(piece);
                offers.push(Offer {
                    node: *node,
                    id: chunk.id.clone(),
                    length: chunk.length,
                });
                chunks.push(chunk);
            }
        }
        self.send(backup_up::Body::Offers(Offers { number, offers }))
            .await;
        match self.receive().await {
            backup_down::Body::Needed(needed) => {
                assert_eq!(needed.number, number);
                let take = |index: u32| chunks[index as usize].clone();
                needed.indexes.into_iter().map(take).collect()
            }
            other => panic!("{other:?} is no answer to offers"),
        }
    }

    pub async fn chunks(&mut self, chunks: Vec<Chunk>) {
        for chunk in chunks {
            let chunks = vec![chunk];
            self.send(backup_up::Body::Chunks(Chunks { chunks })).await;
        }
    }

    pub async fn file_ends(&mut self, files: &[(u64, &[u8])]) {
        let ends = files.iter().map(|(node, content)| FileEnd {
            node: *node,
            size: content.len() as u64,
            ..FileEnd::default()
        });
        let ends = ends.collect();
        self.send(backup_up::Body::FileEnds(FileEnds { ends })).await;
    }

    pub async fn end_item(&mut self, item: u32) {
        self.send(backup_up::Body::ItemEnd(ItemEnd { item, error: None }))
            .await;
    }

    /// One item as it should be; the number of wanted files and of chunks sent, and the snapshot.
    pub async fn item(&mut self, item: u32, source: &Source, name: &str) -> (usize, usize, Vec<u8>) {
        let (wanted, contents) = self.begin(item, source, name).await;
        let mut sent = 0;
        for node in &wanted {
            let files = [(*node, contents[node].as_slice())];
            let needed = self.offer(&files).await;
            sent += needed.len();
            self.chunks(needed).await;
            self.file_ends(&files).await;
        }
        self.end_item(item).await;
        match self.receive().await {
            backup_down::Body::ItemCommitted(committed) => {
                assert_eq!(committed.item, item);
                (wanted.len(), sent, committed.snapshot.to_vec())
            }
            other => panic!("{other:?}: the item is not committed"),
        }
    }
}

pub fn chunk(plain: &[u8]) -> Chunk {
    let packed = zstd::bulk::compress(plain, 1).unwrap();
    let compressed = packed.len() < plain.len() - plain.len() / 64;
    Chunk {
        id: BlobId::of(plain).as_bytes().to_vec().into(),
        length: u32::try_from(plain.len()).unwrap(),
        compressed,
        data: if compressed {
            packed.into()
        } else {
            plain.to_vec().into()
        },
    }
}

/// A restore message by message.
pub struct RestoreStream {
    up: mpsc::Sender<RestoreUp>,
    down: Streaming<RestoreDown>,
    sequence: u64,
}

impl RestoreStream {
    /// Opens the stream and says hello.
    pub async fn open(credentials: &Credentials, address: &str, hello: StreamHello) -> Self {
        let (up, messages) = mpsc::channel(64);
        let first = RestoreUp {
            body: Some(restore_up::Body::Hello(hello)),
            ..RestoreUp::default()
        };
        up.send(first).await.unwrap();
        let mut client = data_client(credentials, address).await;
        let answered = client.restore(ReceiverStream::new(messages)).await.unwrap();
        Self {
            up,
            down: answered.into_inner(),
            sequence: 0,
        }
    }

    pub async fn send(&mut self, body: restore_up::Body) {
        self.sequence += 1;
        let message = RestoreUp {
            sequence: self.sequence,
            received: 0,
            body: Some(body),
        };
        let _ = self.up.send(message).await;
    }

    /// Reads on to the first entries: the last number, and the numbers of files.
    pub async fn entries(&mut self) -> (u64, Vec<u64>) {
        let entries = loop {
            if let restore_down::Body::Entries(entries) = self.receive().await {
                break entries.entries;
            }
        };
        let mut last = 0;
        let mut files = Vec::new();
        for entry in entries {
            match entry.kind.unwrap() {
                entry::Kind::Enter(node) => last = node.number,
                entry::Kind::Leave(_) => {}
                entry::Kind::Node(node) => {
                    last = node.number;
                    files.push(node.number);
                }
            }
        }
        (last, files)
    }

    /// Reads on to the end of the attempt.
    pub async fn over(mut self) -> AttemptOver {
        loop {
            if let restore_down::Body::Over(over) = self.receive().await {
                let rest = self.down.message().await;
                assert!(matches!(rest, Ok(None)), "after the last word: {rest:?}");
                return over;
            }
        }
    }

    async fn receive(&mut self) -> restore_down::Body {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.down.message()).await;
            let message = message.expect("the media agent says nothing").unwrap().unwrap();
            if let Some(body) = message.body {
                return body;
            }
        }
    }
}

/// Restores everything; the files by path, which media agent says are skipped, and the last word.
pub async fn restore(
    credentials: &Credentials,
    address: &str,
    hello: StreamHello,
) -> (BTreeMap<String, Vec<u8>>, Vec<String>, AttemptOver) {
    restore_over(data_client(credentials, address).await, hello).await
}

/// As [`restore`], over a connection that is there.
pub async fn restore_over(
    mut client: DataClient<Channel>,
    hello: StreamHello,
) -> (BTreeMap<String, Vec<u8>>, Vec<String>, AttemptOver) {
    let (up, messages) = mpsc::channel(64);
    let first = RestoreUp {
        body: Some(restore_up::Body::Hello(hello)),
        ..RestoreUp::default()
    };
    up.send(first).await.unwrap();
    let mut down: Streaming<RestoreDown> = client
        .restore(ReceiverStream::new(messages))
        .await
        .unwrap()
        .into_inner();
    let mut restored = BTreeMap::new();
    let mut skipped = Vec::new();
    let mut paths = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    let (mut sequence, mut through, mut due) = (0, 0, 0);
    let mut say = async |body, received| {
        sequence += 1;
        let body = Some(body);
        up.send(RestoreUp {
            sequence,
            received,
            body,
        })
        .await
        .unwrap();
    };
    loop {
        let message = tokio::time::timeout(PATIENCE, down.message())
            .await
            .unwrap()
            .unwrap();
        let message = message.unwrap();
        due = due.max(message.sequence);
        let Some(body) = message.body else { continue };
        match body {
            restore_down::Body::Welcome(_) => {}
            restore_down::Body::Entries(entries) => {
                let mut wanted = Vec::new();
                for entry in entries.entries {
                    match entry.kind.unwrap() {
                        entry::Kind::Enter(node) => {
                            through = node.number;
                            names.push(String::from_utf8(node.name.to_vec()).unwrap());
                        }
                        entry::Kind::Leave(_) => drop(names.pop().unwrap()),
                        entry::Kind::Node(node) => {
                            through = node.number;
                            let name = String::from_utf8_lossy(&node.name);
                            let path = format!("/{}/{name}", names.join("/"));
                            if node.r#type() == outlast_proto::v1::NodeType::File {
                                wanted.push(node.number);
                                restored.insert(path.clone(), Vec::new());
                            }
                            paths.insert(node.number, path);
                        }
                    }
                }
                say(restore_up::Body::Verdicts(Verdicts { through, wanted }), due).await;
            }
            restore_down::Body::Data(data) => {
                let content = restored.get_mut(&paths[&data.node]).unwrap();
                assert_eq!(content.len() as u64, data.offset);
                content.extend_from_slice(&data.data);
                content.resize(content.len() + usize::try_from(data.zeros).unwrap(), 0);
            }
            restore_down::Body::WholeFiles(whole) => {
                for file in whole.files {
                    let content = restored.get_mut(&paths[&file.node]).unwrap();
                    assert_eq!(content.len(), 0, "no piece of it came before");
                    content.extend_from_slice(&file.data);
                }
            }
            restore_down::Body::FileEnds(ends) => {
                for end in ends.ends {
                    let path = &paths[&end.node];
                    if end.skipped {
                        restored.remove(path);
                        skipped.push(path.clone());
                    } else {
                        assert_eq!(restored[path].len() as u64, end.size);
                    }
                }
            }
            restore_down::Body::EntriesEnd(_) => {
                assert!(names.is_empty());
                let files = restored.len() as u64;
                let end = RestoreEnd {
                    files,
                    ..RestoreEnd::default()
                };
                say(restore_up::Body::End(end), due).await;
            }
            restore_down::Body::Over(over) => return (restored, skipped, over),
        }
    }
}
