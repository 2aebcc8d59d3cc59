//! The client's side: to the socket, if it is the one that was meant.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::future::{Ready, ready};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use outlast_proto::v1::LocalWay;
use rustix::fs::OFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tonic::codegen::{Service, http};
use tonic::transport::{Channel, Endpoint};

use super::{FRAME, SOCKET, Secret, WINDOW};
use crate::tls::{HANDSHAKE, watchful};

/// Goes the way that a server has handed over through TLS. The connection is made once: when it is lost, the server has to be asked
/// again.
///
/// # Errors
/// Any reason why it cannot be gone.
pub async fn connect(way: &LocalWay) -> io::Result<Channel> {
    let arriving = tokio::time::timeout(HANDSHAKE, arrive(way));
    let stream = arriving.await.unwrap_or_else(|late| Err(late.into()))?;
    watchful(Endpoint::from_static("http://localhost"))
        .max_frame_size(FRAME)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .connect_with_connector(Once(Some(stream)))
        .await
        .map_err(io::Error::other)
}

async fn arrive(way: &LocalWay) -> io::Result<UnixStream> {
    let secret = |bytes: &[u8]| Secret::try_from(bytes).map_err(|_| unfit("it has no token"));
    let (token, proof) = (secret(&way.token)?, secret(&way.proof)?);
    let path = PathBuf::from(OsStr::from_bytes(&way.path));
    // A path may lead to a file system that does not answer.
    let socket = tokio::task::spawn_blocking(move || find(&path)).await??;
    // As long as it has to be, whatever the length of the path.
    let mut stream = UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await?;
    if stream.peer_cred()?.uid() != way.uid {
        return Err(unfit("another user listens there"));
    }
    stream.write_all(&token).await?;
    let mut shown = Secret::default();
    stream.read_exact(&mut shown).await?;
    if shown != proof {
        return Err(unfit("another process answers there"));
    }
    Ok(stream)
}

/// A server may send us to its own kind of sockets only, not to any that this host has; and not through a link.
fn find(path: &Path) -> io::Result<File> {
    if !path.is_absolute() || path.file_name() != Some(OsStr::new(SOCKET)) {
        return Err(unfit("it leads to something else"));
    }
    let by_name = (OFlags::PATH | OFlags::NOFOLLOW).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(by_name).open(path)?;
    if !file.metadata()?.file_type().is_socket() {
        return Err(unfit("it leads to no socket"));
    }
    Ok(file)
}

fn unfit(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Gives a channel the connection that is there, and never another.
struct Once(Option<UnixStream>);

impl Service<http::Uri> for Once {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let stream = self.0.take().ok_or(io::ErrorKind::NotConnected.into());
        ready(stream.map(TokioIo::new))
    }
}
