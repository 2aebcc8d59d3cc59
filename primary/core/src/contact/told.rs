//! What becomes of an attempt whose media agent is not heard, and how that is told (C-08, "unknown" of `job show`).
//!
//! Pure. Called by [`super::Silence`].

use super::witness::{Superseded, Verdict};
use super::{Ticks, Unknown};
use crate::rows::{Job, OpenAttempt};

/// What stands between an attempt and its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlook {
    /// F-01.
    pub(super) fails_over: bool,
    /// Somebody else could take the job.
    pub(super) has_place: bool,
    /// C-03, if nothing is heard meanwhile; none: not all primaries know it yet.
    pub(super) recovered_in: Option<Ticks>,
    /// By the witnesses.
    pub(super) superseded: Superseded,
}

impl Outlook {
    /// C-04.
    pub(super) fn moves_now(self) -> bool {
        self.may_move() && self.superseded == Superseded::Now
    }

    /// C-03: only where C-04 does nothing about it, and nobody hears the media agent.
    pub(super) fn is_recovered_now(self) -> bool {
        let waits_for_failover = self.may_move() && matches!(self.superseded, Superseded::In(_));
        self.superseded != Superseded::NotWhileHeard && !waits_for_failover && self.recovered_in == Some(0)
    }

    const fn may_move(self) -> bool {
        self.fails_over && self.has_place
    }
}

/// For a person.
pub(super) fn unknown_of(
    (job, open): (&Job, &OpenAttempt),
    silent: Ticks,
    verdict: Verdict,
    outlook: Outlook,
) -> Unknown {
    let (agent, client, next) = (&open.media_agent, &job.client, open.attempt.next());
    let heard_again = format!("the attempt goes on as soon as {agent} is heard again");
    let (rule, next_step, left) = match outlook.superseded {
        Superseded::NotWhileHeard => {
            let text = format!(
                "only the primary does not hear {agent}, client {client} does: the attempt goes on, and its result is recorded when {agent} is back"
            );
            ("C-08", text, None)
        }
        _ if !outlook.fails_over => recovered(
            format!("pool {} has no failover: {heard_again}", job.pool),
            outlook,
            "F-01",
        ),
        Superseded::NotAfterSuccess => {
            let text = format!(
                "client {client} says that the attempt has ended well: nothing is run again, and its result is recorded when {agent} is heard; \
                 if the host of {agent} is gone, say so with outlast agent declare-dead {agent}"
            );
            recovered(text, outlook, "S-12")
        }
        Superseded::NotWhileBlind => {
            let text = format!(
                "neither {agent} nor client {client} is heard, so the attempt may be running: nothing is started; if the host of {agent} is gone, \
                 say so with outlast agent declare-dead {agent}"
            );
            recovered(text, outlook, "C-08")
        }
        _ if !outlook.has_place => {
            let text = format!(
                "no other media agent of pool {} can take the job now: {heard_again}",
                job.pool
            );
            recovered(text, outlook, "F-02")
        }
        Superseded::Now => (
            "C-08",
            format!("it moves to attempt {next} on another media agent now"),
            Some(0),
        ),
        Superseded::In(left) => {
            let text =
                format!("it moves to attempt {next} on another media agent, unless {agent} is heard before");
            ("C-08", text, Some(left))
        }
    };
    Unknown {
        attempt: open.attempt,
        silent,
        client_says: verdict.client_says,
        rule,
        next_step,
        left,
    }
}

/// With what C-03 does in the end.
fn recovered(
    text: String,
    outlook: Outlook,
    otherwise: &'static str,
) -> (&'static str, String, Option<Ticks>) {
    match outlook.recovered_in {
        None => (otherwise, text, None),
        Some(left) => {
            let text = format!("{text}; in {left} s without a word the attempt ends recovered");
            ("C-03", text, Some(left))
        }
    }
}
