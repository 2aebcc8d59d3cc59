//! Whether an attempt is resilient: may go on without a primary. A pure table over what is known at dispatch.
//!
//! What happens when the primary's version changes later is witnessed by the media agent, as an event.

use outlast_proto::words::{AgentName, JobKind, Policy, PolicyType, Version};

use crate::rows::{Agent, Job, Member, Settings};
use crate::state::ClusterState;

/// The oldest agent versions that can run resilient attempts, by kind of policy type: media agent, client agent. Databases leave
/// the client's version open: the media agent alone decides about them.
const OLDEST_FOR_FILES: [Version; 2] = [Version::new(0, 1, 0), Version::new(0, 1, 0)];
const OLDEST_FOR_DATABASES: Version = Version::new(0, 1, 0);

impl ClusterState {
    /// Every reason why an attempt of this job on this media agent is not resilient; none: it is.
    pub(crate) fn why_not_resilient(&self, job: &Job, media_agent: &AgentName) -> Vec<String> {
        let agents = [self.agent(media_agent), self.client(&job.client)];
        let names = [media_agent.as_str(), job.client.as_str()];
        let members: Vec<_> = self.present_members().map(|(_, member)| member).collect();
        reasons(
            self.settings(),
            self.policy_of(job),
            job.kind(),
            names,
            agents,
            &members,
        )
    }

    /// Whether an attempt dispatched now would not be resilient only because a member has not introduced itself yet.
    #[must_use]
    pub fn awaits_introductions(&self) -> bool {
        self.settings().resilience && self.present_members().any(|(_, member)| member.facts.is_none())
    }
}

fn reasons(
    settings: Settings,
    policy: Option<&Policy>,
    kind: JobKind,
    names: [&str; 2],
    agents: [Option<&Agent>; 2],
    members: &[&Member],
) -> Vec<String> {
    let mut reasons = Vec::new();
    if !settings.resilience {
        reasons.push("resilience is switched off for the cluster".to_owned());
    }
    // A restore reads files whatever the policy was (F-17).
    let policy_type = policy.map_or(PolicyType::Standard, |policy| policy.policy_type);
    let is_database = is_database(policy_type);
    if let Some(policy) = policy.filter(|_| kind == JobKind::Backup) {
        shape_reasons(policy, is_database, &mut reasons);
    }
    if let Some(media) = agents[0].filter(|agent| agent.fibre_transport) {
        reasons.push(format!(
            "media agent {} uses Fibre Transport (version {})",
            names[0], media.version
        ));
    }
    let oldest = if is_database {
        [Some(OLDEST_FOR_DATABASES), None]
    } else {
        OLDEST_FOR_FILES.map(Some)
    };
    for ((name, agent), oldest) in names.iter().zip(agents).zip(oldest) {
        let Some(oldest) = oldest else { continue };
        let version = agent.map_or("", |agent| agent.version.as_str());
        if Version::parse(version).is_none_or(|version| version < oldest) {
            reasons.push(format!(
                "agent {name} has version {version:?}, older than {oldest}"
            ));
        }
    }
    host_reasons(names, agents, members, &mut reasons);
    reasons
}

/// what is on one host goes down with it, and the outage of a primary would be one of the attempt. Who does not say where it runs
/// may be there, too.
fn host_reasons(
    names: [&str; 2],
    agents: [Option<&Agent>; 2],
    members: &[&Member],
    reasons: &mut Vec<String>,
) {
    let kinds = ["media agent", "client"];
    for ((kind, name), agent) in kinds.into_iter().zip(names).zip(agents) {
        let Some(agent) = agent else { continue };
        if agent.host_id.is_empty() {
            reasons.push(format!("{kind} {name} has not said on which host it runs"));
            continue;
        }
        for member in members {
            if member
                .facts
                .as_ref()
                .is_some_and(|facts| facts.host_id == agent.host_id)
            {
                reasons.push(format!(
                    "{kind} {name} is on the same host as primary {}",
                    member.name
                ));
            }
        }
    }
    for member in members.iter().filter(|member| member.facts.is_none()) {
        reasons.push(format!(
            "primary {} has not said on which host it runs",
            member.name
        ));
    }
}

const fn is_database(policy_type: PolicyType) -> bool {
    matches!(
        policy_type,
        PolicyType::Oracle | PolicyType::MsSqlServer | PolicyType::Postgresql | PolicyType::Mysql
    )
}

fn shape_reasons(policy: &Policy, is_database: bool, reasons: &mut Vec<String>) {
    let policy_type = policy.policy_type;
    if policy_type == PolicyType::Stream {
        reasons.push("policies of type stream are not resilient".to_owned());
    }
    if policy.shape.multiplex > 1 {
        reasons.push("multiplexed backups are not resilient".to_owned());
    }
    if policy.shape.children && !is_database {
        reasons.push(format!(
            "jobs with children are not resilient for type {policy_type}"
        ));
    }
    if policy.shape.streams > 1 && !is_database {
        reasons.push(format!(
            "jobs of several streams are not resilient for type {policy_type}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use outlast_proto::words::{
        AgentKind, AgentState, JobKind, Policy, PolicyType, Shape, StartId, Timestamp,
    };

    use super::reasons;
    use crate::rows::{Agent, Member, MemberFacts, Settings};

    fn agent(version: &str, host: &str, fibre_transport: bool) -> Agent {
        Agent {
            kind: AgentKind::MediaAgent,
            state: AgentState::Enabled,
            admin: Default::default(),
            since: Timestamp(0),
            version: version.into(),
            host_id: host.into(),
            start_id: StartId("start".into()),
            fibre_transport,
            speaks: 0,
            thresholds: crate::thresholds::Thresholds::default(),
            media: None,
        }
    }

    /// A primary on this host; none: it has not said.
    fn member((name, host): &(&str, Option<&str>)) -> Member {
        Member {
            name: (*name).to_owned(),
            admitted_at: Timestamp(0),
            removed_at: None,
            facts: host.map(|host| MemberFacts {
                host_id: host.to_owned(),
                version: "0.1.0".to_owned(),
                cluster_version: 1,
            }),
        }
    }

    struct Case {
        id: &'static str,
        policy_type: PolicyType,
        shape: Shape,
        resilience: bool,
        fibre: bool,
        versions: [&'static str; 2],
        /// Of the media agent and the client.
        hosts: [&'static str; 2],
        members: &'static [(&'static str, Option<&'static str>)],
        kind: JobKind,
        reasons: &'static [&'static str],
    }

    const PLAIN: Case = Case {
        id: "plain",
        policy_type: PolicyType::Standard,
        shape: Shape {
            multiplex: 1,
            streams: 1,
            children: false,
        },
        resilience: true,
        fibre: false,
        versions: ["0.1.0", "0.1.0"],
        hosts: ["host-m", "host-c"],
        members: &[("node-1", Some("host-1")), ("node-2", Some("host-2"))],
        kind: JobKind::Backup,
        reasons: &[],
    };

    fn reasons_of(case: &Case) -> Vec<String> {
        let mut policy = Policy::with_defaults(
            "home".parse().unwrap(),
            vec!["local".parse().unwrap()],
            vec!["/home".into()],
            "default".parse().unwrap(),
        );
        policy.policy_type = case.policy_type;
        policy.shape = case.shape;
        let settings = Settings {
            resilience: case.resilience,
            ..Settings::default()
        };
        let (media, client) = (
            agent(case.versions[0], case.hosts[0], case.fibre),
            agent(case.versions[1], case.hosts[1], false),
        );
        let members: Vec<_> = case.members.iter().map(member).collect();
        reasons(
            settings,
            Some(&policy),
            case.kind,
            ["m", "c"],
            [Some(&media), Some(&client)],
            &members.iter().collect::<Vec<_>>(),
        )
    }

    fn check(case: &Case) {
        let found = reasons_of(case);
        assert_eq!(found, case.reasons, "{}", case.id);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table, row by row")]
    fn r01_r06_to_r12_who_is_resilient() {
        let shape = |multiplex, streams, children| Shape {
            multiplex,
            streams,
            children,
        };
        for case in [
            PLAIN,
            Case {
                id: "R-01",
                resilience: false,
                reasons: &["resilience is switched off for the cluster"],
                ..PLAIN
            },
            Case {
                id: "R-06 windows",
                policy_type: PolicyType::Windows,
                ..PLAIN
            },
            Case {
                id: "R-06 database",
                policy_type: PolicyType::Postgresql,
                ..PLAIN
            },
            Case {
                id: "R-06 stream",
                policy_type: PolicyType::Stream,
                reasons: &["policies of type stream are not resilient"],
                ..PLAIN
            },
            Case {
                id: "R-07",
                shape: shape(2, 1, false),
                reasons: &["multiplexed backups are not resilient"],
                ..PLAIN
            },
            Case {
                id: "R-07 database",
                shape: shape(2, 1, false),
                policy_type: PolicyType::Mysql,
                reasons: &["multiplexed backups are not resilient"],
                ..PLAIN
            },
            Case {
                id: "R-08",
                shape: shape(1, 1, true),
                reasons: &["jobs with children are not resilient for type standard"],
                ..PLAIN
            },
            Case {
                id: "R-08 windows",
                shape: shape(1, 1, true),
                policy_type: PolicyType::Windows,
                reasons: &["jobs with children are not resilient for type windows"],
                ..PLAIN
            },
            Case {
                id: "R-09 windows",
                shape: shape(1, 2, false),
                policy_type: PolicyType::Windows,
                reasons: &["jobs of several streams are not resilient for type windows"],
                ..PLAIN
            },
            Case {
                id: "R-08 database",
                shape: shape(1, 1, true),
                policy_type: PolicyType::Oracle,
                ..PLAIN
            },
            Case {
                id: "R-09",
                shape: shape(1, 2, false),
                reasons: &["jobs of several streams are not resilient for type standard"],
                ..PLAIN
            },
            Case {
                id: "R-09 database",
                shape: shape(1, 2, false),
                policy_type: PolicyType::MsSqlServer,
                ..PLAIN
            },
            Case {
                id: "R-10",
                fibre: true,
                reasons: &["media agent m uses Fibre Transport (version 0.1.0)"],
                ..PLAIN
            },
            Case {
                id: "R-11 media",
                versions: ["0.0.9", "0.1.0"],
                reasons: &["agent m has version \"0.0.9\", older than 0.1.0"],
                ..PLAIN
            },
            Case {
                id: "R-11 client",
                versions: ["0.1.0", "0.0.9"],
                reasons: &["agent c has version \"0.0.9\", older than 0.1.0"],
                ..PLAIN
            },
            Case {
                id: "R-11 both",
                versions: ["0.0.9", "nonsense"],
                reasons: &[
                    "agent m has version \"0.0.9\", older than 0.1.0",
                    "agent c has version \"nonsense\", older than 0.1.0",
                ],
                ..PLAIN
            },
            Case {
                id: "R-11 newer",
                versions: ["1.0.0-rc1", "0.10.0"],
                ..PLAIN
            },
            Case {
                id: "R-11 database",
                versions: ["0.1.0", "0.0.1"],
                policy_type: PolicyType::Postgresql,
                ..PLAIN
            },
            Case {
                id: "R-12 of a restore",
                hosts: ["host-m", "host-1"],
                kind: JobKind::Restore,
                reasons: &["client c is on the same host as primary node-1"],
                ..PLAIN
            },
            Case {
                id: "R-12 of a database",
                hosts: ["host-1", "host-c"],
                policy_type: PolicyType::Postgresql,
                reasons: &["media agent m is on the same host as primary node-1"],
                ..PLAIN
            },
            Case {
                id: "R-12 media agent and client on one host without a primary",
                hosts: ["host-c", "host-c"],
                ..PLAIN
            },
            Case {
                id: "every reason",
                resilience: false,
                fibre: true,
                shape: shape(2, 2, true),
                versions: ["0.0.1", ""],
                hosts: ["host-1", "host-1"],
                reasons: &[
                    "resilience is switched off for the cluster",
                    "multiplexed backups are not resilient",
                    "jobs with children are not resilient for type standard",
                    "jobs of several streams are not resilient for type standard",
                    "media agent m uses Fibre Transport (version 0.0.1)",
                    "agent m has version \"0.0.1\", older than 0.1.0",
                    "agent c has version \"\", older than 0.1.0",
                    "media agent m is on the same host as primary node-1",
                    "client c is on the same host as primary node-1",
                ],
                ..PLAIN
            },
            Case {
                id: "F-17",
                shape: shape(2, 2, true),
                kind: JobKind::Restore,
                ..PLAIN
            },
        ] {
            check(&case);
        }
    }

    #[test]
    fn r12_hosts_are_compared_by_id_and_the_reason_names_both() {
        let silent: &[_] = &[("node-1", Some("host-1")), ("node-2", None)];
        for (hosts, members, said) in [
            (
                ["host-2", "host-c"],
                PLAIN.members,
                &["media agent m is on the same host as primary node-2"][..],
            ),
            (
                ["host-m", "host-1"],
                PLAIN.members,
                &["client c is on the same host as primary node-1"],
            ),
            (
                ["host-1", "host-2"],
                PLAIN.members,
                &[
                    "media agent m is on the same host as primary node-1",
                    "client c is on the same host as primary node-2",
                ],
            ),
            (
                ["host-m", "host-c"],
                silent,
                &["primary node-2 has not said on which host it runs"],
            ),
            (
                ["host-1", "host-c"],
                silent,
                &[
                    "media agent m is on the same host as primary node-1",
                    "primary node-2 has not said on which host it runs",
                ],
            ),
            (
                ["", "host-c"],
                PLAIN.members,
                &["media agent m has not said on which host it runs"],
            ),
            // The names of agent and primary mean nothing.
            (
                ["m", "node-1"],
                &[("m", Some("host-1")), ("c", Some("host-2"))],
                &[],
            ),
        ] {
            let case = Case {
                hosts,
                members,
                ..PLAIN
            };
            assert_eq!(reasons_of(&case), said, "{hosts:?} {members:?}");
        }
    }
}
