//! A seeded walk through commands and events in any order: invariants hold after each, and two runs give the same rows.

use outlast_core::entry::RuleChange;
use outlast_core::event::FoundItem;
use outlast_core::recovery::{self, Clients};
use outlast_core::{Command, EventKind, Reply};
use outlast_proto::words::{
    Attempt, Counters, Covers, ErrorCategory, Exception, Interruption, ItemNumber, ItemOutcome, JobId,
    JobNonce, Rule, SnapshotId, StartId, StatusCode, Timestamp,
};

use crate::world::{CLIENTS, MEDIA, World, agent, backup, ended, item_ended};

/// A small generator of our own: the walk must be the same on every machine and in every version.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn step(world: &mut World, dice: &mut Dice) {
    let job = JobId(dice.roll(6) + 1);
    let attempt = Attempt(dice.roll(4) as u32);
    let media = agent(MEDIA[dice.roll(2) as usize]);
    let item = ItemNumber(dice.roll(3) as u32);
    match dice.roll(17) {
        0 => drop(world.apply_as(Some(&format!("request {}", dice.roll(20))), backup("home"))),
        1..=3 => drop(world.dispatch()),
        16 => drop(world.apply(Command::CancelJob {
            job,
            by: "walk".into(),
        })),
        4 => drop(world.admit(job, attempt)),
        5 | 6 => {
            let resilient = dice.roll(2) == 0;
            let client_start_id = StartId("start".into());
            world.event(
                &media,
                job,
                attempt,
                EventKind::Marked {
                    resilient,
                    client_start_id,
                },
            );
        }
        7 => drop(world.event(&media, job, attempt, EventKind::ItemStarted { item })),
        8..=10 => {
            let outcome = ItemOutcome::ALL[dice.roll(ItemOutcome::ALL.len() as u64) as usize];
            world.event(&media, job, attempt, item_ended(job, item, outcome));
        }
        11 => {
            let what = EventKind::Interrupted {
                counters: Counters::default(),
                reason: "walk".into(),
                cause: None,
            };
            world.event(&media, job, attempt, what);
        }
        12 => {
            let codes = [
                StatusCode::SUCCESSFUL,
                StatusCode::EXCEPTIONS,
                StatusCode::STORAGE_FULL,
                StatusCode(7),
            ];
            world.event(&media, job, attempt, ended(codes[dice.roll(4) as usize]));
        }
        13 => {
            let (from, to) = ("0.1.0".into(), "0.2.0".into());
            world.event(&media, job, attempt, EventKind::MarkLost { from, to });
        }
        14 => step_member(world, dice),
        _ => {
            let name = [MEDIA, CLIENTS][dice.roll(2) as usize][dice.roll(2) as usize];
            if MEDIA.contains(&name) && dice.roll(4) == 0 {
                world.sequences.remove(&agent(name));
                world.register_media(name, &format!("journal {}", dice.0));
            } else if world.presence.connected.remove(&agent(name)).is_none() {
                world.presence.connected.insert(agent(name), None);
            }
        }
    }
}

fn step_member(world: &mut World, dice: &mut Dice) {
    let node_id = dice.roll(3);
    let name = format!("primary-{node_id}");
    drop(world.apply(match dice.roll(9) {
        8 => Command::RaiseClusterVersion {
            to: dice.roll(4) as u32,
        },
        0 => Command::RemoveMember { node_id },
        1 | 2 => Command::AdmitMember { node_id, name },
        _ => Command::DescribeMember {
            node_id,
            host_id: format!("host of {}", MEDIA[dice.roll(2) as usize]),
            version: format!("0.{}.0", dice.roll(3)),
            cluster_version: dice.roll(4) as u32,
        },
    }));
}

fn step_failover(world: &mut World, dice: &mut Dice) {
    let job = JobId(dice.roll(6) + 1);
    let attempt = Attempt(dice.roll(5) as u32);
    let media = agent(MEDIA[dice.roll(2) as usize]);
    step_follow_up(world, dice);
    match dice.roll(8) {
        0 | 1 => {
            let version = world.state.job(job).map_or(0, |job| job.version);
            let running = world.state.job(job).and_then(|job| job.running);
            let command = Command::SupersedeAttempt {
                job,
                version,
                attempt: running.unwrap_or(attempt),
                why: "walk".into(),
                last_progress: None,
            };
            drop(world.apply(command));
        }
        2 => {
            let nonce = world.nonce(job);
            let command = Command::RecordFence {
                agent: media,
                job,
                nonce,
                through: attempt,
            };
            drop(world.apply(command));
        }
        3 => {
            let found = (0..dice.roll(3) as u32).map(|item| FoundItem {
                item: ItemNumber(item),
                attempt,
                outcome: ItemOutcome::Done,
                counters: Counters::default(),
                snapshot: (SnapshotId([dice.roll(250) as u8; 32]), Timestamp(5)),
                tree: None,
            });
            let found = found.collect();
            let running = world.state.job(job).and_then(|job| job.running);
            let what = EventKind::Surveyed {
                found,
                is_complete: dice.roll(2) == 0,
                checkpoint: None,
            };
            world.event(&media, job, running.unwrap_or(attempt), what);
        }
        _ => {}
    }
}

fn step_rules(world: &mut World, dice: &mut Dice) {
    const CODES: [u16; 5] = [40, 58, 84, 129, 7];
    let name = |dice: &mut Dice| {
        let names = ["a", "b", "Storage Errors", "Cluster Failover"];
        names[dice.roll(4) as usize].parse().unwrap()
    };
    let change = match dice.roll(20) {
        0 => {
            let code = |dice: &mut Dice| StatusCode(CODES[dice.roll(5) as usize]);
            let covers = match dice.roll(4) {
                0 => Covers::Category(ErrorCategory::Storage),
                _ => Covers::Codes([code(dice), code(dice)].into()),
            };
            let rules = vec![Rule::with_defaults(name(dice), covers)];
            RuleChange::Apply { rules }
        }
        1 => RuleChange::Switch {
            name: name(dice),
            enabled: dice.roll(2) == 0,
        },
        2 => RuleChange::Delete { name: name(dice) },
        _ => return,
    };
    drop(world.apply(Command::ChangeRules { change }));
}

fn step_follow_up(world: &mut World, dice: &mut Dice) {
    let job = JobId(dice.roll(6) + 1);
    let by = "walk".to_owned();
    let version = world.state.job(job).map_or(0, |job| job.version);
    match dice.roll(12) {
        0 | 1 => {
            let running = world.state.job(job).and_then(|job| world.state.running_of(job));
            let Some((attempt, media)) = running.map(|open| (open.attempt, open.media_agent.clone())) else {
                return;
            };
            let what = EventKind::Interrupted {
                counters: Counters::default(),
                reason: "walk".into(),
                cause: Some(Interruption::ALL[dice.roll(4) as usize]),
            };
            world.event(&media, job, attempt, what);
        }
        2 => drop(world.apply(Command::HoldJob { job, by })),
        3 => drop(world.apply(Command::ReleaseJob { job, by })),
        4 => drop(world.apply(Command::ResumeJob { job, by })),
        5 if dice.roll(4) == 0 => drop(world.apply(Command::RestartJob {
            job,
            by,
            nonce: JobNonce(dice.roll(9) + 1),
        })),
        6 => drop(world.apply(Command::EndFollowUp { job, version })),
        7 | 8 => {
            if dice.roll(3) == 0 {
                world.now += 3_600_000_000;
            }
            let clients = Clients {
                had_time: dice.roll(2) == 0,
            };
            let due = recovery::plan(&world.state, &world.presence, clients, Timestamp(world.now));
            for command in due.commands {
                assert_eq!(world.apply(command), Reply::Done);
            }
        }
        _ => {}
    }
}

fn walk(seed: u64) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let (mut world, mut dice) = (World::new(), Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
    for _ in 0..300 {
        step(&mut world, &mut dice);
        step_failover(&mut world, &mut dice);
        step_rules(&mut world, &mut dice);
    }
    world.state.take_changes()
}

#[test]
fn s12_any_order_of_commands_keeps_the_invariants() {
    for seed in 0..200 {
        // A violation panics inside, with the entry that caused it; the seed is in this message.
        let walked = std::panic::catch_unwind(|| walk(seed));
        assert!(walked.is_ok(), "seed {seed}");
    }
}

#[test]
fn the_same_entries_give_the_same_rows() {
    for seed in [3, 77, 1234] {
        assert_eq!(walk(seed), walk(seed), "seed {seed}");
    }
}

#[test]
fn job_numbers_rise_and_are_never_reused() {
    let mut world = World::new();
    let mut last = JobId(0);
    for _ in 0..5 {
        let Reply::Submitted { jobs } = world.apply(backup("home")) else {
            panic!()
        };
        assert!(jobs[0] > last);
        last = jobs[0];
    }
}

/// A walk in a group of this version, with checkpoints and exceptions; a sum over the rows it leaves.
fn sum_of_walk(version: u32, seed: u64) -> u64 {
    let mut world = World::speaking(version);
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..300 {
        step(&mut world, &mut dice);
        let (job, attempt) = (JobId(dice.roll(6) + 1), Attempt(dice.roll(4) as u32));
        let (media, item) = (
            agent(MEDIA[dice.roll(2) as usize]),
            ItemNumber(dice.roll(3) as u32),
        );
        let what = match dice.roll(4) {
            0 => EventKind::CheckpointMade {
                snapshot: SnapshotId([dice.roll(250) as u8; 32]),
                item,
                counters: Counters::default(),
            },
            1 => EventKind::ExceptionsFound {
                item,
                exceptions: vec![Exception {
                    path: format!("/file {}", dice.roll(100)),
                    reason: "in use".into(),
                    item: None,
                }],
            },
            2 if version >= 8 => {
                supersede(&mut world, job);
                continue;
            }
            _ => continue,
        };
        world.event(&media, job, attempt, what);
    }
    let rows: std::collections::BTreeMap<_, _> = world.state.take_changes().into_iter().collect();
    let bytes = rows
        .iter()
        .flat_map(|(key, row)| key.iter().chain(row.iter().flatten()));
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// The running attempt of the job is given up, if it has one.
fn supersede(world: &mut World, id: JobId) {
    let Some(job) = world.state.job(id) else { return };
    let (version, Some(attempt)) = (job.version, job.running) else {
        return;
    };
    world.apply(Command::SupersedeAttempt {
        job: id,
        version,
        attempt,
        why: "walk".into(),
        last_progress: None,
    });
}

/// Members that do not speak a newer version have these rows; the sums are those of a program of that version.
#[test]
fn t90_rows_are_those_of_members_that_do_not_speak_a_newer_version() {
    for (version, seed, sum) in [
        (1, 3, 0x0abe_f687_59d2_36e0),
        (1, 77, 0x07e8_0a1a_8efa_4304),
        (1, 1234, 0xfb26_7789_a615_8e60),
        (1, 5, 0x9608_f8c6_a0ee_09e7),
        (3, 3, 0x0be7_1a3c_0030_6021),
        (3, 77, 0x1844_2d8f_5571_4e67),
        (3, 1234, 0x487b_d7b4_a3af_616a),
        (3, 5, 0x929e_4e49_2694_8a46),
        (7, 3, 0xa87b_f861_93b9_0111),
        (7, 77, 0x07de_8127_7157_d6bb),
        (7, 1234, 0x3812_8e2d_10bd_e6c6),
        (7, 5, 0xddbc_e83d_d222_a3f7),
        (8, 3, 0x3ba1_fd1d_a15f_9266),
        (8, 77, 0x0423_53f3_8bd2_eb5f),
        (8, 1234, 0x91da_5df6_bed8_e3b0),
        (8, 5, 0xc9a5_288b_7727_31dc),
    ] {
        assert_eq!(sum_of_walk(version, seed), sum, "version {version}, seed {seed}");
    }
}
