//! Finds the target that a binary is named after. What targets do is in the `fuzz` module of the crate they belong to.
#![cfg(fuzzing)]

use std::path::Path;
use std::sync::OnceLock;

/// The reader of policy files is part of the binary, which no other crate can depend on.
#[allow(dead_code, reason = "the command line uses the rest of it")]
#[path = "../../src/policy_file/mod.rs"]
mod policy_file;
#[allow(dead_code, reason = "the command line uses the rest of it")]
#[path = "../../src/wire.rs"]
mod wire;

type Target = (&'static str, fn() -> Vec<Vec<u8>>, fn(&[u8]));

static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();

/// A binary that fuzzes the target of its own name.
#[macro_export]
macro_rules! target {
    () => {
        libfuzzer_sys::fuzz_target!(
            init: $crate::begin(env!("CARGO_BIN_NAME")),
            |input: &[u8]| $crate::run(input)
        );
    };
}

fn targets() -> impl Iterator<Item = &'static Target> {
    let of_agent = outlast_media_agent::fuzz::TARGETS;
    let here = policy_file::fuzz::TARGETS;
    [outlast_repository::fuzz::TARGETS, outlast_proto::fuzz::TARGETS, of_agent, here].into_iter().flatten()
}

/// Chooses the target. With a folder in `OUTLAST_FUZZ_SEEDS` its real inputs are written there, and that is all.
pub fn begin(name: &str) {
    let (_, seeds, run) = targets().find(|target| target.0 == name).expect("each binary is named after a target");
    if let Some(folder) = std::env::var_os("OUTLAST_FUZZ_SEEDS") {
        std::fs::create_dir_all(&folder).expect("the folder for seeds can be made");
        for (number, seed) in seeds().iter().enumerate() {
            let file = Path::new(&folder).join(format!("seed-{number}"));
            std::fs::write(file, seed).expect("the folder for seeds can be written");
        }
        std::process::exit(0);
    }
    CHOSEN.get_or_init(|| *run);
}

/// Gives the target an input.
pub fn run(input: &[u8]) {
    CHOSEN.get().expect("begun")(input);
}
