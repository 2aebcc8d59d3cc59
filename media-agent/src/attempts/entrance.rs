//! Where an attempt's streams come in: the newest counts, and after the end each is told how the attempt ended, if that is known.
//!
//! Filled by the manager, emptied by the attempt's task.

use outlast_proto::v1::AttemptOver;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::link::AnyLink;

#[derive(Default)]
pub(super) struct Entrance {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
enum State {
    #[default]
    Empty,
    Waiting(Box<AnyLink>),
    /// None if how it ended could not be made durable.
    Closed(Option<AttemptOver>),
}

impl Entrance {
    /// Lets a stream in; an older one that still waits is dropped, because its client has given it up. After the end it gives the
    /// stream back, and how the attempt ended; a stream that can be told nothing is dropped.
    pub(super) fn put(&self, link: AnyLink) -> Option<(AnyLink, AttemptOver)> {
        let mut state = self.state.lock();
        if let State::Closed(over) = &*state {
            return over.clone().map(|over| (link, over));
        }
        *state = State::Waiting(Box::new(link));
        drop(state);
        self.arrived.notify_one();
        None
    }

    /// The next stream.
    pub(super) async fn take(&self) -> AnyLink {
        loop {
            if let Some(link) = self.try_take() {
                return link;
            }
            self.arrived.notified().await;
        }
    }

    pub(super) fn try_take(&self) -> Option<AnyLink> {
        let mut state = self.state.lock();
        match std::mem::take(&mut *state) {
            State::Waiting(link) => Some(*link),
            before => {
                *state = before;
                None
            }
        }
    }

    /// Nobody comes in any more; the stream that still waits.
    pub(super) fn close(&self, over: Option<AttemptOver>) -> Option<AnyLink> {
        match std::mem::replace(&mut *self.state.lock(), State::Closed(over)) {
            State::Waiting(link) => Some(*link),
            State::Empty | State::Closed(_) => None,
        }
    }

    /// How the attempt ended, once it did.
    pub(super) fn ending(&self) -> Option<AttemptOver> {
        match &*self.state.lock() {
            State::Closed(over) => over.clone(),
            State::Empty | State::Waiting(_) => None,
        }
    }
}
