//! What is made of a running attempt whose media agent the leader does not hear: its client is the second witness (C-08).
//!
//! Pure, and without state of its own. Called by [`super::Silence`].

use super::Ticks;

/// A media agent says something on an open stream at least every 10 s; in this time it would have been heard on a slow line, too.
const SIGN_OF_LIFE: Ticks = 15;

/// A client says what it sees every 2 s: what it said longer ago is no witness of now.
const SAID_LATELY: Ticks = 10;

/// What a client last said of one of its attempts. All times are ages when it said so, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Its stream is open.
    Open {
        /// The last message of the media agent.
        heard: Ticks,
    },
    /// Its stream is broken, or was never welcomed by this media agent.
    Broken {
        /// Since when; whoever vanishes without a word is noticed late.
        since: Ticks,
        /// The last message of the media agent.
        heard: Ticks,
    },
    /// The attempt is over there.
    Ended {
        /// What its media agent said last; none: it said nothing.
        code: Option<u32>,
    },
}

/// What is known of an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// How long its media agent is silent.
    pub(super) agent: Ticks,
    /// How long its client is silent.
    pub(super) client: Ticks,
    /// The client's last word.
    pub(super) word: Option<Word>,
    /// How long the client has been heard without a word of the attempt.
    pub(super) unsaid: Ticks,
    /// C-04.
    pub(super) failover_after: Ticks,
    /// What it leaves can be looked for by the next one (F-14); not so what a restore has done.
    pub(super) can_be_surveyed: bool,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What the client says, for a person.
    pub(super) client_says: String,
    /// When it is superseded, if nothing is heard meanwhile: now, later, or not at all by this rule.
    pub(super) superseded: Superseded,
}

/// When an attempt is superseded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Superseded {
    Now,
    In(Ticks),
    /// Its client hears the media agent: only the leader does not.
    NotWhileHeard,
    /// It has ended well, as its client says, and only its media agent can tell the rest (S-12).
    NotAfterSuccess,
    /// Nobody knows.
    NotWhileBlind,
}

impl Facts {
    pub(super) fn judge(self) -> Verdict {
        let Facts {
            agent,
            client,
            word,
            unsaid,
            failover_after,
            can_be_surveyed,
        } = self;
        if client >= failover_after.min(SAID_LATELY) {
            return Verdict {
                client_says: format!("the client is silent, too, for {client} s"),
                superseded: Superseded::NotWhileBlind,
            };
        }
        let (client_says, left) = match word {
            Some(Word::Open { heard }) => {
                let heard = heard + client;
                let says =
                    format!("the client's stream is open, and the media agent was heard on it {heard} s ago");
                let patience = failover_after.max(SIGN_OF_LIFE);
                if heard < failover_after.min(SIGN_OF_LIFE) {
                    return Verdict {
                        client_says: says,
                        superseded: Superseded::NotWhileHeard,
                    };
                }
                (says, patience.saturating_sub(heard))
            }
            Some(Word::Broken { since, heard }) => {
                let (since, heard) = (since + client, heard + client);
                let says = format!(
                    "the client's stream to the media agent is broken for {since} s, and it heard it last {heard} s ago"
                );
                let silent = failover_after.max(SIGN_OF_LIFE).saturating_sub(heard);
                (says, failover_after.saturating_sub(since).min(silent))
            }
            Some(Word::Ended {
                code: Some(code @ 0..=1),
            }) if !can_be_surveyed => {
                return Verdict {
                    client_says: format!("the client says that it has ended with code {code}"),
                    superseded: Superseded::NotAfterSuccess,
                };
            }
            Some(Word::Ended { code: Some(code) }) => {
                (format!("the client says that it has ended with code {code}"), 0)
            }
            Some(Word::Ended { code: None }) => ("the client says that it runs no more there".to_owned(), 0),
            None => {
                let says = format!("the client says nothing of the attempt for {unsaid} s");
                (says, failover_after.saturating_sub(unsaid))
            }
        };
        let left = left.max(failover_after.saturating_sub(agent));
        Verdict {
            client_says,
            superseded: match left {
                0 => Superseded::Now,
                left => Superseded::In(left),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Facts, Superseded, Word};

    #[test]
    fn c08_an_attempt_is_superseded_when_both_witnesses_say_so_and_not_before() {
        use Superseded::{In, NotWhileBlind, NotWhileHeard, Now};
        let open = |heard| Some(Word::Open { heard });
        let broken = |since| Some(Word::Broken { since, heard: since });
        let ended = |code| Some(Word::Ended { code });
        // Silence of the agent and of the client, the client's word, for how long there was none; with a failover after 30 s.
        for (agent, client, word, unsaid, expected) in [
            // Both say so.
            (30, 0, broken(30), 0, Now),
            (30, 2, broken(28), 0, Now),
            (99, 0, broken(12), 0, In(18)),
            (12, 0, broken(30), 0, In(18)),
            (12, 0, broken(3), 0, In(27)),
            // Cut off from the primary only.
            (99, 0, open(0), 0, NotWhileHeard),
            (9_999, 2, open(10), 0, NotWhileHeard),
            // Open, but nothing comes: as good as broken.
            (99, 0, open(20), 0, In(10)),
            (99, 0, open(30), 0, Now),
            (99, 3, open(27), 0, Now),
            // It vanished without a word, and the client noticed late.
            (99, 0, Some(Word::Broken { since: 1, heard: 29 }), 0, In(1)),
            (99, 1, Some(Word::Broken { since: 1, heard: 29 }), 0, Now),
            // Over at the client: what it left is to be looked for.
            (30, 0, ended(Some(0)), 0, Now),
            (30, 0, ended(Some(84)), 0, Now),
            (29, 0, ended(None), 0, In(1)),
            // It says nothing of it.
            (99, 0, None, 0, In(30)),
            (99, 0, None, 29, In(1)),
            (99, 0, None, 30, Now),
            // Silent, too.
            (99, 9, broken(99), 0, Now),
            (99, 10, broken(99), 0, NotWhileBlind),
            (99, 99, ended(Some(0)), 99, NotWhileBlind),
            (99, 30, None, 99, NotWhileBlind),
        ] {
            let facts = Facts {
                agent,
                client,
                word,
                unsaid,
                failover_after: 30,
                can_be_surveyed: true,
            };
            let found = facts.judge().superseded;
            assert_eq!(found, expected, "{facts:?}");
        }
    }

    /// S-12: nothing of a restore can be looked for; that its media agent is cut off does not make it run again.
    #[test]
    fn t90_s12_a_restore_that_ended_well_at_its_client_is_not_run_again() {
        use Superseded::{NotAfterSuccess, NotWhileBlind, Now};
        for (client, code, expected) in [
            (0, Some(0), NotAfterSuccess),
            (9, Some(1), NotAfterSuccess),
            (0, Some(84), Now),
            (0, None, Now),
            (10, Some(0), NotWhileBlind),
        ] {
            let facts = Facts {
                agent: 99,
                client,
                word: Some(Word::Ended { code }),
                unsaid: 0,
                failover_after: 30,
                can_be_surveyed: false,
            };
            assert_eq!(facts.judge().superseded, expected, "{facts:?}");
        }
    }

    #[test]
    fn c08_a_short_patience_does_not_take_a_quiet_stream_for_a_dead_one() {
        for (heard, expected) in [
            (5, Superseded::NotWhileHeard),
            (10, Superseded::In(5)),
            (14, Superseded::In(1)),
            (15, Superseded::Now),
        ] {
            let facts = Facts {
                agent: 99,
                client: 0,
                word: Some(Word::Open { heard }),
                unsaid: 0,
                failover_after: 6,
                can_be_surveyed: true,
            };
            assert_eq!(facts.judge().superseded, expected, "heard {heard} s ago");
        }
    }
}
