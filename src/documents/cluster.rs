//! The primary's own group as `cluster status` prints it.

use outlast_proto::v1;
use serde::Serialize;

use crate::wire::text;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ClusterDocument {
    pub(crate) cluster_id: Option<String>,
    pub(crate) leader: Option<String>,
    pub(crate) term: u64,
    pub(crate) version: Option<String>,
    pub(crate) members: Vec<MemberDocument>,
    /// Whose view this is.
    pub(crate) answered_by: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct MemberDocument {
    pub(crate) name: String,
    pub(crate) address: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) reachable: Option<bool>,
    pub(crate) lag: Option<u64>,
}

impl From<&v1::ClusterStatus> for ClusterDocument {
    fn from(status: &v1::ClusterStatus) -> Self {
        let members = status.members.iter().map(|member| MemberDocument {
            name: member.name.clone(),
            address: text(&member.address),
            role: text(&member.role),
            reachable: member.reachable,
            lag: member.lag,
        });
        Self {
            cluster_id: text(&status.cluster_id),
            leader: text(&status.leader),
            term: status.term,
            version: text(&status.version),
            members: members.collect(),
            answered_by: text(&status.answered_by),
        }
    }
}
