//! C-08c, B-01: durations that must fit together, from both sides of every inequality, and after any sequence of changes.

use outlast_core::durations::{Durations, INEQUALITIES, Inequality, Setting, as_markdown, judge_policy};
use outlast_core::entry::{PoolChange, SettingsChange};
use outlast_core::thresholds::{INHERIT, Threshold, Thresholds};
use outlast_core::{Command, Refusal, Reply};
use outlast_proto::words::{Policy, Seconds};

use crate::thresholds::{at_agent, at_cluster, at_pool, one, pool};
use crate::world::{MEDIA, World, policy};

/// Where a value can be set.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Cluster,
    Pool,
    Agent,
    Policy,
}

/// How to set it there; none: it is not set there.
fn set(setting: Setting, value: u64, at: At, kept: &Policy) -> Option<Command> {
    let seconds = Some(Seconds(value));
    let change = |change: SettingsChange| Some(Command::ChangeSettings { change });
    let threshold = match setting {
        Setting::DisruptionGrace if at == At::Cluster => {
            return change(SettingsChange {
                disruption_grace: seconds,
                ..SettingsChange::default()
            });
        }
        Setting::ReconnectFor if at == At::Cluster => {
            return change(SettingsChange {
                reconnect_for: seconds,
                ..SettingsChange::default()
            });
        }
        Setting::FailoverAfter => Threshold::FailoverAfter,
        Setting::StalledAfter => Threshold::StalledAfter,
        Setting::NoCommunicationAfter => Threshold::NoCommunicationAfter,
        _ if at == At::Policy => {
            let policy = with(kept, setting, value)?;
            return Some(Command::ApplyPolicy { policy });
        }
        _ => return None,
    };
    let change = one(threshold, seconds);
    match at {
        At::Cluster => Some(at_cluster(change)),
        At::Pool => Some(at_pool(change)),
        At::Agent => Some(at_agent(MEDIA[0], change)),
        At::Policy => None,
    }
}

fn with(kept: &Policy, setting: Setting, value: u64) -> Option<Policy> {
    let mut policy = kept.clone();
    match setting {
        Setting::CheckpointInterval => policy.checkpoint.interval = Seconds(value),
        Setting::CancelAfter => policy.limits.cancel_after = Some(Seconds(value)),
        Setting::RetryDelay => policy.retry.delay = Seconds(value),
        Setting::RetryTries => policy.retry.tries = u32::try_from(value).ok()?,
        Setting::RetryWithin => policy.retry.within = Seconds(value),
        Setting::IncompleteFor => policy.retry.incomplete_for = Some(Seconds(value)),
        _ => return None,
    }
    Some(policy)
}

const LEVELS: [At; 4] = [At::Cluster, At::Pool, At::Agent, At::Policy];

fn reason(reply: Reply) -> (String, String) {
    match reply {
        Reply::Refused(
            Refusal::InvalidRequest { field, reason } | Refusal::InvalidPolicy { field, reason, .. },
        ) => (field, reason),
        other => panic!("{other:?}"),
    }
}

/// What the refusal says is allowed: the smallest and the largest value, in seconds.
fn allowed(reason: &str) -> (u64, u64) {
    let (_, words) = reason.rsplit_once(": ").unwrap();
    let (from, to) = words.split_once(" to ").unwrap();
    let number = |text: &str| {
        let parts = text.split(' ').map(|part| {
            let unit = part.chars().last().unwrap();
            let factor = match unit {
                'd' => 86_400,
                'h' => 3600,
                'm' => 60,
                's' => 1,
                _ => return part.parse().unwrap(),
            };
            part[..part.len() - 1].parse::<u64>().unwrap() * factor
        });
        parts.sum()
    };
    (number(from), number(to))
}

/// One side of one inequality: the row of the table, what is set, a value that violates this row and no other, and what is set before.
type Case = (usize, Setting, u64, fn(&mut World, &mut Policy));

fn cluster(world: &mut World, setting: Setting, value: u64) {
    let command = set(setting, value, At::Cluster, &policy("home", &["/x"])).unwrap();
    assert_eq!(world.apply(command), Reply::Done);
}

fn cases() -> Vec<Case> {
    use Setting as S;
    vec![
        (0, S::DisruptionGrace, 26, |_, _| {}),
        (0, S::FailoverAfter, 24, |_, _| {}),
        (1, S::FailoverAfter, 301, |_, _| {}),
        (1, S::StalledAfter, 29, |_, _| {}),
        (2, S::ReconnectFor, 1201, |_, _| {}),
        (2, S::StalledAfter, 30, |world, _| {
            cluster(world, S::NoCommunicationAfter, 1)
        }),
        (2, S::NoCommunicationAfter, 299, |world, _| {
            cluster(world, S::ReconnectFor, 600);
        }),
        (3, S::StalledAfter, 12 * 3600, |world, _| {
            cluster(world, S::NoCommunicationAfter, 20 * 3600);
        }),
        (3, S::NoCommunicationAfter, 86_400, |_, _| {}),
        (4, S::RetryDelay, 3 * 3600 + 1, |_, kept| kept.retry.tries = 1),
        (4, S::IncompleteFor, 3600, |_, kept| {
            (kept.retry.tries, kept.retry.delay) = (1, Seconds(7200));
        }),
        (5, S::RetryDelay, 500, |_, kept| {
            (kept.retry.tries, kept.retry.delay) = (100, Seconds(60));
        }),
        (5, S::RetryTries, 100, |_, _| {}),
        (5, S::RetryWithin, 1199, |_, _| {}),
    ]
}

/// Every setting of every row of the table has its case.
#[test]
fn c08c_no_side_of_an_inequality_is_left_out() {
    for (row, Inequality { small, large, .. }) in INEQUALITIES.iter().enumerate() {
        for part in small.parts().chain(large.parts()) {
            let has_case = cases().iter().any(|case| (case.0, case.1) == (row, part));
            assert_eq!(has_case, part.range().is_some(), "row {row}: {}", part.word());
        }
    }
}

#[test]
fn c08c_every_inequality_is_kept_from_either_side_at_every_level() {
    for (row, setting, value, before) in cases() {
        let inequality = &INEQUALITIES[row];
        let mut levels = 0;
        for at in LEVELS {
            let fresh = || {
                let mut world = World::new();
                let mut kept = policy("home", &["/home", "/etc"]);
                before(&mut world, &mut kept);
                let policy = kept.clone();
                let reply = world.apply(Command::ApplyPolicy { policy });
                assert!(!matches!(reply, Reply::Refused(_)), "{reply:?}");
                (world, kept)
            };
            let (mut world, kept) = fresh();
            let Some(command) = set(setting, value, at, &kept) else {
                continue;
            };
            levels += 1;
            let settings = world.state.settings();
            let (field, said) = reason(world.apply(command));
            assert_eq!(world.state.settings(), settings);
            assert_eq!(field, setting.word(), "{said}");
            // Why, both with their values, and what is allowed.
            assert!(said.contains(inequality.why), "{said}");
            for part in inequality.small.parts().chain(inequality.large.parts()) {
                assert!(
                    said.contains(&format!("{} is ", part.word())),
                    "{} in {said}",
                    part.word()
                );
            }
            assert!(said.contains(&setting.value(value)), "{said}");
            let (from, to) = allowed(&said);
            let is_back =
                |value: u64| value == 0 && Threshold::ALL.iter().any(|which| which.setting() == setting);
            for (value, fits) in [
                (from.wrapping_sub(1), false),
                (from, true),
                (to, true),
                (to + 1, false),
            ] {
                if is_back(value) || value == u64::MAX {
                    continue;
                }
                let (mut world, kept) = fresh();
                let reply = world.apply(set(setting, value, at, &kept).unwrap());
                let accepted = !matches!(reply, Reply::Refused(_));
                assert_eq!(
                    accepted,
                    fits,
                    "{at:?} {} = {value}: {said}: {reply:?}",
                    setting.word()
                );
            }
        }
        assert!(levels > 0, "row {row}: {}", setting.word());
    }
}

#[test]
fn b01_every_range_is_kept_and_named() {
    let kept = policy("home", &["/home", "/etc"]);
    for setting in Setting::ALL {
        let Some((least, most)) = setting.range() else {
            continue;
        };
        for at in LEVELS {
            for value in [least.wrapping_sub(1), most + 1, u64::MAX] {
                let is_back =
                    value == 0 && at != At::Policy && Threshold::ALL.iter().any(|t| t.setting() == setting);
                let fits = value == u64::MAX && least == 0;
                let Some(command) = set(setting, value, at, &kept).filter(|_| !is_back && !fits) else {
                    continue;
                };
                let (field, said) = reason(World::new().apply(command));
                assert_eq!(field, setting.word());
                assert!(said.contains("allowed for") || at == At::Policy, "{said}");
            }
        }
    }
}

#[test]
fn c08c_where_failover_is_off_its_time_means_nothing_and_is_judged_when_it_is_switched_on() {
    let mut world = World::new();
    let switch = |on| {
        let change = PoolChange {
            failover: Some(on),
            ..PoolChange::default()
        };
        Command::ChangePool { name: pool(), change }
    };
    assert_eq!(world.apply(switch(false)), Reply::Done);
    let short = at_pool(Thresholds {
        stalled_after: Some(Seconds(5)),
        ..Thresholds::default()
    });
    assert_eq!(world.apply(short), Reply::Done);
    let (field, said) = reason(world.apply(switch(true)));
    assert_eq!(field, "failover_after");
    assert!(said.contains("stalled_after is 5s (of pool default)"), "{said}");
    // Several at once are judged together.
    let change = PoolChange {
        failover: Some(true),
        stalled_after: Some(Seconds(50)),
        ..PoolChange::default()
    };
    let both = Command::ChangePool { name: pool(), change };
    assert_eq!(world.apply(both), Reply::Done);
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Any value: of the range more often than not, sometimes its ends, sometimes far away.
fn any_value(dice: &mut Dice, setting: Setting) -> u64 {
    let (least, most) = setting.range().unwrap_or((0, 100));
    match dice.roll(8) {
        0 => least,
        1 => most,
        2 => dice.roll(u64::MAX),
        3 | 4 => least + dice.roll(400),
        5 => INHERIT.0,
        _ => least + dice.roll(most - least + 1),
    }
}

#[test]
fn c08c_no_sequence_of_accepted_settings_violates_any() {
    let mut accepted = 0;
    for seed in 1..=150_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut world = World::new();
        let mut kept = policy("home", &["/home", "/etc"]);
        for _ in 0..60 {
            let setting = Setting::ALL[dice.roll(Setting::ALL.len() as u64) as usize];
            let at = LEVELS[dice.roll(4) as usize];
            let value = any_value(&mut dice, setting);
            let command = match dice.roll(10) {
                // An agent moves, into a pool that may be new.
                0 => {
                    let pool = ["default", "second", "third"][dice.roll(3) as usize];
                    world.register_media_with(MEDIA[dice.roll(2) as usize], "journal-1", |hello| {
                        hello.media.as_mut().unwrap().pool = pool.parse().unwrap();
                    });
                    continue;
                }
                1 => {
                    let change = PoolChange {
                        failover: Some(dice.roll(2) == 0),
                        ..PoolChange::default()
                    };
                    Some(Command::ChangePool { name: pool(), change })
                }
                _ => set(setting, value, at, &kept),
            };
            let Some(command) = command else { continue };
            let reply = world.apply(command.clone());
            if !matches!(reply, Reply::Refused(_)) {
                accepted += 1;
                if let Command::ApplyPolicy { policy } = command {
                    kept = policy;
                }
            }
            assert_eq!(Durations::of(&world.state).violations(), [], "seed {seed}");
            assert_eq!(judge_policy(&kept, None), Ok(()), "seed {seed}");
        }
    }
    assert!(accepted > 1_000, "{accepted}");
}

/// `docs/durations.md` has both tables as the program has them.
#[test]
fn c08c_the_documented_table_is_the_one_in_force() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/durations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let expected = as_markdown();
    assert!(
        text.contains(&expected),
        "put this into docs/durations.md:\n\n{expected}"
    );
}
