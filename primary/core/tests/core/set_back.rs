//! S-12b: a group that was set back to an older copy of itself notices, gives no number out again, and says what is missing.

use outlast_core::apply::MAX_JUMP;
use outlast_core::rows::{Alarm, Mark, Recollection};
use outlast_core::{Command, Refusal, Reply};
use outlast_proto::words::JobId;

use crate::world::{World, agent};

fn recollection(job: u64, mark: Option<Mark>) -> Recollection {
    Recollection {
        highest_job: JobId(job),
        mark,
    }
}

impl World {
    fn reign(&mut self, reign: u64) {
        assert_eq!(self.apply(Command::BeginReign { reign }), Reply::Done);
    }

    fn mark(&self) -> Mark {
        self.state.mark_of_now().unwrap()
    }

    /// As a leader does: takes in what is news.
    fn recall(&mut self, name: &str, remembered: Recollection) -> bool {
        let is_news = self.state.lost_by(&agent(name), &remembered).is_some();
        if is_news {
            let agent = agent(name);
            self.apply(Command::TakeRecollection { agent, remembered });
        }
        is_news
    }

    fn alarms(&self) -> Vec<(u32, Alarm)> {
        let open = self.state.open_alarms();
        open.map(|(number, alarm)| (number, alarm.clone())).collect()
    }
}

/// A group of one reign with two jobs, and what it is when it has gone on with two more jobs, a copy and all.
fn copied() -> (World, World) {
    let mut copy = World::new();
    copy.reign(1);
    copy.submit();
    copy.submit();
    let mut original = World::new();
    original.reign(1);
    for _ in 0..4 {
        original.submit();
    }
    (copy, original)
}

#[test]
fn s12b_no_number_is_given_out_again_that_an_agent_knows() {
    for (job, next) in [(0, 3), (2, 3), (3, 4), (4, 5), (3 + MAX_JUMP - 1, 3 + MAX_JUMP)] {
        let (mut copy, _) = copied();
        copy.reign(2);
        assert_eq!(copy.recall("media-1", recollection(job, None)), job > 2, "{job}");
        assert_eq!(copy.submit(), JobId(next), "{job}");
        assert_eq!(copy.alarms().len(), usize::from(job > 2), "{job}");
    }
}

#[test]
fn s12b_a_number_that_is_too_far_is_not_believed() {
    for job in [3 + MAX_JUMP, u64::MAX] {
        let (mut copy, _) = copied();
        assert!(copy.state.is_too_far(JobId(job)));
        assert!(!copy.recall("media-1", recollection(job, None)), "{job}");
        // Nor if it is proposed all the same.
        let remembered = recollection(job, None);
        copy.apply(Command::TakeRecollection {
            agent: agent("media-1"),
            remembered,
        });
        assert_eq!(copy.submit(), JobId(3), "{job}");
        assert_eq!(copy.alarms(), [], "{job}");
    }
}

#[test]
fn s12b_no_mark_of_its_own_history_alarms_a_group() {
    let mut world = World::new();
    assert_eq!(world.state.mark_of_now(), None);
    let mut marks = Vec::new();
    for reign in 1..300 {
        world.reign(reign);
        marks.push(world.mark());
        world.submit();
        marks.push(world.mark());
    }
    for mark in marks {
        let remembered = recollection(mark.highest_job.0, Some(mark));
        assert_eq!(
            world.state.lost_by(&agent("local"), &remembered),
            None,
            "{mark:?}"
        );
    }
}

#[test]
fn s12b_a_mark_of_what_is_not_there_any_more_raises_one_alarm() {
    // In the reign that the copy knows, and in one after it; at once, and when the group is further than it had been.
    for (reigned_again, later) in [(false, 0), (true, 0), (false, 50), (true, 50)] {
        let (mut copy, mut original) = copied();
        let from = copy.mark().at;
        if reigned_again {
            original.reign(5);
        }
        let mark = original.mark();
        copy.reign(2);
        for _ in 0..later {
            copy.submit();
        }
        let (before, case) = (copy.mark(), (reigned_again, later));
        let remembered = recollection(0, Some(mark));
        assert!(copy.recall("media-1", remembered), "{case:?}");
        let alarms = copy.alarms();
        let [(1, alarm)] = &alarms[..] else {
            panic!("{case:?}: {alarms:?}");
        };
        assert_eq!((alarm.from, alarm.until), (from, Some(mark.at)), "{case:?}");
        let jobs = (later == 0).then_some((JobId(3), JobId(4)));
        assert_eq!(alarm.jobs, jobs, "{case:?}");
        assert_eq!(
            copy.mark().highest_job,
            JobId(4).max(before.highest_job),
            "{case:?}"
        );
        if !reigned_again {
            assert_eq!(alarm.entries, 2, "{case:?}");
        }
        // The same again is no news; another agent joins in, and there is still one.
        assert!(!copy.recall("media-1", remembered));
        assert!(copy.recall("local", remembered));
        assert_eq!(copy.alarms().len(), 1);
        assert_eq!(copy.alarms()[0].1.said_by, [agent("media-1"), agent("local")]);

        // Dealt with: an agent that comes later with the same has nothing new to say.
        let by = "admin".to_owned();
        assert_eq!(
            copy.apply(Command::AcknowledgeAlarm { number: 1, by }),
            Reply::Done
        );
        assert_eq!(copy.alarms(), []);
        assert!(!copy.recall("media-2", remembered));
    }
}

#[test]
fn s12b_a_group_that_is_set_back_again_alarms_again() {
    let (mut copy, original) = copied();
    let first = original.mark();
    copy.reign(2);
    assert!(copy.recall("media-1", recollection(0, Some(first))));
    let by = "admin".to_owned();
    copy.apply(Command::AcknowledgeAlarm { number: 1, by });
    let mut again = copy.state.clone();
    copy.submit();
    let second = copy.mark();
    std::mem::swap(&mut copy.state, &mut again);
    copy.reign(3);
    assert!(copy.recall("media-1", recollection(0, Some(second))));
    assert_eq!(copy.alarms()[0].0, 2);
}

#[test]
fn s12b_before_all_members_know_alarms_there_are_none() {
    let mut world = World::of_before();
    let refused = world.apply(Command::BeginReign { reign: 1 });
    assert!(
        matches!(refused, Reply::Refused(Refusal::InvalidRequest { .. })),
        "{refused:?}"
    );
    assert_eq!(world.state.mark_of_now(), None);
    assert!(!world.recall("media-1", recollection(9, None)));
    let taken = world.apply(Command::TakeRecollection {
        agent: agent("media-1"),
        remembered: recollection(9, None),
    });
    assert!(matches!(taken, Reply::Refused(_)), "{taken:?}");
    assert_eq!(world.submit(), JobId(1));
}
