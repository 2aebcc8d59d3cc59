//! SPEC 6: error-handling rules, as an operator handles them.

use serde_json::{Value, json};

use crate::cluster::{Cluster, Ran};

fn apply(cluster: &Cluster, file: &str, text: &str, more: &[&str]) -> Ran {
    let path = cluster.place("rules").join(file);
    std::fs::write(&path, text).unwrap();
    let all = [
        &["-o", "json", "rule", "apply", "-f", path.to_str().unwrap()],
        more,
    ]
    .concat();
    cluster.try_run(&all)
}

/// The rule, as `rule list` has it.
fn listed(cluster: &Cluster, name: &str) -> Value {
    let all = cluster.json(&["rule", "list"]);
    let found = all.as_array().unwrap().iter().find(|rule| rule["name"] == name);
    found.cloned().unwrap_or(Value::Null)
}

#[test]
fn e01_e02_e03_rules_are_applied_switched_listed_and_deleted() {
    let cluster = Cluster::start();
    let all = cluster.json(&["rule", "list"]);
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 7, "{all:#?}");
    assert_eq!(
        all[0],
        json!({"name": "Recovered Jobs", "builtin": true, "enabled": true, "codes": [1112], "category": null, "retries": 2, "interval": 300, "then": "hold"})
    );
    assert_eq!(
        all[1],
        json!({"name": "Cluster Failover", "builtin": true, "enabled": true, "codes": [], "category": null, "retries": null, "interval": null, "then": null})
    );
    assert_eq!(
        all[2],
        json!({"name": "Network Errors", "builtin": true, "enabled": false, "codes": [40, 41, 58], "category": "network", "retries": 2, "interval": 300, "then": "hold"})
    );

    let deploy = include_str!("../../deploy/rules.toml");
    let expected = json!({
        "rules": ["network", "storage full"],
        "dry_run": true,
        "changes": ["rule \"network\" is new", "rule \"storage full\" is new"],
        "warnings": []
    });
    assert_eq!(
        apply(&cluster, "rules.toml", deploy, &["--dry-run"])
            .expect(0)
            .json(),
        expected
    );
    assert_eq!(
        listed(&cluster, "network"),
        Value::Null,
        "a dry run changes nothing"
    );
    apply(&cluster, "rules.toml", deploy, &[]).expect(0);
    let again = apply(&cluster, "rules.toml", deploy, &[]).expect(0).json();
    assert_eq!(again["changes"], json!([]), "{again:#}");
    let network = cluster.json(&["rule", "show", "network"]);
    assert_eq!(
        network,
        json!({"name": "network", "builtin": false, "enabled": true, "codes": [40, 41, 58], "category": null, "retries": 3, "interval": 600, "then": "reschedule"})
    );
    assert_eq!(listed(&cluster, "network"), network);
    let other = "[[rule]]\nname = \"mine\"\ncodes = [71, 150]\n";
    let said = apply(&cluster, "mine.toml", other, &[]).expect(0).json();
    let warning = said["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("code 150") && warning.contains("is kept"),
        "{said:#}"
    );
    are_switched(&cluster);
    cluster.run(&["rule", "delete", "mine"]);
    assert_eq!(listed(&cluster, "mine"), Value::Null);
    are_unknown(&cluster);
}

fn are_switched(cluster: &Cluster) {
    // Switches, of both kinds; twice is no other than once.
    for name in ["network", "Job Errors", "Recovered Jobs", "Cluster Failover"] {
        for (verb, enabled) in [("disable", false), ("disable", false), ("enable", true)] {
            let rule = cluster.json(&["rule", verb, name]);
            assert_eq!(rule["enabled"], enabled, "{name}: {rule:#}");
            assert_eq!(listed(cluster, name), rule);
        }
    }
    let table = cluster.run(&["rule", "list", "-o", "table"]).stdout;
    assert!(
        table.contains("Job Errors") && table.contains("job: 71, 1103"),
        "{table}"
    );
}

fn are_unknown(cluster: &Cluster) {
    for (args, code, words) in [
        (["show", "mine"], 6, "there is no rule \"mine\""),
        (["enable", "mine"], 6, "there is no rule \"mine\""),
        (["disable", "mine!"], 6, "there is no rule \"mine!\""),
        (["delete", "mine"], 6, "there is no rule \"mine\""),
        (["delete", "Recovered Jobs"], 5, "is built in and stays"),
    ] {
        let refused = cluster.try_run(&["rule", args[0], args[1]]).expect(code);
        assert!(refused.stderr.contains(words), "{args:?}: {}", refused.stderr);
    }
}

/// Name, text, and what the refusal says.
fn wrong_files() -> [(&'static str, String, Vec<&'static str>); 12] {
    let rule = |lines: &str| format!("[[rule]]\nname = \"b\"\n{lines}\n");
    let many = (0..29).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    [
        (
            "key.toml",
            rule("codes = [40]\nretires = 3"),
            vec!["key.toml line 4", "retires", "retries"],
        ),
        (
            "two.toml",
            rule("codes = [40]") + "[[rule]]\nname = \"c\"\ncategory = \"network\"\n",
            vec!["code 40", "\"b\"", "\"c\""],
        ),
        (
            "there.toml",
            rule("codes = [13]"),
            vec!["code 13", "\"known\"", "\"b\""],
        ),
        (
            "code.toml",
            rule("codes = [40, 9999]"),
            vec!["code.toml", "\"b\"", "9999"],
        ),
        (
            "many.toml",
            rule(&format!("codes = [{many}]")),
            vec!["many.toml", "1 to 28 codes, not 29"],
        ),
        (
            "both.toml",
            rule("codes = [40]\ncategory = \"job\""),
            vec!["both.toml", "not both"],
        ),
        ("none.toml", rule(""), vec!["none.toml", "say after which errors"]),
        (
            "then.toml",
            rule("codes = [40]\nthen = \"wait\""),
            vec!["then.toml line 4", "hold", "reschedule"],
        ),
        (
            "retries.toml",
            rule("codes = [40]\nretries = 101"),
            vec!["retries.toml", "0 to 100"],
        ),
        (
            "interval.toml",
            rule("codes = [40]\ninterval = \"0s\""),
            vec!["interval.toml", "1s to 7d"],
        ),
        (
            "built-in.toml",
            "[[rule]]\nname = \"Recovered Jobs\"\ncodes = [40]\n".into(),
            vec!["Recovered Jobs", "is built in"],
        ),
        (
            "empty.toml",
            "# nothing\n".into(),
            vec!["empty.toml", "there is no rule in it"],
        ),
    ]
}

#[test]
fn e01_rule_files_that_cannot_be_are_refused_whole() {
    let cluster = Cluster::start();
    let known = "[[rule]]\nname = \"known\"\ncodes = [13]\n";
    apply(&cluster, "known.toml", known, &[]).expect(0);
    let before = cluster.json(&["rule", "list"]);
    for (file, text, words) in wrong_files() {
        for more in [&[][..], &["--dry-run"]] {
            // The first rule of the file is in order: it is not taken, either.
            let good = "[[rule]]\nname = \"good\"\ncodes = [156]\n";
            let is_text = !matches!(file, "empty.toml" | "key.toml" | "then.toml");
            let text = if is_text {
                format!("{good}{text}")
            } else {
                text.clone()
            };
            let refused = apply(&cluster, file, &text, more).expect(2);
            let said = refused.stderr.replace("\\\"", "\"");
            for word in &words {
                assert!(said.contains(word), "{file}: no {word:?} in {said}");
            }
        }
    }
    let missing = cluster.try_run(&["rule", "apply", "-f", "/no/such"]).expect(2);
    assert!(missing.stderr.contains("/no/such"), "{}", missing.stderr);
    assert_eq!(cluster.json(&["rule", "list"]), before);
}
