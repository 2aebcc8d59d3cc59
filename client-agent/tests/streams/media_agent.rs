//! A scripted media agent: checks what a client must keep to, keeps what it sends, and misbehaves on demand.

mod backup;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use self::backup::Backup;
use outlast_client_agent::Progress;
use outlast_client_agent::admission::Admission;
use outlast_client_agent::attempt::{
    AttemptContext, AttemptError, Ends, MadeFolders, Outcome, TARGET_PATIENCE, run_on,
};
use outlast_kit::clock::SystemClock;
use outlast_kit::identity::Identity;
use outlast_kit::local::HandedOver;
use outlast_proto::v1::data_server::{Data, DataServer};
use outlast_proto::v1::entry::Kind;
use outlast_proto::v1::{
    AttemptOver, AttemptRef, BackupDown, BackupUp, CurrentPath, Entries, EntriesEnd, Entry, FileData,
    FileEnd, FileEnds, FileException, ItemEnd, JobKind, Limits, LocalReply, LocalRequest, LocalWay, Node,
    Overwrite, Policy, RestoreDown, RestoreEnd, RestoreOrder, RestoreUp, SignedTicket, StreamWelcome, Ticket,
    TicketItem, WholeFile, WholeFiles, backup_down, backup_up, restore_down, restore_up,
};
use outlast_proto::words::StartId;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// What one item's backup left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) marks_young: bool,
    pub(crate) entries: Vec<Entry>,
    pub(crate) content: HashMap<u64, Vec<[u8; 32]>>,
    pub(crate) ends: HashMap<u64, FileEnd>,
    /// Of the first offer of each file: where it begins, and whether the file was settled.
    pub(crate) begun: HashMap<u64, (u64, bool)>,
    pub(crate) exceptions: Vec<FileException>,
    pub(crate) end: Option<ItemEnd>,
}

/// Everything a media agent was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) items: Vec<Stored>,
    pub(crate) paths: Vec<CurrentPath>,
    pub(crate) chunks: HashMap<[u8; 32], Vec<u8>>,
    pub(crate) offers: usize,
    pub(crate) start_id: String,
    pub(crate) verdicts: Vec<u64>,
    pub(crate) exceptions: Vec<FileException>,
    pub(crate) restored: Option<RestoreEnd>,
    /// Of a restore, with each progress.
    pub(crate) waits_for: Vec<String>,
    pub(crate) streams: usize,
    /// Those that came through a socket.
    pub(crate) local_streams: usize,
}

/// What a scripted media agent does.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) items: u32,
    /// What it says of its repository.
    pub(crate) repository: Vec<u8>,
    /// Nothing differs from the parent.
    pub(crate) wants_nothing: bool,
    /// It has so much of each file.
    pub(crate) begun: Option<u64>,
    /// Chunks it has already.
    pub(crate) has: HashSet<[u8; 32]>,
    /// Done before the first verdict.
    pub(crate) before_verdicts: Option<Box<dyn Fn() + Send + Sync>>,
    /// Done when so many bytes are offered; until then no offer is answered.
    pub(crate) answers_from: Option<(u64, Box<dyn Fn() + Send + Sync>)>,
    /// Sent in place of the first verdicts.
    pub(crate) instead: Option<backup_down::Body>,
    /// Sequence numbers jump after the welcome.
    pub(crate) skips_a_number: bool,
    /// Says nothing after the welcome.
    pub(crate) is_silent: bool,
    /// Ends the connection in place of the first verdicts.
    pub(crate) hangs_up: bool,
    /// Ends so many streams before it welcomes one.
    pub(crate) drops_first: usize,
    /// When told so, the attempt is over.
    pub(crate) over: Option<Arc<tokio::sync::Notify>>,
    /// Chunks are checked and forgotten.
    pub(crate) forgets: bool,
    /// What is restored, in order.
    pub(crate) restores: Vec<restore_down::Body>,
    /// Says its last word after that, and hears nobody out.
    pub(crate) ends_at_once: bool,
    /// Of the client, in [`MediaAgent::run`].
    pub(crate) reconnect_for: std::time::Duration,
    /// How long the target of a restore may take for one step; none: as long as an agent waits.
    pub(crate) target_patience: Option<std::time::Duration>,
    /// Every stream that goes on from another says that it is another process.
    pub(crate) is_anew: bool,
    /// What a client gets that asks for a way without the network.
    pub(crate) way: Option<Box<Way>>,
}

pub(crate) type Way = dyn Fn(&Identity) -> Option<LocalWay> + Send + Sync;

/// The start id it tells.
const START: &str = "media-start";

#[derive(Clone)]
pub(crate) struct MediaAgent {
    script: Arc<Script>,
    pub(crate) told: Arc<Mutex<Told>>,
    /// Held by the stream that carries it.
    conversation: Arc<tokio::sync::Mutex<Option<Backup>>>,
}

impl MediaAgent {
    pub(crate) fn new(script: Script) -> Self {
        Self {
            script: Arc::new(script),
            told: Arc::default(),
            conversation: Arc::default(),
        }
    }

    pub(crate) fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    pub(crate) fn server(&self) -> DataServer<Self> {
        DataServer::new(self.clone()).max_decoding_message_size(16 << 20)
    }

    /// Serves on a free port.
    pub(crate) async fn serve(&self) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().add_service(self.server());
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))));
        address
    }

    /// Runs one attempt against it.
    pub(crate) async fn run(&self, ticket: &Ticket, ends: Ends) -> Result<Outcome, AttemptError> {
        let address = self.serve().await.to_string();
        self.run_over(&address, MadeFolders::default(), ticket, ends)
            .await
    }

    /// As [`MediaAgent::run`], after attempts that made these directories.
    pub(crate) async fn run_after(
        &self,
        made: MadeFolders,
        ticket: &Ticket,
        ends: Ends,
    ) -> Result<Outcome, AttemptError> {
        let address = self.serve().await.to_string();
        self.run_over(&address, made, ticket, ends).await
    }

    /// As [`MediaAgent::run_after`], against what serves or leads on at `address`.
    pub(crate) async fn run_over(
        &self,
        address: &str,
        made: MadeFolders,
        ticket: &Ticket,
        ends: Ends,
    ) -> Result<Outcome, AttemptError> {
        let admission = Admission::of_ticket(signed(ticket)).unwrap();
        let context = AttemptContext {
            start_id: StartId("start".to_owned()),
            progress: Arc::new(Progress::new(SystemClock::shared())),
            ends,
            made,
            reconnect_for: tokio::sync::watch::channel(self.script.reconnect_for).1,
            target_patience: self.script.target_patience.unwrap_or(TARGET_PATIENCE),
        };
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        run_on(endpoint.connect().await.unwrap(), &admission, context).await
    }
}

pub(crate) fn signed(ticket: &Ticket) -> SignedTicket {
    SignedTicket {
        ticket: ticket.encode_to_vec().into(),
        signature: b"signature".to_vec().into(),
    }
}

pub(crate) fn backup_ticket(items: &[PathBuf], exclude: &[&str]) -> Ticket {
    Ticket {
        attempt: Some(AttemptRef {
            job: "7".to_owned(),
            attempt: 1,
            nonce: 5,
        }),
        client: "client".to_owned(),
        media_agent: "media-1".to_owned(),
        kind: JobKind::Backup.into(),
        policy: Some(Policy {
            exclude: exclude.iter().map(|pattern| (*pattern).to_owned()).collect(),
            limits: Some(Limits::default()),
            ..Policy::default()
        }),
        items: items
            .iter()
            .map(|path| TicketItem {
                path: path.to_str().unwrap().to_owned(),
                ..TicketItem::default()
            })
            .collect(),
        ..Ticket::default()
    }
}

pub(crate) fn restore_ticket(to: &std::path::Path, overwrite: Overwrite) -> Ticket {
    Ticket {
        kind: JobKind::Restore.into(),
        restore: Some(RestoreOrder {
            to: to.to_str().unwrap().to_owned(),
            overwrite: overwrite.into(),
            ..RestoreOrder::default()
        }),
        ..backup_ticket(&[], &[])
    }
}

/// The nodes of an item in order.
pub(crate) fn nodes(entries: &[Entry]) -> Vec<&Node> {
    let node = |entry: &'_ Entry| match &entry.kind {
        Some(Kind::Enter(_) | Kind::Node(_)) => true,
        Some(Kind::Leave(_)) | None => false,
    };
    entries
        .iter()
        .filter(|entry| node(entry))
        .filter_map(|entry| match &entry.kind {
            Some(Kind::Enter(node) | Kind::Node(node)) => Some(node),
            _ => None,
        })
        .collect()
}

impl Told {
    /// The bytes of a file as they were offered and sent.
    pub(crate) fn content(&self, item: usize, node: u64) -> Vec<u8> {
        let ids = self.items[item].content.get(&node).cloned().unwrap_or_default();
        ids.iter().flat_map(|id| self.chunks[id].clone()).collect()
    }

    /// A restore of what was backed up, file by file.
    pub(crate) fn as_restore(&self, item: usize) -> Vec<restore_down::Body> {
        let stored = &self.items[item];
        let mut bodies: Vec<_> = stored
            .entries
            .chunks(100)
            .map(|entries| {
                restore_down::Body::Entries(Entries {
                    entries: entries.to_vec(),
                })
            })
            .collect();
        for node in nodes(&stored.entries) {
            if stored.content.contains_key(&node.number) {
                let content = self.content(item, node.number);
                match bodies.last_mut() {
                    Some(restore_down::Body::WholeFiles(whole)) if content.len() < 50_000 => {
                        whole.files.push(whole_file(node.number, &content));
                    }
                    _ if content.len() < 50_000 => bodies.push(restore_down::Body::WholeFiles(WholeFiles {
                        files: vec![whole_file(node.number, &content)],
                    })),
                    _ => bodies.extend(file(node.number, &content)),
                }
            }
        }
        bodies.push(restore_down::Body::EntriesEnd(EntriesEnd {}));
        bodies
    }
}

pub(crate) fn whole_file(node: u64, content: &[u8]) -> WholeFile {
    WholeFile {
        node,
        data: content.to_vec().into(),
    }
}

/// The messages of one file's content.
pub(crate) fn file(node: u64, content: &[u8]) -> Vec<restore_down::Body> {
    let pieces = content.chunks(1 << 20).enumerate();
    let mut bodies: Vec<_> = pieces
        .map(|(index, data)| {
            restore_down::Body::Data(FileData {
                node,
                offset: (index << 20) as u64,
                data: data.to_vec().into(),
                zeros: 0,
            })
        })
        .collect();
    bodies.push(restore_down::Body::FileEnds(FileEnds {
        ends: vec![FileEnd {
            node,
            size: content.len() as u64,
            ..FileEnd::default()
        }],
    }));
    bodies
}

#[tonic::async_trait]
impl Data for MediaAgent {
    type BackupStream = ReceiverStream<Result<BackupDown, Status>>;
    type RestoreStream = ReceiverStream<Result<RestoreDown, Status>>;

    async fn backup(
        &self,
        request: Request<Streaming<BackupUp>>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        if request.extensions().get::<HandedOver>().is_some() {
            self.told.lock().unwrap().local_streams += 1;
        }
        let (down, messages) = mpsc::channel(64);
        tokio::spawn(self.clone().backup_stream(request.into_inner(), down));
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn restore(
        &self,
        request: Request<Streaming<RestoreUp>>,
    ) -> Result<Response<Self::RestoreStream>, Status> {
        let (down, messages) = mpsc::channel(64);
        let (script, told) = (Arc::clone(&self.script), Arc::clone(&self.told));
        tokio::spawn(restore(script, told, request.into_inner(), down));
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn local(&self, request: Request<LocalRequest>) -> Result<Response<LocalReply>, Status> {
        assert_eq!(
            Some(&request.get_ref().kernel_id),
            outlast_kit::host::kernel_id().as_ref()
        );
        let client = Identity::of_certificate_shown(&request).unwrap();
        let way = self.script.way.as_ref().and_then(|way| way(&client));
        Ok(Response::new(LocalReply { way }))
    }
}

impl MediaAgent {
    /// One stream from its hello on.
    async fn backup_stream(
        self,
        mut up: Streaming<BackupUp>,
        down: mpsc::Sender<Result<BackupDown, Status>>,
    ) {
        let Ok(Some(first)) = up.message().await else {
            return;
        };
        let Some(backup_up::Body::Hello(hello)) = first.body else {
            panic!("no hello")
        };
        assert_eq!(first.sequence, 0);
        assert_eq!(hello.ticket.unwrap().signature, &b"signature"[..]);
        let streams = {
            let mut told = self.told.lock().unwrap();
            told.start_id = hello.start_id;
            told.streams += 1;
            told.streams
        };
        if streams <= self.script.drops_first {
            return;
        }
        let goes_on = !hello.peer_start_id.is_empty();
        if goes_on && self.script.hangs_up {
            return;
        }
        // A stream that goes on waits until the one before is noticed to be gone.
        let mut conversation = self.conversation.lock().await;
        if !goes_on {
            *conversation = Some(Backup::new(&self, down));
        } else if let Some(backup) = conversation.as_mut() {
            assert_eq!(hello.peer_start_id, START);
            backup.down = down;
        }
        let backup = conversation.as_mut().expect("what goes on has begun");
        backup.welcome(goes_on.then_some(hello.received)).await;
        backup.carry(up).await;
        // Nobody says anything on this stream any more.
        backup.down = mpsc::channel(1).0;
    }
}

fn is_goodbye(message: &RestoreUp) -> bool {
    matches!(message.body, Some(restore_up::Body::Goodbye(_)))
}

/// What of a message is to be sent.
fn wanted_part(mut body: restore_down::Body, is_sent: impl Fn(&u64) -> bool) -> Option<restore_down::Body> {
    let is_any = match &mut body {
        restore_down::Body::Data(data) => is_sent(&data.node),
        restore_down::Body::FileEnds(ends) => ends.ends.iter().all(|end| is_sent(&end.node)),
        restore_down::Body::WholeFiles(whole) => {
            whole.files.retain(|file| is_sent(&file.node));
            !whole.files.is_empty()
        }
        _ => true,
    };
    is_any.then_some(body)
}

/// One restore stream, seen from the media agent: content only of what is wanted.
async fn restore(
    script: Arc<Script>,
    told: Arc<Mutex<Told>>,
    mut up: Streaming<RestoreUp>,
    down: mpsc::Sender<Result<RestoreDown, Status>>,
) {
    let mut sent = 0;
    let mut say = async |body| {
        let message = RestoreDown {
            sequence: sent,
            received: 0,
            body: Some(body),
        };
        sent += 1;
        let _ = down.send(Ok(message)).await;
    };
    let _hello = up.message().await;
    told.lock().unwrap().streams += 1;
    say(restore_down::Body::Welcome(StreamWelcome::default())).await;
    let mut received = 0;
    let mut hear = async || -> Option<restore_up::Body> {
        loop {
            let message = up.message().await.ok()?.filter(|message| !is_goodbye(message))?;
            if message.body.is_some() {
                received += 1;
                assert_eq!(message.sequence, received, "numbers without gaps");
                return message.body;
            }
        }
    };
    let note = |body: restore_up::Body| {
        let mut told = told.lock().unwrap();
        match body {
            restore_up::Body::Verdicts(verdicts) => {
                told.verdicts.extend(verdicts.wanted);
                return true;
            }
            restore_up::Body::Exceptions(exceptions) => told.exceptions.extend(exceptions.exceptions),
            restore_up::Body::End(end) => told.restored = Some(end),
            restore_up::Body::Progress(progress) => told.waits_for.extend(Some(progress.waits_for)),
            restore_up::Body::Hello(_) | restore_up::Body::Goodbye(_) => {}
        }
        false
    };
    for body in &script.restores {
        // 1,000 and more: sent though nobody wants it.
        let is_sent = |node: &u64| *node >= 1000 || told.lock().unwrap().verdicts.contains(node);
        let Some(body) = wanted_part(body.clone(), is_sent) else {
            continue;
        };
        let is_answered = matches!(body, restore_down::Body::Entries(_)) && !script.ends_at_once;
        say(body).await;
        if !is_answered {
            continue;
        }
        // The client's last word may come at any time.
        while told.lock().unwrap().restored.is_none() {
            match hear().await {
                Some(body) if note(body.clone()) => break,
                Some(_) => {}
                None => return,
            }
        }
    }
    while told.lock().unwrap().restored.is_none() && !script.ends_at_once {
        match hear().await {
            Some(body) => drop(note(body)),
            None => return,
        }
    }
    say(restore_down::Body::Over(AttemptOver::default())).await;
}
