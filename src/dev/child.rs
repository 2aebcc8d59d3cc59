//! One child process: its start, its pid file, its end. A process is only touched if it is surely ours.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use outlast_kit::files::{remove_durably, write_durably};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::error::DevError;
use super::layout::Layout;
use super::plan::Member;

/// Several processes on one machine that somebody works at: with few arenas of malloc they take less memory, and are as fast
/// (docs/benchmarks.md). Who sets the variable decides.
const ARENAS: (&str, &str) = ("MALLOC_ARENA_MAX", "4");

/// One that cannot die (its disk does not answer) is left to who comes next: the lock of its folder says so.
const DEATH: Duration = Duration::from_secs(10);
/// A process that has not its own arguments after so long will not get them.
const EXEC: Duration = Duration::from_secs(5);
/// Between two looks at whether a process has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Starts a child in a process group of its own: Ctrl-C reaches `dev` alone, which stops its children in order.
pub(crate) fn start(layout: &Layout, member: &Member) -> Result<std::process::Child, DevError> {
    wait_for_death(layout, member);
    let log = layout.log(&member.child);
    let open = || {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(DevError::io("cannot write", &log))
    };
    let program =
        std::env::current_exe().map_err(DevError::io("cannot find", PathBuf::from("this program")))?;
    let mut command = Command::new(&program);
    command
        .arg(member.role.command())
        .arg("--config")
        .arg(layout.config(&member.child))
        .stdin(Stdio::null())
        .stdout(open()?)
        .stderr(open()?);
    if std::env::var_os(ARENAS.0).is_none() {
        command.env(ARENAS.0, ARENAS.1);
    }
    let child = spawn(&mut command)?;
    let pid = layout.pid(&member.child);
    write_durably(&pid, format!("{}\n", child.id()).as_bytes(), 0o644)
        .map_err(DevError::io("cannot write", pid))?;
    Ok(child)
}

/// Starts the process, and returns when it is what it was started as.
fn spawn(command: &mut Command) -> Result<std::process::Child, DevError> {
    let program = PathBuf::from(command.get_program());
    let mut child = command
        .process_group(0)
        .spawn()
        .map_err(DevError::io("cannot start", &program))?;
    // For a moment a new process still has our arguments, then none: nobody could tell yet that it is ours.
    let started = Instant::now();
    while !has_begun(child.id(), command) && started.elapsed() < EXEC {
        if child
            .try_wait()
            .map_err(DevError::io("cannot watch", &program))?
            .is_some()
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(child)
}

/// Whether a process has the arguments that it was started with.
fn has_begun(pid: u32, command: &Command) -> bool {
    let mut words = Vec::new();
    for argument in command.get_args() {
        words.extend_from_slice(argument.as_encoded_bytes());
        words.push(0);
    }
    arguments(pid).is_some_and(|seen| seen.ends_with(&words))
}

/// The command line of a process, as the system keeps it; nothing: there is no such process.
fn arguments(pid: u32) -> Option<Vec<u8>> {
    std::fs::read(format!("/proc/{pid}/cmdline")).ok()
}

/// The pid that a member had last.
fn last_pid(layout: &Layout, member: &Member) -> Option<u32> {
    let text = std::fs::read_to_string(layout.pid(&member.child)).ok()?;
    text.trim().parse().ok()
}

/// Waits until a member that was just killed has let go of everything.
fn wait_for_death(layout: &Layout, member: &Member) {
    let started = Instant::now();
    while last_pid(layout, member).is_some_and(is_dying) && started.elapsed() < DEATH {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a process has lost its arguments but not its last thread: until then it holds its files and their locks, though its first
/// thread, by which it is known, may be gone long before.
fn is_dying(pid: u32) -> bool {
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    arguments(pid).is_some_and(|words| words.is_empty()) && (!is_zombie(pid) || threads() > 1)
}

/// The pid of a member, if its process runs. A pid that went to another program since is not ours.
pub(crate) fn running(layout: &Layout, member: &Member) -> Option<u32> {
    let pid = last_pid(layout, member)?;
    let arguments = arguments(pid)?;
    let config = layout.config(&member.child);
    let ours = arguments
        .split(|byte| *byte == 0)
        .any(|word| word == config.as_os_str().as_encoded_bytes());
    (ours && !is_zombie(pid)).then_some(pid)
}

fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the command name, which is in parentheses and may hold any character.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('Z') || rest.starts_with('X'))
}

/// Asks a member to end, and after `patience` ends it.
pub(crate) async fn stop(layout: &Layout, member: &Member, patience: Duration) {
    let Some(pid) = running(layout, member) else {
        forget(layout, member);
        return;
    };
    signal(pid, Signal::TERM);
    let gone = async {
        while running(layout, member).is_some() {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(patience, gone).await.is_err() && running(layout, member) == Some(pid) {
        crate::output::remark(&format!(
            "{} did not end within {} s and is killed",
            member.child,
            patience.as_secs()
        ));
        signal(pid, Signal::KILL);
    }
    forget(layout, member);
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // A process that ended in between needs no signal.
    if let Some(pid) = pid.filter(|pid| test_kill_process(*pid).is_ok()) {
        let _ = kill_process(pid, signal);
    }
}

fn forget(layout: &Layout, member: &Member) {
    // A stale pid file is harmless: it is checked against the process before it is believed.
    let _ = remove_durably(&layout.pid(&member.child));
}

/// The last lines of a child's log.
pub(crate) fn log_tail(layout: &Layout, member: &Member) -> String {
    let text = std::fs::read(layout.log(&member.child)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines
        .into_iter()
        .rev()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use std::time::{Duration, Instant};

    use super::{arguments, is_dying, is_zombie, spawn};

    #[test]
    fn t90_a_child_is_known_by_its_arguments_from_its_start_on() {
        for round in 0..100 {
            let mut child = spawn(Command::new("sleep").arg("60")).unwrap();
            let seen = arguments(child.id());
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(seen.as_deref(), Some(&b"sleep\x0060\x00"[..]), "round {round}");
        }
    }

    #[test]
    fn t90_a_process_is_dying_until_its_last_thread_is_gone() {
        let patience = Instant::now() + Duration::from_secs(30);
        let mut plain = Command::new("sleep").arg("60").spawn().unwrap();
        plain.kill().unwrap();
        while !is_zombie(plain.id()) || is_dying(plain.id()) {
            assert!(Instant::now() < patience, "a zombie of one thread");
        }
        plain.wait().unwrap();
        // The first thread ends, another goes on.
        let script = "import ctypes, threading, time\n\
                      threading.Thread(target=time.sleep, args=(60,)).start()\n\
                      ctypes.CDLL(None).pthread_exit(None)";
        let mut child = Command::new("python3").args(["-c", script]).spawn().unwrap();
        while !is_zombie(child.id()) {
            assert!(Instant::now() < patience, "its first thread to end");
        }
        assert!(child.try_wait().unwrap().is_none(), "it has ended altogether");
        assert!(is_dying(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_dying(child.id()));
    }
}
