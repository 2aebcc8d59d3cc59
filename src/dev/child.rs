//! One child process: its start, its pid file, its end. A process is only touched if it is surely ours.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use outlast_kit::files::{remove_durably, write_durably};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::error::DevError;
use super::layout::Layout;
use super::plan::Member;

/// Between two looks at whether a process has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Starts a child in a process group of its own: Ctrl-C reaches `dev` alone, which stops its children in order.
pub(crate) fn start(layout: &Layout, member: &Member) -> Result<std::process::Child, DevError> {
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
    let child = Command::new(&program)
        .arg(member.role.command())
        .arg("--config")
        .arg(layout.config(&member.child))
        .stdin(Stdio::null())
        .stdout(open()?)
        .stderr(open()?)
        .process_group(0)
        .spawn()
        .map_err(DevError::io("cannot start", &program))?;
    let pid = layout.pid(&member.child);
    write_durably(&pid, format!("{}\n", child.id()).as_bytes(), 0o644)
        .map_err(DevError::io("cannot write", pid))?;
    Ok(child)
}

/// The pid of a member, if its process runs. A pid that went to another program since is not ours.
pub(crate) fn running(layout: &Layout, member: &Member) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(layout.pid(&member.child))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
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
