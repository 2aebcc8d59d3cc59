//! Good and bad policy files, as tables.

use outlast_proto::v1;
use outlast_proto::words::{CancelFrom, Policy, Seconds, WindowEnd};

use super::{parse, to_text};

const FULL: &str = r#"
name = "home"
type = "standard"
clients = ["laptop"]
items = ["/home", "/etc"]
exclude = ["**/.cache", "*.tmp"]
pool = "default"

[checkpoint]
restart = false
interval = "5m"

[limits]
bandwidth = "20MiB/s"
cancel_after = "8h"
cancel_from = "schedule"

[retry]
delay = "1m"
tries = 3
within = "6h"
incomplete_for = "4h"

[shape]
multiplex = 1
streams = 1
children = false

[[schedule]]
name = "nightly"
cron = "0 1 * * *"
timezone = "Europe/Berlin"
window = "23:00-06:00"
at_window_end = "stop_gracefully"

[[schedule]]
name = "often"
every = "2h"

[retention]
daily = 7
weekly = 4
monthly = 12
"#;

const SHORT: &str = "name = \"home\"\nclients = [\"laptop\"]\nitems = [\"/home\"]\n";

#[test]
fn a_full_file() {
    let policy = parse("home.toml", FULL).unwrap();
    assert_eq!(policy.items, ["/home", "/etc"]);
    assert_eq!(policy.exclude, ["**/.cache", "*.tmp"]);
    assert_eq!(
        (policy.checkpoint.restart, policy.checkpoint.interval),
        (false, Seconds(300))
    );
    assert_eq!(policy.limits.bandwidth, Some(20 << 20));
    assert_eq!(policy.limits.cancel_after, Some(Seconds(8 * 3600)));
    assert_eq!(policy.limits.cancel_from, CancelFrom::Schedule);
    assert_eq!((policy.retry.delay, policy.retry.tries), (Seconds(60), 3));
    assert_eq!(policy.retry.incomplete_for, Some(Seconds(4 * 3600)));
    assert_eq!(policy.schedules.len(), 2);
    assert_eq!(policy.schedules[0].at_window_end, WindowEnd::StopGracefully);
    assert_eq!(policy.schedules[1].every, Some(Seconds(7200)));
    assert_eq!(policy.schedules[1].timezone, "UTC");
    assert_eq!(policy.retention.unwrap().monthly, 12);
}

#[test]
fn a_short_file_has_the_defaults() {
    let policy = parse("home.toml", SHORT).unwrap();
    let expected = Policy::with_defaults(
        "home".parse().unwrap(),
        vec!["laptop".parse().unwrap()],
        vec!["/home".to_owned()],
        "default".parse().unwrap(),
    );
    assert_eq!(policy, expected);
}

#[test]
fn what_is_shown_can_be_applied_again() {
    for text in [FULL, SHORT] {
        let policy = parse("home.toml", text).unwrap();
        let shown = to_text(&v1::Policy::from(&policy));
        assert_eq!(parse("shown.toml", &shown).unwrap(), policy, "{shown}");
    }
}

/// An item is a path; one with characters of patterns in its name can be written, and comes back as it was written.
#[test]
fn t90_items_that_look_like_patterns_and_patterns_that_match_nothing_are_refused() {
    let text = SHORT.replace("/home", "/srv/*/mail");
    let refused = parse("home.toml", &text).unwrap_err();
    assert!(!refused.is_refusal());
    let said = refused.to_string();
    assert!(
        said.starts_with("home.toml: \"items\": \"/srv/*/mail\" looks like a pattern"),
        "{said}"
    );
    let refused = parse("home.toml", &format!("{SHORT}exclude = [\"./cache/\"]")).unwrap_err();
    let said = "home.toml: \"exclude\": \"./cache/\" has a part that is empty or \".\" and so matches nothing; write \"/cache/\"";
    assert_eq!(refused.to_string(), said);
    let text = SHORT.replace("/home", r"/srv/Films \\[HD]");
    let policy = parse("home.toml", &text).unwrap();
    assert_eq!(policy.items, ["/srv/Films [HD]"]);
    let shown = to_text(&v1::Policy::from(&policy));
    assert_eq!(parse("shown.toml", &shown).unwrap(), policy, "{shown}");
}

#[test]
fn bad_files_are_named_in_one_sentence() {
    for (text, refusal, expected) in [
        (
            format!("{SHORT}exlude = []"),
            false,
            "home.toml line 4: unknown key \"exlude\"; did you mean \"exclude\"?",
        ),
        (
            format!("{SHORT}[checkpoint]\nintervall = \"5m\""),
            false,
            "home.toml line 5: unknown key \"intervall\"; did you mean \"interval\"?",
        ),
        (
            format!("{SHORT}[checkpoint]\ninterval = \"5 parsecs\""),
            false,
            "home.toml line 5: \"checkpoint.interval\": expected a duration such as \"15m\", found the text \"5 parsecs\"",
        ),
        (
            format!("{SHORT}[checkpoint]\ninterval = 300"),
            false,
            "home.toml line 5: \"checkpoint.interval\": expected a duration such as \"15m\", found 300",
        ),
        (
            format!("{SHORT}[limits]\nbandwidth = \"fast\""),
            false,
            "home.toml line 5: \"limits.bandwidth\": expected a rate such as \"20MiB/s\", found the text \"fast\"",
        ),
        (
            format!("{SHORT}[limits]\ncancel_from = \"end\""),
            false,
            "home.toml line 5: \"limits.cancel_from\": \"end\" is none of start, schedule",
        ),
        (
            SHORT.replace("laptop", "My Laptop"),
            false,
            "home.toml line 2: \"clients\": agent \"My Laptop\" is not a usable name: \
             use 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit",
        ),
        (
            "clients = [\"laptop\"]\nitems = [\"/home\"]".to_owned(),
            false,
            "home.toml: the key \"name\" is missing",
        ),
        (
            SHORT.replace("/home", "home"),
            false,
            "home.toml: \"items\": \"home\" is not an absolute path",
        ),
        (
            format!("{SHORT}[[schedule]]\nname = \"x\""),
            false,
            "home.toml: \"schedule\": \"x\" needs either cron or every",
        ),
        (
            format!("{SHORT}type = \"oracle\""),
            true,
            "home.toml: \"type\": this version cannot run policies of type oracle",
        ),
        (
            format!("{SHORT}type = \"sybase\""),
            true,
            "home.toml: \"type\": there is no policy type \"sybase\"; \
             there are standard, windows, stream, oracle, ms-sql-server, postgresql, mysql",
        ),
    ] {
        refused(&text, refusal, expected);
    }
}

#[test]
fn t90_schedules_and_items_that_cannot_work_are_refused_in_one_sentence() {
    for (text, expected) in [
        (
            format!("{SHORT}[[schedule]]\nname = \"x\"\ncron = \"0 25 * * *\""),
            "home.toml: \"schedule\": \"x\" has the cron expression \"0 25 * * *\", in which \"25\" is no hour (0 to 23)",
        ),
        (
            format!("{SHORT}[[schedule]]\nname = \"x\"\ncron = \"@daily\""),
            "home.toml: \"schedule\": \"x\" has the cron expression \"@daily\", which has 1 fields; \
             write minute, hour, day of the month, month and day of the week",
        ),
        (
            format!("{SHORT}[[schedule]]\nname = \"x\"\nevery = \"1h\"\nwindow = \"23:00-26:00\""),
            "home.toml: \"schedule\": \"x\" has the window \"23:00-26:00\"; \
             write two different times such as \"23:00-06:00\"",
        ),
        (
            SHORT.replace("/home", "/srv/../home"),
            "home.toml: \"items\": \"/srv/../home\" leads back up by \"..\"; name the place itself",
        ),
    ] {
        refused(&text, false, expected);
    }
}

fn refused(text: &str, refusal: bool, expected: &str) {
    let error = parse("home.toml", text).unwrap_err();
    assert_eq!(error.to_string(), expected, "{text}");
    assert_eq!(error.is_refusal(), refusal, "{text}");
}

#[test]
fn t90_t01_a_time_zone_is_one_the_host_knows() {
    if jiff::tz::db().is_definitively_empty() {
        return;
    }
    for (zone, right) in [
        ("Europe/Berlin", true),
        ("UTC", true),
        ("Europe/Berln", false),
        ("", false),
    ] {
        let text = format!("{SHORT}[[schedule]]\nname = \"x\"\nevery = \"1h\"\ntimezone = \"{zone}\"");
        match parse("home.toml", &text) {
            Ok(policy) => assert!(right && policy.schedules[0].timezone == zone, "{zone}"),
            Err(error) => assert_eq!(
                (right, error.to_string()),
                (
                    false,
                    format!(
                        "home.toml line 7: \"schedule.timezone\": expected a time zone such as \"Europe/Berlin\", \
                         found the text \"{zone}\""
                    )
                )
            ),
        }
    }
}
