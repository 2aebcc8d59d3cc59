//! Whether all that a tree refers to is stored and not known to be damaged.
//!
//! Walks trees, reading none of the data; what two of them share is read once. Used by `backup` before something becomes
//! a restore point, and to name the restore points that suffer.

use std::collections::HashSet;

use outlast_repository::{BlobId, BlobKind, Repository, RepositoryError, TreeReader};

use crate::tree_builder::show_bytes;

/// So many places of one tree are named, unless more are asked for.
const NAMED: usize = 3;

type Short = [u8; 16];

/// What became of looking at a tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    Sound,
    /// Something is not there; the first such places.
    Suffers(Vec<Lack>),
    /// Too many trees were read before all of it was seen.
    NotWholly,
}

/// What is not there of one file or directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    pub(crate) path: String,
    pub(crate) what: String,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // That of the folder that everything is below.
        let path = if self.path.is_empty() { "/" } else { &self.path };
        write!(f, "{path} ({})", self.what)
    }
}

/// As one text.
pub(crate) fn show_lacks(lacks: &[Lack]) -> String {
    let shown: Vec<String> = lacks.iter().map(Lack::to_string).collect();
    shown.join(", ")
}

pub(crate) struct SoundTrees<'a> {
    repository: &'a Repository,
    /// Trees with everything below them.
    sound: HashSet<Short>,
    /// How many trees may still be read.
    left: usize,
    /// How many places are named.
    named: usize,
}

/// A directory under way.
struct Frame {
    tree: BlobId,
    name: Vec<u8>,
    entries: TreeReader,
    is_sound: bool,
}

impl<'a> SoundTrees<'a> {
    /// Reads at most so many trees.
    pub(crate) fn new(repository: &'a Repository, most: usize) -> Self {
        Self {
            repository,
            sound: HashSet::new(),
            left: most,
            named: NAMED,
        }
    }

    /// Names so many places of a tree.
    pub(crate) fn naming(self, named: usize) -> Self {
        Self { named, ..self }
    }

    /// How many trees it knows to be sound.
    pub(crate) fn remembers(&self) -> usize {
        self.sound.len()
    }

    /// Looks at everything below the tree `root`, until enough is found missing.
    pub(crate) fn look(&mut self, root: BlobId) -> Result<Looked, RepositoryError> {
        let mut missing = Vec::new();
        let mut frames = Vec::new();
        self.enter(root, Vec::new(), &mut frames, &mut missing)?;
        while let Some(frame) = frames.last_mut() {
            if missing.len() >= self.named {
                return Ok(Looked::Suffers(missing));
            }
            if self.left == 0 {
                let is_empty = missing.is_empty();
                return Ok(if is_empty {
                    Looked::NotWholly
                } else {
                    Looked::Suffers(missing)
                });
            }
            match frame.entries.next() {
                Some(Ok(node)) => {
                    let lost = node.content.iter().flatten();
                    let lost = lost
                        .filter(|id| !self.repository.contains(BlobKind::Data, id))
                        .count();
                    if lost > 0 {
                        frame.is_sound = false;
                        let path = path_of(&frames, &node.name);
                        let what = format!("{lost} of its chunks");
                        missing.push(Lack { path, what });
                    }
                    if let Some(subtree) = node.subtree {
                        self.enter(subtree, node.name, &mut frames, &mut missing)?;
                    }
                }
                Some(Err(damage)) => {
                    frame.is_sound = false;
                    missing.push(Lack {
                        path: path_of(&frames, b""),
                        what: format!("its list of entries: {damage}"),
                    });
                }
                None => self.leave(&mut frames),
            }
        }
        Ok(if missing.is_empty() {
            Looked::Sound
        } else {
            Looked::Suffers(missing)
        })
    }

    fn enter(
        &mut self,
        tree: BlobId,
        name: Vec<u8>,
        frames: &mut Vec<Frame>,
        missing: &mut Vec<Lack>,
    ) -> Result<(), RepositoryError> {
        if self.sound.contains(&short(&tree)) {
            return Ok(());
        }
        self.left = self.left.saturating_sub(1);
        // One that is known to be damaged may still be readable; but the next backup does not rely on it.
        let opened = match self.repository.contains(BlobKind::Tree, &tree) {
            true => self.repository.open_tree(&tree),
            false => Err(RepositoryError::MissingBlob {
                kind: BlobKind::Tree,
                id: tree,
                location: self.repository.location().to_owned(),
            }),
        };
        match opened {
            Ok(entries) => frames.push(Frame {
                tree,
                name,
                entries,
                is_sound: true,
            }),
            Err(error) if error.is_loss() => {
                missing.push(Lack {
                    path: path_of(frames, &name),
                    what: "its list of entries".to_owned(),
                });
                if let Some(above) = frames.last_mut() {
                    above.is_sound = false;
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn leave(&mut self, frames: &mut Vec<Frame>) {
        let Some(left) = frames.pop() else { return };
        if left.is_sound {
            self.sound.insert(short(&left.tree));
        } else if let Some(above) = frames.last_mut() {
            above.is_sound = false;
        }
    }
}

fn short(id: &BlobId) -> Short {
    let mut short = Short::default();
    short.copy_from_slice(&id.as_bytes()[..size_of::<Short>()]);
    short
}

fn path_of(frames: &[Frame], name: &[u8]) -> String {
    let names = frames
        .iter()
        .skip(1)
        .map(|frame| frame.name.as_slice())
        .chain([name]);
    names
        .filter(|name| !name.is_empty())
        .map(|name| format!("/{}", show_bytes(name)))
        .collect()
}
