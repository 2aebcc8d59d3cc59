//! The attempts one process has run or is running, one for each job: which begins, which gives way. Another nonce is another job (S-12b).

use std::collections::{BTreeMap, BTreeSet};

use outlast_proto::words::{Attempt, AttemptId, JobKey};

/// How an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It is over, with the code of the media agent's last word; none: we were told to end it.
    Ended(Option<u32>),
    /// Nobody told us how it ended: the leader wants to know (C-08).
    Broken,
    /// The media agent never took it up. When it is back the leader asks again.
    Unwelcomed,
}

/// What an admitted attempt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It begins; that of the same job before it, if there is one, has to end first.
    Begin {
        /// That one.
        after: Option<Attempt>,
    },
    /// It was begun before.
    Known,
    /// A later one was begun before.
    Outdated,
}

/// Ended attempts that the leader is told of (C-08): more are not open at a time on one host.
const TOLD: usize = 64;

/// The highest attempt of each job that this process has run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts {
    known: BTreeMap<JobKey, (Attempt, State)>,
    /// Those that ended and that the leader may hold for open, the newest last.
    ended: Vec<(AttemptId, Option<u32>)>,
}

impl Attempts {
    /// An attempt was admitted.
    pub(crate) fn start(&mut self, id: AttemptId) -> Start {
        let (job, attempt) = (id.key(), id.attempt);
        let before = self.known.get(&job).copied();
        match before {
            Some((before, _)) if before > attempt => return Start::Outdated,
            Some((before, state)) if before == attempt && state != State::Unwelcomed => return Start::Known,
            _ => {}
        }
        self.known.insert(job, (attempt, State::Running));
        self.ended.retain(|(id, _)| id.key() != job);
        Start::Begin {
            after: before.map(|(before, _)| before),
        }
    }

    /// An attempt runs no more.
    pub(crate) fn over(&mut self, id: AttemptId, state: State) {
        let known = self.known.get_mut(&id.key());
        let Some(known) = known.filter(|known| known.0 == id.attempt) else {
            return;
        };
        known.1 = state;
        if let State::Ended(code) = state {
            self.tell_of(id, code);
        }
    }

    /// An earlier process heard the last word of this attempt: it never begins again.
    pub(crate) fn ended_before(&mut self, id: AttemptId, code: u32) {
        self.known
            .insert(id.key(), (id.attempt, State::Ended(Some(code))));
        self.tell_of(id, Some(code));
    }

    /// Those that have ended, with the code of the last word, as far as the leader may not know it (C-08).
    pub(crate) fn ended(&self) -> impl Iterator<Item = (AttemptId, Option<u32>)> {
        self.ended.iter().copied()
    }

    /// The leader knows that these are over.
    pub(crate) fn closed(&mut self, ids: &BTreeSet<AttemptId>) {
        self.ended.retain(|(id, _)| !ids.contains(id));
    }

    fn tell_of(&mut self, id: AttemptId, code: Option<u32>) {
        if self.ended.len() >= TOLD {
            self.ended.remove(0);
        }
        self.ended.push((id, code));
    }

    /// Whether this attempt and lower ones, which have no right any more, include the one known: it ends at once.
    pub(crate) fn fence(&mut self, id: AttemptId) -> bool {
        let Some(known) = self
            .known
            .get_mut(&id.key())
            .filter(|known| known.0 <= id.attempt)
        else {
            return false;
        };
        if known.1 != State::Running {
            known.1 = State::Ended(None);
        }
        true
    }

    /// Forgets ended attempts of jobs that are not in `open`.
    pub(crate) fn retain(&mut self, open: &BTreeMap<JobKey, Attempt>) {
        self.known
            .retain(|job, (_, state)| *state == State::Running || open.contains_key(job));
        self.ended
            .retain(|(id, _)| open.get(&id.key()) == Some(&id.attempt));
    }

    /// The highest attempt of a job, and how it stands.
    #[must_use]
    pub(crate) fn get(&self, job: JobKey) -> Option<(Attempt, State)> {
        self.known.get(&job).copied()
    }

    /// Those that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = AttemptId> {
        let running = self.known.iter().filter(|(_, known)| known.1 == State::Running);
        running.map(|(job, known)| job.attempt(known.0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use outlast_proto::words::{Attempt, AttemptId, JobId, JobNonce};

    use super::{Attempts, Start, State, TOLD};

    fn id(job: u64, attempt: u32) -> AttemptId {
        AttemptId {
            job: JobId(job),
            nonce: JobNonce(1),
            attempt: Attempt(attempt),
        }
    }

    #[test]
    fn c08_what_has_ended_is_told_until_the_leader_knows() {
        let mut attempts = Attempts::default();
        attempts.ended_before(id(1, 2), 1);
        assert_eq!(attempts.start(id(1, 2)), Start::Known, "its last word was heard");
        for (job, state) in [
            (2, State::Ended(Some(0))),
            (3, State::Ended(None)),
            (4, State::Broken),
            (5, State::Unwelcomed),
            (6, State::Ended(Some(40))),
        ] {
            attempts.start(id(job, 1));
            attempts.over(id(job, 1), state);
        }
        let told = |attempts: &Attempts| {
            attempts
                .ended()
                .map(|(id, code)| (id.job.0, code))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            told(&attempts),
            [(1, Some(1)), (2, Some(0)), (3, None), (6, Some(40))]
        );
        attempts.closed(&BTreeSet::from([id(2, 1), id(6, 2)]));
        assert_eq!(told(&attempts), [(1, Some(1)), (3, None), (6, Some(40))]);
        // Another attempt of job 1 is open by now; job 6 goes on here.
        let open = [id(1, 3), id(3, 1), id(6, 1)].map(|id| (id.key(), id.attempt));
        attempts.retain(&BTreeMap::from(open));
        assert_eq!(told(&attempts), [(3, None), (6, Some(40))]);
        attempts.start(id(6, 2));
        assert_eq!(told(&attempts), [(3, None)]);
    }

    /// A leader that never says what it knows makes no report grow without end.
    #[test]
    fn b01_the_newest_of_what_has_ended_are_told() {
        let mut attempts = Attempts::default();
        for job in 1..=200 {
            attempts.start(id(job, 1));
            attempts.over(id(job, 1), State::Ended(Some(0)));
        }
        let told: Vec<_> = attempts.ended().map(|(id, _)| id.job.0).collect();
        assert_eq!(told.len(), TOLD);
        assert!(told.into_iter().eq(137..=200));
    }
}
