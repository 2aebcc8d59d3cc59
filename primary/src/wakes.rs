//! Who is woken when an entry was applied, or somebody has come or gone: those it concerns (B-10). A wake-up says "look", never "what";
//! several in a row are one.
//!
//! Called by `machine` and `sessions`, which wake, and by the reconcilers and sessions, which wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use outlast_core::touched::{Rows, Touched};
use outlast_proto::words::AgentName;
use tokio::sync::Notify;

/// What somebody is woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// An entry has touched rows of this kind.
    Rows(Rows),
    /// An agent has come or gone.
    Presence,
}

/// Whom somebody is woken for.
#[derive(Debug)]
enum Concern {
    Agent(AgentName),
    Causes,
}

/// Those who wait, of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wakes(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    agents: BTreeMap<AgentName, Vec<Arc<Notify>>>,
    causes: Vec<(&'static [Cause], Arc<Notify>)>,
}

/// A place among those who wait; given up when dropped.
#[derive(Debug)]
pub(crate) struct Wake {
    wakes: Wakes,
    concern: Concern,
    notify: Arc<Notify>,
}

impl Wakes {
    /// Is woken for any of these.
    pub(crate) fn for_causes(&self, causes: &'static [Cause]) -> Wake {
        let notify = Arc::new(Notify::new());
        self.lock().causes.push((causes, Arc::clone(&notify)));
        self.wake(Concern::Causes, notify)
    }

    /// Is woken when this agent may be owed something else than before.
    pub(crate) fn for_agent(&self, agent: &AgentName) -> Wake {
        let notify = Arc::new(Notify::new());
        let mut waiting = self.lock();
        waiting
            .agents
            .entry(agent.clone())
            .or_default()
            .push(Arc::clone(&notify));
        drop(waiting);
        self.wake(Concern::Agent(agent.clone()), notify)
    }

    fn wake(&self, concern: Concern, notify: Arc<Notify>) -> Wake {
        Wake {
            wakes: self.clone(),
            concern,
            notify,
        }
    }

    /// Entries were applied.
    pub(crate) fn touched(&self, touched: &Touched) {
        if touched.rows.is_empty() {
            return;
        }
        let waiting = self.lock();
        let agents = touched.agents.iter().filter_map(|name| waiting.agents.get(name));
        agents.flatten().for_each(|notify| notify.notify_one());
        waiting.notify(|cause| matches!(cause, Cause::Rows(rows) if touched.rows.contains(&rows)));
    }

    /// The state is another: everybody looks.
    pub(crate) fn everything(&self) {
        let waiting = self.lock();
        waiting
            .agents
            .values()
            .flatten()
            .for_each(|notify| notify.notify_one());
        waiting.notify(|_| true);
    }

    /// Somebody has come or gone.
    pub(crate) fn presence(&self) {
        self.lock().notify(|cause| cause == Cause::Presence);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Waiting {
    fn notify(&self, is_meant: impl Fn(Cause) -> bool) {
        let meant = self
            .causes
            .iter()
            .filter(|(causes, _)| causes.iter().any(|cause| is_meant(*cause)));
        meant.for_each(|(_, notify)| notify.notify_one());
    }
}

impl Wake {
    /// Returns when there is something to look at that was not there before the last return.
    pub(crate) async fn woken(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        let is_other = |notify: &Arc<Notify>| !Arc::ptr_eq(notify, &self.notify);
        let mut waiting = self.wakes.lock();
        match &self.concern {
            Concern::Causes => waiting.causes.retain(|(_, notify)| is_other(notify)),
            Concern::Agent(agent) => {
                if let Some(all) = waiting.agents.get_mut(agent) {
                    all.retain(is_other);
                    if all.is_empty() {
                        waiting.agents.remove(agent);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use outlast_core::touched::{Rows, Touched};

    use super::{Cause, Wake, Wakes};

    fn is_woken(wake: &Wake) -> bool {
        let woken = pin!(wake.woken());
        woken.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn b10_only_those_are_woken_whom_it_concerns() {
        let wakes = Wakes::default();
        let agents = ["media-1", "client-1", "client-2"].map(|name| name.parse().unwrap());
        let sessions = agents.each_ref().map(|name| wakes.for_agent(name));
        let dispatcher = wakes.for_causes(&[Cause::Rows(Rows::Queue), Cause::Presence]);
        let version = wakes.for_causes(&[Cause::Rows(Rows::Members)]);
        let check = |what: &str, expected: [bool; 5]| {
            let waiting = [&sessions[0], &sessions[1], &sessions[2], &dispatcher, &version];
            assert_eq!(waiting.map(is_woken), expected, "{what}");
            assert_eq!(waiting.map(is_woken), [false; 5], "{what}, once more");
        };
        check("nothing", [false; 5]);
        let dispatched = Touched {
            rows: [Rows::Queue, Rows::Jobs].into(),
            agents: agents[..2].iter().cloned().collect(),
        };
        wakes.touched(&dispatched);
        wakes.touched(&dispatched);
        check("a job was dispatched", [true, true, false, true, false]);
        wakes.touched(&Touched {
            rows: [Rows::Members].into(),
            ..Touched::default()
        });
        check("a member was described", [false, false, false, false, true]);
        wakes.presence();
        check("somebody came", [false, false, false, true, false]);
        wakes.everything();
        check("another state", [true; 5]);
    }

    #[test]
    fn who_has_gone_waits_no_more() {
        let wakes = Wakes::default();
        let name = "client-1".parse().unwrap();
        let (first, second) = (wakes.for_agent(&name), wakes.for_agent(&name));
        drop(first);
        wakes.everything();
        assert!(is_woken(&second));
        drop((second, wakes.for_causes(&[Cause::Presence])));
        let waiting = wakes.lock();
        assert!(waiting.agents.is_empty() && waiting.causes.is_empty());
    }
}
