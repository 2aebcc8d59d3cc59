//! Numbers of nodes, and what they say of themselves.

use super::{Context, Outcome};
use crate::reply::{Refusal, Reply};
use crate::rows::{Member, MemberFacts};
use crate::state::ClusterState;
use crate::touched::Rows;

impl ClusterState {
    /// Gives a number to a node. The same node again is fine; a number that was another's, or whose node has left, is refused:
    /// a node that forgot what it promised must not come back under its old number.
    pub(super) fn admit_member(&mut self, node_id: u64, name: &str, context: Context<'_>) -> Outcome {
        match self.members.get(&node_id) {
            Some(known) if known.removed_at.is_some() || known.name != name => Err(Refusal::NodeNumberUsed {
                node_id,
                name: known.name.clone(),
            }),
            Some(_) => Ok(Reply::Done),
            None => {
                let taken = self
                    .members
                    .iter()
                    .find(|(_, row)| row.name == name && row.removed_at.is_none());
                if let Some((other, _)) = taken {
                    return Err(Refusal::NodeNameUsed {
                        name: name.to_owned(),
                        node_id: *other,
                    });
                }
                let row = Member {
                    name: name.to_owned(),
                    admitted_at: context.at,
                    removed_at: None,
                    facts: None,
                };
                self.members.insert(node_id, row);
                self.touch(Rows::Members);
                Ok(Reply::Done)
            }
        }
    }

    pub(super) fn remove_member(&mut self, node_id: u64, context: Context<'_>) -> Outcome {
        let row = self
            .members
            .get_mut(&node_id)
            .ok_or(Refusal::NoSuchNode { node_id })?;
        row.removed_at.get_or_insert(context.at);
        self.touch(Rows::Members);
        Ok(Reply::Done)
    }

    /// Only a member of the group has a say.
    pub(super) fn describe_member(&mut self, node_id: u64, facts: MemberFacts) -> Outcome {
        let facts = Some(facts);
        let row = self
            .members
            .get(&node_id)
            .filter(|row| row.removed_at.is_none())
            .ok_or(Refusal::NoSuchNode { node_id })?;
        if row.facts != facts
            && let Some(row) = self.members.get_mut(&node_id)
        {
            row.facts = facts;
            self.touch(Rows::Members);
        }
        Ok(Reply::Done)
    }
}
