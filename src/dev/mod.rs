//! `outlast dev`: a whole cluster on this machine, each member a separate process of this binary.
//!
//! [`plan`] says who there is, [`files`] writes what they need, [`child`] starts and stops one, [`supervisor`] all of them, [`first_job`]
//! backs up the paths given. Nothing here is used by a real cluster.

mod child;
mod error;
mod files;
mod first_job;
mod layout;
mod plan;
mod restart;
mod supervisor;

pub(crate) use error::DevError;
pub(crate) use restart::restart;

use layout::Layout;
use plan::Plan;
use supervisor::Supervisor;

use crate::cli::DevStart;
use crate::error::exit;
use crate::output::Output;

/// Runs the cluster until a signal, or with `once` until the job is done. The process's exit code.
pub(crate) async fn run(options: DevStart, output: &Output) -> Result<u8, DevError> {
    if options.once && options.paths.is_empty() {
        return Err(DevError::OnceWithoutPaths);
    }
    let shutdown = outlast_kit::shutdown::Shutdown::on_signals().map_err(DevError::Signals)?;
    let items = first_job::items(&options.paths)?;
    let layout = Layout::new(&options.data_dir)?;
    let plan = Plan::load_or_make(&layout, &options)?;
    let supervisor = Supervisor::take_over(layout.clone())?;
    files::write(&layout, &plan)?;

    let ran = tokio::select! {
        ran = supervisor_and_job(&supervisor, &layout, &plan, &items, &options, output) => ran,
        () = shutdown.begun() => Ok(None),
    };
    let code = match ran {
        // A signal before the job was done.
        Ok(None) if options.once => Ok(exit::FAILED),
        Ok(None) => Ok(exit::SUCCESSFUL),
        Ok(Some(code)) if options.once => Ok(code),
        Ok(Some(_)) => {
            shutdown.begun().await;
            Ok(exit::SUCCESSFUL)
        }
        Err(error) => Err(error),
    };
    crate::output::remark("stopping all processes; nothing is lost, the same command goes on where it was");
    supervisor.stop_all(&plan).await;
    code
}

async fn supervisor_and_job(
    supervisor: &Supervisor,
    layout: &Layout,
    plan: &Plan,
    items: &[String],
    options: &DevStart,
    output: &Output,
) -> Result<Option<u8>, DevError> {
    supervisor.start_all(plan).await?;
    let cluster = first_job::Cluster::connect(layout)?;
    cluster.wait_until_ready(supervisor, plan).await?;
    let mut code = exit::SUCCESSFUL;
    if !items.is_empty() {
        code = cluster.back_up(layout, items, output).await?;
    }
    if !options.once {
        first_job::say_what_next(layout, &cluster).await?;
    }
    Ok(Some(code))
}
