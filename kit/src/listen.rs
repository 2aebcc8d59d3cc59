//! Connections that come in: how many there may be, how many from one address, and how long one may say nothing.
//!
//! Used by every listener of ours. Who is behind a connection is TLS's business (`tls`), or that of the handover (`local`); what it
//! says is the services'.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::{Instant, Sleep};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::tls::HANDSHAKE;

/// After an error of the operating system, most likely for want of descriptors.
const AFTER_ERROR: Duration = Duration::from_millis(100);
/// Refusals are told this often at most.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What a listener puts up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open at a time.
    pub connections: usize,
    /// Open at a time from one address, or from one user of this host.
    pub from_one_address: usize,
    /// A connection from which nothing came for so long is closed. Living ones answer pings more often.
    pub silence: Duration,
    /// For whoever connects to show who it is.
    pub handshake: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            from_one_address: 512,
            silence: Duration::from_secs(30),
            handshake: HANDSHAKE,
        }
    }
}

/// What connections come from, as far as the operating system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Somewhere in the network.
    Address(IpAddr),
    /// A user of this host.
    User(u32),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Address(address) => address.fmt(f),
            Origin::User(uid) => write!(f, "user {uid}"),
        }
    }
}

/// What the operating system gives.
pub struct Accepted<S, I> {
    stream: S,
    info: I,
    from: Origin,
}

/// What accepts connections.
pub trait Listening {
    /// A connection.
    type Stream;
    /// What services are told of it.
    type Info;

    /// The next connection.
    ///
    /// # Errors
    /// Of one connection, or of the operating system for a while.
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Accepted<Self::Stream, Self::Info>>>;
}

impl Listening for TcpListener {
    type Stream = TcpStream;
    type Info = TcpConnectInfo;

    fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Accepted<TcpStream, TcpConnectInfo>>> {
        let (stream, from) = ready!(self.poll_accept(context))?;
        // Without it small answers wait; a connection that is gone by now shows itself when it is read.
        let _ = stream.set_nodelay(true);
        Poll::Ready(Ok(Accepted {
            info: stream.connect_info(),
            stream,
            from: Origin::Address(from.ip()),
        }))
    }
}

impl Listening for UnixListener {
    type Stream = UnixStream;
    type Info = ();

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Accepted<UnixStream, ()>>> {
        let (stream, _) = ready!(self.poll_accept(context))?;
        Poll::Ready(Ok(Accepted {
            from: Origin::User(stream.peer_cred()?.uid()),
            stream,
            info: (),
        }))
    }
}

/// The connections of a listener, for a server.
pub struct Incoming<L = TcpListener> {
    listener: L,
    limits: Limits,
    open: Arc<Mutex<Open>>,
    pause: Option<Pin<Box<Sleep>>>,
    told: Option<Instant>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    from: HashMap<Origin, usize>,
}

impl<L: Listening> Incoming<L> {
    /// Accepts what comes to `listener`, up to `limits`.
    #[must_use]
    pub fn new(listener: L, limits: Limits) -> Self {
        Self {
            listener,
            limits,
            open: Arc::default(),
            pause: None,
            told: None,
        }
    }

    /// Takes a place for a connection, if there is one.
    fn place(&self, from: Origin) -> Option<Place> {
        let mut open = lock(&self.open);
        let of_origin = open.from.get(&from).copied().unwrap_or(0);
        if open.all >= self.limits.connections || of_origin >= self.limits.from_one_address {
            return None;
        }
        open.all += 1;
        open.from.insert(from, of_origin + 1);
        let open = Arc::clone(&self.open);
        Some(Place { open, from })
    }

    fn admit(&mut self, accepted: Accepted<L::Stream, L::Info>) -> Option<Connection<L::Stream, L::Info>> {
        let Accepted { stream, info, from } = accepted;
        let Some(place) = self.place(from) else {
            let now = Instant::now();
            if self.told.is_none_or(|told| now - told >= TELL_EVERY) {
                self.told = Some(now);
                tracing::warn!(address = %from, "a connection is refused: there are too many");
            }
            return None;
        };
        Some(Connection {
            stream,
            info,
            silence: self.limits.silence,
            heard: Instant::now(),
            alarm: Box::pin(tokio::time::sleep(self.limits.silence)),
            _place: place,
        })
    }
}

impl<L: Listening + Unpin> Stream for Incoming<L> {
    type Item = io::Result<Connection<L::Stream, L::Info>>;

    /// Never ends and never fails: an error of one connection, or a lack of descriptors, is no end of a server.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(context)) {
                Ok(accepted) => {
                    if let Some(connection) = self.admit(accepted) {
                        return Poll::Ready(Some(Ok(connection)));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    self.pause = Some(Box::pin(tokio::time::sleep(AFTER_ERROR)));
                }
            }
        }
    }
}

/// One of the places of a listener.
struct Place {
    open: Arc<Mutex<Open>>,
    from: Origin,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.all -= 1;
        match open.from.get_mut(&self.from) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.from.remove(&self.from)),
        }
    }
}

/// An accepted connection, and what services are told of it.
pub struct Connection<S, I> {
    stream: S,
    info: I,
    silence: Duration,
    heard: Instant,
    /// Set for a silence that began some time ago; what was heard since puts it off when it goes.
    alarm: Pin<Box<Sleep>>,
    _place: Place,
}

impl<S, I> Connection<S, I> {
    /// The same connection, of which more is known.
    pub(crate) fn known_as<J>(self, info: J) -> Connection<S, J> {
        Connection {
            stream: self.stream,
            info,
            silence: self.silence,
            heard: self.heard,
            alarm: self.alarm,
            _place: self._place,
        }
    }
}

impl<S: AsyncRead + Unpin, I: Unpin> AsyncRead for Connection<S, I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            self.heard = Instant::now();
            return Poll::Ready(read);
        }
        loop {
            ready!(self.alarm.as_mut().poll(context));
            let until = self.heard + self.silence;
            if until <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.alarm.as_mut().reset(until);
        }
    }
}

impl<S: AsyncWrite + Unpin, I: Unpin> AsyncWrite for Connection<S, I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S, I: Clone + Send + Sync + 'static> Connected for Connection<S, I> {
    type ConnectInfo = I;

    fn connect_info(&self) -> I {
        self.info.clone()
    }
}

fn lock(open: &Mutex<Open>) -> std::sync::MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_stream::StreamExt as _;

    use super::{Incoming, Limits};

    async fn listening(limits: Limits) -> (Incoming, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Incoming::new(listener, limits), address)
    }

    #[tokio::test]
    async fn t90_connections_beyond_the_limit_are_closed_and_places_become_free_again() {
        let few = Limits {
            connections: 3,
            ..Limits::default()
        };
        let few_of_one = Limits {
            from_one_address: 3,
            ..Limits::default()
        };
        for limits in [few, few_of_one] {
            let (mut incoming, address) = listening(limits).await;
            let mut callers = Vec::new();
            let mut accepted = Vec::new();
            for _ in 0..3 {
                callers.push(TcpStream::connect(address).await.unwrap());
                accepted.push(incoming.next().await.unwrap().unwrap());
            }
            let mut refused = TcpStream::connect(address).await.unwrap();
            let mut buffer = [0; 1];
            tokio::select! {
                _ = incoming.next() => panic!("there is no place"),
                read = refused.read(&mut buffer) => assert!(!matches!(read, Ok(1..))),
            }
            accepted.pop();
            callers.push(TcpStream::connect(address).await.unwrap());
            let mut last = incoming.next().await.unwrap().unwrap();
            callers[3].write_all(b"x").await.unwrap();
            last.read_exact(&mut buffer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn t90_a_connection_that_says_nothing_is_given_up() {
        let limits = Limits {
            silence: Duration::from_secs(2),
            ..Limits::default()
        };
        let (mut incoming, address) = listening(limits).await;
        let mut caller = TcpStream::connect(address).await.unwrap();
        let mut connection = incoming.next().await.unwrap().unwrap();
        let mut buffer = [0; 1];
        // Whoever says something now and then is heard for longer than one silence.
        for _ in 0..12 {
            caller.write_all(b"x").await.unwrap();
            connection.read_exact(&mut buffer).await.unwrap();
            tokio::time::sleep(limits.silence / 10).await;
        }
        let error = connection.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
