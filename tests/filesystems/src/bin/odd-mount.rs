//! `odd-mount BACKING MOUNTPOINT`: a mirror for processes that are no tests, until it is told to end (SIGTERM, SIGINT).

use std::path::PathBuf;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use outlast_test_filesystems::{Passthrough, mount};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("odd-mount: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [backing, at] = &arguments[..] else {
        return Err("usage: odd-mount BACKING MOUNTPOINT".into());
    };
    // Before there are other threads, so that none of them gets the signal.
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGTERM);
    ends.add(Signal::SIGINT);
    ends.thread_block()?;
    let mounted = mount(backing, at, Passthrough)?;
    println!("mounted at {}", mounted.path().display());
    ends.wait()?;
    Ok(())
}
