//! Whether an attempt is resilient: may go on without a primary. A pure table over what is known at dispatch.
//!
//! R-12 (same host as a primary) and R-13 (the primary's version changes) need what members say of themselves; they come with their issue.

use outlast_proto::words::{AgentName, JobKind, Policy, PolicyType};

use crate::rows::{Agent, Job, Settings};
use crate::state::ClusterState;

/// The oldest agent versions that can run resilient attempts, by kind of policy type: media agent, client agent. Databases leave
/// the client's version open: the media agent alone decides about them.
const OLDEST_FOR_FILES: [Version; 2] = [Version(0, 1, 0), Version(0, 1, 0)];
const OLDEST_FOR_DATABASES: Version = Version(0, 1, 0);

/// A program version, compared number by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl Version {
    /// Reads `1.2.3`, with or without something behind it; none for anything else.
    fn parse(text: &str) -> Option<Self> {
        let core = text.split(['-', '+']).next()?;
        let mut numbers = core.split('.').map(|number| number.parse().ok());
        let version = Version(numbers.next()??, numbers.next()??, numbers.next()??);
        numbers.next().is_none().then_some(version)
    }
}

impl ClusterState {
    /// Every reason why an attempt of this job on this media agent is not resilient; none: it is.
    pub(crate) fn why_not_resilient(&self, job: &Job, media_agent: &AgentName) -> Vec<String> {
        let agents = [self.agent(media_agent), self.client(&job.client)];
        let names = [media_agent.as_str(), job.client.as_str()];
        reasons(self.settings(), self.policy_of(job), job.kind(), names, agents)
    }
}

fn reasons(
    settings: Settings,
    policy: Option<&Policy>,
    kind: JobKind,
    names: [&str; 2],
    agents: [Option<&Agent>; 2],
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
            let Version(major, minor, patch) = oldest;
            reasons.push(format!(
                "agent {name} has version {version:?}, older than {major}.{minor}.{patch}"
            ));
        }
    }
    reasons
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
    use crate::rows::{Agent, Settings};

    fn agent(version: &str, fibre_transport: bool) -> Agent {
        Agent {
            kind: AgentKind::MediaAgent,
            state: AgentState::Enabled,
            since: Timestamp(0),
            version: version.into(),
            host_id: "host".into(),
            start_id: StartId("start".into()),
            fibre_transport,
            media: None,
        }
    }

    struct Case {
        id: &'static str,
        policy_type: PolicyType,
        shape: Shape,
        resilience: bool,
        fibre: bool,
        versions: [&'static str; 2],
        kind: JobKind,
        reasons: usize,
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
        kind: JobKind::Backup,
        reasons: 0,
    };

    fn check(case: &Case) {
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
            agent(case.versions[0], case.fibre),
            agent(case.versions[1], false),
        );
        let found = reasons(
            settings,
            Some(&policy),
            case.kind,
            ["m", "c"],
            [Some(&media), Some(&client)],
        );
        assert_eq!(found.len(), case.reasons, "{}: {found:?}", case.id);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table, row by row")]
    fn r01_r06_to_r11_who_is_resilient() {
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
                reasons: 1,
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
                reasons: 1,
                ..PLAIN
            },
            Case {
                id: "R-07",
                shape: shape(2, 1, false),
                reasons: 1,
                ..PLAIN
            },
            Case {
                id: "R-07 database",
                shape: shape(2, 1, false),
                policy_type: PolicyType::Mysql,
                reasons: 1,
                ..PLAIN
            },
            Case {
                id: "R-08",
                shape: shape(1, 1, true),
                reasons: 1,
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
                reasons: 1,
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
                reasons: 1,
                ..PLAIN
            },
            Case {
                id: "R-11 media",
                versions: ["0.0.9", "0.1.0"],
                reasons: 1,
                ..PLAIN
            },
            Case {
                id: "R-11 client",
                versions: ["0.1.0", "0.0.9"],
                reasons: 1,
                ..PLAIN
            },
            Case {
                id: "R-11 both",
                versions: ["0.0.9", "nonsense"],
                reasons: 2,
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
                id: "every reason",
                resilience: false,
                fibre: true,
                shape: shape(2, 2, true),
                reasons: 5,
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
}
