//! The loader's sentences, as a table.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde::Deserialize;

use super::{ConfigError, load_with, parse_toml};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Sample {
    name: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    fast: bool,
    tls: Option<Tls>,
    #[serde(default)]
    schedule: Vec<Schedule>,
    mode: Option<Mode>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Tls {
    ca: String,
    #[serde(default)]
    depth: i32,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Schedule {
    name: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Lan,
    Wan,
}

#[test]
fn errors_are_one_sentence_that_names_the_place() {
    for (text, expected) in [
        (
            "name = \"a\"\n\nexlude = []",
            "home.toml line 3: unknown key \"exlude\"; did you mean \"exclude\"?",
        ),
        (
            "name = \"a\"\n[tls]\nca = \"x\"\ndeptth = 1",
            "home.toml line 4: unknown key \"deptth\"; did you mean \"depth\"?",
        ),
        (
            "name = \"a\"\n[tls]\nca = \"x\"\nbananas = 1",
            "home.toml line 4: unknown key \"bananas\"; known here: ca, depth",
        ),
        (
            "name = \"a\"\n[[schedule]]\nname = \"n\"\n[[schedule]]\nname = \"m\"\nnane = 1",
            "home.toml line 6: unknown key \"nane\"; did you mean \"name\"?",
        ),
        ("port = 1", "home.toml: the key \"name\" is missing"),
        (
            "name = \"a\"\n[tls]\ndepth = 1",
            "home.toml line 2: the key \"tls.ca\" is missing",
        ),
        (
            "name = \"a\"\nport = \"x\"",
            "home.toml line 2: \"port\": expected a whole number, 0 or more, found the text \"x\"",
        ),
        (
            "name = 7",
            "home.toml line 1: \"name\": expected a text in quotes, found 7",
        ),
        (
            "name = \"a\"\nport = 70000",
            "home.toml line 2: \"port\": expected a whole number, 0 or more, found 70000",
        ),
        (
            "name = \"a\"\nfast = 1",
            "home.toml line 2: \"fast\": expected true or false, found 1",
        ),
        (
            "name = \"a\"\nexclude = \"x\"",
            "home.toml line 2: \"exclude\": expected a list in [ ], found the text \"x\"",
        ),
        (
            "name = \"a\"\nexclude = [\n  \"x\",\n  1]",
            "home.toml line 4: \"exclude\": expected a text in quotes, found 1",
        ),
        (
            "name = \"a\"\ntls = 1",
            "home.toml line 2: \"tls\": expected a table, found 1",
        ),
        (
            "name = \"a\"\n[tls]\nca = false",
            "home.toml line 3: \"tls.ca\": expected a text in quotes, found false",
        ),
        (
            "name = \"a\"\nmode = \"man\"",
            "home.toml line 2: \"mode\": \"man\" is none of lan, wan",
        ),
    ] {
        let error = parse_toml::<Sample>("home.toml", text).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text:?}");
    }
}

#[test]
fn broken_syntax_names_the_line() {
    for (text, line) in [
        ("name = \"a", 1),
        ("name = \"a\"\nname = \"b\"", 2),
        ("name = \"a\"\n\n= 1", 3),
    ] {
        let error = parse_toml::<Sample>("home.toml", text).unwrap_err();
        assert!(matches!(error, ConfigError::Syntax { .. }), "{text:?}: {error:?}");
        let sentence = error.to_string();
        assert!(
            sentence.starts_with(&format!("home.toml line {line}: ")),
            "{text:?}: {sentence}"
        );
        assert!(!sentence.contains('\n'), "{sentence:?}");
    }
}

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Sample, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, text).unwrap();
    let variables = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    load_with(&file, "media-agent", variables).map_err(|error| {
        error
            .to_string()
            .replace(&file.display().to_string(), "agent.toml")
    })
}

#[test]
fn a_table_of_the_file_can_be_named_without_the_daemon() {
    let text = "name = \"a\"\n[tls]\nca = \"x\"\ndepth = 1\n";
    for (variables, expected) in [
        (vec![("OUTLAST_TLS__CA", "short")], "short"),
        (
            vec![
                ("OUTLAST_TLS__CA", "short"),
                ("OUTLAST_MEDIA_AGENT__TLS__CA", "long"),
            ],
            "long",
        ),
        (vec![("OUTLAST_CLIENT_AGENT__TLS__CA", "other")], "x"),
    ] {
        assert_eq!(
            load(text, &variables).unwrap().tls.unwrap().ca,
            expected,
            "{variables:?}"
        );
    }
    let error = load(text, &[("OUTLAST_TSL__CA", "x")]).unwrap_err().to_string();
    assert!(error.contains("OUTLAST_TSL__CA"), "{error}");
}

#[test]
fn variables_go_over_the_file() {
    let text = "name = \"a\"\nport = 1\n[tls]\nca = \"x\"\ndepth = 1\n";
    let sample = load(
        text,
        &[
            ("OUTLAST_MEDIA_AGENT__NAME", "7"),
            ("OUTLAST_MEDIA_AGENT__PORT", "7400"),
            ("OUTLAST_MEDIA_AGENT__FAST", "true"),
            ("OUTLAST_MEDIA_AGENT__EXCLUDE", "[\"*.tmp\"]"),
            ("OUTLAST_MEDIA_AGENT__TLS__CA", "/etc/ca.pem"),
            ("OUTLAST_MEDIA_AGENT__LABELS__SITE", "2026-01-01"),
            ("OUTLAST_PRIMARY__PORT", "1"),
            ("OUTLAST_LOG", "debug"),
        ],
    )
    .unwrap();
    assert_eq!(sample.name, "7", "a number where a text belongs is a text");
    assert_eq!((sample.port, sample.fast), (7400, true));
    assert_eq!(sample.exclude, ["*.tmp"]);
    assert_eq!(sample.labels["site"], "2026-01-01");
    let tls = sample.tls.unwrap();
    assert_eq!(
        (tls.ca.as_str(), tls.depth),
        ("/etc/ca.pem", 1),
        "the rest of a table stays"
    );
}

#[test]
fn a_table_may_come_from_variables_alone() {
    let sample = load("name = \"a\"", &[("OUTLAST_MEDIA_AGENT__TLS__CA", "x")]).unwrap();
    assert_eq!(sample.tls.unwrap().ca, "x");
}

#[test]
fn errors_in_variables_name_the_variable() {
    for (name, value, expected) in [
        (
            "OUTLAST_MEDIA_AGENT__PROT",
            "1",
            "environment variable OUTLAST_MEDIA_AGENT__PROT: unknown key \"prot\"; did you mean \"port\"?",
        ),
        (
            "OUTLAST_MEDIA_AGENT__PORT",
            "many",
            "environment variable OUTLAST_MEDIA_AGENT__PORT: \"port\": \
             expected a whole number, 0 or more, found the text \"many\"",
        ),
        (
            "OUTLAST_MEDIA_AGENT__TLS__DEPTH",
            "deep",
            "environment variable OUTLAST_MEDIA_AGENT__TLS__DEPTH: \"tls.depth\": \
             expected a whole number, found the text \"deep\"",
        ),
    ] {
        let text = "name = \"a\"\n[tls]\nca = \"x\"";
        assert_eq!(load(text, &[(name, value)]).unwrap_err(), expected);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = load_with::<Sample>("/nowhere/x.toml".as_ref(), "primary", []).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read /nowhere/x.toml: No such file or directory (os error 2)"
    );
}
