//! The attempts one process has run or is running, one for each job: which begins, which gives way. Another nonce is another job (S-12b).

use std::collections::BTreeMap;

use outlast_proto::words::{Attempt, AttemptId, JobKey};

/// How an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// The media agent has spoken the last word, or we were told to stop.
    Ended,
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

/// The highest attempt of each job that this process has run.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    known: BTreeMap<JobKey, (Attempt, State)>,
}

impl Attempts {
    /// An attempt was admitted.
    pub fn start(&mut self, id: AttemptId) -> Start {
        let (job, attempt) = (id.key(), id.attempt);
        let before = self.known.get(&job).copied();
        match before {
            Some((before, _)) if before > attempt => return Start::Outdated,
            Some((before, state)) if before == attempt && state != State::Unwelcomed => return Start::Known,
            _ => {}
        }
        self.known.insert(job, (attempt, State::Running));
        Start::Begin {
            after: before.map(|(before, _)| before),
        }
    }

    /// An attempt runs no more.
    pub fn over(&mut self, id: AttemptId, state: State) {
        if let Some(known) = self
            .known
            .get_mut(&id.key())
            .filter(|known| known.0 == id.attempt)
        {
            known.1 = state;
        }
    }

    /// Whether this attempt and lower ones, which have no right any more, include the one known: it ends at once.
    pub fn fence(&mut self, id: AttemptId) -> bool {
        let Some(known) = self
            .known
            .get_mut(&id.key())
            .filter(|known| known.0 <= id.attempt)
        else {
            return false;
        };
        if known.1 != State::Running {
            known.1 = State::Ended;
        }
        true
    }

    /// Forgets ended attempts of jobs that are not in `open`.
    pub fn retain(&mut self, open: &BTreeMap<JobKey, Attempt>) {
        self.known
            .retain(|job, (_, state)| *state == State::Running || open.contains_key(job));
    }

    /// The highest attempt of a job, and how it stands.
    #[must_use]
    pub fn get(&self, job: JobKey) -> Option<(Attempt, State)> {
        self.known.get(&job).copied()
    }

    /// Those that run.
    pub fn running(&self) -> impl Iterator<Item = AttemptId> {
        let running = self.known.iter().filter(|(_, known)| known.1 == State::Running);
        running.map(|(job, known)| job.attempt(known.0))
    }
}
