//! What is told of reconcilers in `cluster status`. In memory only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use outlast_proto::v1;
use outlast_proto::words::Timestamp;

use super::{Of, Trouble};

/// Trouble that goes on for so long is no passing one.
const PASSING: Duration = Duration::from_secs(10);

/// Of all reconcilers of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts(Arc<Mutex<BTreeMap<&'static str, Row>>>);

/// Of one.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    all: Accounts,
    name: &'static str,
}

#[derive(Debug)]
struct Row {
    of: Of,
    last_run: Option<Timestamp>,
    duration: Duration,
    runs: u64,
    restarts: u32,
    trouble: Option<Lasting>,
}

#[derive(Debug)]
struct Lasting {
    text: String,
    since: Instant,
    was_warned_of: bool,
}

impl Accounts {
    /// That of a reconciler that starts; what was told of it in earlier terms of this node goes on.
    pub(super) fn open(&self, name: &'static str, of: Of) -> Account {
        self.lock().entry(name).or_insert(Row {
            of,
            last_run: None,
            duration: Duration::ZERO,
            runs: 0,
            restarts: 0,
            trouble: None,
        });
        Account {
            all: self.clone(),
            name,
        }
    }

    /// What is told of those that run, by name.
    pub(crate) fn told(&self, leads: bool) -> Vec<v1::Reconciler> {
        let rows = self.lock();
        let running = rows.iter().filter(|(_, row)| leads || row.of == Of::Node);
        let told = running.map(|(name, row)| v1::Reconciler {
            name: (*name).to_owned(),
            last_run: row.last_run.map(Into::into),
            duration_ms: u64::try_from(row.duration.as_millis()).unwrap_or(u64::MAX),
            error: row
                .trouble
                .as_ref()
                .map(|trouble| trouble.text.clone())
                .unwrap_or_default(),
            runs: row.runs,
            restarts: row.restarts,
        });
        told.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Row>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Account {
    /// It has looked. Trouble is logged once, and once more when it lasts and when it is over.
    pub(super) fn ran(&self, at: Timestamp, duration: Duration, trouble: Option<Trouble>) {
        self.with(|row| {
            (row.last_run, row.duration, row.runs) = (Some(at), duration, row.runs + 1);
            let before = row.trouble.take();
            let Some(Trouble(text)) = trouble else {
                if before.is_some_and(|before| before.was_warned_of) {
                    tracing::info!(reconciler = self.name, "it gets on again");
                }
                return;
            };
            let mut now = match before {
                Some(before) => Lasting { text, ..before },
                None => {
                    tracing::info!(
                        reconciler = self.name,
                        trouble = text,
                        "it does not get on; trying again"
                    );
                    Lasting {
                        text,
                        since: Instant::now(),
                        was_warned_of: false,
                    }
                }
            };
            if !now.was_warned_of && now.since.elapsed() > PASSING {
                let (since, text) = (now.since.elapsed().as_secs(), &now.text);
                tracing::warn!(
                    reconciler = self.name,
                    for_seconds = since,
                    trouble = text,
                    "it still does not get on; trying on"
                );
                now.was_warned_of = true;
            }
            row.trouble = Some(now);
        });
    }

    /// It has panicked, and begins again.
    pub(super) fn restarted(&self, panic: &str) {
        self.with(|row| {
            row.restarts = row.restarts.saturating_add(1);
            row.trouble = Some(Lasting {
                text: format!("it panicked and begins again: {panic}; the log of this node says more"),
                since: Instant::now(),
                was_warned_of: true,
            });
        });
    }

    fn with(&self, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.all.lock().get_mut(self.name) {
            change(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outlast_proto::words::Timestamp;

    use super::{Accounts, Of, Trouble};

    #[test]
    fn what_is_told_of_a_reconciler_is_its_last_look_and_how_often_it_began_again() {
        let accounts = Accounts::default();
        let account = accounts.open("dispatcher", Of::Leader);
        accounts.open("timing", Of::Node);
        let told = || {
            let all = accounts.told(true).into_iter();
            let mut told = all.filter(|told| told.name == "dispatcher");
            told.next().map(|told| (told.runs, told.error, told.restarts))
        };
        assert_eq!(told(), Some((0, String::new(), 0)));
        let took = Duration::from_millis(7);
        account.ran(Timestamp(5), took, Some(Trouble("no majority".into())));
        assert_eq!(told(), Some((1, "no majority".into(), 0)));
        account.restarted("on purpose");
        let (runs, error, restarts) = told().unwrap();
        assert!(error.contains("on purpose"), "{error}");
        assert_eq!((runs, restarts), (1, 1));
        account.ran(Timestamp(6), took, None);
        // Leadership was lost and won again.
        accounts.open("dispatcher", Of::Leader);
        assert_eq!(told(), Some((2, String::new(), 1)));
        assert_eq!(accounts.told(true)[0].duration_ms, 7);
        assert_eq!(accounts.told(true)[0].last_run, Some(Timestamp(6).into()));
        let others: Vec<_> = accounts.told(false).into_iter().map(|told| told.name).collect();
        assert_eq!(others, ["timing"]);
    }
}
