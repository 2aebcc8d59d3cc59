//! The restoring thread: takes the media agent's messages in order and answers them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outlast_proto::v1::restore_down::Body as Down;
use outlast_proto::v1::restore_up::Body as Up;
use outlast_proto::v1::{Entries, Exceptions, JobError, RestoreEnd, RestoreProgress, Verdicts, entry};
use outlast_proto::words::{JobId, Overwrite, StatusCode};
use tokio::sync::mpsc;

use super::Said;
use super::tree::Tree;
use crate::attempt::MadeFolders;
use crate::attempt::Violation;
use crate::progress::Progress;

const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Exceptions of one message.
const MOST_EXCEPTIONS: usize = 256;

/// What is to be restored.
pub(super) struct Order {
    pub(super) job: JobId,
    pub(super) to: String,
    pub(super) overwrite: Overwrite,
    pub(super) progress: Arc<Progress>,
    pub(super) made: MadeFolders,
}

/// The thread's state.
pub(super) struct Restorer {
    progress: Arc<Progress>,
    say: mpsc::Sender<Said>,
    tree: Tree,
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
    pub(super) fn new(order: &Order, say: mpsc::Sender<Said>) -> Self {
        Self {
            progress: Arc::clone(&order.progress),
            say,
            tree: Tree::new(order),
            progress_said: Instant::now(),
        }
    }

    /// Works until the end is said or the channel is closed. What is half done then is removed.
    pub(super) fn work(mut self, mut messages: mpsc::Receiver<Down>) {
        while let Some(message) = messages.blocking_recv() {
            match self.message(message) {
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
        match message {
            Down::Entries(entries) => self.entries(entries)?,
            Down::Data(data) => self.tree.data(&data)?,
            Down::FileEnds(ends) => ends.ends.iter().try_for_each(|end| self.tree.file_end(end))?,
            Down::WholeFiles(whole) => whole
                .files
                .into_iter()
                .try_for_each(|file| self.tree.whole_file(file))?,
            Down::EntriesEnd(_) => {
                self.end()?;
                return Ok(true);
            }
            Down::Welcome(_) | Down::Over(_) => return Err(Violation::OutOfTurn { what: "a welcome" }.into()),
        }
        self.say_exceptions()?;
        self.say_progress()?;
        Ok(false)
    }

    fn entries(&mut self, entries: Entries) -> Result<(), Trouble> {
        let mut wanted = Vec::new();
        for entry in entries.entries {
            match entry.kind {
                Some(entry::Kind::Enter(node)) => self.tree.enter(node)?,
                Some(entry::Kind::Leave(_)) => self.tree.leave()?,
                Some(entry::Kind::Node(node)) => wanted.extend(self.tree.node(node)?),
                None => {
                    return Err(Violation::OutOfTurn {
                        what: "an empty entry",
                    }
                    .into());
                }
            }
        }
        let through = self.tree.through();
        self.say(Up::Verdicts(Verdicts { through, wanted }))?;
        Ok(())
    }

    /// Everything is here: brings it to disk and says so.
    fn end(&mut self) -> Result<(), Trouble> {
        self.tree.ended()?;
        let mut end = RestoreEnd::default();
        match &mut self.tree.target {
            Err(error) => end.error = Some(error.clone()),
            Ok(target) => {
                if let Err(error) = target.settling.finish() {
                    end.error = Some(JobError {
                        code: StatusCode::FILE_READ_FAILED.0.into(),
                        text: format!(
                            "what was restored cannot be synced: {}",
                            std::io::Error::from(error)
                        ),
                    });
                }
                let settled = target.settling.settled;
                (end.files, end.directories, end.bytes) = (settled.files, settled.directories, settled.bytes);
            }
        }
        self.say_exceptions()?;
        self.say(Up::End(end))?;
        Ok(())
    }

    fn say_exceptions(&mut self) -> Result<(), Gone> {
        let Ok(target) = &mut self.tree.target else {
            return Ok(());
        };
        let exceptions = std::mem::take(&mut target.settling.exceptions);
        self.progress.exceptions(exceptions.len() as u64);
        for exceptions in exceptions.chunks(MOST_EXCEPTIONS) {
            let exceptions = exceptions.to_vec();
            self.say(Up::Exceptions(Exceptions { exceptions }))?;
        }
        Ok(())
    }

    fn say_progress(&mut self) -> Result<(), Gone> {
        let Ok(target) = &self.tree.target else {
            return Ok(());
        };
        if self.progress_said.elapsed() < PROGRESS_EVERY {
            return Ok(());
        }
        self.progress_said = Instant::now();
        let settled = target.settling.settled;
        self.say(Up::Progress(RestoreProgress {
            files: settled.files,
            directories: settled.directories,
            bytes: settled.bytes,
            path: self.progress.path(),
        }))
    }

    fn say(&self, body: Up) -> Result<(), Gone> {
        self.say.blocking_send(Said::Up(body)).map_err(|_| Gone)
    }
}
