//! Starts all children, notices their ends, stops them in order. A child that was killed stays down until `dev restart`.

use std::time::Duration;

use outlast_kit::data_folder::HeldFolder;

use super::child;
use super::error::DevError;
use super::layout::Layout;
use super::plan::{Member, Plan, Role};

/// How long a child may take to end: agents deliver what they can, primaries hand over.
const PATIENCE: Duration = Duration::from_secs(15);

/// The one supervisor of a folder.
pub(crate) struct Supervisor {
    layout: Layout,
    /// Held while we live; the system gives it back however we end.
    _held: HeldFolder,
}

impl Supervisor {
    /// Becomes the supervisor of the folder.
    pub(crate) fn take_over(layout: Layout) -> Result<Self, DevError> {
        layout.create()?;
        let folder = layout.run();
        let held = HeldFolder::take(&folder, "dev cluster").map_err(DevError::io("cannot lock", folder))?;
        let held = held.ok_or_else(|| DevError::InUse {
            data_dir: layout.root().to_owned(),
        })?;
        Ok(Self { layout, _held: held })
    }

    /// Starts every child that does not run. Those left over from a supervisor that was killed go on.
    pub(crate) async fn start_all(&self, plan: &Plan) -> Result<(), DevError> {
        for member in &plan.members {
            if child::running(&self.layout, member).is_none() {
                free_port(member)?;
                let process = child::start(&self.layout, member)?;
                watch(member.child.clone(), process);
            }
        }
        Ok(())
    }

    /// The first child that should run and does not.
    pub(crate) fn dead<'a>(&self, plan: &'a Plan) -> Option<&'a Member> {
        plan.members
            .iter()
            .find(|member| child::running(&self.layout, member).is_none())
    }

    /// Where the children's logs are.
    pub(crate) fn logs(&self) -> std::path::PathBuf {
        self.layout.logs()
    }

    /// Says how a child ended.
    pub(crate) fn died(&self, member: &Member) -> DevError {
        DevError::Died {
            name: member.child.clone(),
            log: self.layout.log(&member.child),
            tail: child::log_tail(&self.layout, member),
        }
    }

    /// Ends all children: media agents first, for a job they interrupt goes on at the next start, and one whose client went
    /// away has failed; last those that record it.
    pub(crate) async fn stop_all(&self, plan: &Plan) {
        for role in [Role::MediaAgent, Role::ClientAgent, Role::Primary] {
            let members = plan
                .of(role)
                .map(|member| child::stop(&self.layout, member, PATIENCE));
            futures::future::join_all(members).await;
        }
    }
}

/// A port that somebody else has would only show in the child's log.
fn free_port(member: &Member) -> Result<(), DevError> {
    match member.address {
        Some(address) => std::net::TcpListener::bind(address)
            .map(drop)
            .map_err(|_| DevError::PortInUse { address }),
        None => Ok(()),
    }
}

/// Collects the child when it ends, so that it does not linger as a zombie, and says so.
fn watch(name: String, mut process: std::process::Child) {
    std::thread::spawn(move || {
        if let Ok(status) = process.wait()
            && !status.success()
        {
            crate::output::remark(&format!(
                "{name} has ended ({status}); outlast dev restart {name} starts it again"
            ));
        }
    });
}
