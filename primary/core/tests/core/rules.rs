//! SPEC 6: which rules there are, and which one counts (E-01 to E-03).

use outlast_core::entry::RuleChange;
use outlast_core::rules::{ListedRule, list, recovered_jobs, rule_for, warnings};
use outlast_core::{ClusterState, Command, Refusal, Reply};
use outlast_proto::words::{Covers, Disposition, ErrorCategory, Rule, RuleName, Seconds, StatusCode};

use crate::world::World;

fn name(text: &str) -> RuleName {
    text.parse().unwrap()
}

fn codes(codes: &[u16]) -> Covers {
    Covers::Codes(codes.iter().copied().map(StatusCode).collect())
}

fn rule(text: &str, covers: Covers) -> Rule {
    Rule::with_defaults(name(text), covers)
}

fn of(text: &str, of: &[u16]) -> Rule {
    rule(text, codes(of))
}

fn change(world: &mut World, change: RuleChange) -> Reply {
    world.apply(Command::ChangeRules { change })
}

fn apply(world: &mut World, rules: &[Rule]) -> Reply {
    let rules = rules.to_vec();
    change(world, RuleChange::Apply { rules })
}

fn switch(world: &mut World, text: &str, enabled: bool) -> Reply {
    let name = name(text);
    change(world, RuleChange::Switch { name, enabled })
}

fn delete(world: &mut World, text: &str) -> Reply {
    change(world, RuleChange::Delete { name: name(text) })
}

fn counts(state: &ClusterState, code: u16) -> Option<String> {
    rule_for(state, StatusCode(code)).map(|rule| rule.name.to_string())
}

fn names(state: &ClusterState) -> Vec<String> {
    list(state).iter().map(|rule| rule.name.to_string()).collect()
}

const BUILT_IN: [&str; 7] = [
    "Recovered Jobs",
    "Cluster Failover",
    "Network Errors",
    "Storage Errors",
    "Client Errors",
    "Security Errors",
    "Job Errors",
];

#[test]
fn e02_e03_the_built_in_rules() {
    let world = World::new();
    let all = list(&world.state);
    assert_eq!(names(&world.state), BUILT_IN);
    for (
        at,
        ListedRule {
            is_builtin,
            enabled,
            rule,
            ..
        },
    ) in all.iter().enumerate()
    {
        assert!(*is_builtin);
        assert_eq!(*enabled, at < 2, "those of categories are off");
        assert_eq!(rule.is_none(), at == 1, "Cluster Failover is only a switch");
    }
    let recovered = recovered_jobs(&world.state).unwrap();
    let says = (recovered.retries, recovered.interval, recovered.then);
    assert_eq!(says, (2, Seconds(300), Disposition::Hold));
}

#[test]
fn e02_custom_rules_beat_default_ones_and_only_what_is_on_counts() {
    let mut world = World::new();
    assert_eq!(counts(&world.state, 40), None);
    switch(&mut world, "Network Errors", true);
    assert_eq!(counts(&world.state, 40).as_deref(), Some("Network Errors"));
    assert!(rule_for(&world.state, StatusCode(40)).unwrap().enabled);
    assert_eq!(counts(&world.state, 71), None);
    apply(&mut world, &[of("mine", &[40, 71])]);
    assert_eq!(counts(&world.state, 40).as_deref(), Some("mine"));
    assert_eq!(counts(&world.state, 58).as_deref(), Some("Network Errors"));
    assert_eq!(counts(&world.state, 71).as_deref(), Some("mine"));
    switch(&mut world, "mine", false);
    assert_eq!(counts(&world.state, 40).as_deref(), Some("Network Errors"));
    assert_eq!(counts(&world.state, 71), None);
    switch(&mut world, "mine", true);
    assert_eq!(counts(&world.state, 71).as_deref(), Some("mine"));
    assert_eq!(delete(&mut world, "mine"), Reply::Done);
    assert_eq!(counts(&world.state, 71), None);
    assert_eq!(names(&world.state), BUILT_IN);
}

#[test]
fn e01_a_rule_for_a_category_counts_for_each_of_its_codes() {
    let mut world = World::new();
    apply(
        &mut world,
        &[rule("all of storage", Covers::Category(ErrorCategory::Storage))],
    );
    for (code, expected) in [
        (84, true),
        (129, true),
        (2106, true),
        (1102, true),
        (40, false),
        (71, false),
    ] {
        assert_eq!(counts(&world.state, code).is_some(), expected, "{code}");
    }
}

/// E-05: whatever rules say, nothing follows these by one; and a code that this version does not know has no rule.
#[test]
fn e05_no_rule_counts_after_success_a_cancel_or_an_attempt_that_goes_on() {
    let mut world = World::new();
    for name in &BUILT_IN[2..] {
        switch(&mut world, name, true);
    }
    let never = [0, 1, 150, 196, 1101, 1110, 1111, 1112, 1150];
    let mine = of("mine", &never);
    assert!(matches!(
        apply(&mut world, std::slice::from_ref(&mine)),
        Reply::RulesApplied { .. }
    ));
    for code in never.into_iter().chain([7]) {
        assert_eq!(counts(&world.state, code), None, "{code}");
    }
    let said = warnings(&[mine]);
    assert_eq!(
        said.len(),
        never.len(),
        "what will not be acted on is said (L-06)"
    );
    assert!(
        said[2].starts_with("rule \"mine\": code 150 (canceled by an administrator) is kept"),
        "{}",
        said[2]
    );
    assert_eq!(warnings(&[of("mine", &[40])]), [""; 0]);
}

#[test]
fn e01_what_is_refused() {
    let network = || rule("by category", Covers::Category(ErrorCategory::Network));
    let table: [(Vec<Rule>, &str); 12] = [
        (vec![], "rules: 1 to 1000 rules are applied at once, not 0"),
        (
            vec![of("b", &[40]); 1001],
            "rules: 1 to 1000 rules are applied at once, not 1001",
        ),
        (
            vec![of("b", &[7])],
            "rule \"b\": codes: there is no status code 7",
        ),
        (
            vec![of("b", &[])],
            "rule \"b\": codes: a rule has 1 to 28 codes, not 0",
        ),
        (
            vec![of("b", &[40, 41]), of("c", &[58, 41])],
            "rule \"c\": codes: code 41 (network connection timed out) is in rule \"b\" and in rule \"c\": only one can count",
        ),
        (
            vec![of("b", &[58]), network()],
            "rule \"by category\": codes: code 58 (cannot connect to client) is in rule \"b\" and in rule \"by category\": only one can count",
        ),
        (
            vec![of("b", &[13])],
            "rule \"b\": codes: code 13 (file read failed) is in rule \"known\" and in rule \"b\": only one can count",
        ),
        (
            vec![
                of("known", &[13, 50]),
                rule("b", Covers::Category(ErrorCategory::Client)),
            ],
            "rule \"b\": codes: code 13 (file read failed) is in rule \"known\" and in rule \"b\": only one can count",
        ),
        (
            vec![of("b", &[40]), of("b", &[41])],
            "rule \"b\": name: is given twice",
        ),
        (
            vec![of("Recovered Jobs", &[40])],
            "rule \"Recovered Jobs\": name: \"Recovered Jobs\" is built in: it can be switched (outlast rule enable, disable), and no other rule can have its name",
        ),
        (
            vec![of("cluster failover", &[40])],
            "rule \"cluster failover\": name: \"Cluster Failover\" is built in: it can be switched (outlast rule enable, disable), and no other rule can have its name",
        ),
        (
            vec![of("b", &[40]), of("Job Errors", &[41])],
            "rule \"Job Errors\": name: \"Job Errors\" is built in: it can be switched (outlast rule enable, disable), and no other rule can have its name",
        ),
    ];
    let mut world = World::new();
    apply(&mut world, &[of("known", &[13])]);
    let before = list(&world.state);
    for (rules, expected) in table {
        let Reply::Refused(refusal) = apply(&mut world, &rules) else {
            panic!("{expected}")
        };
        assert_eq!(refusal.to_string(), expected);
        assert_eq!(list(&world.state), before, "nothing of it counts: {expected}");
    }
}

/// As with policies: what is there already is no change, and a code can move between rules of one file.
#[test]
fn e01_applying_again_changes_nothing_and_what_is_not_named_stays() {
    let mut world = World::new();
    let applied = |changes: &[&str]| Reply::RulesApplied {
        changes: changes.iter().map(|line| (*line).to_owned()).collect(),
    };
    let (a, b) = (of("a", &[40, 41]), of("b", &[58]));
    let both = [a.clone(), b.clone()];
    let news = applied(&["rule \"a\" is new", "rule \"b\" is new"]);
    assert_eq!(
        world
            .state
            .compare_rules(&both)
            .map(|changes| Reply::RulesApplied { changes }),
        Ok(news.clone())
    );
    assert_eq!(names(&world.state), BUILT_IN, "comparing changes nothing");
    assert_eq!(apply(&mut world, &both), news);
    world.state.take_changes();
    assert_eq!(apply(&mut world, &both), applied(&[]));
    let rows = world.state.take_changes();
    assert!(
        rows.iter().all(|(key, _)| key[0] != b'u'),
        "no row is written for nothing"
    );

    let moved = [
        Rule {
            covers: codes(&[40]),
            ..a.clone()
        },
        Rule {
            covers: codes(&[41, 58]),
            enabled: false,
            retries: 7,
            interval: Seconds(90),
            then: Disposition::Reschedule,
            ..b.clone()
        },
    ];
    let expected = applied(&[
        "rule \"a\".codes: 40, 41 -> 40",
        "rule \"b\".codes: 58 -> 41, 58",
        "rule \"b\".enabled: true -> false",
        "rule \"b\".retries: 2 -> 7",
        "rule \"b\".interval: 5m -> 1m 30s",
        "rule \"b\".then: hold -> reschedule",
    ]);
    assert_eq!(apply(&mut world, &moved), expected);
    assert_eq!(
        apply(&mut world, &[of("c", &[71])]),
        applied(&["rule \"c\" is new"])
    );
    assert_eq!(names(&world.state)[7..], ["a", "b", "c"]);
    assert_eq!(list(&world.state)[8].rule.as_ref(), Some(&moved[1]));
}

#[test]
fn e02_what_is_built_in_is_switched_and_never_deleted() {
    let mut world = World::new();
    for text in BUILT_IN {
        let is_on = |world: &World| {
            list(&world.state)
                .iter()
                .any(|rule| rule.name == name(text) && rule.enabled)
        };
        let before = is_on(&world);
        for enabled in [!before, !before, before] {
            assert_eq!(switch(&mut world, text, enabled), Reply::Done);
            assert_eq!(is_on(&world), enabled, "{text}");
        }
        let refused = Refusal::BuiltInRule { name: name(text) };
        assert_eq!(delete(&mut world, text), Reply::Refused(refused));
    }
    let none = |text| Reply::Refused(Refusal::NoSuchRule { name: name(text) });
    assert_eq!(switch(&mut world, "b", true), none("b"));
    assert_eq!(delete(&mut world, "b"), none("b"));
}

#[test]
fn e03_recovered_jobs_and_cluster_failover_are_switches() {
    let mut world = World::new();
    let pool = "default".parse().unwrap();
    assert!(world.state.fails_over(&pool));
    assert!(!world.state.fails_over(&"nowhere".parse().unwrap()));
    switch(&mut world, "Cluster Failover", false);
    assert!(!world.state.fails_over(&pool), "no pool fails over");
    switch(&mut world, "Cluster Failover", true);
    world.apply(Command::ChangePool {
        name: pool.clone(),
        change: outlast_core::entry::PoolChange {
            failover: Some(false),
            ..Default::default()
        },
    });
    assert!(!world.state.fails_over(&pool), "this one does not");

    assert!(recovered_jobs(&world.state).is_some());
    switch(&mut world, "Recovered Jobs", false);
    assert_eq!(recovered_jobs(&world.state), None);
}

#[test]
fn rules_are_stored_and_only_where_all_members_know_them() {
    let mut world = World::new();
    apply(
        &mut world,
        &[
            of("a", &[40, 41]),
            rule("b", Covers::Category(ErrorCategory::Job)),
        ],
    );
    switch(&mut world, "Recovered Jobs", false);
    let mut rows: std::collections::BTreeMap<_, _> = world.state.take_changes().into_iter().collect();
    delete(&mut world, "a");
    rows.extend(world.state.take_changes());
    let loaded = ClusterState::from_rows(
        rows.iter()
            .filter_map(|(key, row)| Some((key.as_slice(), row.as_deref()?))),
    );
    assert_eq!(list(&loaded.unwrap()), list(&world.state));

    let mut world = World::speaking(8);
    let refused = Reply::Refused(Refusal::TooOld);
    assert_eq!(apply(&mut world, &[of("a", &[40])]), refused);
    assert_eq!(switch(&mut world, "Network Errors", true), refused);
    assert_eq!(delete(&mut world, "a"), refused);
    assert_eq!(recovered_jobs(&world.state), None);
    assert!(
        world.state.fails_over(&"default".parse().unwrap()),
        "as before there was a switch"
    );
}
