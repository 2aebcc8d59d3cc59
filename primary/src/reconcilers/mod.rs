//! One driver for everything that looks at the state, sees what is missing and proposes it (DESIGN 2): when it looks, what becomes of its
//! proposals, what is told of it, and that it begins again should it panic (B-01).
//!
//! What a reconciler does is its own: those of a leader are in `leader`, those of every node `introduction` and `timing`.

mod accounts;
mod driver;

use std::time::Duration;

use outlast_core::{Command, Reply};
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tasks::Tasks;

use crate::brain::Brain;
use crate::wakes::Cause;

pub(crate) use accounts::{Account, Accounts};

/// A part of the node that makes the state, or what surrounds it, as it is to be. It keeps nothing that the next one could not do without.
pub(crate) trait Reconciler: Send + 'static {
    /// For people.
    const NAME: &'static str;
    /// What wakes it.
    const WAKES: &'static [Cause];

    /// After how long, counted from its last look, it looks again in any case; none: when it is woken.
    fn period(&self) -> Option<Duration>;

    /// Looks, and does what is not for the log; what is missing in the state.
    fn look(&mut self) -> impl Future<Output = Result<Vec<Command>, Trouble>> + Send;

    /// What became of a command that it missed. Refused means that the state moved on: the next look sees why.
    fn hear(&mut self, _command: &Command, _reply: &Reply) {}
}

/// Why a look came to nothing; it is tried again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Trouble(pub(crate) String);

impl Trouble {
    pub(crate) fn of(error: &dyn std::error::Error) -> Self {
        Self(error.to_string())
    }
}

/// Whose a reconciler is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// Of every node.
    Node,
    /// Of the leader, for its term.
    Leader,
}

/// What reconcilers run on.
#[derive(Clone)]
pub(crate) struct Reconcilers {
    pub(crate) brain: Brain,
    pub(crate) accounts: Accounts,
    pub(crate) tasks: Tasks,
    pub(crate) of: Of,
    pub(crate) over: Shutdown,
}

impl Reconcilers {
    /// Starts one; after a panic `make` makes the next.
    pub(crate) fn start<R: Reconciler>(&self, make: impl Fn() -> R + Send + 'static) {
        let account = self.accounts.open(R::NAME, self.of);
        let told = account.clone();
        let (brain, of, over) = (self.brain.clone(), self.of, self.over.clone());
        let begin = move || driver::run(make(), brain.clone(), account.clone(), (of, over.clone()));
        self.tasks
            .restarted(R::NAME, self.over.clone(), begin, move |panic| {
                told.restarted(panic)
            });
    }
}
