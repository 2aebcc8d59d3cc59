//! The options of `cluster set`, `pool set` and `agent set` for how long a silence may last (C-01), and how thresholds are shown.

use clap::Args;

use super::parse;
use crate::documents::ThresholdDocument;
use crate::human::duration;

/// Whole seconds; 0: as the level above has it.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct ThresholdArgs {
    /// How long a media agent may be silent before its jobs move; "default": as the level above has it
    #[arg(long, value_name = "D", value_parser = parse::threshold)]
    pub(crate) failover_after: Option<u64>,
    /// How long an agent is silent before it is "communication_stalled"; "default": as the level above has it
    #[arg(long, value_name = "D", value_parser = parse::threshold)]
    pub(crate) stalled_after: Option<u64>,
    /// How long it is stalled before it is "no_communication" and its jobs are recovered; "default": as the level above has it
    #[arg(long, value_name = "D", value_parser = parse::threshold)]
    pub(crate) no_communication_after: Option<u64>,
}

/// With the level that says it.
pub(super) fn shown(threshold: &ThresholdDocument) -> String {
    let time = duration(threshold.seconds as f64);
    match threshold.from.as_deref() {
        None => time,
        Some("default") => format!("{time} (built in)"),
        Some(level) => format!("{time} (of the {level})"),
    }
}
