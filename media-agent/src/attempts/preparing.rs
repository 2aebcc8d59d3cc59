//! What an attempt needs of the storage unit before it begins. How long it waits while somebody else has the repository for himself, as
//! a prune or a check has, is the machine's to say.
//!
//! Used by `conduct`.

use std::sync::Arc;

use outlast_proto::words::StatusCode;
use outlast_repository::RepositoryError;

use super::conduct::Outcome;
use crate::context::Context;
use crate::fault::Fault;
use crate::tickets::Work;

/// Tries once to get what it needs.
pub(super) async fn prepare(context: &Context, work: &Work) -> Outcome {
    let unit = Arc::clone(&context.unit);
    let reads_only = matches!(work, Work::Restore { .. });
    let prepared = tokio::task::spawn_blocking(move || {
        unit.tidy();
        if reads_only {
            return unit.prepare_to_read();
        }
        let (repository, lock) = unit.prepare()?;
        repository.look_for_packs()?;
        Ok((repository, lock))
    });
    let error = match prepared.await {
        Ok(Ok(held)) => return Outcome::Prepared(held),
        Ok(Err(error)) => error,
        Err(error) => {
            let code = StatusCode::STORAGE_UNIT_NOT_AVAILABLE;
            return Outcome::NotPrepared(Fault::new(code, error.to_string()));
        }
    };
    let fault = crate::fault::unavailable(&context.unit.name, &error);
    match error {
        RepositoryError::Locked { by, .. } => Outcome::Locked {
            by: by.to_string(),
            fault,
        },
        _ => Outcome::NotPrepared(fault),
    }
}
