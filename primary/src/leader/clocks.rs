//! The leader's look at the clocks of the other members: one that is off the majority hands leadership over (DESIGN 3).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use outlast_core::Command;
use outlast_core::clocks::{Verdict, agrees, judge};
use outlast_kit::tls::{ANY_PRIMARY, Credentials};
use outlast_proto::v1::ReadClockRequest;
use outlast_proto::v1::members_client::MembersClient;
use outlast_proto::words::Timestamp;
use outlast_raft::Member;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::Leader;
use crate::brain::Brain;
use crate::reconcilers::{Reconciler, Trouble};
use crate::wakes::Cause;

const EVERY: Duration = Duration::from_secs(10);
/// For one answer. It is taken to be of the middle of this time.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Clocks {
    brain: Brain,
    credentials: Credentials,
    /// By address.
    channels: BTreeMap<String, Channel>,
    /// Members of which it was said that they are off.
    off: BTreeSet<u64>,
}

impl Clocks {
    pub(super) fn new(leader: &Leader) -> Self {
        Self {
            brain: leader.brain.clone(),
            credentials: leader.credentials.clone(),
            channels: BTreeMap::new(),
            off: BTreeSet::new(),
        }
    }

    /// By how many microseconds each of the others is ahead of this node, of those that answer.
    async fn read(&mut self, voters: &[Member]) -> BTreeMap<u64, i64> {
        let mut asked = JoinSet::new();
        let me = self.brain.me().node_id;
        for member in voters.iter().filter(|member| member.id != me) {
            let Some(channel) = self.channel(member) else {
                continue;
            };
            let (id, clock) = (member.id, self.brain.clock().clone());
            asked.spawn(async move {
                let before = clock.now();
                let asking = async { MembersClient::new(channel).read_clock(ReadClockRequest {}).await };
                let answer = tokio::time::timeout(PATIENCE, asking).await.ok()?.ok()?;
                let theirs = Timestamp::from(answer.get_ref().now.as_ref()?);
                let ours = before.0.midpoint(clock.now().0);
                Some((id, theirs.0.saturating_sub(ours)))
            });
        }
        asked.join_all().await.into_iter().flatten().collect()
    }

    fn channel(&mut self, member: &Member) -> Option<Channel> {
        let address = &member.peer.address;
        if !self.channels.contains_key(address) {
            let name = format!("{}.{ANY_PRIMARY}", member.peer.name);
            let channel = self.credentials.channel(address, &name).ok()?;
            self.channels.insert(address.clone(), channel);
        }
        self.channels.get(address).cloned()
    }

    /// Once for each member whose clock is off, and once more when it is right again.
    fn tell(&mut self, voters: &[Member], ahead: &BTreeMap<u64, i64>) {
        for member in voters {
            let Some(ahead) = ahead.get(&member.id) else {
                continue;
            };
            let (name, seconds) = (&member.peer.name, ahead / 1_000_000);
            if agrees(*ahead) {
                if self.off.remove(&member.id) {
                    tracing::info!(member = %name, "the clock of a member is right again");
                }
            } else if self.off.insert(member.id) {
                tracing::warn!(member = %name, seconds_ahead = seconds, "the clock of a member is off; see to its time service");
            }
        }
    }

    async fn hand_over(&self, voters: &[Member], to: u64, ahead: i64) -> Result<(), Trouble> {
        let successor = voters.iter().find(|member| member.id == to);
        let name = successor.map_or("", |member| &member.peer.name);
        tracing::warn!(
            to = name,
            seconds_behind = ahead / 1_000_000,
            "this node's clock is off those of the other members; leadership goes to one whose clock is not; see to this node's time service"
        );
        let given = self.brain.raft().transfer_leader(Some(to)).await;
        given
            .map(drop)
            .map_err(|error| Trouble(format!("leadership was not handed over: {error}")))
    }
}

impl Reconciler for Clocks {
    const NAME: &'static str = "clocks";
    const WAKES: &'static [Cause] = &[];

    fn period(&self) -> Option<Duration> {
        Some(EVERY)
    }

    async fn look(&mut self) -> Result<Vec<Command>, Trouble> {
        let members = self.brain.raft().status().members.into_iter();
        let voters: Vec<Member> = members.filter(|member| member.voter).collect();
        let ahead = self.read(&voters).await;
        match judge(&ahead, voters.len()) {
            Verdict::Stays => self.tell(&voters, &ahead),
            Verdict::HandsOver { to, ahead } => self.hand_over(&voters, to, ahead).await?,
        }
        Ok(Vec::new())
    }
}
