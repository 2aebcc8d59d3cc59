//! `policy test`: what it says a backup would take is what the backup takes, and nothing waits for whoever reads it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::leader::Primaries;
use outlast_kit::session::{Session, hold};
use outlast_kit::shutdown::Shutdown;
use outlast_proto::v1::primary_message::Body as Down;
use outlast_proto::v1::{
    AgentKind, AgentMessage, Answer, DryRunEntry, DryRunPart, Hello, JobError, agent_message, answer,
    question,
};
use serde_json::Value;

use crate::cluster::{Cluster, Ran, outlast, wait_until};
use crate::hostile::{credentials, primaries};
use crate::mounts::Mount;
use crate::tree;

/// Everything that is met on the way: what is kept of any kind, and every reason to leave something out.
fn make(source: &Path) {
    tree::make(source);
    for folder in ["cache/deep", "logs", "own", "covered"] {
        std::fs::create_dir_all(source.join(folder)).unwrap();
    }
    for file in [
        "cache/deep/x",
        "logs/today",
        "logs/keep",
        "a.tmp",
        "docs/b.tmp",
        "docs/c.tmp~",
    ] {
        std::fs::write(source.join(file), b"some bytes").unwrap();
    }
    std::fs::write(source.join(OsStr::from_bytes(b"caf\xe9")), b"not UTF-8").unwrap();
    std::fs::write(source.join(OsStr::from_bytes(b"caf\xe9.tmp")), b"not UTF-8").unwrap();
    let fifo = source.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    drop(std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap());
}

const EXCLUDE: &str = "exclude = [\"cache/\", \"*.tmp\", \"/logs/*\", \"!/logs/keep\"]";

/// The entries of the first item of the only client.
fn entries(tested: &Value) -> &Vec<Value> {
    tested["clients"][0]["items"][0]["entries"].as_array().unwrap()
}

fn of<'a>(entries: &'a [Value], fate: &str) -> Vec<(&'a str, Option<&'a str>)> {
    let found = entries.iter().filter(|entry| entry["fate"] == fate);
    let text = |entry: &'a Value, field: &str| entry[field].as_str();
    let why = |entry| text(entry, "pattern").or(text(entry, "reason"));
    found
        .map(|entry| (entry["path"].as_str().unwrap(), why(entry)))
        .collect()
}

/// As restic shows a name that is not UTF-8 in its JSON.
fn like_restic(path: &str) -> String {
    path.replace("\\xe9", "\u{fffd}")
}

fn stored(cluster: &Cluster, snapshot: &str, source: &Path) -> BTreeSet<String> {
    let listed = cluster.restic(&["--no-lock", "ls", "--json", snapshot]).stdout;
    let nodes = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let paths = nodes.filter_map(|node| node["path"].as_str().map(str::to_owned));
    paths
        .filter(|path| path.starts_with(source.to_str().unwrap()))
        .collect()
}

#[test]
fn t90_what_a_test_takes_is_what_the_backup_stores() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    make(&source);
    let _own = Mount::bind(&source.join("own"), &cluster.data_dir().join("storage"));
    let _hidden = {
        let cover = cluster.place("cover");
        std::fs::set_permissions(&cover, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
        Mount::bind(&source.join("covered"), &cover)
    };
    cluster.apply_policy("home", &[&source], EXCLUDE).expect(0);
    let at = |name: &str| format!("{}/{name}", source.to_str().unwrap());

    let ran = cluster
        .try_run(&["-o", "json", "policy", "test", "home"])
        .expect(3);
    let tested = ran.json();
    let entries = entries(&tested);
    let left_out: BTreeSet<_> = of(entries, "left_out").into_iter().collect();
    let expected = [
        (at("a.tmp"), "*.tmp"),
        (at("cache"), "cache/"),
        (at("caf\\xe9.tmp"), "*.tmp"),
        (at("docs/b.tmp"), "*.tmp"),
        (at("logs/today"), "/logs/*"),
    ];
    let expected: BTreeSet<_> = expected
        .iter()
        .map(|(path, why)| (path.as_str(), Some(*why)))
        .collect();
    assert_eq!(left_out, expected);
    let exceptions = of(entries, "exception");
    let reason = |name: &str| {
        let found = exceptions.iter().find(|(path, _)| *path == at(name));
        found.and_then(|(_, why)| *why).unwrap_or_default()
    };
    assert!(
        reason("own").contains("the repository that this backup is stored in"),
        "{exceptions:?}"
    );
    assert!(reason("covered").contains("hidden by a mount"), "{exceptions:?}");
    assert_eq!(exceptions.len(), 2, "{exceptions:?}");
    let taken: BTreeSet<_> = of(entries, "taken")
        .into_iter()
        .map(|(path, _)| like_restic(path))
        .collect();
    assert!(taken.contains(&at("docs/deep/new\nline")) && taken.contains(&at("caf\u{fffd}")));

    let job = cluster.run_job("home", 3);
    let point = job["items"][0]["restore_point"].as_str().unwrap();
    assert_eq!(taken, stored(&cluster, point, &source));
    let item = &tested["clients"][0]["items"][0];
    let history = &job["attempts"][0];
    for count in ["files", "directories", "bytes", "exceptions"] {
        assert_eq!(item[count], history[count], "{count}: {item:#}\n{history:#}");
    }

    // For people: a line for each, names that cannot drive a terminal, and the numbers.
    let text = cluster.try_run(&["policy", "test", "home"]).expect(3).stdout;
    let line = |end: &str| {
        text.lines()
            .find(|line| line.ends_with(end))
            .unwrap_or_else(|| panic!("{end} is not in\n{text}"))
    };
    assert!(line("/docs/b.tmp  (exclude: *.tmp)").starts_with("leave out  file"));
    assert!(line("/docs/deep/new\\x0Aline").starts_with("take       file"));
    line("5 left out, 2 exceptions");
    let left_out = cluster
        .try_run(&["policy", "test", "home", "--left-out", "--limit", "2"])
        .expect(3);
    assert_eq!(left_out.stdout.lines().count(), 1 + 2 + 2, "{}", left_out.stdout);

    // A file is tested as if it were applied, and is not.
    let file = cluster.place("files").join("draft.toml");
    let draft = format!(
        "name = \"draft\"\nclients = [\"local\"]\nitems = [{:?}]\nexclude = [\"*\"]\n",
        at("docs")
    );
    std::fs::write(&file, draft).unwrap();
    let tested = cluster.json(&["policy", "test", "-f", file.to_str().unwrap()]);
    assert_eq!(tested["clients"][0]["items"][0]["directories"], 1, "{tested:#}");
    cluster.try_run(&["policy", "show", "draft"]).expect(6);
}

#[test]
fn t90_a_test_that_cannot_be_made_says_why_at_once() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    tree::make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    cluster
        .apply_policy_for("nobody", "other", &[&source], "")
        .expect(0);
    let none = source.join("none");
    cluster.apply_policy("none", &[&none], "").expect(0);
    for (args, code, said) in [
        (&["policy", "test", "gone"][..], 6, "there is no policy \"gone\""),
        (&["policy", "test", "home", "--client", "nobody"], 5, "nobody"),
        (
            &["policy", "test", "other"],
            4,
            "client \"nobody\" has never connected",
        ),
        (&["policy", "test"], 2, "<NAME>"),
    ] {
        let ran = cluster.try_run(args).expect(code);
        assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?}");
    }
    // As the backup would.
    let ran = cluster.try_run(&["policy", "test", "none"]).expect(1);
    assert!(ran.stdout.contains("would fail with 71"), "{}", ran.stdout);
    cluster.end("client-1");
    let ran = cluster
        .try_run(&["-o", "json", "policy", "test", "home"])
        .expect(4);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(error["error"]["text"], "client \"local\" is not connected");
    assert_eq!((ran.stdout.as_str(), &error["error"]["code"]), ("", &58.into()));

    // Without a media agent it is not known what is the backup's own repository.
    cluster.restart("client-1");
    cluster.kill(&["media-1", "media-2"]);
    wait_until("the test to be possible without media agents", || {
        let ran = cluster.try_run(&["-o", "json", "policy", "test", "home"]);
        ran.code == 0
            && ran.json()["clients"][0]["warnings"][0]
                .as_str()
                .is_some_and(|said| said.contains("no media agent"))
    });
}

/// Names that are more than fits into all buffers on the way.
fn make_many(folder: &Path) {
    for number in 0..60_000 {
        std::fs::write(folder.join(format!("{number:0240}")), b"").unwrap();
    }
}

/// A test whose output nobody reads.
fn unread(cluster: &Cluster) -> Child {
    let mut command = cluster.command(&["policy", "test", "many"]);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// How many walks there are in the client's process.
fn walks(cluster: &Cluster) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", cluster.pid("client-1"))).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "dry run").count()
}

#[test]
fn t90_a_reader_that_stops_holds_up_nothing_and_its_walk_ends_with_it() {
    let cluster = Cluster::start();
    let (many, source) = (cluster.place("many"), cluster.place("source"));
    make_many(&many);
    tree::make(&source);
    cluster.apply_policy("many", &[&many], "").expect(0);
    cluster.apply_policy("home", &[&source], "").expect(0);

    let mut readers = [unread(&cluster), unread(&cluster)];
    wait_until("two walks", || walks(&cluster) == 2);
    // Nothing of it is in the way of anything else.
    cluster.run_job("home", 0);
    cluster.run_job("home", 0);
    let refused = cluster.try_run(&["policy", "test", "home"]).expect(5);
    assert!(
        refused.stderr.contains("run on this host already"),
        "{}",
        refused.stderr
    );
    assert_eq!(walks(&cluster), 2, "they wait for whoever reads");
    for reader in &mut readers {
        reader.kill().unwrap();
        reader.wait().unwrap();
    }
    wait_until("the walks to end", || walks(&cluster) == 0);

    // One that reads on after a while misses nothing.
    let mut slow = unread(&cluster);
    wait_until("a walk", || walks(&cluster) == 1);
    std::thread::sleep(Duration::from_secs(15));
    let mut text = String::new();
    slow.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let ran = Ran::of(slow.wait_with_output().unwrap()).expect(0);
    assert_eq!(text.lines().count(), 1 + 60_001 + 2, "{}", ran.stderr);
}

#[test]
fn t90_a_test_whose_session_ends_says_so() {
    let cluster = Cluster::start();
    let many = cluster.place("many");
    make_many(&many);
    cluster.apply_policy("many", &[&many], "").expect(0);
    for what in ["client", "leader"] {
        let mut reader = unread(&cluster);
        wait_until("a walk", || walks(&cluster) == 1);
        match what {
            "client" => cluster.kill(&["client-1"]),
            _ => cluster.kill(&[&cluster.leader()]),
        }
        let mut text = String::new();
        reader.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        let ran = Ran::of(reader.wait_with_output().unwrap()).expect(4);
        assert!(ran.stderr.contains("ask again"), "{what}: {}", ran.stderr);
        if what == "client" {
            cluster.restart("client-1");
            wait_until("the client to be back", || {
                cluster.try_run(&["policy", "test", "many", "--limit", "0"]).code == 0
            });
        } else {
            wait_until("the walk to end with the session", || walks(&cluster) == 0);
        }
    }
}

/// A client that answers questions so, as often as it is asked; whatever is its own to say comes first.
async fn answering(
    cluster: &Cluster,
    name: &str,
    answers: impl Fn(u64) -> Vec<Answer> + Clone + Send + 'static,
) -> Shutdown {
    let tls = cluster.data_dir().join("tls");
    let issued = outlast()
        .args(["authority", "issue", "client-agent", name, "--folder"])
        .arg(tls)
        .output();
    Ran::of(issued.unwrap()).expect(0);
    let primaries = Arc::new(Primaries::new(credentials(cluster, name), &primaries(cluster)).unwrap());
    let hello = || Hello {
        kind: AgentKind::ClientAgent.into(),
        start_id: "by hand".into(),
        version: "0.0.9".into(),
        host_id: "elsewhere".into(),
        carries_nonces: true,
        ..Hello::default()
    };
    let serve = move |mut session: Session| {
        let answers = answers.clone();
        async move {
            while let Ok(Some(message)) = session.down.message().await {
                let Some(Down::Question(asked)) = message.body else {
                    continue;
                };
                assert!(matches!(asked.body, Some(question::Body::DryRun(_))));
                for answer in answers(asked.id) {
                    let body = Some(agent_message::Body::Answer(answer));
                    // The session may be over.
                    let _ = session.up.send(AgentMessage { body }).await;
                }
            }
        }
    };
    let over = Shutdown::new();
    tokio::spawn(hold(primaries, over.clone(), hello, serve));
    wait_until("the new client to be connected", || {
        let shown = cluster.try_run(&["-o", "json", "agent", "show", name]);
        shown.code == 0 && shown.json()["connected"] == true
    });
    over
}

fn part(id: u64, path: String) -> Answer {
    let entry = DryRunEntry {
        path,
        ..DryRunEntry::default()
    };
    let part = DryRunPart {
        item: "/x".into(),
        entries: vec![entry],
        ..DryRunPart::default()
    };
    Answer {
        id,
        body: Some(answer::Body::DryRun(part)),
        last: false,
    }
}

fn last(id: u64, body: answer::Body) -> Answer {
    Answer {
        id,
        body: Some(body),
        last: true,
    }
}

/// As client agents of before there were questions.
fn old(id: u64) -> Vec<Answer> {
    let text = "a client agent answers no questions".into();
    vec![last(id, answer::Body::Error(JobError { code: 59, text }))]
}

fn flood(id: u64) -> Vec<Answer> {
    (0..200_000).map(|number| part(id, number.to_string())).collect()
}

fn large(id: u64) -> Vec<Answer> {
    vec![part(id, "x".repeat(3 << 20))]
}

/// The answer to another question.
fn other(id: u64) -> Vec<Answer> {
    vec![last(id, answer::Body::Files(Default::default()))]
}

/// Answers to what nobody asked, and then an end.
fn foreign(id: u64) -> Vec<Answer> {
    let many = (0..1000).map(|number| part(id ^ (1 + number), "/etc/shadow".into()));
    many.chain([last(id, answer::Body::DryRun(DryRunPart::default()))])
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_a_client_that_says_more_than_it_may_or_nothing_that_counts_is_given_up() {
    let cluster = Cluster::start();
    let source = cluster.place("source");
    tree::make(&source);
    cluster.apply_policy("home", &[&source], "").expect(0);
    let sessions = [
        answering(&cluster, "old", old).await,
        answering(&cluster, "flood", flood).await,
        answering(&cluster, "large", large).await,
        answering(&cluster, "other", other).await,
        answering(&cluster, "foreign", foreign).await,
    ];
    for (name, code, said) in [
        (
            "old",
            5,
            "runs version 0.0.9, which cannot say what a backup would take: upgrade it",
        ),
        ("flood", 4, "broke the protocol"),
        ("large", 4, "broke the protocol"),
        ("other", 4, "broke the protocol"),
        // Answers to what nobody asked are nothing.
        ("foreign", 0, ""),
    ] {
        cluster.apply_policy_for(name, name, &[&source], "").expect(0);
        // Whoever reads slowly takes nothing of what was not allowed.
        let ran = cluster.try_run(&["policy", "test", name]).expect(code);
        assert!(ran.stderr.contains(said), "{name}: {}", ran.stderr);
        assert!(!ran.stdout.contains("shadow"), "{name}: {}", ran.stdout);
    }
    // Nobody else has noticed.
    let tested = cluster.json(&["policy", "test", "home"]);
    assert!(entries(&tested).len() > 300);
    cluster.run_job("home", 0);
    // Several clients: each is tested, and what is wrong with one is said.
    let file = cluster.place("files").join("both.toml");
    let text = format!("name = \"both\"\nclients = [\"old\", \"local\"]\nitems = [{source:?}]\n");
    std::fs::write(&file, text).unwrap();
    let ran = cluster
        .try_run(&["-o", "json", "policy", "test", "-f", file.to_str().unwrap()])
        .expect(5);
    let tested = ran.json();
    assert!(
        tested["clients"][0]["error"]["text"]
            .as_str()
            .unwrap()
            .contains("upgrade it"),
        "{tested:#}"
    );
    assert!(
        tested["clients"][1]["items"][0]["entries"]
            .as_array()
            .unwrap()
            .len()
            > 300
    );
    sessions.iter().for_each(Shutdown::begin);
}
