//! What the fuzzer drives of policy files. Only in builds for fuzzing and in this binary's own tests; called by `fuzz/`, which
//! includes this folder as a module, and by the test below.

use outlast_proto::v1;

use super::{parse, to_text};

#[cfg(test)]
#[path = "../../fuzz/mutations.rs"]
mod mutations;

/// Name, real inputs, what is done with an input.
pub(crate) type Target = (&'static str, fn() -> Vec<Vec<u8>>, fn(&[u8]));

pub(crate) const TARGETS: &[Target] = &[("policy_file", files, file)];

/// A file that is accepted gives the same policy when it is shown and applied again; another gets a sentence.
fn file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match parse("policy.toml", text) {
        Ok(policy) => {
            let shown = to_text(&v1::Policy::from(&policy));
            let again = parse("shown.toml", &shown);
            assert_eq!(again.as_ref().ok(), Some(&policy), "{shown}: {again:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn files() -> Vec<Vec<u8>> {
    let small = "name = \"p\"\nclients = [\"c\"]\nitems = [\"/home\"]\n";
    let full = r#"
        name = "home"
        type = "standard"
        clients = ["client-1", "client-2"]
        items = ["/home", "/etc"]
        exclude = ["*.tmp", "/home/*/cache"]
        pool = "default"
        [checkpoint]
        restart = true
        interval = "15m"
        [limits]
        bandwidth = "20MiB/s"
        cancel_after = "8h"
        cancel_from = "schedule"
        [retry]
        delay = "10m"
        tries = 2
        within = "12h"
        incomplete_for = "4h"
        [shape]
        multiplex = 1
        streams = 1
        children = false
        [[schedule]]
        name = "nightly"
        cron = "*/15 1-5 * jan mon,tue"
        timezone = "Europe/Berlin"
        window = "23:00-06:00"
        at_window_end = "stop_gracefully"
        [[schedule]]
        name = "often"
        every = "5m"
        [retention]
        daily = 7
        weekly = 4
        monthly = 12
    "#;
    vec![small.as_bytes().to_vec(), full.as_bytes().to_vec()]
}

#[test]
fn policy_files_stand_changed_bytes() {
    mutations::exercise(TARGETS, 4000);
}
