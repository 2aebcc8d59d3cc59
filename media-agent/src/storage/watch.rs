//! Looks at the storage unit now and then, so that people learn that it is not there before a job does.
//!
//! Started once by `run`; what is found is `unit`'s to keep and to tell.

use std::sync::Arc;
use std::time::Duration;

use outlast_kit::shutdown::Shutdown;
use tokio::time::MissedTickBehavior;

use super::unit::StorageUnit;

/// A look that takes longer meets a file system that does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until the agent ends.
pub(crate) async fn watch(unit: Arc<StorageUnit>, every: Duration, shutdown: Shutdown) {
    let mut looks = tokio::time::interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is over at once; the agent has just looked.
    looks.tick().await;
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = shutdown.begun() => return,
        }
        let looking = Arc::clone(&unit);
        let mut look = tokio::task::spawn_blocking(move || drop(looking.repository()));
        tokio::select! {
            _ = &mut look => continue,
            () = tokio::time::sleep(PATIENCE) => {
                unit.note(Some(format!("it has not answered for {} s; check the mount and what is behind it", PATIENCE.as_secs())));
            }
            () = shutdown.begun() => return,
        }
        tokio::select! {
            _ = look => {}
            () = shutdown.begun() => return,
        }
    }
}
