//! A client agent that backs up, by hand: numbered messages over the real service, and the whole of a backup on top. `restorer` restores.

use std::collections::BTreeMap;

use outlast_kit::tls::{Credentials, media_agent_server_name};
use outlast_proto::v1::data_client::DataClient;
use outlast_proto::v1::{
    AttemptOver, BackupDown, BackupUp, Chunk, Chunks, Entries, FileEnd, FileEnds, ItemBegin, ItemEnd, Offer,
    Offers, StreamHello, backup_down, backup_up,
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

    /// The stream ends, and nobody has said how the attempt did.
    pub async fn ends_without_a_word(mut self) {
        let ended = async {
            while let Ok(Some(message)) = self.down.message().await {
                let body = message.body;
                assert!(!matches!(body, Some(backup_down::Body::Over(_))), "{body:?}");
            }
        };
        tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("the media agent keeps the stream");
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
            ..ItemBegin::default()
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
                    ..Offer::default()
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
        self.send(backup_up::Body::ItemEnd(ItemEnd {
            item,
            error: None,
            excluded: 0,
        }))
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
