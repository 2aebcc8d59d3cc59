//! Settles what an earlier process left open (F-14, F-16): does the steps of the survey's machine.

use std::collections::VecDeque;

use outlast_media_core::kept::OpenAttempt;
use outlast_media_core::survey::{Came, Step, Survey, Ticketed};
use outlast_media_core::{AttemptId, NewRecord};
use outlast_proto::v1::journal_event::What;

use super::{Media, Ticket};
use crate::attempt::found;
use crate::journal::Then;
use crate::net::{Cx, MS, S, Time, Timer};

/// The attempts an earlier process left open.
pub(super) struct Surveys {
    left: VecDeque<OpenAttempt>,
    current: Option<Current>,
}

struct Current {
    id: AttemptId,
    survey: Survey,
    step: Step,
}

impl Surveys {
    pub(super) fn of(open: Vec<OpenAttempt>) -> Self {
        Self {
            left: open.into(),
            current: None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.left.is_empty() && self.current.is_none()
    }
}

impl Media {
    /// The next attempt, or what the present one waited for is done.
    pub(super) fn survey(&mut self, cx: &mut Cx) {
        let Some(process) = &mut self.process else { return };
        let Some(current) = &mut process.surveys.current else {
            return self.survey_next(cx);
        };
        let (id, step) = (current.id, current.step.clone());
        let came = match &step {
            Step::Look if cx.rng.percent(5) => Came::Failed,
            Step::Look => Came::Found(found(&cx.unit, id)),
            Step::RemoveCheckpoints => {
                cx.unit.remove_checkpoints(id);
                Came::Done
            }
            _ => Came::Done,
        };
        self.survey_on(cx, came);
    }

    fn survey_next(&mut self, cx: &mut Cx) {
        let name = crate::work::media_name(self.n);
        let Some(process) = &mut self.process else { return };
        let Some(open) = process.surveys.left.pop_front() else {
            return;
        };
        let id = AttemptId::of_message(open.attempt.as_ref()).expect("it was journalled");
        let ticket =
            Ticket::read(open.ticket.as_ref().expect("it was admitted")).expect("it was read before");
        let ticketed = ticket.items.iter().map(|item| Ticketed {
            finished: item.finished,
            with_exceptions: item.with_exceptions,
        });
        let mut survey = Survey::new(name.as_str(), id, Some(ticketed.collect()), open.items);
        let step = survey.begin();
        process.surveys.current = Some(Current {
            id,
            survey,
            step: step.clone(),
        });
        self.do_step(cx, id, step);
    }

    fn survey_on(&mut self, cx: &mut Cx, came: Came) {
        let current = self
            .process
            .as_mut()
            .and_then(|process| process.surveys.current.as_mut());
        if let Some(current) = current {
            current.step = current.survey.next(came);
            let (id, step) = (current.id, current.step.clone());
            self.do_step(cx, id, step);
        }
    }

    fn do_step(&mut self, cx: &mut Cx, id: AttemptId, step: Step) {
        match step {
            Step::Look | Step::RemoveCheckpoints => self.survey_in(cx, S),
            Step::Wait(pause) => {
                let pause = Time::try_from(pause.as_micros()).expect("it is short");
                cx.timer(self.proc(), pause, Timer::Survey);
            }
            Step::Examine(found) => {
                let is_damaged = !cx.oracle.spares_agents && cx.rng.percent(1);
                if is_damaged {
                    cx.oracle.is_unsound(found.finished.snapshot, &cx.unit);
                }
                self.survey_on(cx, Came::Sound(!is_damaged));
            }
            Step::Journal(event) => self.survey_journal(cx, id, vec![event]),
            Step::JournalEnd(events) => self.survey_journal(cx, id, events),
            Step::Over(_) => {
                if let Some(process) = &mut self.process {
                    process.surveys.current = None;
                }
                self.survey_in(cx, 20 * MS);
            }
        }
    }

    fn survey_journal(&mut self, cx: &mut Cx, id: AttemptId, events: Vec<What>) {
        let records: Vec<NewRecord> = events.into_iter().map(|what| self.event(cx, id, what)).collect();
        self.append(cx, records, Then::Survey);
    }

    pub(super) fn survey_in(&mut self, cx: &mut Cx, most: Time) {
        let takes = cx.rng.range(10 * MS, most);
        cx.timer(self.proc(), takes, Timer::Survey);
    }
}
