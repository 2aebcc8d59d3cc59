//! What an engine on its blocking thread sees of the stream: messages in, messages out, and the end of both.
//!
//! Bounded both ways, so that a slow disk slows the client down. Fed by `line`.

use std::sync::Arc;
use std::time::Duration;

use outlast_media_core::End;
use tokio::sync::mpsc;

use super::control::Control;
use super::link::Protocol;

/// Messages between the stream and the engine; each may be 1 MiB and more.
pub(super) const MESSAGES: usize = 4;
pub(super) const ANSWERS: usize = 16;

pub(crate) struct Wire<P: Protocol> {
    pub(super) inbox: mpsc::Receiver<P::UpBody>,
    pub(super) outbox: mpsc::Sender<P::DownBody>,
    pub(crate) control: Arc<Control>,
}

impl<P: Protocol> Wire<P> {
    /// The client's next message.
    ///
    /// # Errors
    /// [`End::Halted`] when the attempt is to end.
    pub(crate) fn receive(&mut self) -> Result<P::UpBody, End> {
        if self.control.halted().is_some() {
            return Err(End::Halted);
        }
        self.inbox.blocking_recv().ok_or(End::Halted)
    }

    /// The client's next message, if it comes within `patience`. Called on a thread of the runtime that may block.
    pub(crate) fn receive_within(&mut self, patience: Duration) -> Result<Option<P::UpBody>, End> {
        if self.control.halted().is_some() {
            return Err(End::Halted);
        }
        let next = tokio::time::timeout(patience, self.inbox.recv());
        match tokio::runtime::Handle::current().block_on(next) {
            Ok(Some(body)) => Ok(Some(body)),
            Ok(None) => Err(End::Halted),
            Err(_elapsed) => Ok(None),
        }
    }

    /// The client's next message, if it is there already.
    pub(crate) fn try_receive(&mut self) -> Result<Option<P::UpBody>, End> {
        match self.inbox.try_recv() {
            Ok(body) => Ok(Some(body)),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(End::Halted),
        }
    }

    /// A message to the client.
    pub(crate) fn send(&self, body: P::DownBody) -> Result<(), End> {
        self.outbox.blocking_send(body).map_err(|_| End::Halted)
    }
}
