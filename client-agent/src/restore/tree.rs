//! The restored tree as it is entered and left: each node is checked, its place looked at, and what is to be done handed on.

use std::sync::Arc;

use outlast_proto::v1::{FileData, FileEnd, JobError, Node, NodeType, RestoreEnd, WholeFile};
use outlast_proto::words::{Overwrite, StatusCode};
use rustix::fs::Stat;
use rustix::io::Errno;

use super::faults::words;
use super::folder::{Entered, enter};
use super::names::{Met, Names};
use super::place::{Place, found, place};
use super::queue::{Queue, Target};
use super::restorer::Order;
use super::settle::Settling;
use super::step::{Leave, Step};
use super::target::Root;
use crate::attempt::Violation;
use crate::host::beneath::Beneath;
use crate::host::paths::{is_entry_name, join, shown};

const MOST_LEVELS: usize = 100_000;

/// The tree so far.
pub(super) struct Tree {
    overwrite: Overwrite,
    /// An error if `TO` cannot be used: then nothing is wanted, and the end says why.
    pub(super) target: Result<Target, JobError>,
    queue: Queue,
    next_number: u64,
    levels: Vec<Level>,
    names: Names,
}

/// A directory that was entered and not left.
struct Level {
    node: Box<Node>,
    /// None: neither it nor anything below it is restored.
    entered: Option<Entered>,
}

impl Tree {
    pub(super) fn new(order: &Order) -> Self {
        let mut ledger = order.made.ledger(order.job, &order.to);
        let target = Root::open(order.job, &order.to, &mut ledger).and_then(|root| {
            let beneath = Beneath::new(Arc::clone(&root.folder));
            let mut settling = Settling::new(order, root, ledger);
            settling.ledger.works_in(&Arc::default());
            settling.root.test()?;
            Ok(Target { beneath, settling })
        });
        Self {
            overwrite: order.overwrite,
            target,
            queue: Queue::new(order.job, &order.to, Arc::clone(&order.progress)),
            next_number: 0,
            levels: Vec::new(),
            names: Names::default(),
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
        let entered = match (self.folder(), &mut self.target) {
            (Some(parent), Ok(target)) => enter(target, &parent.path, &node, self.overwrite),
            _ => None,
        };
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
        if let (Some(leave), Ok(target)) = (level.leave(), &mut self.target) {
            self.queue.then(Step::Leave(leave), target);
        }
        self.bounded()
    }

    /// Anything but a directory; its number if its content is wanted.
    pub(super) fn node(&mut self, node: Node) -> Result<Option<u64>, Violation> {
        self.check(&node)?;
        if node.r#type() == NodeType::Directory {
            return Err(Violation::UnknownNode { node: node.number });
        }
        let folder = self.folder();
        let Ok(target) = &mut self.target else {
            return Ok(None);
        };
        target.settling.account.wants_other();
        let Some(entered) = folder else { return Ok(None) };
        let taken = takes(target, &entered, &node, self.overwrite);
        let folder = entered.path;
        match taken {
            Taken::Restored => {}
            Taken::No => return Ok(None),
            Taken::Stays { there, apart } => {
                // Other names may become links of it. What is one of another number is so without us.
                if apart.is_none() {
                    self.names.meet(&node);
                }
                let step = Step::Keep {
                    folder,
                    node,
                    there,
                    apart,
                };
                self.queue.then(step, target);
                return self.bounded().map(|()| None);
            }
        }
        let met = self.names.meet(&node);
        if let Met::Other(why) = &met {
            let path = join(&folder, &node.name);
            target.settling.account.exception(&path, why.clone());
        }
        let mut wanted = None;
        if met == Met::Further {
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

    /// Everything is here, or nothing more can be restored: brings it to disk and says what it came to.
    pub(super) fn finish(&mut self) -> RestoreEnd {
        match &mut self.target {
            Err(error) => RestoreEnd {
                error: Some(error.clone()),
                ..RestoreEnd::default()
            },
            Ok(target) => {
                let left = self.queue.abandon();
                target.settling.finish();
                put_right(target, left, &mut self.levels);
                target.settling.close();
                target.settling.account.end()
            }
        }
    }

    /// Whether nothing more can be restored.
    pub(super) fn has_ended(&self) -> bool {
        let ended = |target: &Target| target.settling.account.has_ended();
        self.target.as_ref().map_or(true, ended)
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

    /// The directory entered last, unless nothing in it is restored.
    fn folder(&self) -> Option<Entered> {
        match self.levels.last() {
            None => Some(Entered::default()),
            Some(level) => level.entered.clone(),
        }
    }
}

impl Level {
    fn leave(self) -> Option<Leave> {
        let Self { node, entered } = self;
        entered.map(|Entered { path, care, .. }| Leave { path, node, care })
    }
}

impl Drop for Tree {
    /// On every way out nothing half done stays, and directories get what they are to have.
    fn drop(&mut self) {
        let left = self.queue.abandon();
        if let Ok(target) = &mut self.target {
            target.settling.abandon();
            put_right(target, left, &mut self.levels);
        }
    }
}

/// The directories whose end has not come, or was not reached, the deepest first.
fn put_right(target: &mut Target, left: Vec<Leave>, levels: &mut Vec<Level>) {
    let open = std::iter::from_fn(|| levels.pop()).filter_map(Level::leave);
    for leave in left.into_iter().chain(open) {
        target.settling.put_right(&leave);
    }
}

/// What becomes of a node that is no directory.
enum Taken {
    Restored,
    No,
    /// What is there stays and is equal, and it or the node has other names.
    Stays {
        there: Stat,
        /// In what it is not the node's file all the same.
        apart: Option<&'static str>,
    },
}

/// Whether `node`, which is no directory, shall be restored, given what is at its place.
fn takes(target: &mut Target, folder: &Entered, node: &Node, overwrite: Overwrite) -> Taken {
    let Target { beneath, settling } = target;
    let path = &folder.path;
    let looked = beneath.folder(path).and_then(|folder| {
        let found = found(&folder, &node.name)?;
        Ok((folder, found))
    });
    let (parent, there) = match looked {
        Ok(looked) => looked,
        Err(error) => {
            settling.failed(&join(path, &node.name), "its place cannot be examined", error);
            return Taken::No;
        }
    };
    let is_filled = |there| settling.filled.contains(path, there);
    match (place(there.as_ref(), node, false, overwrite), there) {
        (Place::Keep | Place::Folder | Place::InTheWay(_), Some(there)) => {
            let is_equal = settling.stays(path, &parent, node, &there);
            if !is_equal || (node.links < 2 && there.st_nlink < 2) {
                return Taken::No;
            }
            let apart = settling.apart(path, &parent, node, &there);
            Taken::Stays { there, apart }
        }
        (_, Some(there)) if is_filled(&there) => {
            settling.stays(path, &parent, node, &there);
            Taken::No
        }
        _ => match folder.refuses.or_else(|| settling.root.lost(&parent)) {
            None => Taken::Restored,
            Some(error) => {
                let reason = unwritable(error);
                let path = join(path, &node.name);
                settling
                    .account
                    .failed(&path, StatusCode::TARGET_NOT_WRITABLE, reason);
                Taken::No
            }
        },
    }
}

fn unwritable(error: Errno) -> String {
    format!("its directory cannot be written: {}", words(error))
}
