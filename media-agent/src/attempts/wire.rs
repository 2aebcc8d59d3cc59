//! What an engine on its blocking thread sees of the stream: messages in, messages out, and the end of both.
//!
//! Bounded both ways, so that a slow disk slows the client down. Fed by `line`.

use std::sync::Arc;
use std::time::Duration;

use outlast_kit::stream::{DownBody, Protocol, UpBody, User};
use outlast_media_core::End;
use tokio::sync::mpsc;

use super::control::Control;

/// Messages between the stream and the engine; each may be 1 MiB and more.
pub(super) const MESSAGES: usize = 4;
pub(super) const ANSWERS: usize = 16;

pub(crate) struct Wire<P: Protocol> {
    user: User<P::Down, P::Up>,
    pub(crate) control: Arc<Control>,
}

impl<P: Protocol> Wire<P> {
    pub(super) fn new(user: User<P::Down, P::Up>, control: Arc<Control>) -> Self {
        Self { user, control }
    }

    /// The client's next message.
    ///
    /// # Errors
    /// [`End::Halted`] when the attempt is to end.
    pub(crate) fn receive(&mut self) -> Result<UpBody<P>, End> {
        if self.control.halted().is_some() {
            return Err(End::Halted);
        }
        self.user.inbox.blocking_recv().ok_or(End::Halted)
    }

    /// The client's next message; none: the attempt is to leave, now. Called on a thread of the runtime that may block.
    ///
    /// # Errors
    /// [`End::Halted`] when the attempt is to end.
    pub(crate) fn receive_unless_leaving(&mut self) -> Result<Option<UpBody<P>>, End> {
        if self.control.halted().is_some() {
            return Err(End::Halted);
        }
        if self.control.is_leaving() {
            return Ok(None);
        }
        if let Some(body) = self.try_receive()? {
            return Ok(Some(body));
        }
        let (inbox, control) = (&mut self.user.inbox, &self.control);
        tokio::runtime::Handle::current().block_on(async {
            tokio::select! {
                body = inbox.recv() => body.map(Some).ok_or(End::Halted),
                () = control.left() => Ok(None),
            }
        })
    }

    /// The client's next message, if it comes within `patience`, or within `leaving` from when the attempt is to leave. Called on a thread of the
    /// runtime that may block.
    pub(crate) fn receive_within(
        &mut self,
        patience: Duration,
        leaving: Duration,
    ) -> Result<Option<UpBody<P>>, End> {
        if self.control.halted().is_some() {
            return Err(End::Halted);
        }
        let (inbox, control) = (&mut self.user.inbox, &self.control);
        let left = async {
            control.left().await;
            tokio::time::sleep(leaving).await;
        };
        tokio::runtime::Handle::current().block_on(async {
            tokio::select! {
                biased;
                body = inbox.recv() => body.map(Some).ok_or(End::Halted),
                () = tokio::time::sleep(patience) => Ok(None),
                () = left => Ok(None),
            }
        })
    }

    /// The client's next message, if it is there already.
    pub(crate) fn try_receive(&mut self) -> Result<Option<UpBody<P>>, End> {
        match self.user.inbox.try_recv() {
            Ok(body) => Ok(Some(body)),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(End::Halted),
        }
    }

    /// A message to the client.
    pub(crate) fn send(&self, body: DownBody<P>) -> Result<(), End> {
        self.user.outbox.blocking_send(body).map_err(|_| End::Halted)
    }
}
