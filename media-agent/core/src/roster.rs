//! Who may run here: the attempts under way, and what orders and streams mean for them (F-04, F-10, S-12).
//!
//! Whether a ticket is genuine was checked before. Owned by the media agent's manager, which starts and halts the tasks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use outlast_proto::v1::AttemptOver;
use outlast_proto::words::{Interruption, StatusCode};

use crate::ending::Ending;
use crate::fault::Fault;
use crate::known::Standing;
use outlast_proto::words::AttemptId;

/// Endings kept for clients whose stream broke before they heard.
const ENDINGS: usize = 256;

/// What a client said of itself when it opened a stream.
#[derive(Clone, Debug, Default)]
pub struct Greeting {
    /// Of the client's process.
    pub client_start: String,
    /// The media agent's process that welcomed an earlier stream; empty if none did.
    pub peer_start: String,
    /// The last of our messages that it has processed.
    pub received: u64,
}

/// A ticket that is shown, in an order or by a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Showing {
    /// Of which attempt.
    pub id: AttemptId,
    /// The ticket has expired. Counts only when the attempt is met for the first time.
    pub expired: Option<Fault>,
    /// The ticket is for the journal before this one: the primary has ended its attempt, or will when it hears of this one.
    /// Counts only when the attempt is met for the first time.
    pub of_other_journal: bool,
}

/// What a client's stream means.
#[derive(Clone, Debug, PartialEq)]
pub enum Stream {
    /// It is let in to its attempt, which runs.
    Enter,
    /// It is told why not, and the attempt that runs ends for the same reason.
    Halt(Fault),
    /// The attempt has ended, like this.
    Over(AttemptOver),
    /// The journal has to be asked: [`Roster::judge_stream`].
    Judge,
}

/// What an attempt that does not run here may do.
#[derive(Clone, Debug, PartialEq)]
pub enum Judged {
    /// Begin. Those lower attempts of its job have lost their right by its existence; it begins when they have ended.
    Begin(Vec<AttemptId>),
    /// The order is a repetition or outdated. A stream is dropped without a word: what becomes of its attempt is not durable yet, and its
    /// client asks again.
    Ignore,
    /// The stream is refused.
    Refuse(Fault),
    /// It ends before it began, and that is journalled.
    End(Ending),
}

/// How an attempt ended, for the client process that had its stream.
#[derive(Clone, Debug)]
struct Remembered {
    id: AttemptId,
    client_start: String,
    over: AttemptOver,
}

/// The attempts of this process.
#[derive(Clone, Debug)]
pub struct Roster {
    start_id: String,
    /// Those that run, each with the client process whose stream it has.
    running: BTreeMap<AttemptId, Option<String>>,
    /// Those that have not begun and whose end is being journalled.
    unstarted: BTreeSet<AttemptId>,
    endings: VecDeque<Remembered>,
}

impl Roster {
    /// Of the process with this start id.
    #[must_use]
    pub fn new(start_id: &str) -> Self {
        Self {
            start_id: start_id.to_owned(),
            running: BTreeMap::new(),
            unstarted: BTreeSet::new(),
            endings: VecDeque::new(),
        }
    }

    /// Whether the attempt runs here.
    #[must_use]
    pub fn is_running(&self, id: AttemptId) -> bool {
        self.running.contains_key(&id)
    }

    /// Those that run.
    pub fn running(&self) -> impl Iterator<Item = AttemptId> {
        self.running.keys().copied()
    }

    /// The primary orders an attempt that does not run here.
    #[must_use]
    pub fn judge_order(&mut self, showing: Showing, standing: Result<Standing, Fault>) -> Judged {
        let id = showing.id;
        let standing = self.with_unstarted(id, standing);
        match admissible(showing, standing) {
            Ok(()) => Judged::Begin(self.begin(id, None)),
            Err(refusal) if refusal.is_harmless => Judged::Ignore,
            Err(refusal) => {
                self.unstarted.insert(id);
                Judged::End(Ending::fault(refusal.fault))
            }
        }
    }

    /// A client opens a stream.
    #[must_use]
    pub fn stream(&mut self, id: AttemptId, greeting: &Greeting) -> Stream {
        if self.is_foreign(greeting) {
            return Stream::Judge;
        }
        let start = &greeting.client_start;
        if let Some(client_start) = self.running.get_mut(&id) {
            if client_start.get_or_insert_with(|| start.clone()) == start {
                return Stream::Enter;
            }
            let text = "the client agent's process ended in mid-job and a new one has come";
            let (cause, code) = (
                Interruption::ClientCameBackNew,
                StatusCode::CLIENT_PROCESS_ABORTED,
            );
            return Stream::Halt(Fault::interrupting(cause, code, text));
        }
        // Only a stream that goes on from one that it had is told how the attempt ended.
        let is_it = |ending: &&Remembered| ending.id == id && ending.client_start == *start;
        let ending = self.endings.iter().find(is_it);
        match ending.filter(|_| !greeting.peer_start.is_empty()) {
            Some(ending) => Stream::Over(ending.over.clone()),
            None => Stream::Judge,
        }
    }

    /// A stream that [`Roster::stream`] could not judge.
    #[must_use]
    pub fn judge_stream(
        &mut self,
        showing: Showing,
        greeting: &Greeting,
        standing: Result<Standing, Fault>,
    ) -> Judged {
        let id = showing.id;
        if standing.is_err() || self.unstarted.contains(&id) {
            return Judged::Ignore;
        }
        match admissible(showing, standing) {
            // What that process welcomed is not here to go on with (F-10).
            Ok(()) if self.is_foreign(greeting) => Judged::Refuse(restarted()),
            Ok(()) => Judged::Begin(self.begin(id, Some(greeting.client_start.clone()))),
            Err(refusal) => Judged::Refuse(refusal.fault),
        }
    }

    /// An attempt that has not begun here is to end like this; none, if it has, or is over. What is returned is to be journalled,
    /// then [`Roster::over`] is to be called.
    #[must_use]
    pub fn end_unstarted(
        &mut self,
        id: AttemptId,
        standing: Option<Standing>,
        ending: Ending,
    ) -> Option<Ending> {
        let is_new = !self.is_running(id) && standing == Some(Standing::New) && self.unstarted.insert(id);
        is_new.then_some(ending)
    }

    /// The primary orders, or stops, an attempt that is over here. If it has acknowledged everything, it has lost the end: its group was set
    /// back. Then the attempt gets one again, so that the job is not active for ever (S-12b). Otherwise the end is on its way, and this
    /// order was said before it came. What is returned is to be journalled, then [`Roster::over`] is to be called.
    #[must_use]
    pub fn end_again(
        &mut self,
        id: AttemptId,
        standing: Option<Standing>,
        all_is_acknowledged: bool,
        ending: Ending,
    ) -> Option<Ending> {
        let is_lost = all_is_acknowledged && !self.is_running(id) && standing == Some(Standing::Closed);
        (is_lost && self.unstarted.insert(id)).then_some(ending)
    }

    /// Those that have no right any more when this attempt is fenced (F-04).
    #[must_use]
    pub fn fenced_by(&self, id: AttemptId) -> Vec<AttemptId> {
        self.of_job(id).filter(|other| other.is_through(id)).collect()
    }

    /// The attempt runs no more; `over`: what its client is told, if it came to that.
    pub fn over(&mut self, id: AttemptId, over: Option<AttemptOver>) {
        self.unstarted.remove(&id);
        let client_start = self.running.remove(&id).flatten();
        if let (Some(client_start), Some(over)) = (client_start, over) {
            self.endings.truncate(ENDINGS - 1);
            self.endings.push_front(Remembered {
                id,
                client_start,
                over,
            });
        }
    }

    /// What the journal is about to say counts already.
    fn with_unstarted(&self, id: AttemptId, standing: Result<Standing, Fault>) -> Result<Standing, Fault> {
        match standing {
            Ok(Standing::New) if self.unstarted.contains(&id) => Ok(Standing::Closed),
            standing => standing,
        }
    }

    fn begin(&mut self, id: AttemptId, client_start: Option<String>) -> Vec<AttemptId> {
        let lower = self
            .of_job(id)
            .filter(|other| other.attempt < id.attempt)
            .collect();
        self.running.insert(id, client_start);
        lower
    }

    fn of_job(&self, id: AttemptId) -> impl Iterator<Item = AttemptId> {
        self.running().filter(move |other| other.is_of_same_job(id))
    }

    /// The stream goes on from one that another process welcomed.
    fn is_foreign(&self, greeting: &Greeting) -> bool {
        !greeting.peer_start.is_empty() && greeting.peer_start != self.start_id
    }
}

/// Why an attempt may not start here.
struct Refusal {
    fault: Fault,
    /// The order is a repetition or outdated, and nothing is journalled for it.
    is_harmless: bool,
}

/// Whether the journal lets the attempt start.
fn admissible(showing: Showing, standing: Result<Standing, Fault>) -> Result<(), Refusal> {
    let id = showing.id;
    let harmless = |fault| Refusal {
        fault,
        is_harmless: true,
    };
    let superseded = |text| harmless(Fault::new(StatusCode::SUPERSEDED, text));
    match standing {
        Ok(Standing::New) if showing.of_other_journal => Err(superseded(format!(
            "attempt {id} was dispatched before the media agent began a new journal; it goes on in a new one"
        ))),
        Ok(Standing::New) => match showing.expired {
            None => Ok(()),
            Some(fault) => Err(Refusal {
                fault,
                is_harmless: false,
            }),
        },
        Ok(Standing::Open) => Err(harmless(restarted())),
        Ok(Standing::Closed) => Err(superseded(format!("attempt {id} is over"))),
        Ok(Standing::Superseded) => Err(superseded(format!("attempt {id} was superseded by a later one"))),
        Err(fault) => Err(harmless(fault)),
    }
}

fn restarted() -> Fault {
    Fault::new(
        StatusCode::FAILED_OVER,
        "the media agent was restarted; the attempt ends and goes on in a new one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(of_other_journal: bool) -> Showing {
        Showing {
            id: AttemptId {
                job: outlast_proto::words::JobId(1),
                nonce: outlast_proto::words::JobNonce(5),
                attempt: outlast_proto::words::Attempt(1),
            },
            expired: None,
            of_other_journal,
        }
    }

    #[test]
    fn t90_s12_a_ticket_of_the_journal_before_lets_nothing_begin() {
        let greeting = Greeting::default();
        for (of_other_journal, begins) in [(false, true), (true, false)] {
            let ordered = Roster::new("start").judge_order(shown(of_other_journal), Ok(Standing::New));
            assert_eq!(ordered == Judged::Begin(Vec::new()), begins);
            // Nothing is journalled for it: the primary has ended the attempt, or will.
            assert_eq!(ordered == Judged::Ignore, !begins);

            let opened =
                Roster::new("start").judge_stream(shown(of_other_journal), &greeting, Ok(Standing::New));
            assert_eq!(opened == Judged::Begin(Vec::new()), begins);
            let code = match opened {
                Judged::Refuse(fault) => fault.code,
                _ => StatusCode::SUCCESSFUL,
            };
            assert_eq!(code == StatusCode::SUPERSEDED, !begins);
        }
    }

    #[test]
    fn t90_s12_what_a_broken_journal_knows_is_told_to_nobody() {
        let mut roster = Roster::new("start");
        let fault = Fault::broken("the journal cannot be read");
        let opened = roster.judge_stream(shown(false), &Greeting::default(), Err(fault));
        assert_eq!(opened, Judged::Ignore);
    }

    #[test]
    fn t90_s12_an_attempt_whose_end_is_being_journalled_does_not_begin() {
        let (id, greeting) = (shown(false).id, Greeting::default());
        let fault = || Ending::fault(Fault::access("no"));
        let mut roster = Roster::new("start");
        assert!(roster.end_unstarted(id, Some(Standing::New), fault()).is_some());
        // The journal does not know yet.
        assert_eq!(roster.end_unstarted(id, Some(Standing::New), fault()), None);
        assert_eq!(
            roster.judge_order(shown(false), Ok(Standing::New)),
            Judged::Ignore
        );
        let opened = roster.judge_stream(shown(false), &greeting, Ok(Standing::New));
        assert_eq!(opened, Judged::Ignore);

        // It could not be journalled: whoever comes next may try again.
        roster.over(id, None);
        let opened = roster.judge_stream(shown(false), &greeting, Ok(Standing::New));
        assert_eq!(opened, Judged::Begin(Vec::new()));
    }

    #[test]
    fn t90_s12b_an_attempt_halts_and_fences_no_other_of_its_number() {
        let mut roster = Roster::new("start");
        let with = |nonce, attempt| AttemptId {
            nonce: outlast_proto::words::JobNonce(nonce),
            attempt: outlast_proto::words::Attempt(attempt),
            ..shown(false).id
        };
        let order = |id| Showing { id, ..shown(false) };
        for id in [with(5, 1), with(6, 3)] {
            let begun = roster.judge_order(order(id), Ok(Standing::New));
            assert_eq!(begun, Judged::Begin(Vec::new()), "{id:?}");
        }
        assert_eq!(roster.fenced_by(with(6, 2)), []);
        assert_eq!(roster.fenced_by(with(0, 9)), []);
        assert_eq!(roster.fenced_by(with(5, 2)), [with(5, 1)]);
        // A later attempt of the one job ends the earlier one, and leaves the other job's alone.
        let begun = roster.judge_order(order(with(5, 2)), Ok(Standing::New));
        assert_eq!(begun, Judged::Begin(vec![with(5, 1)]));
    }

    #[test]
    fn t90_s12b_what_the_primary_counts_as_open_and_the_agent_as_over_gets_an_end() {
        let (id, ending) = (shown(false).id, || Ending::Interrupted("over".to_owned()));
        for (standing, all_is_acknowledged, ends) in [
            (Standing::Closed, true, true),
            // Its end is on its way.
            (Standing::Closed, false, false),
            (Standing::New, true, false),
            (Standing::Open, true, false),
            (Standing::Superseded, true, false),
        ] {
            let mut roster = Roster::new("start");
            let ended = roster.end_again(id, Some(standing), all_is_acknowledged, ending());
            assert_eq!(ended.is_some(), ends, "{standing:?} {all_is_acknowledged}");
            // Once, however often it is ordered meanwhile.
            assert_eq!(
                roster.end_again(id, Some(standing), all_is_acknowledged, ending()),
                None
            );
        }
    }
}
