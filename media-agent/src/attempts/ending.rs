//! Journals the one end of an attempt (S-12). What it is, the core says.
//!
//! Used by `conduct`, `desk` and `survey`.

use std::time::Duration;

use outlast_media_core::{AttemptId, Ending};
use outlast_proto::words::Counters;

use crate::context::Context;

/// Journals the end. While the journal's disk is full it tries on: an attempt without an end would be run again.
/// Whether it is durable; if not, the attempt stays open and is surveyed at the next start.
pub(super) async fn journal_end(
    context: &Context,
    id: AttemptId,
    ending: &Ending,
    counters: &Counters,
) -> bool {
    let Some(what) = ending.event(counters) else {
        return true;
    };
    let record = context.event(id, what);
    let mut said = false;
    loop {
        match context.journal.append(vec![record.clone()]).await {
            Ok(()) => return true,
            Err(error) if error.is_full() && !context.shutdown.has_begun() => {
                if !said {
                    tracing::error!(attempt = %id, %error, "the end of an attempt cannot be journalled; trying on");
                    said = true;
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    () = context.shutdown.begun() => {}
                }
            }
            Err(error) => {
                tracing::error!(attempt = %id, %error, "the end of an attempt could not be journalled; it is settled at the next start");
                return false;
            }
        }
    }
}
