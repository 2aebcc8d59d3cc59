//! A TCP proxy that cuts connections: each in turn after so many bytes, or all of them on command.
//!
//! Included by the tests of both agents and by ring 3; it knows nothing of what it carries.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    target: Option<SocketAddr>,
    /// Bytes to the target after which the next connections are cut.
    plan: VecDeque<u64>,
    cuts: usize,
    open: Vec<(TcpStream, TcpStream)>,
    is_closed: bool,
    has_ended: bool,
}

#[allow(dead_code, reason = "each test uses a part of it")]
impl Proxy {
    /// Listens on a free port and carries nothing yet.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for incoming in listener.incoming() {
                if shared.lock().unwrap().has_ended {
                    return;
                }
                if let Ok(incoming) = incoming {
                    accept(incoming, &shared);
                }
            }
        });
        Self { address, state }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn lead_to(&self, target: &str) {
        self.state.lock().unwrap().target = Some(target.parse().unwrap());
    }

    /// Cuts one connection after each of these numbers of bytes; those after them live.
    pub(crate) fn plan(&self, bytes: impl IntoIterator<Item = u64>) {
        self.state.lock().unwrap().plan = bytes.into_iter().collect();
    }

    /// Cuts what is open.
    pub(crate) fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        state.cuts += usize::from(!state.open.is_empty());
        state.open.drain(..).for_each(|pair| close(&pair));
    }

    /// Cuts what is open and lets nobody in until [`Proxy::open`].
    pub(crate) fn close(&self) {
        self.state.lock().unwrap().is_closed = true;
        self.cut();
    }

    pub(crate) fn open(&self) {
        self.state.lock().unwrap().is_closed = false;
    }

    pub(crate) fn cuts(&self) -> usize {
        self.state.lock().unwrap().cuts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.lock().unwrap().has_ended = true;
        self.cut();
        // The listener wakes up and sees it.
        let _ = TcpStream::connect(self.address);
    }
}

fn close((from, to): &(TcpStream, TcpStream)) {
    // What is closed already needs no closing.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn accept(incoming: TcpStream, shared: &Arc<Mutex<State>>) {
    let mut state = shared.lock().unwrap();
    let target = state.target.filter(|_| !state.is_closed);
    let Some(outgoing) = target.and_then(|target| TcpStream::connect(target).ok()) else {
        return;
    };
    let _ = (incoming.set_nodelay(true), outgoing.set_nodelay(true));
    let pair = || (incoming.try_clone().unwrap(), outgoing.try_clone().unwrap());
    let limit = state.plan.pop_front();
    state.open.push(pair());
    let (up, down) = (pair(), pair());
    drop(state);
    let counter = Arc::clone(shared);
    std::thread::spawn(move || {
        if carry(&up, limit) {
            counter.lock().unwrap().cuts += 1;
        }
        close(&up);
    });
    std::thread::spawn(move || {
        carry(&(down.1.try_clone().unwrap(), down.0.try_clone().unwrap()), None);
        close(&down);
    });
}

/// Copies until an end, or `limit`; whether it was that.
fn carry((from, to): &(TcpStream, TcpStream), limit: Option<u64>) -> bool {
    let (mut from, mut to) = (from, to);
    let mut buffer = [0; 16 << 10];
    let mut left = limit.unwrap_or(u64::MAX);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let taken = read.min(usize::try_from(left).unwrap_or(usize::MAX));
        if to.write_all(&buffer[..taken]).is_err() {
            return false;
        }
        left -= taken as u64;
        if left == 0 {
            return true;
        }
    }
    false
}
