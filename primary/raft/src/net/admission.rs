//! Who is let in. A request counts only if it is meant for this node and for the data directory it has: a node that
//! came back with an empty disk is asked for votes and given entries as the one it was, and must answer neither.
//! Called by the answering side for every request; what it finds out about this node goes to
//! [`Stop`](crate::node::Stop). The decision is docs/adr/0004.

use std::io;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use outlast_proto::v1::RaftFrame;
use serde::de::DeserializeOwned;

use crate::format::LogIdForm;
use crate::log::LogStore;
use crate::net::wire::{self, Addressee, WireError};
use crate::node::{Exclusion, Stop, StopReason};
use crate::peer::{Incarnation, NodeId};
use crate::state::{Head, StateStore};
use crate::types::{Raft, Vote};

/// See the file's header.
#[derive(Clone)]
pub(crate) struct Admission {
    pub(crate) me: NodeId,
    pub(crate) raft: Raft,
    pub(crate) log: LogStore,
    pub(crate) state: StateStore,
    pub(crate) stop: Stop,
}

/// What a request says of the history of whoever sent it.
pub(super) struct Theirs {
    /// Up to here it is committed there.
    pub(super) committed: Option<LogIdForm>,
    /// Entries that are in it.
    pub(super) places: Vec<LogIdForm>,
}

/// Two entries that are not of one history: here and there.
type Other = (LogIdForm, LogIdForm);

/// What a member knows of the node that asks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// There is no such member.
    No,
    /// A member, from before there were incarnations.
    Unbound,
    /// A member with this data directory.
    As(Incarnation),
}

impl Admission {
    /// What a request holds, if it is for this node.
    pub(super) fn admit<T: DeserializeOwned>(&self, frame: &RaftFrame) -> Result<T, WireError> {
        let (to, body) = wire::open(frame)?;
        self.judge(to)?;
        Ok(body)
    }

    fn judge(&self, to: Addressee) -> Result<(), WireError> {
        let me = self.me;
        if to.node != me {
            return Err(WireError::Misdirected { to: to.node, me });
        }
        let promised = self.log.identity().has_promised();
        match to.incarnation {
            Some(incarnation) if incarnation == self.incarnation() => Ok(()),
            // A group from before there were incarnations, and a directory from then: complete, so it is the one meant.
            None if promised => Ok(()),
            None => Err(WireError::NoIncarnation),
            Some(incarnation) => {
                // Whoever belongs to a group of several minds a stranger's error no more than by refusing it.
                if !promised || self.is_alone() {
                    self.stop
                        .give(StopReason::Excluded(Exclusion::LostDisk { node_id: me }));
                }
                Err(WireError::OtherIncarnation {
                    me,
                    to: incarnation,
                    mine: self.incarnation(),
                })
            }
        }
    }

    /// Whether what a leader has is what was committed here. A leader that counts has everything that was ever committed, unless
    /// it, or this node, was set back to an older copy; openraft would panic, or cut off what it has applied.
    pub(super) fn same_history(&self, vote: &Vote, theirs: &Theirs) -> Result<(), WireError> {
        self.stop_if_other(self.first_other(vote, theirs))
    }

    /// [`Self::same_history`] for a snapshot, which would replace what was committed here.
    pub(super) fn same_history_in(&self, vote: &Vote, snapshot: &Head) -> Result<(), WireError> {
        let Some(applied) = snapshot.applied else {
            return Ok(());
        };
        let theirs = Theirs {
            committed: Some(applied),
            places: Vec::new(),
        };
        self.same_history(vote, &theirs)?;
        let replaced = self.end().map(|end| {
            let end = end?;
            Some((end, snapshot.terms.other_at(applied, end)?))
        });
        self.stop_if_other(replaced)
    }

    fn stop_if_other(&self, compared: io::Result<Option<Other>>) -> Result<(), WireError> {
        let Some((here, there)) = compared.map_err(WireError::Log)? else {
            return Ok(());
        };
        let end = self.end().map_err(WireError::Log)?.unwrap_or(here);
        self.stop.give(StopReason::Excluded(Exclusion::Diverged {
            node_id: self.me,
            here: here.to_string(),
            there: there.to_string(),
            end: end.to_string(),
        }));
        Err(WireError::Diverged {
            me: self.me,
            here: here.to_string(),
            there: there.to_string(),
        })
    }

    /// The last entry that is known to be committed here.
    fn end(&self) -> io::Result<Option<LogIdForm>> {
        let metrics = self.raft.metrics();
        // What the log says of that may have been lost in a power cut.
        let applied = metrics.borrow_watched().last_applied.map(LogIdForm::from);
        Ok(self.log.committed()?.max(applied))
    }

    fn first_other(&self, vote: &Vote, theirs: &Theirs) -> io::Result<Option<Other>> {
        let Some(end) = self.end()? else {
            return Ok(None);
        };
        // One that leads no more may have something else that is not committed. What was committed here came with a vote
        // that is here by now.
        let leads = self.log.vote()?.is_none_or(|mine| *vote >= mine);
        let (purged, last) = self.log.ends()?;
        for there in theirs.committed.iter().chain(&theirs.places).copied() {
            let is_committed = theirs
                .committed
                .is_some_and(|committed| there.index <= committed.index);
            if last == Some(there) || !(leads || is_committed) {
                continue;
            }
            let here = if there.index > end.index {
                // Terms grow along a log: this one has nothing of the term that ends what is here.
                (there.term < end.term).then_some(end)
            } else if purged.is_some_and(|purged| there.index < purged.index) {
                // openraft takes for the same whatever lies before the beginning of the log.
                self.state.with_blocking(|core| Ok(core.other_at(there)))?
            } else {
                self.log.id_at(there.index)?.filter(|here| *here != there)
            };
            if let Some(here) = here {
                return Ok(Some((here, there)));
            }
        }
        Ok(None)
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.log.identity().incarnation()
    }

    /// The group this node belongs to has no other member.
    fn is_alone(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.nodes().count() == 1
    }

    /// Whether a membership has come to this node, or comes within this time.
    pub(super) async fn knows_somebody(&self, within: Duration) -> bool {
        let waiting = self.raft.wait(Some(within));
        let known = waiting.metrics(
            |metrics| metrics.membership_config.nodes().next().is_some(),
            "members",
        );
        known.await.is_ok()
    }

    /// What this node knows of another one, and whether the entry that says so is applied.
    pub(super) fn knows(&self, node: NodeId) -> (Known, bool) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let known = match metrics.membership_config.get_node(&node) {
            None => Known::No,
            Some(seat) => seat.incarnation.map_or(Known::Unbound, Known::As),
        };
        (known, *metrics.membership_config.log_id() <= metrics.last_applied)
    }
}
