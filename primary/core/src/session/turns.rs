//! Whether two processes take turns under one certificate (C-09): one that was restarted never comes back as the one before.
//!
//! Pure. Kept by the registry.

use std::collections::{BTreeMap, VecDeque};

use outlast_proto::words::{AgentName, Seconds, StartId, Timestamp};

/// Processes of one agent that are remembered.
const REMEMBERED: usize = 8;
/// So long after the last turn it is still told.
const TOLD_FOR: Seconds = Seconds(600);

/// The processes that came for each agent.
#[derive(Debug, Default)]
pub struct Turns(BTreeMap<AgentName, Came>);

#[derive(Debug, Default)]
struct Came {
    /// The newest last.
    starts: VecDeque<StartId>,
    taken_turns: Option<Timestamp>,
}

impl Turns {
    /// A session of this process was opened; whether it has come back after another.
    pub fn came(&mut self, agent: &AgentName, start: &StartId, now: Timestamp) -> bool {
        let came = self.0.entry(agent.clone()).or_default();
        if came.starts.back() == Some(start) {
            return false;
        }
        let place = came.starts.iter().position(|known| known == start);
        if let Some(place) = place {
            came.starts.remove(place);
            came.taken_turns = Some(now);
        } else if came.starts.len() == REMEMBERED {
            came.starts.pop_front();
        }
        came.starts.push_back(start.clone());
        place.is_some()
    }

    /// When processes of this agent took turns last, if that was lately.
    pub fn taken(&self, agent: &AgentName, now: Timestamp) -> Option<Timestamp> {
        let at = self.0.get(agent)?.taken_turns?;
        (now <= at.plus(TOLD_FOR)).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use outlast_proto::words::{AgentName, StartId, Timestamp};

    use super::{REMEMBERED, TOLD_FOR, Turns};

    #[test]
    fn c09_only_a_process_that_comes_back_after_another_takes_turns() {
        let agent: AgentName = "media-1".parse().expect("a name");
        let other: AgentName = "media-2".parse().expect("a name");
        for (came, expected) in [
            ("a", 0),
            ("aaaa", 0),
            ("abcd", 0),
            ("aba", 1),
            ("abab", 2),
            ("abcb", 1),
            ("aabbaabb", 2),
        ] {
            let mut turns = Turns::default();
            let found = came
                .chars()
                .filter(|start| turns.came(&agent, &StartId(start.to_string()), Timestamp(5)))
                .count();
            assert_eq!(found, expected, "{came}");
            let at = Timestamp(5);
            assert_eq!(turns.taken(&agent, at).is_some(), expected > 0, "{came}");
            assert_eq!(
                turns.taken(&agent, at.plus(TOLD_FOR).plus(TOLD_FOR)),
                None,
                "{came}"
            );
            assert_eq!(turns.taken(&other, at), None, "{came}");
        }
        let mut turns = Turns::default();
        for number in 0..3 * REMEMBERED {
            assert!(!turns.came(&agent, &StartId(number.to_string()), Timestamp(5)));
        }
        assert_eq!(turns.0[&agent].starts.len(), REMEMBERED);
    }
}
