//! The restoring thread: takes the media agent's messages in order and answers them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outlast_proto::v1::restore_down::Body as Down;
use outlast_proto::v1::restore_up::Body as Up;
use outlast_proto::v1::{Entries, Exceptions, RestoreProgress, Verdicts, entry};
use outlast_proto::words::{JobKey, Overwrite};
use tokio::sync::mpsc;

use super::Said;
use super::pulse::Pulse;
use super::tree::Tree;
use crate::attempt::{Ends, MadeFolders, Violation};
use crate::progress::Progress;

const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Exceptions of one message.
const MOST_EXCEPTIONS: usize = 256;

/// What is to be restored.
pub(super) struct Order {
    pub(super) job: JobKey,
    pub(super) to: String,
    pub(super) overwrite: Overwrite,
    pub(super) progress: Arc<Progress>,
    pub(super) made: MadeFolders,
    pub(super) ends: Ends,
    pub(super) pulse: Arc<Pulse>,
}

/// The thread's state.
pub(super) struct Restorer {
    order: Order,
    progress: Arc<Progress>,
    say: mpsc::Sender<Said>,
    /// The target is made and tested when the first message comes: for nothing, nothing is made.
    tree: Option<Tree>,
    /// The end was said before everything had come. What still comes is answered, so that nobody waits, and is not wanted.
    has_ended: bool,
    progress_said: Instant,
}

/// The other side of the channel is gone.
struct Gone;

enum Trouble {
    Gone,
    Violation(Violation),
}

impl From<Violation> for Trouble {
    fn from(violation: Violation) -> Self {
        Trouble::Violation(violation)
    }
}

impl From<Gone> for Trouble {
    fn from(_: Gone) -> Self {
        Trouble::Gone
    }
}

impl Restorer {
    pub(super) fn new(order: Order, say: mpsc::Sender<Said>) -> Self {
        Self {
            progress: Arc::clone(&order.progress),
            order,
            say,
            tree: None,
            has_ended: false,
            progress_said: Instant::now(),
        }
    }

    /// Works until the end is said or the channel is closed. What is half done then is removed.
    pub(super) fn work(mut self, mut messages: mpsc::Receiver<Down>) {
        while let Some(message) = messages.blocking_recv() {
            self.order.pulse.steps();
            let answered = self.message(message);
            self.order.pulse.waits();
            match answered {
                Ok(false) => {}
                Ok(true) | Err(Trouble::Gone) => return,
                Err(Trouble::Violation(violation)) => {
                    // If nobody listens, the stream has ended for another reason.
                    let _ = self.say.blocking_send(Said::Failed(violation));
                    return;
                }
            }
        }
    }

    /// Takes up a message; true after the last.
    fn message(&mut self, message: Down) -> Result<bool, Trouble> {
        if self.has_ended {
            return self.answer_only(&message);
        }
        let tree = self.tree.get_or_insert_with(|| Tree::new(&self.order));
        let mut is_last = false;
        match message {
            _ if tree.has_ended() => {}
            Down::Entries(entries) => self.entries(entries)?,
            Down::Data(data) => tree.data(&data)?,
            Down::FileEnds(ends) => ends.ends.iter().try_for_each(|end| tree.file_end(end))?,
            Down::WholeFiles(whole) => whole
                .files
                .into_iter()
                .try_for_each(|file| tree.whole_file(file))?,
            Down::EntriesEnd(_) => {
                tree.ended()?;
                is_last = true;
            }
            Down::Welcome(_) | Down::Over(_) => return Err(Violation::OutOfTurn { what: "a welcome" }.into()),
        }
        self.has_ended = !is_last && self.tree.as_ref().is_some_and(Tree::has_ended);
        if is_last || self.has_ended {
            self.end()?;
            return Ok(is_last);
        }
        self.say_exceptions()?;
        self.say_progress()?;
        Ok(false)
    }

    /// Says that nothing is wanted; true after the last message.
    fn answer_only(&mut self, message: &Down) -> Result<bool, Trouble> {
        if let Down::Entries(entries) = message {
            let numbers = entries.entries.iter().filter_map(|entry| match &entry.kind {
                Some(entry::Kind::Enter(node) | entry::Kind::Node(node)) => Some(node.number),
                Some(entry::Kind::Leave(_)) | None => None,
            });
            let through = numbers.last().unwrap_or_default();
            let wanted = Vec::new();
            self.say(Up::Verdicts(Verdicts {
                through,
                wanted,
                begun: Vec::new(),
            }))?;
        }
        Ok(matches!(message, Down::EntriesEnd(_)))
    }

    fn entries(&mut self, entries: Entries) -> Result<(), Trouble> {
        let Some(tree) = &mut self.tree else { return Ok(()) };
        let mut wanted = Vec::new();
        for entry in entries.entries {
            match entry.kind {
                Some(entry::Kind::Enter(node)) => tree.enter(node)?,
                Some(entry::Kind::Leave(_)) => tree.leave()?,
                Some(entry::Kind::Node(node)) => wanted.extend(tree.node(node)?),
                None => {
                    return Err(Violation::OutOfTurn {
                        what: "an empty entry",
                    }
                    .into());
                }
            }
        }
        let through = tree.through();
        if tree.has_ended() {
            return Ok(());
        }
        self.say(Up::Verdicts(Verdicts {
            through,
            wanted,
            begun: Vec::new(),
        }))?;
        Ok(())
    }

    /// Nothing more is restored: brings what there is to disk and says so.
    fn end(&mut self) -> Result<(), Gone> {
        let Some(tree) = &mut self.tree else { return Ok(()) };
        let end = tree.finish();
        self.say_exceptions()?;
        self.say(Up::End(end))
    }

    fn say_exceptions(&mut self) -> Result<(), Gone> {
        let Some(Ok(target)) = self.tree.as_mut().map(|tree| tree.target.as_mut()) else {
            return Ok(());
        };
        let exceptions = target.settling.account.take_exceptions();
        self.progress.exceptions(exceptions.len() as u64);
        for exceptions in exceptions.chunks(MOST_EXCEPTIONS) {
            let exceptions = exceptions.to_vec();
            self.say(Up::Exceptions(Exceptions { exceptions }))?;
        }
        Ok(())
    }

    fn say_progress(&mut self) -> Result<(), Gone> {
        let Some(Ok(target)) = self.tree.as_ref().map(|tree| tree.target.as_ref()) else {
            return Ok(());
        };
        if self.progress_said.elapsed() < PROGRESS_EVERY {
            return Ok(());
        }
        self.progress_said = Instant::now();
        let settled = target.settling.account.settled;
        self.say(Up::Progress(RestoreProgress {
            files: settled.files,
            directories: settled.directories,
            bytes: settled.bytes,
            left_alone: settled.left_alone,
            path: self.progress.path(),
            ..RestoreProgress::default()
        }))
    }

    fn say(&self, body: Up) -> Result<(), Gone> {
        self.order.pulse.waits();
        let said = self.say.blocking_send(Said::Up(body));
        self.order.pulse.steps();
        said.map_err(|_| Gone)
    }
}
