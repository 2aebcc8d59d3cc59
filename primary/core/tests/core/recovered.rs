//! C-03, S-08: an attempt whose media agent has no communication any more ends `recovered`.

use outlast_core::contact::{Silence, Word};
use outlast_core::entry::{PoolChange, RuleChange};
use outlast_core::{Command, EventKind, Refusal, Reply};
use outlast_proto::words::{
    AgentName, AgentState, Attempt, CompletionStatus, ItemOutcome, JobId, JobState, StatusCode,
};

use crate::failover::tick;
use crate::supersede::fences;
use crate::world::{World, agent, marked};

const BROKEN: Option<Word> = Some(Word::Broken {
    since: 9_999,
    heard: 9_999,
});

fn other_than(media: &AgentName) -> &'static str {
    if *media == agent("media-1") {
        "media-2"
    } else {
        "media-1"
    }
}

fn switch_failover(world: &mut World, on: bool) {
    let name = world.state.pools().next().unwrap().0.clone();
    let change = PoolChange {
        failover: Some(on),
        ..PoolChange::default()
    };
    assert_eq!(world.apply(Command::ChangePool { name, change }), Reply::Done);
}

/// The status that the attempt will have, if it was taken its right.
fn taken(world: &World, job: JobId, attempt: Attempt) -> Option<CompletionStatus> {
    let open = world.state.open_attempt(job, attempt)?;
    open.superseded().map(|history| history.status)
}

#[test]
fn c03_without_failover_an_attempt_is_recovered_when_its_agent_has_no_communication() {
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    switch_failover(&mut world, false);
    let other = other_than(&media);
    let mut silence = Silence::default();
    for at in 1..1200 {
        tick(&mut world, &mut silence, &["local", other], BROKEN, job);
        let expected = match at {
            ..300 => AgentState::Enabled,
            _ => AgentState::CommunicationStalled,
        };
        assert_eq!(world.state.agent(&media).unwrap().state, expected, "at {at}");
        assert_eq!(taken(&world, job, first), None, "at {at}");
        if at >= 5 {
            let unknown = &silence.unknown()[&job];
            assert_eq!((unknown.rule, unknown.left), ("C-03", Some(1200 - at)));
        }
    }
    tick(&mut world, &mut silence, &["local", other], BROKEN, job);
    assert_eq!(
        world.state.agent(&media).unwrap().state,
        AgentState::NoCommunication
    );
    assert_eq!(taken(&world, job, first), Some(CompletionStatus::Recovered));
    assert_eq!(world.state.job(job).unwrap().running, None);
    assert_eq!(fences(&world, &media), [(first, false)]);

    // What the ghost says counts for nothing.
    world.event(&media, job, first, crate::world::ended(StatusCode::SUCCESSFUL));
    assert_eq!(world.state.histories_of(job).count(), 0);
}

/// The next attempt, whenever it is begun, looks what there is; the history stays `recovered`, from a checkpoint, too.
#[test]
fn s08_a_recovered_attempt_is_surveyed_by_the_next_and_its_history_stays_recovered() {
    for speaks in [1, 2] {
        let mut world = World::new();
        for name in crate::world::MEDIA {
            world.register_media_with(name, "journal-1", |hello| hello.speaks = speaks);
        }
        let (job, first, media) = world.running_job();
        assert_eq!(recover(&mut world, job), Reply::Done);
        begin_again(&mut world, job);
        let (second, other) = world.running(job);
        assert_ne!(other, media);
        world.admit(job, second);
        world.event(&other, job, second, marked());
        let what = EventKind::Surveyed {
            found: Vec::new(),
            is_complete: false,
            checkpoint: None,
        };
        world.event(&other, job, second, what);
        let history = world.state.history(job, first).unwrap();
        assert_eq!(
            (history.status, history.code),
            (CompletionStatus::Recovered, StatusCode::RECOVERED)
        );
        assert_eq!(fences(&world, &media), [(first, true)]);
        world.finish(
            job,
            &[ItemOutcome::Done, ItemOutcome::Done],
            StatusCode::SUCCESSFUL,
        );
        let statuses: Vec<_> = world.state.histories_of(job).map(|(_, row)| row.status).collect();
        assert_eq!(
            statuses,
            [CompletionStatus::Recovered, CompletionStatus::Successful]
        );
    }
}

fn recover(world: &mut World, job: JobId) -> Reply {
    let (attempt, _) = world.running(job);
    let version = world.state.job(job).unwrap().version;
    world.apply(Command::RecoverAttempt {
        job,
        version,
        attempt,
        why: "nobody hears it".into(),
        last_progress: None,
    })
}

fn begin_again(world: &mut World, _job: JobId) {
    // C-06: five minutes later.
    assert_eq!(world.dispatch(), 0);
    world.now += 5 * crate::follow_up::MINUTE;
    assert_eq!(crate::follow_up::recover(world), 1);
    assert_eq!(world.dispatch(), 1);
}

#[test]
fn c08_with_both_witnesses_silent_c03_closes_it_and_an_agent_that_its_client_hears_keeps_its_attempt() {
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    let other = other_than(&media);
    let mut silence = Silence::default();
    // Cut off from the primary only, for hours.
    for at in 1..5_000 {
        let word = Some(Word::Open { heard: 1 });
        tick(&mut world, &mut silence, &["local", other], word, job);
        assert_eq!(taken(&world, job, first), None, "at {at}");
    }
    assert_eq!(
        world.state.agent(&media).unwrap().state,
        AgentState::NoCommunication
    );
    // From here on nobody says anything: that is counted from now on, a moment of the client's silence is not enough.
    let word = Some(Word::Open { heard: 1 });
    // While its last word is fresh, it counts.
    for at in 1..1200 + 9 {
        tick(&mut world, &mut silence, &[other], word, job);
        assert_eq!(taken(&world, job, first), None, "at {at}");
    }
    assert_eq!(silence.unknown()[&job].rule, "C-03");
    tick(&mut world, &mut silence, &[other], word, job);
    assert_eq!(taken(&world, job, first), Some(CompletionStatus::Recovered));
}

#[test]
fn c03_where_nobody_can_take_the_job_its_attempt_is_recovered_all_the_same() {
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    world.presence.connected.remove(&agent(other_than(&media)));
    let mut silence = Silence::default();
    for at in 1..=1200 {
        assert_eq!(taken(&world, job, first), None, "at {at}");
        tick(&mut world, &mut silence, &["local"], BROKEN, job);
    }
    assert_eq!(taken(&world, job, first), Some(CompletionStatus::Recovered));
}

#[test]
fn c04_where_jobs_fail_over_that_comes_first() {
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    let other = other_than(&media);
    let mut silence = Silence::default();
    // The client hears it for longer than C-03 waits, and then its stream breaks.
    for _ in 0..2_000 {
        let word = Some(Word::Open { heard: 1 });
        tick(&mut world, &mut silence, &["local", other], word, job);
    }
    for since in 0..=30 {
        assert_eq!(taken(&world, job, first), None, "since {since}");
        let word = Some(Word::Broken { since, heard: since });
        tick(&mut world, &mut silence, &["local", other], word, job);
    }
    assert_eq!(taken(&world, job, first), Some(CompletionStatus::FailedOver));
}

#[test]
fn c05_another_leader_counts_anew_and_an_agent_that_comes_back_goes_on() {
    let mut world = World::new();
    switch_failover(&mut world, false);
    let (job, first, media) = world.running_job();
    let other = other_than(&media);
    for _leader in 0..3 {
        let mut silence = Silence::default();
        for _ in 1..1200 {
            tick(&mut world, &mut silence, &["local", other], BROKEN, job);
        }
        assert_eq!(taken(&world, job, first), None);
    }
    let mut silence = Silence::default();
    for _ in 1..1200 {
        tick(&mut world, &mut silence, &["local", other], BROKEN, job);
    }
    tick(
        &mut world,
        &mut silence,
        &["local", other, media.as_str()],
        None,
        job,
    );
    assert_eq!(world.state.agent(&media).unwrap().state, AgentState::Enabled);
    for _ in 1..1200 {
        tick(&mut world, &mut silence, &["local", other], BROKEN, job);
    }
    assert_eq!(taken(&world, job, first), None, "it counts from there");
    world.finish(
        job,
        &[ItemOutcome::Done, ItemOutcome::Done],
        StatusCode::SUCCESSFUL,
    );
    assert_eq!(world.state.histories_of(job).count(), 1);
}

#[test]
fn c03_what_was_decided_on_another_state_or_by_members_of_before_is_refused() {
    let mut world = World::new();
    let (job, attempt, _) = world.running_job();
    let stale = Command::RecoverAttempt {
        job,
        version: world.state.job(job).unwrap().version,
        attempt,
        why: String::new(),
        last_progress: None,
    };
    assert_eq!(recover(&mut world, job), Reply::Done);
    assert_eq!(world.apply(stale), Reply::Refused(Refusal::Outdated));
    let mut world = World::speaking(8);
    let (job, ..) = world.running_job();
    assert_eq!(recover(&mut world, job), Reply::Refused(Refusal::Outdated));
}

#[test]
fn c03_a_job_that_was_to_end_is_canceled_and_not_begun_again() {
    let mut world = World::new();
    let (job, first, _) = world.running_job();
    let by = "ann".into();
    world.apply(Command::CancelJob { job, by });
    assert_eq!(recover(&mut world, job), Reply::Done);
    let history = world.state.history(job, first).unwrap();
    assert_eq!(history.status, CompletionStatus::Canceled);
    assert_eq!(world.dispatch(), 0);
}

fn switch(world: &mut World, rule: &str) {
    let change = RuleChange::Switch {
        name: rule.parse().unwrap(),
        enabled: false,
    };
    assert_eq!(world.apply(Command::ChangeRules { change }), Reply::Done);
}

#[test]
fn e05_with_recovered_jobs_switched_off_the_attempt_fails_with_40() {
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    switch(&mut world, "Recovered Jobs");
    assert_eq!(recover(&mut world, job), Reply::Done);
    let history = world.state.history(job, first).unwrap();
    assert_eq!(
        (history.status, history.code),
        (CompletionStatus::Failed, StatusCode::CONNECTION_BROKEN)
    );
    assert_eq!(world.state.job(job).unwrap().state, JobState::Done);
    // Nobody will look what there is: the ghost removes it.
    assert_eq!(fences(&world, &media), [(first, true)]);
}

#[test]
fn e03_with_cluster_failover_switched_off_no_attempt_moves_and_c03_applies() {
    let mut world = World::new();
    let (job, first, media) = world.running_job();
    switch(&mut world, "Cluster Failover");
    let other = other_than(&media);
    let mut silence = Silence::default();
    for at in 1..=1200 {
        assert_eq!(taken(&world, job, first), None, "at {at}");
        tick(&mut world, &mut silence, &["local", other], BROKEN, job);
    }
    assert_eq!(taken(&world, job, first), Some(CompletionStatus::Recovered));
}
