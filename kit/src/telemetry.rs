//! Logs: one line an event, to stderr, fields as `key=value`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Starts logging at `info` for us and `warn` for libraries, or as `OUTLAST_LOG` says. A second call changes nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("OUTLAST_LOG").unwrap_or_else(|_| {
        EnvFilter::new(
            // openraft warns of every heartbeat that is late, which on a busy machine is many and means nothing.
            "warn,openraft=error,outlast=info,outlast_kit=info,outlast_primary=info,outlast_raft=info,outlast_core=info,\
             outlast_media_agent=info,outlast_repository=info,outlast_client_agent=info",
        )
    });
    let started = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .try_init();
    if started.is_err() {
        tracing::debug!("logging is already running");
    }
}
