//! A `dev` cluster in a temporary folder, and the command line that drives it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing here takes this long on a machine that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// At most so many clusters at a time: each has six processes, and elections are timed in fractions of a second.
/// They wait for one another more than they compute.
fn most_clusters() -> usize {
    2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

static RUNNING: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// The right to have a cluster's processes.
pub(crate) struct Turn;

impl Turn {
    pub(crate) fn take() -> Self {
        let most = most_clusters();
        let free = |running: &mut usize| *running >= most;
        let running: MutexGuard<'_, usize> =
            RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut running = FREED
            .wait_while(running, free)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *running += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner) -= 1;
        FREED.notify_one();
    }
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}\n{}", self.stdout, self.stderr))
    }
}

/// The binary under test.
pub(crate) fn outlast() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outlast"));
    command
        .env_remove("OUTLAST_CONTEXT")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

/// A cluster on this machine, ended with its test.
pub(crate) struct Cluster {
    dev: Option<Child>,
    folder: tempfile::TempDir,
    /// Its own: those that `dev` finds by itself are another's while a child is dead.
    port: u16,
    _turn: Turn,
}

impl Cluster {
    /// Starts three primaries, two media agents and a client, and waits until they work together.
    pub(crate) fn start() -> Self {
        let mut cluster = Self::unstarted();
        cluster.start_dev();
        cluster
    }

    /// A folder for a cluster that is not running yet.
    pub(crate) fn unstarted() -> Self {
        let turn = Turn::take();
        Self {
            dev: None,
            folder: tempfile::tempdir().unwrap(),
            port: crate::ports::free_ports(),
            _turn: turn,
        }
    }

    /// Starts, or starts again, in the same folder.
    pub(crate) fn start_dev(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("dev.out")).unwrap();
        let dev = outlast()
            .args(["dev", "--port", &self.port.to_string(), "--data-dir"])
            .arg(self.data_dir())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.dev = Some(dev);
        wait_until("dev to say that the cluster is up", || {
            self.dev_says().contains("The cluster is up")
        });
    }

    fn dev_says(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("dev.out")).unwrap_or_default()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    /// A folder of the test's own, beside the cluster's.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        let place = self.folder.path().join(name);
        std::fs::create_dir_all(&place).unwrap();
        place
    }

    /// A command of the command line, in this cluster's context.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = outlast();
        command
            .arg("--context")
            .arg(self.data_dir().join("client.toml"))
            .args(args);
        command
    }

    pub(crate) fn try_run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Runs a command that has to succeed.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.try_run(args).expect(0)
    }

    /// Runs a command that has to succeed, and reads its JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.run(&[&["-o", "json"], args].concat()).json()
    }

    /// Applies a policy `name` for client `local` with these items.
    pub(crate) fn apply_policy(&self, name: &str, items: &[&Path], more: &str) -> Ran {
        self.apply_policy_for("local", name, items, more)
    }

    /// Applies a policy `name` for a client with these items.
    pub(crate) fn apply_policy_for(&self, client: &str, name: &str, items: &[&Path], more: &str) -> Ran {
        let items: Vec<_> = items
            .iter()
            .map(|item| format!("{:?}", item.to_str().unwrap()))
            .collect();
        let text = format!(
            "name = \"{name}\"\nclients = [\"{client}\"]\nitems = [{}]\n{more}\n",
            items.join(", ")
        );
        let file = self.folder.path().join(format!("{name}.toml"));
        std::fs::write(&file, text).unwrap();
        self.try_run(&["policy", "apply", "-f", file.to_str().unwrap()])
    }

    /// Runs a policy to its end; the final `job show` document.
    pub(crate) fn run_job(&self, policy: &str, code: i32) -> Value {
        self.try_run(&["-o", "json", "job", "run", policy, "--wait"])
            .expect(code)
            .json()
    }

    /// The pid of a child by its pid file.
    pub(crate) fn pid(&self, child: &str) -> i32 {
        let file = self.data_dir().join("run").join(format!("{child}.pid"));
        std::fs::read_to_string(&file)
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
            .trim()
            .parse()
            .unwrap()
    }

    /// Kills children with -9, all at the same moment.
    pub(crate) fn kill(&self, children: &[&str]) {
        let pids: Vec<_> = children.iter().map(|child| self.pid(child)).collect();
        self.signal(children, rustix::process::Signal::KILL);
        wait_until("the killed to be gone", || {
            pids.iter().all(|pid| !is_running(*pid))
        });
    }

    /// Sends children a signal, all at the same moment.
    pub(crate) fn signal(&self, children: &[&str], signal: rustix::process::Signal) {
        let pids: Vec<_> = children.iter().map(|child| self.pid(child)).collect();
        pids.into_iter().for_each(|pid| send(pid, signal));
    }

    /// Asks a child to end, as a service manager does, and waits until it has.
    pub(crate) fn end(&self, child: &str) {
        let pid = self.pid(child);
        send(pid, rustix::process::Signal::TERM);
        wait_until("the child to end", || !is_running(pid));
    }

    /// Waits until the leader reaches all primaries.
    pub(crate) fn wait_for_all_primaries(&self) {
        wait_until("all primaries to be back", || {
            let status = self.try_run(&["--timeout", "1s", "-o", "json", "cluster", "status"]);
            status.code == 0
                && status.json()["members"].as_array().is_some_and(|members| {
                    members.len() == 3 && members.iter().all(|member| member["reachable"] != false)
                })
        });
    }

    pub(crate) fn restart(&self, child: &str) {
        self.restart_with(child, &[]);
    }

    /// Starts a killed child with these variables in its environment.
    pub(crate) fn restart_with(&self, child: &str, variables: &[(&str, &str)]) {
        let data_dir = self.data_dir();
        Ran::of(
            outlast()
                .envs(variables.iter().copied())
                .args(["dev", "restart", child, "--data-dir"])
                .arg(data_dir)
                .output()
                .unwrap(),
        )
        .expect(0);
    }

    /// The name of the leader, once there is one.
    pub(crate) fn leader(&self) -> String {
        let mut leader = String::new();
        wait_until("a leader", || {
            let status = self.try_run(&["--timeout", "1s", "-o", "json", "agent", "list"]);
            if status.code != 0 {
                return false;
            }
            let status = self.json(&["cluster", "status"]);
            leader = status["leader"].as_str().unwrap_or_default().to_owned();
            !leader.is_empty()
        });
        leader
    }

    /// Ends `dev` with a signal and waits for it.
    pub(crate) fn stop(&mut self, signal: rustix::process::Signal) {
        if let Some(mut dev) = self.dev.take() {
            send(dev.id() as i32, signal);
            wait_until("dev to end", || dev.try_wait().unwrap().is_some());
        }
    }

    /// Kills `dev` and every child of it with -9 at once.
    pub(crate) fn kill_everything(&mut self) {
        let children = [
            "primary-1",
            "primary-2",
            "primary-3",
            "media-1",
            "media-2",
            "client-1",
        ];
        let mut dev = self.dev.take().unwrap();
        send(dev.id() as i32, rustix::process::Signal::KILL);
        self.kill(&children);
        dev.wait().unwrap();
    }

    /// Runs restic on the storage unit; it must succeed.
    pub(crate) fn restic(&self, args: &[&str]) -> Ran {
        self.try_restic(args).expect(0)
    }

    /// Runs the installed restic on the storage unit.
    pub(crate) fn try_restic(&self, args: &[&str]) -> Ran {
        self.try_restic_of(Path::new(crate::restics::INSTALLED), args)
    }

    /// Runs this restic on the storage unit.
    pub(crate) fn try_restic_of(&self, program: &Path, args: &[&str]) -> Ran {
        let mut command = Command::new(program);
        command
            .arg("--repo")
            .arg(self.data_dir().join("storage"))
            .arg("--password-file")
            .arg(self.data_dir().join("repository-password"))
            .args(["--no-cache", "--quiet"])
            .args(args);
        Ran::of(
            command
                .output()
                .unwrap_or_else(|error| panic!("{}: {error}: apt-get install restic", program.display())),
        )
    }

    /// Every byte of the repository is right, as plain restic sees it.
    pub(crate) fn check_repository(&self) {
        self.restic(&["--no-lock", "check", "--read-data"]);
    }

    /// What a child has logged, in all its lives.
    pub(crate) fn log(&self, child: &str) -> String {
        let log = self.data_dir().join("log").join(format!("{child}.log"));
        std::fs::read_to_string(log).unwrap()
    }

    /// The logs are for people: no line shows a type of the program, as `Ended(Done { .. })` or `StatusCode(84)`.
    pub(crate) fn assert_logs_show_no_types(&self) {
        let is_type = |word: &str| {
            let starts = word.starts_with(|c: char| c.is_ascii_uppercase());
            starts && word.contains(|c: char| c.is_ascii_lowercase())
        };
        for entry in std::fs::read_dir(self.data_dir().join("log")).unwrap() {
            let path = entry.unwrap().path();
            let log = std::fs::read_to_string(&path).unwrap();
            for line in log.lines() {
                let shows_type = line.match_indices(['(', '{']).any(|(at, bracket)| {
                    let before = &line[..at];
                    let before = match bracket {
                        "{" => before.strip_suffix(' ').unwrap_or(before),
                        _ => before,
                    };
                    let word = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                    word.into_iter().next().is_some_and(is_type)
                });
                assert!(!shows_type, "{}: {line}", path.display());
            }
        }
    }

    /// The ends of all logs, for a failed test.
    pub(crate) fn logs(&self) -> String {
        let mut text = format!("--- dev\n{}", self.dev_says());
        for entry in std::fs::read_dir(self.data_dir().join("log"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(25).collect();
            text.push_str(&format!("--- {}\n", entry.path().display()));
            tail.iter()
                .rev()
                .for_each(|line| text.push_str(&format!("{line}\n")));
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        if let Some(mut dev) = self.dev.take() {
            send(dev.id() as i32, rustix::process::Signal::TERM);
            // It gives each of three kinds of children 15 s; who is killed leaves them behind.
            let deadline = Instant::now() + PATIENCE;
            while dev.try_wait().ok().flatten().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = dev.kill();
            let _ = dev.wait();
        }
    }
}

/// Polls until it is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn send(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Also when only threads are left: then its first one is gone already, and what it held is not free yet.
pub(crate) fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| threads > 1 || !rest.starts_with(['Z', 'X']))
}
