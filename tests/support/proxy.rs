//! A TCP proxy that cuts connections: each in turn after so many bytes of one direction, or all of them on command; or that
//! stops carrying without closing anything, as a network does that fails: what is under way waits, or is lost.
//!
//! Included by the tests of both agents and by ring 3; it knows nothing of what it carries.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// After so many bytes of this direction a connection is cut.
#[derive(Clone, Copy)]
enum Limit {
    Up(u64),
    Down(u64),
}

#[derive(Default)]
struct State {
    target: Option<SocketAddr>,
    /// For the next connections.
    plan: VecDeque<Limit>,
    cuts: usize,
    open: Vec<(TcpStream, TcpStream)>,
    is_closed: bool,
    is_silent: bool,
    /// It falls silent when so much more has come from the target.
    silent_after: Option<usize>,
    is_swallowing: bool,
    has_ended: bool,
}

#[allow(dead_code, reason = "each test uses a part of it")]
impl Proxy {
    /// Listens on a free port and carries nothing yet.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self {
            address,
            shared: Arc::default(),
        };
        let shared = Arc::clone(&proxy.shared);
        std::thread::spawn(move || {
            for incoming in listener.incoming() {
                if shared.lock().has_ended {
                    return;
                }
                if let Ok(incoming) = incoming {
                    accept(incoming, &shared);
                }
            }
        });
        proxy
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn lead_to(&self, target: &str) {
        self.shared.lock().target = Some(target.parse().unwrap());
    }

    /// Cuts one connection after each of these numbers of bytes to the target; those after them live.
    pub(crate) fn plan(&self, bytes: impl IntoIterator<Item = u64>) {
        self.shared.lock().plan = bytes.into_iter().map(Limit::Up).collect();
    }

    /// As [`Proxy::plan`], with bytes from the target.
    pub(crate) fn plan_down(&self, bytes: impl IntoIterator<Item = u64>) {
        self.shared.lock().plan = bytes.into_iter().map(Limit::Down).collect();
    }

    /// Cuts what is open.
    pub(crate) fn cut(&self) {
        let mut state = self.shared.lock();
        state.cuts += usize::from(!state.open.is_empty());
        state.open.drain(..).for_each(|pair| close(&pair));
    }

    /// Cuts what is open and lets nobody in until [`Proxy::open`].
    pub(crate) fn close(&self) {
        self.shared.lock().is_closed = true;
        self.cut();
    }

    pub(crate) fn open(&self) {
        self.shared.lock().is_closed = false;
    }

    /// Carries nothing any more, in neither direction and over new connections neither, and closes none; or goes on.
    pub(crate) fn be_silent(&self, is_silent: bool) {
        let mut state = self.shared.lock();
        (state.is_silent, state.silent_after) = (is_silent, None);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// As [`Proxy::be_silent`], by itself, with the first byte from the target beyond so many.
    pub(crate) fn be_silent_after(&self, bytes: usize) {
        self.shared.lock().silent_after = Some(bytes);
    }

    /// Takes whatever is sent and carries none of it, an end of a connection as little as anything else; or leads new connections to the
    /// target again. A connection that has lost something never goes on.
    pub(crate) fn swallow(&self, is_swallowing: bool) {
        self.shared.lock().is_swallowing = is_swallowing;
    }

    pub(crate) fn cuts(&self) -> usize {
        self.shared.lock().cuts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().has_ended = true;
        self.shared.changed.notify_all();
        self.cut();
        // The listener wakes up and sees it.
        let _ = TcpStream::connect(self.address);
    }
}

fn close((from, to): &(TcpStream, TcpStream)) {
    // What is closed already needs no closing.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn wait_for_sound(&self) {
        let is_silent = |state: &mut State| state.is_silent && !state.has_ended;
        drop(self.changed.wait_while(self.lock(), is_silent).unwrap());
    }

    /// This much has come from the target.
    fn count_down(&self, bytes: usize) {
        let mut state = self.lock();
        if let Some(left) = state.silent_after.take() {
            state.is_silent |= bytes > left;
            state.silent_after = left.checked_sub(bytes);
        }
    }

    /// Whether what a connection carries now is lost, and so is all of it from now on.
    fn swallows(&self, is_lost: &AtomicBool) -> bool {
        let is_swallowing = self.lock().is_swallowing;
        is_lost.fetch_or(is_swallowing, Ordering::SeqCst) || is_swallowing
    }
}

fn accept(incoming: TcpStream, shared: &Arc<Shared>) {
    let mut state = shared.lock();
    let target = state.target.filter(|_| !state.is_closed);
    let Some(outgoing) = target.and_then(|target| TcpStream::connect(target).ok()) else {
        return;
    };
    let _ = (incoming.set_nodelay(true), outgoing.set_nodelay(true));
    let pair = || (incoming.try_clone().unwrap(), outgoing.try_clone().unwrap());
    let (most_up, most_down) = match state.plan.pop_front() {
        Some(Limit::Up(bytes)) => (Some(bytes), None),
        Some(Limit::Down(bytes)) => (None, Some(bytes)),
        None => (None, None),
    };
    state.open.push(pair());
    let (up, (client, server)) = (pair(), pair());
    drop(state);
    let is_lost = Arc::new(AtomicBool::new(false));
    for (way, most, is_down) in [(up, most_up, false), ((server, client), most_down, true)] {
        let (shared, is_lost) = (Arc::clone(shared), Arc::clone(&is_lost));
        std::thread::spawn(move || {
            if carry(&way, most, (&shared, is_down), &is_lost) {
                shared.lock().cuts += 1;
            }
            // Nobody hears of the end of a connection that is lost: the proxy keeps both its ends as long as it lives.
            if !is_lost.load(Ordering::SeqCst) {
                close(&way);
            }
        });
    }
}

/// Copies until an end, or `most` bytes; whether it was that.
fn carry(
    (from, to): &(TcpStream, TcpStream),
    most: Option<u64>,
    (shared, is_down): (&Shared, bool),
    is_lost: &AtomicBool,
) -> bool {
    let (mut from, mut to) = (from, to);
    let mut buffer = [0; 16 << 10];
    let mut left = most.unwrap_or(u64::MAX);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if is_down {
            shared.count_down(read);
        }
        shared.wait_for_sound();
        if shared.swallows(is_lost) {
            continue;
        }
        let taken = read.min(usize::try_from(left).unwrap_or(usize::MAX));
        if to.write_all(&buffer[..taken]).is_err() {
            return false;
        }
        left -= taken as u64;
        if left == 0 {
            return true;
        }
    }
    // An end does not come through either.
    shared.wait_for_sound();
    shared.swallows(is_lost);
    false
}
