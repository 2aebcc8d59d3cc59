//! What `dev` does with its cluster: waits for it, backs up the paths given, says how to go on.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outlast_proto::v1::agents_client::AgentsClient;
use outlast_proto::v1::jobs_client::JobsClient;
use outlast_proto::v1::policies_client::PoliciesClient;
use outlast_proto::v1::{
    ApplyPolicyRequest, ListAgentsRequest, ListRestorePointsRequest, Policy, RunJobRequest,
    restore_points_client::RestorePointsClient,
};

use super::error::DevError;
use super::layout::Layout;
use super::plan::{Plan, Role};
use super::supervisor::Supervisor;
use crate::cli::follow_to_end;
use crate::connection::{Connection, request_id, rpc};
use crate::context::Context;
use crate::output::{Output, remark};

/// Name of the policy of the paths given to `dev`.
const POLICY: &str = "dev";
const CLIENT: &str = "local";
const POOL: &str = "default";

/// A cluster on a slow machine that is not ready by then has a problem worth showing.
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// How long one call may look for the leader.
const CALL: Duration = Duration::from_secs(10);

/// The paths as items of a policy: absolute, there, each once.
pub(crate) fn items(paths: &[PathBuf]) -> Result<Vec<String>, DevError> {
    let mut items = Vec::new();
    for path in paths {
        let real = path.canonicalize().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => DevError::NoSuchPath { path: path.clone() },
            _ => DevError::Io {
                doing: "cannot read",
                path: path.clone(),
                source,
            },
        })?;
        let item = real
            .into_os_string()
            .into_string()
            .map_err(|_| DevError::NotUtf8 { path: path.clone() })?;
        if items.contains(&item) {
            return Err(DevError::Twice { path: path.clone() });
        }
        items.push(item);
    }
    Ok(items)
}

/// The way to the running cluster.
pub(crate) struct Cluster {
    connection: Connection,
}

impl Cluster {
    /// Prepares the way; the cluster need not be up yet.
    pub(crate) fn connect(layout: &Layout) -> Result<Self, DevError> {
        let context = Context::load(Some(&layout.context()))?;
        Ok(Self {
            connection: Connection::new(&context, CALL, false)?,
        })
    }

    /// Returns when there is a leader and every agent has its session.
    pub(crate) async fn wait_until_ready(
        &self,
        supervisor: &Supervisor,
        plan: &Plan,
    ) -> Result<(), DevError> {
        let start = Instant::now();
        loop {
            if let Some(member) = supervisor.dead(plan) {
                return Err(supervisor.died(member));
            }
            let missing = match self.missing(plan).await {
                Ok(missing) if missing.is_empty() => return Ok(()),
                Ok(missing) => format!("waiting for {}", missing.join(", ")),
                Err(error) => error.to_string(),
            };
            if start.elapsed() >= READY_WITHIN {
                return Err(DevError::NotReady {
                    seconds: READY_WITHIN.as_secs(),
                    missing,
                    logs: supervisor.logs(),
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Agents of the plan that have no session yet.
    async fn missing(&self, plan: &Plan) -> Result<Vec<String>, crate::error::CliError> {
        let request = ListAgentsRequest { stale: false };
        let answer = rpc!(self.connection, read, AgentsClient, list, request)?;
        let here = |name: &str| {
            answer
                .agents
                .iter()
                .any(|a| a.name == name && a.connected == Some(true))
        };
        let agents = plan.members.iter().filter(|member| member.role != Role::Primary);
        Ok(agents
            .filter(|member| !here(&member.name))
            .map(|member| member.child.clone())
            .collect())
    }

    /// Backs up the items and shows the job to its end; its exit code.
    pub(crate) async fn back_up(
        &self,
        layout: &Layout,
        items: &[String],
        output: &Output,
    ) -> Result<u8, DevError> {
        let exclude = own_folder(layout.root(), items)?;
        let policy = Policy {
            name: POLICY.into(),
            clients: vec![CLIENT.into()],
            items: items.to_vec(),
            exclude,
            pool: POOL.into(),
            ..Default::default()
        };
        let request = ApplyPolicyRequest {
            request_id: request_id(),
            policy: Some(policy),
            dry_run: false,
            items_are_paths: true,
        };
        rpc!(self.connection, write, PoliciesClient, apply, request)?;
        let request = RunJobRequest {
            request_id: request_id(),
            policy: POLICY.into(),
            client: CLIENT.into(),
            full: false,
        };
        let answer = rpc!(self.connection, write, JobsClient, run, request)?;
        Ok(follow_to_end(&self.connection, output, &answer.ids).await?)
    }

    /// The newest restore point's id, if there is one.
    async fn newest_restore_point(&self) -> Result<Option<String>, DevError> {
        let request = ListRestorePointsRequest {
            page: Some(outlast_proto::v1::Page {
                size: 1,
                token: String::new(),
            }),
            ..Default::default()
        };
        let answer = rpc!(self.connection, read, RestorePointsClient, list, request)?;
        Ok(answer.restore_points.into_iter().next().map(|point| point.id))
    }
}

/// The cluster's own folder is left out when it lies inside an item: a repository cannot hold itself.
fn own_folder(root: &Path, items: &[String]) -> Result<Vec<String>, DevError> {
    let root = root.canonicalize().map_err(DevError::io("cannot read", root))?;
    let mut exclude = Vec::new();
    for item in items {
        if Path::new(item).starts_with(&root) {
            return Err(DevError::BacksUpItself {
                path: item.into(),
                data_dir: root,
            });
        }
        if let Ok(inside) = root.strip_prefix(item) {
            remark(&format!(
                "leaving out {}: the cluster's own folder",
                root.display()
            ));
            let inside = escape_pattern(&inside.to_string_lossy());
            // With a slash in it, it counts from the item on anyway; one that began like the item would be refused.
            let start = if inside.contains('/') { "" } else { "/" };
            exclude.push(format!("{start}{inside}/"));
        }
    }
    Ok(exclude)
}

/// A path as a gitignore pattern that matches just it.
fn escape_pattern(path: &str) -> String {
    path.chars()
        .flat_map(|c| "\\*?[]!#~ ".contains(c).then_some('\\').into_iter().chain([c]))
        .collect()
}

/// How to look, restore and stop.
pub(crate) async fn say_what_next(layout: &Layout, cluster: &Cluster) -> Result<(), DevError> {
    let point = cluster.newest_restore_point().await?;
    let shown = |path: PathBuf| path.display().to_string();
    let restore = match point {
        Some(id) => format!(
            "outlast restore {} --to /tmp/restored --wait",
            &id[..id.len().min(12)]
        ),
        None => "outlast restore RESTORE-POINT --to DIR --wait".to_owned(),
    };
    remark(&format!(
        "\nThe cluster is up. In another terminal:\n  \
         export OUTLAST_CONTEXT={}\n  \
         outlast cluster status\n  \
         outlast job list\n  \
         outlast restore-point list\n  \
         {restore}\n  \
         restic -r {} --password-file {} snapshots\n\
         Ctrl-C stops it; the same command goes on where it was.",
        shown(layout.context()),
        shown(layout.storage()),
        shown(layout.password()),
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{escape_pattern, items, own_folder};
    use crate::dev::error::DevError;

    #[test]
    fn items_are_absolute_there_and_given_once() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().to_owned();
        assert_eq!(items(std::slice::from_ref(&here)).unwrap().len(), 1);
        assert!(matches!(
            items(&[here.clone(), here.join(".")]),
            Err(DevError::Twice { .. })
        ));
        assert!(matches!(
            items(&[here.join("missing")]),
            Err(DevError::NoSuchPath { .. })
        ));
    }

    #[test]
    fn the_clusters_own_folder_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let root = real.join("inner/out[1]");
        std::fs::create_dir_all(&root).unwrap();
        let item = real.to_str().unwrap().to_owned();
        assert_eq!(own_folder(&root, &[item]).unwrap(), ["inner/out\\[1\\]/"]);
        let inside = root.to_str().unwrap().to_owned();
        assert!(matches!(
            own_folder(&root, &[inside]),
            Err(DevError::BacksUpItself { .. })
        ));
        assert_eq!(
            own_folder(&root, &["/etc".to_owned()]).unwrap(),
            Vec::<String>::new()
        );
        assert_eq!(escape_pattern("a b*"), "a\\ b\\*");
    }
}
