//! How long an attempt looks for its media agent, and what it does not go on with.
//!
//! Times are those of a monotonic clock. Driven by `stream/dialer` of the agent, and by the simulation.

use std::time::Duration;

use crate::attempts::State;

/// How long a media agent may take to be there. One that is running has given up on us by then, and for one that is started
/// later the leader asks again.
const FIRST_WELCOME: Duration = Duration::from_secs(60);

/// Why an attempt looks no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GaveUp {
    /// No stream was ever welcomed: the media agent may know nothing of the attempt.
    Unwelcomed,
    /// The stream broke and did not come back for so long.
    Broken(Duration),
    /// The media agent's process is another one: what the stream would go on with is lost (F-10).
    NewProcess,
}

impl GaveUp {
    /// How the attempt stands then.
    #[must_use]
    pub const fn state(self) -> State {
        match self {
            Self::Unwelcomed => State::Unwelcomed,
            Self::Broken(_) | Self::NewProcess => State::Broken,
        }
    }
}

/// Of one attempt.
#[derive(Clone, Debug)]
pub struct Patience {
    reconnect_for: Duration,
    /// The media agent's process, once it has welcomed a stream.
    peer_start: Option<String>,
    deadline: Duration,
    broken_since: Option<Duration>,
}

impl Patience {
    /// An attempt that begins at `now`, and may be without a stream for so long once it was welcomed (F-10).
    #[must_use]
    pub const fn new(now: Duration, reconnect_for: Duration) -> Self {
        Self {
            reconnect_for,
            peer_start: None,
            deadline: now.saturating_add(FIRST_WELCOME),
            broken_since: None,
        }
    }

    /// A broken stream may take so long from now on, that of now, too.
    pub const fn set_reconnect_for(&mut self, reconnect_for: Duration) {
        self.reconnect_for = reconnect_for;
        if let Some(since) = self.broken_since {
            self.deadline = since.saturating_add(reconnect_for);
        }
    }

    /// The process that a new stream has to go on with; empty: any.
    #[must_use]
    pub fn peer_start(&self) -> &str {
        self.peer_start.as_deref().unwrap_or_default()
    }

    /// Whether a stream was ever welcomed.
    #[must_use]
    pub const fn was_welcomed(&self) -> bool {
        self.peer_start.is_some()
    }

    /// The stream does not get on since then.
    pub const fn broke(&mut self, since: Duration) {
        if self.was_welcomed() {
            self.broken_since = Some(since);
            self.deadline = since.saturating_add(self.reconnect_for);
        }
    }

    /// A stream was open for so long without a welcome. Before the first one that time does not count: the media agent is there, and
    /// waits for its storage unit or for somebody's lock on it, for as long as it wants.
    pub const fn waited(&mut self, time: Duration) {
        if !self.was_welcomed() {
            self.deadline = self.deadline.saturating_add(time);
        }
    }

    /// Until when a stream is looked for.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Until when a stream that is open may be without a welcome; none: for ever.
    #[must_use]
    pub fn welcome_by(&self) -> Option<Duration> {
        self.was_welcomed().then_some(self.deadline)
    }

    /// Why it is looked for no longer, if that is so at `now`.
    #[must_use]
    pub fn given_up(&self, now: Duration) -> Option<GaveUp> {
        if now < self.deadline {
            return None;
        }
        Some(match &self.peer_start {
            Some(_) => GaveUp::Broken(self.reconnect_for),
            None => GaveUp::Unwelcomed,
        })
    }

    /// A stream is welcomed by the process with this start id.
    ///
    /// # Errors
    /// [`GaveUp::NewProcess`].
    pub fn welcomed(&mut self, start_id: &str) -> Result<(), GaveUp> {
        let known = self.peer_start.get_or_insert_with(|| start_id.to_owned());
        if known == start_id {
            Ok(())
        } else {
            Err(GaveUp::NewProcess)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{FIRST_WELCOME, GaveUp, Patience};

    const RECONNECT_FOR: Duration = Duration::from_secs(300);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn f10_before_the_first_welcome_only_the_search_counts() {
        let mut patience = Patience::new(at(10), RECONNECT_FOR);
        assert_eq!(patience.given_up(at(69)), None);
        assert_eq!(patience.given_up(at(70)), Some(GaveUp::Unwelcomed));
        assert_eq!(patience.welcome_by(), None, "it may wait");
        patience.waited(at(3600));
        // A stream that breaks before its welcome is no break: nothing was begun.
        patience.broke(at(3000));
        patience.set_reconnect_for(at(1));
        assert_eq!(patience.deadline(), at(3610) + FIRST_WELCOME);
    }

    #[test]
    fn f10_after_a_welcome_a_break_is_as_long_as_it_may_be() {
        let mut patience = Patience::new(at(0), RECONNECT_FOR);
        patience.welcomed("a").unwrap();
        patience.broke(at(100));
        assert_eq!(patience.welcome_by(), Some(at(400)));
        patience.waited(at(50));
        assert_eq!(patience.given_up(at(399)), None);
        assert_eq!(patience.given_up(at(400)), Some(GaveUp::Broken(RECONNECT_FOR)));
        patience.welcomed("a").unwrap();
        // What is changed counts for the break of now.
        patience.set_reconnect_for(at(10));
        assert_eq!(patience.given_up(at(110)), Some(GaveUp::Broken(at(10))));
        patience.set_reconnect_for(at(600));
        assert_eq!(patience.given_up(at(699)), None);
        assert_eq!(patience.welcomed("b"), Err(GaveUp::NewProcess));
        assert_eq!(patience.peer_start(), "a");
    }
}
