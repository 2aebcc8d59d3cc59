//! The restored tree as it is entered and left: each node is checked, its place looked at, and what is to be done handed on.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use outlast_proto::v1::{FileData, FileEnd, JobError, Node, NodeType, WholeFile};
use outlast_proto::words::Overwrite;
use rustix::fs::{AtFlags, Mode, mkdirat, statat};
use rustix::io::Errno;

use super::place::{Place, look, open_target, replaces};
use super::queue::{Queue, Target};
use super::restorer::Order;
use super::settle::{Settling, Step, make_room};
use crate::attempt::Violation;
use crate::host::beneath::Beneath;
use crate::host::paths::{MOST_PATH, is_entry_name, join, shown};

const MOST_LEVELS: usize = 100_000;

/// The tree so far.
pub(super) struct Tree {
    overwrite: Overwrite,
    /// An error if `TO` cannot be used: then nothing is wanted, and the end says why.
    pub(super) target: Result<Target, JobError>,
    queue: Queue,
    next_number: u64,
    levels: Vec<Level>,
    first_names: HashSet<(u64, u64)>,
}

/// A directory that was entered and not left.
struct Level {
    node: Box<Node>,
    /// None: neither it nor anything below it is restored.
    entered: Option<Entered>,
}

#[derive(Clone)]
struct Entered {
    path: Arc<[u8]>,
    /// Whether it gets the restored metadata.
    is_described: bool,
}

impl Tree {
    pub(super) fn new(order: &Order) -> Self {
        let target = open_target(&order.to).map(|target| Target {
            settling: Settling::new(order, &target),
            beneath: Beneath::new(target),
        });
        Self {
            overwrite: order.overwrite,
            target,
            queue: Queue::new(order.job, &order.to, Arc::clone(&order.progress)),
            next_number: 0,
            levels: Vec::new(),
            first_names: HashSet::new(),
        }
    }

    /// The number of the last node.
    pub(super) fn through(&self) -> u64 {
        self.next_number.saturating_sub(1)
    }

    /// A directory whose entries follow.
    pub(super) fn enter(&mut self, node: Node) -> Result<(), Violation> {
        self.check(&node)?;
        if node.r#type() != NodeType::Directory {
            return Err(Violation::UnknownNode { node: node.number });
        }
        if self.levels.len() >= MOST_LEVELS {
            return Err(Violation::TooMuch { what: "levels" });
        }
        let entered = self.folder().and_then(|parent| self.make_folder(&parent, &node));
        self.levels.push(Level {
            node: Box::new(node),
            entered,
        });
        Ok(())
    }

    /// The end of the directory entered last.
    pub(super) fn leave(&mut self) -> Result<(), Violation> {
        let level = self.levels.pop().ok_or(Violation::OutOfTurn {
            what: "the end of a directory",
        })?;
        if let (Some(Entered { path, is_described }), Ok(target)) = (level.entered, &mut self.target) {
            let node = level.node;
            let step = Step::Leave {
                path,
                node,
                is_described,
            };
            self.queue.then(step, target);
        }
        self.bounded()
    }

    /// Anything but a directory; its number if its content is wanted.
    pub(super) fn node(&mut self, node: Node) -> Result<Option<u64>, Violation> {
        self.check(&node)?;
        if node.r#type() == NodeType::Directory {
            return Err(Violation::UnknownNode { node: node.number });
        }
        let Some(folder) = self.folder().filter(|folder| self.takes(folder, &node)) else {
            return Ok(None);
        };
        let Ok(target) = &mut self.target else {
            return Ok(None);
        };
        let is_further_name = node.links > 1 && !self.first_names.insert((node.device_id, node.inode));
        let mut wanted = None;
        if is_further_name {
            self.queue.then(Step::Link { folder, node }, target);
        } else if node.r#type() == NodeType::File && node.size > 0 {
            wanted = Some(node.number);
            self.queue.content(folder, node);
        } else {
            self.queue.then(Step::Create { folder, node }, target);
        }
        self.bounded().map(|()| wanted)
    }

    /// A piece of the next wanted file.
    pub(super) fn data(&mut self, data: &FileData) -> Result<(), Violation> {
        let unwanted = Violation::UnknownNode { node: data.node };
        let target = self.target.as_mut().map_err(|_| unwanted)?;
        self.queue.data(data, target)
    }

    /// The end of the next wanted file.
    pub(super) fn file_end(&mut self, end: &FileEnd) -> Result<(), Violation> {
        let unwanted = Violation::UnknownNode { node: end.node };
        let target = self.target.as_mut().map_err(|_| unwanted)?;
        self.queue.file_end(end, target)
    }

    /// The next wanted file, all of it.
    pub(super) fn whole_file(&mut self, file: WholeFile) -> Result<(), Violation> {
        let end = FileEnd {
            node: file.node,
            size: file.data.len() as u64,
            ..FileEnd::default()
        };
        self.data(&FileData {
            node: file.node,
            offset: 0,
            data: file.data,
            zeros: 0,
        })?;
        self.file_end(&end)
    }

    /// Checks that nothing is missing at the end.
    pub(super) fn ended(&self) -> Result<(), Violation> {
        if self.queue.is_empty() && self.levels.is_empty() {
            return Ok(());
        }
        Err(Violation::OutOfTurn { what: "the end" })
    }

    fn bounded(&self) -> Result<(), Violation> {
        if self.queue.is_too_long() {
            return Err(Violation::TooMuch { what: "entries" });
        }
        Ok(())
    }

    /// Checks a node's number and name: nothing it says can lead out of `TO`.
    fn check(&mut self, node: &Node) -> Result<(), Violation> {
        if node.number != self.next_number {
            return Err(Violation::UnknownNode { node: node.number });
        }
        self.next_number += 1;
        if !is_entry_name(&node.name) {
            let name = shown(&node.name);
            return Err(Violation::BadName { name });
        }
        Ok(())
    }

    /// The path of the directory entered last, unless nothing in it is restored.
    fn folder(&self) -> Option<Arc<[u8]>> {
        self.target.as_ref().ok()?;
        match self.levels.last() {
            None => Some(Arc::default()),
            Some(level) => level.entered.as_ref().map(|entered| Arc::clone(&entered.path)),
        }
    }

    /// Makes the directory or takes the one that is there.
    fn make_folder(&mut self, parent: &[u8], node: &Node) -> Option<Entered> {
        let overwrite = self.overwrite;
        let Target { beneath, settling } = self.target.as_mut().ok()?;
        let path: Arc<[u8]> = join(parent, &node.name).into();
        if path.len() > MOST_PATH {
            settling.exception(&path, "its path is too long".to_owned());
            return None;
        }
        let made = beneath.folder(parent).and_then(|folder| {
            let place = look(&folder, node, true, overwrite)?;
            if place == Place::Replace {
                make_room(&folder, &node.name)?;
            }
            if matches!(place, Place::Free | Place::Replace) {
                mkdirat(&folder, node.name.as_ref(), Mode::RWXU)?;
                settling.ledger.insert(&path, &folder, &node.name);
            }
            Ok((place, folder))
        });
        let is_described = match made {
            Ok((Place::Free | Place::Replace, _)) => true,
            // One an earlier attempt made is ours; another is overwritten as files are: never, always, or if the restored one is newer.
            Ok((Place::Folder, folder)) => {
                settling.ledger.contains(&path, &folder, &node.name)
                    || (!node.on_the_way && is_described(&folder, node, overwrite))
            }
            Ok((Place::InTheWay(what), _)) => {
                settling.exception(&path, what.to_owned());
                return None;
            }
            Ok((Place::Keep, _)) => return None,
            Err(error) => {
                let reason = format!("the directory could not be made: {}", std::io::Error::from(error));
                settling.exception(&path, reason);
                return None;
            }
        };
        Some(Entered { path, is_described })
    }

    /// Whether `node` shall be restored, given what is at its place.
    fn takes(&mut self, folder: &[u8], node: &Node) -> bool {
        let overwrite = self.overwrite;
        let Ok(Target { beneath, settling }) = &mut self.target else {
            return false;
        };
        let place = |folder: Arc<OwnedFd>| look(&folder, node, false, overwrite);
        let reason = match beneath.folder(folder).and_then(place) {
            Ok(Place::Free | Place::Replace) => return true,
            Ok(Place::Keep | Place::Folder) => return false,
            Ok(Place::InTheWay(what)) => what.to_owned(),
            Err(error) => unexamined(error),
        };
        settling.exception(&join(folder, &node.name), reason);
        false
    }
}

fn is_described(parent: &OwnedFd, node: &Node, overwrite: Overwrite) -> bool {
    let found = statat(parent, node.name.as_ref(), AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|found| replaces(node.modified.as_ref(), &found, overwrite))
}

fn unexamined(error: Errno) -> String {
    format!("its place cannot be examined: {}", std::io::Error::from(error))
}
