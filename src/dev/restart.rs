//! `outlast dev restart NAME`: starts a child that was killed.

use std::path::Path;

use super::child;
use super::error::DevError;
use super::layout::Layout;
use super::plan::Plan;

/// Starts the child `name` of the cluster in `data_dir` again.
pub(crate) fn restart(name: &str, data_dir: &Path) -> Result<(), DevError> {
    let layout = Layout::new(data_dir)?;
    let plan = Plan::load(&layout)?.ok_or_else(|| DevError::NoCluster {
        data_dir: layout.root().to_owned(),
    })?;
    let member = plan
        .members
        .iter()
        .find(|member| member.child == name)
        .ok_or_else(|| DevError::NoSuchChild {
            name: name.to_owned(),
            data_dir: layout.root().to_owned(),
            known: plan.members.iter().map(|member| member.child.clone()).collect(),
        })?;
    if let Some(pid) = child::running(&layout, member) {
        return Err(DevError::Running {
            name: name.to_owned(),
            pid,
        });
    }
    // Not ours to wait for: when this command ends, the system's init collects it, and `dev` stops it by its pid file.
    let process = child::start(&layout, member)?;
    crate::output::remark(&format!("{name} is started (pid {})", process.id()));
    Ok(())
}
