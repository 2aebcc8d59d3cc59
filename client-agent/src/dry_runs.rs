//! Dry runs that the leader asks for on behalf of a person, beside the attempts: each has a thread that walks, and a task that sends
//! what it finds as far as the leader allows.
//!
//! The walk waits for whoever reads: a part is sent only if the leader has said that there is room for it, so that nothing of this is
//! ever in the way of the session's other messages. It ends when nobody wants the rest, and with the session. Used by `session`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outlast_kit::clock::SystemClock;
use outlast_kit::shutdown::Shutdown;
use outlast_kit::tasks::Tasks;
use outlast_proto::v1::agent_message::Body as Up;
use outlast_proto::v1::{AgentMessage, Answer, Answering, DryRunPart, DryRunQuestion, JobError, answer};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::backup::DryRun;
use crate::host::paths::shown;
use crate::progress::Progress;
use crate::threads::Threads;

/// At a time on this host, those of earlier sessions that hang in a call among them.
const MOST: usize = 2;
/// The leader hears at least so often that it goes on.
const SAY_WITHIN: Duration = Duration::from_secs(5);

/// Those of this process.
#[derive(Clone)]
pub(crate) struct DryRuns {
    tasks: Tasks,
    room: Arc<Semaphore>,
}

/// Those of one session. They end with it.
pub(crate) struct OfSession {
    all: DryRuns,
    up: mpsc::Sender<AgentMessage>,
    running: Mutex<BTreeMap<u64, watch::Sender<Allowed>>>,
}

/// What the leader has said so far.
#[derive(Default)]
struct Allowed {
    parts: u64,
    withdrawn: bool,
}

impl DryRuns {
    pub(crate) fn new(tasks: Tasks) -> Self {
        let room = Arc::new(Semaphore::new(MOST));
        Self { tasks, room }
    }

    pub(crate) fn of_session(&self, up: mpsc::Sender<AgentMessage>) -> OfSession {
        OfSession {
            all: self.clone(),
            up,
            running: Mutex::default(),
        }
    }
}

impl OfSession {
    /// Begins one, or says why not; never waits.
    pub(crate) fn start(&self, id: u64, question: DryRunQuestion) -> Result<(), JobError> {
        let refused = |text: String| JobError { code: 0, text };
        let room = Arc::clone(&self.all.room).try_acquire_owned().map_err(|_| {
            refused(format!(
                "{MOST} tests run on this host already; ask again when one of them is over"
            ))
        })?;
        let stop = Shutdown::new();
        let progress = Arc::new(Progress::new(SystemClock::shared()));
        let (found, parts) = mpsc::channel(1);
        let (allow, allowed) = watch::channel(Allowed {
            parts: question.parts.into(),
            withdrawn: false,
        });
        let walk = {
            let (progress, stop) = (Arc::clone(&progress), stop.clone());
            move || {
                let _room = room;
                let all = DryRun::of_question(question);
                if all.run(&progress, &stop, |part| found.blocking_send(Some(part)).is_ok()) {
                    // Nobody waits only when nobody wants it.
                    let _ = found.blocking_send(None);
                }
            }
        };
        Threads::new(stop.clone())
            .spawn("dry run", walk)
            .map_err(|error| refused(format!("no thread can be started: {error}")))?;
        let mut running = self.running.lock();
        running.retain(|_, allow| !allow.is_closed());
        running.insert(id, allow);
        let task = Sending {
            id,
            parts,
            allowed,
            up: self.up.clone(),
            progress,
            stop,
        };
        self.all.tasks.ordinary(format!("dry run {id}"), task.run());
        Ok(())
    }

    /// More parts may be sent, or nobody wants any.
    pub(crate) fn heard(&self, said: &Answering) {
        let mut running = self.running.lock();
        if let Some(allow) = running.get(&said.id) {
            allow.send_modify(|allowed| {
                allowed.parts = allowed.parts.saturating_add(said.more.into());
                allowed.withdrawn |= said.withdrawn;
            });
        }
        if said.withdrawn {
            running.remove(&said.id);
        }
    }
}

/// The task of one dry run.
struct Sending {
    id: u64,
    /// None after the last.
    parts: mpsc::Receiver<Option<DryRunPart>>,
    allowed: watch::Receiver<Allowed>,
    up: mpsc::Sender<AgentMessage>,
    progress: Arc<Progress>,
    stop: Shutdown,
}

impl Sending {
    async fn run(mut self) {
        // The thread ends when this does, at its next step.
        let _end = EndOnDrop(self.stop.clone());
        let mut sent = 0;
        let mut tick = tokio::time::interval(SAY_WITHIN);
        let mut is_quiet = false;
        loop {
            let may_send = {
                let allowed = self.allowed.borrow_and_update();
                if allowed.withdrawn {
                    return;
                }
                allowed.parts > sent
            };
            let part = tokio::select! {
                biased;
                changed = self.allowed.changed() => match changed {
                    Ok(()) => continue,
                    // The session is over.
                    Err(_) => return,
                },
                part = self.parts.recv(), if may_send => match part {
                    Some(Some(part)) => part,
                    Some(None) => return self.end(answer::Body::DryRun(DryRunPart::default())).await,
                    None => return self.end(answer::Body::Error(failed())).await,
                },
                _ = tick.tick(), if may_send => {
                    if !std::mem::replace(&mut is_quiet, true) {
                        continue;
                    }
                    self.sign_of_life()
                }
            };
            is_quiet = false;
            sent += 1;
            if !self.say(Some(answer::Body::DryRun(part)), false).await {
                return;
            }
        }
    }

    async fn end(&self, body: answer::Body) {
        self.say(Some(body), true).await;
    }

    fn sign_of_life(&self) -> DryRunPart {
        let hung = self.progress.hung().into_iter();
        let remarks = hung.map(|hung| {
            let (path, seconds) = (shown(&hung.path), hung.since.as_secs());
            format!(
                "{path}: the file system has not answered for {seconds} s ({})",
                hung.doing
            )
        });
        DryRunPart {
            remarks: remarks.collect(),
            ..DryRunPart::default()
        }
    }

    async fn say(&self, body: Option<answer::Body>, last: bool) -> bool {
        let answer = Answer {
            id: self.id,
            body,
            last,
        };
        let body = Some(Up::Answer(answer));
        self.up.send(AgentMessage { body }).await.is_ok()
    }
}

/// Of a thread that ended without a word.
fn failed() -> JobError {
    JobError {
        code: 0,
        text: "the walk failed; the client agent's log says more".to_owned(),
    }
}

struct EndOnDrop(Shutdown);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.begin();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use outlast_kit::shutdown::Shutdown;
    use outlast_kit::tasks::Tasks;
    use outlast_proto::v1::agent_message::Body as Up;
    use outlast_proto::v1::{AgentMessage, Answer, Answering, DryRunQuestion, Policy, answer};
    use tokio::sync::mpsc;

    use super::{DryRuns, MOST};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn question(item: &Path, parts: u32) -> DryRunQuestion {
        DryRunQuestion {
            policy: Some(Policy {
                items: vec![item.to_str().unwrap().to_owned()],
                ..Policy::default()
            }),
            parts,
            ..DryRunQuestion::default()
        }
    }

    async fn answer(up: &mut mpsc::Receiver<AgentMessage>) -> Answer {
        match tokio::time::timeout(PATIENCE, up.recv())
            .await
            .unwrap()
            .unwrap()
            .body
        {
            Some(Up::Answer(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    async fn room_for(all: &DryRuns, wanted: usize) {
        let room = tokio::time::timeout(PATIENCE, all.room.acquire_many(wanted as u32)).await;
        drop(room.expect("the threads end").unwrap());
    }

    fn many_files() -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        for number in 0..2000 {
            std::fs::write(temp.path().join(format!("{number:0200}")), b"x").unwrap();
        }
        temp
    }

    #[tokio::test]
    async fn t90_no_more_is_sent_than_was_allowed() {
        let temp = many_files();
        let all = DryRuns::new(Tasks::new(Shutdown::new()));
        let (up, mut sent) = mpsc::channel(64);
        let session = all.of_session(up);
        session.start(7, question(temp.path(), 2)).unwrap();
        for _ in 0..2 {
            assert!(!answer(&mut sent).await.last);
        }
        // Nothing comes now, however long one waits; whoever sent it would have by the time the next one is allowed.
        assert!(
            tokio::time::timeout(Duration::from_secs(1), sent.recv())
                .await
                .is_err()
        );
        let more = |more, withdrawn| Answering {
            id: 7,
            more,
            withdrawn,
        };
        session.heard(&more(1, false));
        answer(&mut sent).await;
        assert!(
            tokio::time::timeout(Duration::from_secs(1), sent.recv())
                .await
                .is_err()
        );
        session.heard(&more(1000, false));
        let mut entries = 0;
        loop {
            let answer = answer(&mut sent).await;
            let Some(answer::Body::DryRun(part)) = answer.body else {
                panic!("{answer:?}")
            };
            entries += part.entries.len();
            if answer.last {
                break;
            }
        }
        assert!((1000..2001).contains(&entries), "{entries}");
        room_for(&all, MOST).await;
    }

    #[tokio::test]
    async fn t90_few_run_at_a_time_and_end_when_nobody_wants_them() {
        let temp = many_files();
        let all = DryRuns::new(Tasks::new(Shutdown::new()));
        let (up, mut sent) = mpsc::channel(64);
        let session = all.of_session(up);
        for id in 0..MOST as u64 {
            session.start(id, question(temp.path(), 1)).unwrap();
        }
        let refused = session.start(99, question(temp.path(), 1)).unwrap_err();
        assert!(refused.text.contains("already"), "{}", refused.text);
        session.heard(&Answering {
            id: 0,
            more: 0,
            withdrawn: true,
        });
        room_for(&all, 1).await;
        session.start(100, question(temp.path(), 1)).unwrap();
        // With the session all of them end, whatever was allowed.
        drop(session);
        room_for(&all, MOST).await;
        while let Ok(Some(message)) = tokio::time::timeout(PATIENCE, sent.recv()).await {
            assert!(matches!(
                message.body,
                Some(Up::Answer(Answer { last: false, .. }))
            ));
        }
    }
}
