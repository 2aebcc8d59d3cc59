//! Pure. What the clock of an agent is off by, as far as its session shows. Times are only ever shown: nothing is decided by them.

use outlast_proto::words::Timestamp;

use crate::{EventKind, JournalEvent};

/// Clocks run apart by less than one part in so many.
const DRIFT: i64 = 1_000;

/// The clock of one session's agent.
#[derive(Default)]
pub struct AgentClock {
    /// What it was off by, and when by our clock that was seen.
    seen: Option<(i64, Timestamp)>,
}

impl AgentClock {
    /// It showed `sent_at` when the agent sent what arrives at `now`: what it is off by. A message that waited on its way (its leader did
    /// not run) looks as if sent by a clock that is behind, so what was seen earlier in the session counts if it is less.
    pub fn off(&mut self, sent_at: Timestamp, now: Timestamp) -> i64 {
        let off = now.0.saturating_sub(sent_at.0);
        let off = self.seen.map_or(off, |(before, at)| {
            let drift = now.0.saturating_sub(at.0).max(0) / DRIFT;
            off.min(before.saturating_add(drift))
        });
        self.seen = Some((off, now));
        off
    }

    /// By how much the clock is ahead, as far as what arrives now shows; negative: behind. A message that waited tells too little of how
    /// far it is ahead, and nothing of whether it is behind.
    pub fn ahead(&mut self, sent_at: Timestamp, now: Timestamp) -> i64 {
        let behind = self.off(sent_at, now).max(0);
        match sent_at.0.saturating_sub(now.0) {
            ahead @ 1.. => ahead,
            _ => -behind,
        }
    }

    /// Moves the times of events that were sent at `sent_at`.
    pub fn set_right(&mut self, events: &mut [JournalEvent], sent_at: Timestamp, now: Timestamp) {
        let off = self.off(sent_at, now);
        for event in events {
            event.at = Timestamp(event.at.0.saturating_add(off));
            // One that was found may be another agent's.
            if let EventKind::ItemEnded {
                snapshot: Some((_, made)),
                adopted: false,
                ..
            } = &mut event.what
            {
                *made = Timestamp(made.0.saturating_add(off));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use outlast_proto::words::{Attempt, Counters, ItemNumber, ItemOutcome, JobId, SnapshotId, Timestamp};

    use super::AgentClock;
    use crate::{EventKind, JournalEvent};

    fn event(at: i64) -> JournalEvent {
        JournalEvent {
            sequence: 1,
            at: Timestamp(at),
            job: JobId(1),
            attempt: Attempt(1),
            what: EventKind::MarkLost {
                from: String::new(),
                to: String::new(),
            },
            nonce: outlast_proto::words::JobNonce(5),
            writer: 0,
        }
    }

    #[test]
    fn t90_b09_a_wrong_clock_is_told_from_a_message_that_waited() {
        // What is sent at and arrives at, one after the other, and by how much the clock is ahead then.
        type Row<'a> = (&'a str, &'a [(i64, i64, i64)]);
        let rows: [Row<'_>; 4] = [
            (
                "waited",
                &[(1_000, 1_000, 0), (1_001, 9_000, -8), (9_000, 9_001, -1)],
            ),
            (
                "behind",
                &[(1_000, 5_000, -4_000), (1_010, 5_020, -4_000), (5_030, 5_030, 0)],
            ),
            (
                "ahead",
                &[(5_000, 1_000, 4_000), (5_010, 1_020, 3_990), (1_030, 1_030, 0)],
            ),
            ("far", &[(i64::MIN, 0, -i64::MAX), (i64::MAX, 0, i64::MAX)]),
        ];
        for (case, messages) in rows {
            let mut clock = AgentClock::default();
            for (sent_at, now, expected) in messages {
                let ahead = clock.ahead(Timestamp(*sent_at), Timestamp(*now));
                assert_eq!(ahead, *expected, "{case}: sent at {sent_at}");
            }
        }
    }

    #[test]
    fn t90_b09_the_time_of_a_snapshot_is_set_right_unless_it_was_found() {
        for (adopted, right) in [(false, 400), (true, 4_400)] {
            let mut event = event(4_400);
            event.what = EventKind::ItemEnded {
                item: ItemNumber(0),
                outcome: ItemOutcome::Done,
                counters: Counters::default(),
                snapshot: Some((SnapshotId([1; 32]), Timestamp(4_400))),
                error: None,
                adopted,
                tree: None,
            };
            let mut events = [event];
            AgentClock::default().set_right(&mut events, Timestamp(5_000), Timestamp(1_000));
            let EventKind::ItemEnded { snapshot, .. } = &events[0].what else {
                panic!("it is what it was")
            };
            assert_eq!(snapshot.unwrap().1, Timestamp(right), "{adopted}");
        }
    }

    #[test]
    fn t90_r05_a_clock_that_is_off_is_set_right() {
        // The agent's clock when it sent; when the event happened by it; and by the leader's, at which it is 1,000 now.
        for (sent_at, at, right) in [
            (1_000, 400, 400),
            (5_000, 4_400, 400),
            (-10, -110, 900),
            (i64::MIN, 0, i64::MAX),
        ] {
            let mut events = [event(at)];
            AgentClock::default().set_right(&mut events, Timestamp(sent_at), Timestamp(1_000));
            assert_eq!(events[0].at, Timestamp(right), "sent at {sent_at}");
        }
    }

    #[test]
    fn t90_r05_what_waited_for_the_leader_happened_when_it_did() {
        // Sent and arrived, each by the clock of its side, one after the other in a session; what the agent's is off by.
        type Row = (&'static str, &'static [(i64, i64, i64)]);
        let rows: [Row; 5] = [
            ("both right", &[(1_000, 1_000, 0), (2_000, 2_000, 0)]),
            (
                "the leader was stopped",
                &[(1_000, 1_000, 0), (2_000, 902_000, 901), (903_000, 903_000, 0)],
            ),
            (
                "and the clock is ahead",
                &[(6_000, 1_000, -5_000), (7_000, 102_000, -4_899)],
            ),
            (
                "the hello was slow",
                &[(1_000, 1_300, 300), (2_000, 2_000, 0), (3_000, 3_200, 1)],
            ),
            (
                "the clock was put forward",
                &[(1_000, 1_000, 0), (9_000, 2_000, -7_000)],
            ),
        ];
        for (case, messages) in rows {
            let mut clock = AgentClock::default();
            for (sent_at, now, expected) in messages {
                let off = clock.off(Timestamp(*sent_at), Timestamp(*now));
                assert_eq!(off, *expected, "{case}: sent at {sent_at}");
            }
        }
    }
}
