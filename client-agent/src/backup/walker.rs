//! The thread that walks an item: opens its root, walks it, and says what came of that.
//!
//! Runs in a backup, and in a dry run; what differs is the sink alone.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use outlast_patterns::Patterns;
use tokio::sync::mpsc::UnboundedSender;

use super::budget::Stopping;
use super::event::Event;
use super::exception::exception;
use super::health::Health;
use super::repository::OwnRepository;
use super::root::Root;
use super::sink::Sink;
use super::walk::Walk;
use crate::host::owners::Owners;
use crate::host::paths::shown;
use crate::places::Place;

/// One item's walker.
pub(super) struct Walker {
    pub(super) path: String,
    pub(super) exclude: Vec<String>,
    pub(super) own: Option<OwnRepository>,
    pub(super) health: Arc<Health>,
    pub(super) owners: Arc<Owners>,
    pub(super) place: Place,
    /// Is told of everything but what goes into the sink. Nobody listens only when the item is over.
    pub(super) events: UnboundedSender<Event>,
}

impl Walker {
    /// Walks to the end of the item, to its failure, or until the sink or the health stops it.
    pub(super) fn work(self, out: &mut dyn Sink) {
        self.place.at("open", self.path.as_bytes());
        let opened = Root::open_by(&self.path, |path| self.health.patiently(|| Root::of(path)));
        self.place.rest();
        let root = match opened {
            Ok(Ok(root)) => Arc::new(root),
            Ok(Err(error)) => {
                let _ = self.events.send(Event::Failed(error));
                return;
            }
            Err(Stopping) => return,
        };
        let _ = self.health.root.set(Arc::clone(&root));
        if root.is_link {
            let to = shown(root.real_path.as_os_str().as_bytes());
            let remark = format!("is a symbolic link; what it points to is backed up: {to}");
            let _ = self.events.send(Event::Remark(self.path.clone(), remark));
        }
        let events = self.events.clone();
        if let Ok(excluded) = self.walk(&root, out) {
            let _ = events.send(Event::WalkEnded { excluded });
        }
    }

    fn walk(self, root: &Root, out: &mut dyn Sink) -> Result<u64, Stopping> {
        let (exclude, unusable) = Patterns::new(&self.exclude);
        out.begin(root);
        for unusable in unusable {
            let reason = unusable.reason;
            let reason = format!("this exclude pattern cannot be used and leaves nothing out: {reason}");
            out.exception(exception(unusable.pattern.as_bytes(), reason))?;
        }
        let around = (&*self.health, &*self.owners, self.place);
        Walk::new(&exclude, around, root, out).stored_in(self.own).run()
    }
}
