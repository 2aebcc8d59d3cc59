//! A client agent that restores, by hand: numbered messages over the real service, and the whole of a restore on top. `client` backs up.

use std::collections::BTreeMap;

use outlast_kit::tls::Credentials;
use outlast_proto::v1::data_client::DataClient;
use outlast_proto::v1::{
    AttemptOver, Exceptions, FileException, RestoreDown, RestoreEnd, RestoreUp, StreamHello, Verdicts, entry,
    restore_down, restore_up,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::client::data_client;
use super::world::PATIENCE;

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
    client: DataClient<Channel>,
    hello: StreamHello,
) -> (BTreeMap<String, Vec<u8>>, Vec<String>, AttemptOver) {
    restore_saying(client, hello, Vec::new()).await
}

/// As [`restore_over`], with exceptions that the client says at the end.
pub async fn restore_saying(
    mut client: DataClient<Channel>,
    hello: StreamHello,
    exceptions: Vec<FileException>,
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
                say(
                    restore_up::Body::Verdicts(Verdicts {
                        through,
                        wanted,
                        begun: Vec::new(),
                    }),
                    due,
                )
                .await;
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
                let exceptions = exceptions.clone();
                say(restore_up::Body::Exceptions(Exceptions { exceptions }), due).await;
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
