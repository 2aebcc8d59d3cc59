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
use crate::types::{LogId, Raft, Vote};

/// See the file's header.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) me: NodeId,
    pub(crate) raft: Raft,
    pub(crate) log: LogStore,
    pub(crate) stop: Stop,
}

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

impl Door {
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

    /// Whether what a leader has at these places is what was committed here. A leader that counts has everything that was ever
    /// committed, unless it, or this node, was set back to an older copy; openraft would panic, or cut off what it has applied.
    pub(super) fn same_history(
        &self,
        vote: &Vote,
        theirs: impl Iterator<Item = LogId>,
    ) -> Result<(), WireError> {
        let Some((here, there, end)) = self.first_other(vote, theirs).map_err(WireError::Log)? else {
            return Ok(());
        };
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

    fn first_other(
        &self,
        vote: &Vote,
        theirs: impl Iterator<Item = LogId>,
    ) -> io::Result<Option<(LogIdForm, LogIdForm, LogIdForm)>> {
        let Some(end) = self.log.committed()? else {
            return Ok(None);
        };
        // One that leads no more may have something else there. What was committed here came with a vote that is here by now.
        if self.log.vote()?.is_some_and(|mine| *vote < mine) {
            return Ok(None);
        }
        let (purged, last) = self.log.ends()?;
        for there in theirs.map(LogIdForm::from) {
            let is_past = purged.is_some_and(|purged| there.index <= purged.index);
            if is_past || there.index > end.index || last == Some(there) {
                continue;
            }
            if let Some(here) = self.log.id_at(there.index)?.filter(|here| *here != there) {
                return Ok(Some((here, there, end)));
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
