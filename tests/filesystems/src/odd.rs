//! What the file systems of other people do: names twice in a listing, listings that never end, sizes that are not those of the
//! content, operations that fail or hang, names whose case does not count, no hard links. A test says what, before the mount or while it is used.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat, statat};
use rustix::io::Errno;

use crate::at::At;
use crate::layer::{Call, Entry, Layer};
use crate::nodes::Node;

/// How long [`Hang::wait`] waits on a busy machine before it says that nothing came.
const PATIENCE: Duration = Duration::from_secs(120);

/// A handle: its copies are the same layer, one for the mount and one for the test.
#[derive(Clone, Default)]
pub struct Odd(Arc<State>);

#[derive(Default)]
struct State {
    oddities: Mutex<Oddities>,
    changed: Condvar,
}

#[derive(Default)]
struct Oddities {
    failing: Vec<Failing>,
    hanging: Vec<Hanging>,
    last_hang: u64,
    repeated: Vec<PathBuf>,
    endless: Vec<(PathBuf, Endless)>,
    said: Vec<(PathBuf, u64)>,
    links: Option<Errno>,
    forgets_case: bool,
    failed: usize,
    ended: bool,
}

/// How a listing goes on where it should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endless {
    /// With three names that nothing has, again and again.
    Again,
    /// With names that nothing has, each another.
    New,
}

struct Failing {
    at: At,
    error: Errno,
    met: u64,
}

struct Hanging {
    number: u64,
    at: At,
    met: u64,
    held: usize,
}

impl Odd {
    /// Nothing is odd yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// This entry is in the listing of its folder once more, as the last one.
    pub fn repeats(&self, path: impl Into<PathBuf>) -> &Self {
        self.0.oddities.lock().repeated.push(path.into());
        self
    }

    /// The listing of this folder never ends.
    pub fn lists_for_ever(&self, folder: impl Into<PathBuf>, how: Endless) -> &Self {
        self.0.oddities.lock().endless.push((folder.into(), how));
        self
    }

    /// It is a regular file of this size, whatever it has and is.
    pub fn says(&self, path: impl Into<PathBuf>, size: u64) -> &Self {
        self.0.oddities.lock().said.push((path.into(), size));
        self
    }

    /// Such operations end with this error from now on, and nothing is done. With a `flush` that fails, of a file that was opened for
    /// writing, all that was written is lost: so it is where files are stored somewhere else when they are closed.
    pub fn fails(&self, at: impl Into<At>, error: Errno) -> &Self {
        let at = at.into();
        let met = 0;
        self.0.oddities.lock().failing.push(Failing { at, error, met });
        self
    }

    /// What failed does so no longer.
    pub fn heals(&self) -> &Self {
        self.0.oddities.lock().failing.clear();
        self
    }

    /// How many operations have failed because a test wanted it.
    pub fn failed(&self) -> usize {
        self.0.oddities.lock().failed
    }

    /// Such operations do not end until they are released, and whoever asked for one cannot be killed meanwhile, as with a
    /// server of files that is gone. Of those on one mount, fewer than it has threads should be held.
    pub fn hangs(&self, at: impl Into<At>) -> Hang {
        let mut oddities = self.0.oddities.lock();
        oddities.last_hang += 1;
        let number = oddities.last_hang;
        oddities.hanging.push(Hanging {
            number,
            at: at.into(),
            met: 0,
            held: 0,
        });
        Hang {
            state: self.0.clone(),
            number,
        }
    }

    /// `A` is found where `a` is.
    pub fn forgets_case(&self) -> &Self {
        self.0.oddities.lock().forgets_case = true;
        self
    }

    /// No second name for anything: `EPERM` as FAT has it, `EMLINK` where there are too many already.
    pub fn refuses_links(&self, error: Errno) -> &Self {
        self.0.oddities.lock().links = Some(error);
        self
    }
}

impl Layer for Odd {
    fn name<'a>(&self, parent: &Node, name: &'a OsStr) -> Cow<'a, OsStr> {
        if !self.0.oddities.lock().forgets_case {
            return Cow::Borrowed(name);
        }
        same_but_for_case(parent, name).unwrap_or(Cow::Borrowed(name))
    }

    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        // Nobody is told of them, or nobody cares.
        if matches!(
            call,
            Call::Release { .. } | Call::Releasedir { .. } | Call::Flush { writes: false, .. }
        ) {
            return Ok(());
        }
        // Without a path only what is meant anywhere is meant.
        let path = call.below().ok();
        self.0.hold(call, path.as_deref());
        let failed = self.0.oddities.lock().fail(call, path.as_deref());
        if let (Err(_), Call::Flush { node, .. }) = (failed, call) {
            node.open(OFlags::WRONLY | OFlags::TRUNC)?;
        }
        failed
    }

    fn listing(&self, node: &Node, entries: &mut Vec<Entry>) {
        let Ok(folder) = node.below() else { return };
        let oddities = self.0.oddities.lock();
        let here = oddities
            .repeated
            .iter()
            .filter(|path| path.parent() == Some(&folder));
        for name in here.filter_map(|path| path.file_name()) {
            if let Some(entry) = entries.iter().find(|entry| entry.name == name).cloned() {
                entries.push(entry);
            }
        }
    }

    fn further(&self, node: &Node, place: u64) -> Option<Entry> {
        let oddities = self.0.oddities.lock();
        if oddities.ended || oddities.endless.is_empty() {
            return None;
        }
        let folder = node.below().ok()?;
        let (_, how) = oddities.endless.iter().find(|(path, _)| *path == folder)?;
        let name = match how {
            Endless::Again => format!("again-{}", place % 3),
            Endless::New => format!("new-{place:016}"),
        };
        Some(Entry {
            inode: place + 1,
            kind: FileType::RegularFile,
            name: name.into(),
        })
    }

    fn attributes(&self, node: &Node, stat: &mut Stat) {
        let oddities = self.0.oddities.lock();
        if oddities.said.is_empty() {
            return;
        }
        let Ok(path) = node.below() else { return };
        if let Some((_, size)) = oddities.said.iter().find(|(said, _)| *said == path) {
            stat.st_mode = FileType::RegularFile.as_raw_mode() | (stat.st_mode & 0o7777);
            stat.st_size = i64::try_from(*size).unwrap_or(i64::MAX);
        }
    }

    fn ending(&self) {
        self.0.oddities.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl State {
    /// As long as a hang is meant for it.
    fn hold(&self, call: &Call<'_>, path: Option<&Path>) {
        let mut oddities = self.oddities.lock();
        let met = |hanging: &mut Hanging| hanging.at.is_met(call, path, &mut hanging.met);
        let Some(hanging) = oddities
            .hanging
            .iter_mut()
            .find_map(|hanging| met(hanging).then_some(hanging))
        else {
            return;
        };
        let number = hanging.number;
        hanging.held += 1;
        self.changed.notify_all();
        while !oddities.ended && oddities.hanging.iter().any(|hanging| hanging.number == number) {
            self.changed.wait(&mut oddities);
        }
    }
}

impl Oddities {
    fn fail(&mut self, call: &Call<'_>, path: Option<&Path>) -> Result<(), Errno> {
        if self.ended {
            return Ok(());
        }
        let met = |failing: &mut Failing| failing.at.is_met(call, path, &mut failing.met);
        let failing = self
            .failing
            .iter_mut()
            .find_map(|failing| met(failing).then_some(failing.error));
        let refused = self.links.filter(|_| matches!(call, Call::Link { .. }));
        match failing.or(refused) {
            Some(error) => {
                self.failed += 1;
                Err(error)
            }
            None => Ok(()),
        }
    }
}

/// The name of an entry of the folder, the very one if it is there.
fn same_but_for_case<'a>(parent: &Node, name: &'a OsStr) -> Result<Cow<'a, OsStr>, Errno> {
    if statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Ok(Cow::Borrowed(name));
    }
    let wanted = folded(name);
    for entry in Dir::read_from(parent.open(OFlags::RDONLY | OFlags::DIRECTORY)?)? {
        let entry = entry?;
        let found = OsStr::from_bytes(entry.file_name().to_bytes());
        if folded(found) == wanted {
            return Ok(Cow::Owned(found.to_owned()));
        }
    }
    Ok(Cow::Borrowed(name))
}

fn folded(name: &OsStr) -> Vec<u8> {
    match name.to_str() {
        Some(name) => name.to_lowercase().into_bytes(),
        None => name.as_bytes().to_ascii_lowercase(),
    }
}

/// What is held up; released when it is dropped, too, so that a failing test comes to its end.
#[must_use = "what hangs is released when this is dropped"]
pub struct Hang {
    state: Arc<State>,
    number: u64,
}

impl Hang {
    /// How many operations hang now.
    pub fn held(&self) -> usize {
        let oddities = self.state.oddities.lock();
        let hanging = oddities
            .hanging
            .iter()
            .find(|hanging| hanging.number == self.number);
        hanging.map_or(0, |hanging| hanging.held)
    }

    /// Waits until an operation hangs.
    ///
    /// # Panics
    /// When none comes for two minutes.
    pub fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut oddities = self.state.oddities.lock();
        let held = |oddities: &Oddities| {
            let mut all = oddities.hanging.iter();
            all.any(|hanging| hanging.number == self.number && hanging.held > 0)
        };
        while !held(&oddities) {
            let late = self.state.changed.wait_until(&mut oddities, deadline).timed_out();
            assert!(!late || held(&oddities), "nothing came that was to hang");
        }
    }

    /// They are done now, and no others hang.
    pub fn release(&self) {
        let mut oddities = self.state.oddities.lock();
        oddities.hanging.retain(|hanging| hanging.number != self.number);
        self.state.changed.notify_all();
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        self.release();
    }
}
