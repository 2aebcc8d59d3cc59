//! The server's side: the socket, who is let in, and as whom.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use outlast_proto::v1::LocalWay;
use rustix::fs::OFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_stream::Stream;

use super::tokens::Tokens;
use super::{HandedOver, SOCKET, Secret};
use crate::identity::Identity;
use crate::listen::{Connection, Incoming, Limits};

/// What the system takes as the name of a socket; folders may be deeper.
const LONGEST_NAME: usize = 107;

/// Where clients of this host are sent to.
#[derive(Clone)]
pub struct LocalSocket {
    path: PathBuf,
    tokens: Tokens,
}

impl LocalSocket {
    /// Listens on a socket in `folder`, which becomes its owner's alone, and tells who comes. The folder has to be this process's: a
    /// socket that lies there was left by an earlier one and is replaced. Tokens are good for `lifetime`.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn open(folder: &Path, limits: Limits, lifetime: Duration) -> io::Result<(Self, LocalIncoming)> {
        let listener = listen(folder)?;
        let tokens = Tokens::new(lifetime);
        let socket = Self {
            path: folder.canonicalize()?.join(SOCKET),
            tokens: tokens.clone(),
        };
        let incoming = LocalIncoming {
            incoming: Incoming::new(listener, limits),
            tokens,
            within: limits.handshake,
            callers: JoinSet::new(),
        };
        Ok((socket, incoming))
    }

    /// Lets `client`, who has shown its certificate, come in once.
    #[must_use]
    pub fn hand_over(&self, client: &Identity) -> Option<LocalWay> {
        let (token, proof) = self.tokens.issue(client)?;
        Some(LocalWay {
            path: self.path.clone().into_os_string().into_vec().into(),
            uid: rustix::process::geteuid().as_raw(),
            token: token.to_vec().into(),
            proof: proof.to_vec().into(),
        })
    }
}

fn listen(folder: &Path) -> io::Result<UnixListener> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let no_link = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(no_link).open(folder)?;
    opened.set_permissions(Permissions::from_mode(0o700))?;
    let mut path = folder.join(SOCKET);
    if path.as_os_str().len() > LONGEST_NAME {
        path = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd())).join(SOCKET);
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// The connections that came with a token, for a server.
pub struct LocalIncoming {
    incoming: Incoming<UnixListener>,
    tokens: Tokens,
    within: Duration,
    /// Each has a place of the listener, and so they are bounded.
    callers: JoinSet<Option<Connection<UnixStream, HandedOver>>>,
}

impl Stream for LocalIncoming {
    type Item = io::Result<Connection<UnixStream, HandedOver>>;

    /// As that of [`Incoming`] it never ends and never fails.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while let Poll::Ready(Some(Ok(connection))) = Pin::new(&mut this.incoming).poll_next(context) {
            this.callers
                .spawn(admit(connection, this.tokens.clone(), this.within));
        }
        loop {
            match ready!(this.callers.poll_join_next(context)) {
                Some(Ok(Some(connection))) => return Poll::Ready(Some(Ok(connection))),
                Some(Ok(None) | Err(_)) => {}
                // The next wakes us up.
                None => return Poll::Pending,
            }
        }
    }
}

/// Whoever has no right gets no answer.
async fn admit(
    mut connection: Connection<UnixStream, ()>,
    tokens: Tokens,
    within: Duration,
) -> Option<Connection<UnixStream, HandedOver>> {
    let handshake = async {
        let mut token = Secret::default();
        connection.read_exact(&mut token).await?;
        let (client, proof) = tokens.take(&token).ok_or(io::ErrorKind::PermissionDenied)?;
        connection.write_all(&proof).await?;
        Ok(client)
    };
    let refused: io::Error = match tokio::time::timeout(within, handshake).await {
        Ok(Ok(client)) => return Some(connection.known_as(HandedOver(client))),
        Ok(Err(error)) => error,
        Err(late) => late.into(),
    };
    tracing::info!(reason = %refused, "a local connection that shows no right is closed");
    None
}
