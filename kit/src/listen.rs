//! Connections that come in: how many there may be, how many from one address, and how long one may say nothing.
//!
//! Used by every listener of ours. Who is behind a connection is TLS's business (`tls`), what it says the services'.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// After an error of the operating system, most likely for want of descriptors.
const AFTER_ERROR: Duration = Duration::from_millis(100);
/// Refusals are told this often at most.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What a listener puts up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open at a time.
    pub connections: usize,
    /// Open at a time from one address.
    pub from_one_address: usize,
    /// A connection from which nothing came for so long is closed. Living ones answer pings more often.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            from_one_address: 512,
            silence: Duration::from_secs(30),
        }
    }
}

/// The connections of a listener, for a server.
pub struct Incoming {
    listener: TcpListener,
    limits: Limits,
    open: Arc<Mutex<Open>>,
    pause: Option<Pin<Box<Sleep>>>,
    told: Option<Instant>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    from: HashMap<IpAddr, usize>,
}

impl Incoming {
    /// Accepts what comes to `listener`, up to `limits`.
    #[must_use]
    pub fn new(listener: TcpListener, limits: Limits) -> Self {
        Self {
            listener,
            limits,
            open: Arc::default(),
            pause: None,
            told: None,
        }
    }

    /// Takes a place for a connection, if there is one.
    fn place(&self, from: IpAddr) -> Option<Place> {
        let mut open = lock(&self.open);
        let of_address = open.from.get(&from).copied().unwrap_or(0);
        if open.all >= self.limits.connections || of_address >= self.limits.from_one_address {
            return None;
        }
        open.all += 1;
        open.from.insert(from, of_address + 1);
        let open = Arc::clone(&self.open);
        Some(Place { open, from })
    }

    fn admit(&mut self, stream: TcpStream, from: SocketAddr) -> Option<Connection> {
        let Some(place) = self.place(from.ip()) else {
            let now = Instant::now();
            if self.told.is_none_or(|told| now - told >= TELL_EVERY) {
                self.told = Some(now);

                tracing::warn!(address = %from.ip(), "a connection is refused: there are too many");
            }
            return None;
        };
        // Without it small answers wait; a connection that is gone by now shows itself when it is read.
        let _ = stream.set_nodelay(true);
        Some(Connection {
            stream,
            silence: self.limits.silence,
            heard: Instant::now(),
            alarm: Box::pin(tokio::time::sleep(self.limits.silence)),
            _place: place,
        })
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    /// Never ends and never fails: an error of one connection, or a lack of descriptors, is no end of a server.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(context)) {
                Ok((stream, from)) => {
                    if let Some(connection) = self.admit(stream, from) {
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
    from: IpAddr,
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

/// An accepted connection.
pub struct Connection {
    stream: TcpStream,
    silence: Duration,
    heard: Instant,
    /// Set for a silence that began some time ago; what was heard since puts it off when it goes.
    alarm: Pin<Box<Sleep>>,
    _place: Place,
}

impl AsyncRead for Connection {
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

impl AsyncWrite for Connection {
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

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
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
            silence: Duration::from_millis(300),
            ..Limits::default()
        };
        let (mut incoming, address) = listening(limits).await;
        let mut caller = TcpStream::connect(address).await.unwrap();
        let mut connection = incoming.next().await.unwrap().unwrap();
        let mut buffer = [0; 1];
        // Whoever says something now and then is heard for longer than one silence.
        for _ in 0..10 {
            caller.write_all(b"x").await.unwrap();
            connection.read_exact(&mut buffer).await.unwrap();
            tokio::time::sleep(limits.silence / 6).await;
        }
        let error = connection.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
