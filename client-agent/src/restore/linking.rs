//! How names of one file are made one inode (S-14e): further names become links, or copies; what stays and is equal is one of the names,
//! and what this restore made before it becomes a link of it. What stays is never touched: a set that cannot be one then is an exception.
//!
//! What inodes there are is known to `links`. Called by `settle`.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use outlast_kit::calls::{fsync, renameat, statat, unlinkat};
use outlast_proto::v1::{Node, NodeType};
use outlast_proto::words::StatusCode;
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use super::content::{PieceBuffer, Writing, remove_leftover};
use super::faults::words;
use super::links::{self, Apart, Kept, Linked, Place, is_no_link, is_one, link_to};
use super::metadata::{self, keeping_time};
use super::settle::Settling;
use crate::host::paths::{join, shown};
use crate::unfinished::temporary_name;

impl Settling {
    /// Makes a further name.
    pub(super) fn link(&mut self, path: &Arc<[u8]>, node: &Node) {
        self.ledger.works_in(path);
        let (temporary, whole) = (temporary_name(self.job, node.number), join(path, &node.name));
        let linked = self.beneath.folder(path).and_then(|folder| {
            remove_leftover(&folder, &temporary)?;
            let linked = self.links.link(node, &mut self.beneath, &folder, &temporary)?;
            Ok((folder, linked))
        });
        match linked {
            Err(error) => self.failed(&whole, "it could not be linked", error),
            Ok((_, None)) => {
                let reason = "the file it is another name of could not be restored".to_owned();
                self.account
                    .failed(&whole, StatusCode::TARGET_NOT_WRITABLE, reason);
            }
            Ok((folder, Some(Linked::Link(there)))) => {
                if self.named(path, &folder, &temporary, node, &there) {
                    self.account.settled.files += 1;
                    self.links.further(node, path);
                    self.tell_apart(node);
                }
                // It is still there if it stays unnamed, and after a rename onto another name of the same file, which does nothing.
                let _ = remove_leftover(&folder, &temporary);
            }
            Ok((_, Some(Linked::CopyOf(..)))) if node.r#type() != NodeType::File || node.size == 0 => {
                self.create(path, node);
            }
            Ok((folder, Some(Linked::CopyOf(first, cause)))) => {
                self.copy(path, node, (folder, temporary), (&first, cause));
            }
        }
    }

    /// Restores a further name as a file of its own.
    fn copy(
        &mut self,
        path: &Arc<[u8]>,
        node: &Node,
        (folder, temporary): (Arc<OwnedFd>, Vec<u8>),
        (first, cause): (&Place, Errno),
    ) {
        let whole = join(path, &node.name);
        let mut writing = match Writing::create(folder, temporary) {
            Ok(writing) => writing,
            Err(error) => return self.failed(&whole, "it could not be made", error),
        };
        let mut spare = PieceBuffer::default();
        let target = (&mut writing, &mut spare);
        let copied = links::copy(first, node, &mut self.beneath, target, (&self.ends, &self.pulse))
            .and_then(|()| writing.finish(&mut spare));
        if let Err(error) = copied {
            writing.abandon();
            let what = match error {
                Errno::STALE | Errno::NOENT => {
                    "the file it is another name of is no longer as it was restored"
                }
                _ => "it could not be copied either",
            };
            let what = format!("it could not be linked ({}); {what}", words(cause));
            return self.failed(&whole, &what, error);
        }
        let problems = metadata::of_open(&writing.file, node);
        self.account.problems(&whole, problems);
        self.push_now(path, node, writing);
    }

    /// Settles one file at once.
    fn push_now(&mut self, path: &Arc<[u8]>, node: &Node, writing: Writing) {
        if let Err(error) = fsync(&writing.file) {
            writing.abandon();
            return self.unwritten(&join(path, &node.name), node.size, error);
        }
        self.file(path, node, writing);
    }

    /// What is at the place of `node` stays, and is equal; `apart` says why it is no other name of what is restored.
    pub(super) fn keep(&mut self, path: &Arc<[u8]>, node: &Node, there: Stat, apart: Option<&'static str>) {
        let whole = join(path, &node.name);
        if let Some(other) = self.links.claim(node, &whole, &there) {
            let reason = format!(
                "left alone: it is there and equal, but one file with \"{}\", which is another one in the restore point",
                shown(other)
            );
            self.account.exception(&whole, reason);
        }
        if node.links < 2 {
            return;
        }
        if let Some(why) = apart {
            let path = whole.clone();
            if self.links.set_apart(node, Apart { path, there, why }) {
                self.is_apart(&whole, why);
            }
            return;
        }
        let place = Place::kept(path, &node.name, there);
        let kept = self.links.keep(node, place.clone());
        self.tell_apart(node);
        match kept {
            Kept::Alone => {}
            Kept::BesideOurs => self.link_ours(&place, node),
            Kept::BesideOther(other) if self.could_be_linked(&other, path, node) => {
                let reason = format!(
                    "left alone: it is there and equal, but a file of its own and no other name of \"{}\", as in the restore point",
                    shown(&other.path())
                );
                self.account.exception(&whole, reason);
            }
            // A copy is what it would have become.
            Kept::BesideOther(_) => {}
        }
    }

    /// A name of `node` is there: one that was set apart is no name of the same file, and that is said.
    pub(super) fn tell_apart(&mut self, node: &Node) {
        if let Some(Apart { path, why, .. }) = self.links.take_apart(node) {
            self.is_apart(&path, why);
        }
    }

    fn is_apart(&mut self, path: &[u8], why: &str) {
        let reason = format!(
            "left alone: it is there and equal, but has {why} than in the restore point; its other names are no links of it"
        );
        self.account.exception(path, reason);
    }

    /// Whether the entry `node` of the directory at `path` could be a link to what lies at `other`.
    fn could_be_linked(&mut self, other: &Place, path: &Arc<[u8]>, node: &Node) -> bool {
        self.ledger.works_in(path);
        let temporary = temporary_name(self.job, node.number);
        let linked = self.beneath.folder(path).and_then(|folder| {
            keeping_time(&folder, || {
                remove_leftover(&folder, &temporary)?;
                link_to(other, &mut self.beneath, &folder, &temporary)?;
                unlinkat(&folder, temporary.as_slice(), AtFlags::empty())
            })
        });
        !linked.is_err_and(is_no_link)
    }

    /// What this restore has made as names of `node` becomes links to the one that stays.
    fn link_ours(&mut self, kept: &Place, node: &Node) {
        let Some((names, inodes)) = self.links.take_ours(node) else {
            let reason = "left alone: it is there and equal; its other names, which are too many to remember, are no links of it";
            return self.account.exception(&kept.path(), reason.to_owned());
        };
        for (path, name) in names {
            match self.link_one(kept, node, (&path, &name), &inodes) {
                Ok(()) => {}
                // It stays what it is: a copy.
                Err(error) if is_no_link(error) => {}
                Err(error) => {
                    let reason = format!(
                        "it is no link of \"{}\", which stays and is equal: {}",
                        shown(&kept.path()),
                        words(error)
                    );
                    self.account.exception(&join(&path, &name), reason);
                }
            }
        }
    }

    fn link_one(
        &mut self,
        kept: &Place,
        node: &Node,
        (path, name): (&Arc<[u8]>, &[u8]),
        inodes: &[Stat],
    ) -> Result<(), Errno> {
        self.pulse.steps();
        self.ledger.works_in(path);
        let temporary = temporary_name(self.job, node.number);
        let folder = self.beneath.folder(path)?;
        keeping_time(&folder, || {
            remove_leftover(&folder, &temporary)?;
            link_to(kept, &mut self.beneath, &folder, &temporary)?;
            let there = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW);
            let named = match there {
                Ok(there) if inodes.iter().any(|ours| is_one(ours, &there)) => {
                    renameat(&folder, temporary.as_slice(), &folder, name)
                }
                // Somebody has put something else in its place.
                Ok(_) => Err(Errno::STALE),
                Err(error) => Err(error),
            };
            if named.is_err() {
                // The first error is the one to report.
                let _ = unlinkat(&folder, temporary.as_slice(), AtFlags::empty());
            }
            named
        })?;
        self.filled.note(path, &kept.there);
        self.unsynced.note(path, &folder);
        Ok(())
    }
}
