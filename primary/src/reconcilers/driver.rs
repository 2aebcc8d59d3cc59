//! The loop around one reconciler.

use std::time::Duration;

use outlast_core::Reply;
use outlast_kit::shutdown::Shutdown;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Account, Of, Reconciler, Trouble};
use crate::brain::Brain;

/// Changes that come in a burst are looked at together.
const GATHER: Duration = Duration::from_millis(5);

/// Looks, proposes and waits, until it is over.
pub(super) async fn run<R: Reconciler>(
    mut reconciler: R,
    brain: Brain,
    account: Account,
    (of, over): (Of, Shutdown),
) {
    let wake = brain.wakes().for_causes(R::WAKES);
    loop {
        let (began, at) = (Instant::now(), brain.clock().now());
        let outcome = tokio::select! {
            outcome = once(&mut reconciler, &brain) => outcome,
            () = over.begun() => return,
        };
        // A leader that leads no more fails at everything, and nobody has to know.
        if outcome.is_ok() || of == Of::Node || brain.leads() {
            account.ran(at, began.elapsed(), outcome.err());
        }
        let period = reconciler.period();
        let due = async {
            match period {
                Some(period) => sleep_until(began + period).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wake.woken() => sleep(GATHER).await,
            () = due => {}
            () = over.begun() => return,
        }
    }
}

async fn once<R: Reconciler>(reconciler: &mut R, brain: &Brain) -> Result<(), Trouble> {
    for command in reconciler.look().await? {
        let reply = brain
            .propose(command.clone())
            .await
            .map_err(|error| Trouble::of(&error))?;
        if let Reply::Refused(refusal) = &reply {
            tracing::debug!(reconciler = R::NAME, %refusal, "a proposal was refused");
        }
        reconciler.hear(&command, &reply);
    }
    Ok(())
}
