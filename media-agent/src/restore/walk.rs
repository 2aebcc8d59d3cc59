//! Goes through a snapshot's trees in pre-order and picks the wanted paths with their parents.
//!
//! The top entries are those of the snapshot's root tree: a file's absolute path is the names on the way to it. Reads
//! one tree per directory; no network. Used by `engine`.

use std::collections::BTreeSet;

use outlast_repository::{
    BlobId, Node, NodeKind, Repository, RepositoryError, Tree, TreeReader, TreesReader,
};

use crate::tree_builder::{ItemPath, check_name, is_meant, show_bytes};

const NO_LIST: &str = "the directory names none";

/// One step of the walk.
#[derive(Debug)]
pub(super) enum Step {
    Enter {
        node: Node,
        /// Only something below it is wanted.
        on_the_way: bool,
    },
    Leave,
    Node(Node),
    /// Entries of the directory entered last cannot be read.
    Unreadable {
        reason: String,
    },
}

/// What of a directory is wanted.
#[derive(Clone, Debug)]
enum Selection {
    All,
    Paths(Wanted),
}

/// Index of each wanted path and what is left of it below here.
type Wanted = Vec<(usize, Vec<Vec<u8>>)>;

struct Frame {
    nodes: TreeReader,
    selection: Selection,
}

pub(super) struct Walk {
    trees: TreesReader,
    frames: Vec<Frame>,
    names: Vec<Vec<u8>>,
    /// A directory that was entered and not opened yet.
    entered: Option<(Option<BlobId>, Selection)>,
    /// Wanted paths that are not there.
    missing: Vec<usize>,
    /// The items of the snapshot: nothing was backed up of the directories above them.
    items: Vec<ItemPath>,
}

impl Walk {
    /// A walk through the tree `root`, which holds `items`. No paths: everything.
    pub(super) fn new(
        repository: &Repository,
        root: BlobId,
        items: Vec<ItemPath>,
        paths: &[ItemPath],
    ) -> Result<Self, RepositoryError> {
        let all = paths.is_empty() || paths.iter().any(|path| path.parts().is_empty());
        let mut missing = Vec::new();
        let selection = if all {
            Selection::All
        } else {
            let wanted: Wanted = paths.iter().map(|p| p.parts().to_vec()).enumerate().collect();
            // Directories on the way to nothing are not made.
            let there = existing(repository, root, wanted.clone())?;
            missing.extend((0..paths.len()).filter(|index| !there.contains(index)));
            Selection::Paths(
                wanted
                    .into_iter()
                    .filter(|(index, _)| there.contains(index))
                    .collect(),
            )
        };
        let trees = repository.trees();
        let nodes = trees.open(&root)?;
        Ok(Self {
            trees,
            frames: vec![Frame { nodes, selection }],
            names: Vec::new(),
            entered: None,
            missing,
            items,
        })
    }

    /// The indexes of the wanted paths that are not there.
    pub(super) fn missing(&self) -> &[usize] {
        &self.missing
    }

    /// The path of the node of the latest step.
    pub(super) fn path_of(&self, node: Option<&Node>) -> String {
        let names = self.names.iter().map(Vec::as_slice);
        names
            .chain(node.map(|n| n.name.as_slice()))
            .map(|name| format!("/{}", show_bytes(name)))
            .collect()
    }

    /// The next step; `None` at the end. Errors of the storage other than damage end the walk.
    pub(super) fn next(&mut self) -> Result<Option<Step>, RepositoryError> {
        if let Some((subtree, selection)) = self.entered.take() {
            let loaded = match subtree {
                Some(subtree) => self.trees.open(&subtree).map_err(Some),
                None => Err(None),
            };
            let (nodes, step) = match loaded {
                Ok(nodes) => (nodes, None),
                Err(None) => (Tree::default().into(), Some(unreadable(&NO_LIST))),
                Err(Some(error)) if error.is_loss() => (Tree::default().into(), Some(unreadable(&error))),
                Err(Some(error)) => return Err(error),
            };
            self.frames.push(Frame { nodes, selection });
            if step.is_some() {
                return Ok(step);
            }
        }
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return Ok(None);
            };
            let node = match frame.nodes.next() {
                Some(Ok(node)) => node,
                Some(Err(damage)) => return Ok(Some(unreadable(&damage))),
                None => {
                    self.frames.pop();
                    return Ok(self.names.pop().map(|_| Step::Leave));
                }
            };
            let Some((selection, _)) = frame.selection.below(&node.name) else {
                continue;
            };
            if check_name(&node.name).is_err() {
                let name = show_bytes(&node.name);
                let reason = format!("{name:?}, which it lists, is no name of a file; it is left out");
                return Ok(Some(Step::Unreadable { reason }));
            }
            if node.kind != NodeKind::Dir {
                return Ok(Some(Step::Node(node)));
            }
            self.names.push(node.name.clone());
            let on_the_way = matches!(selection, Selection::Paths(_)) || self.is_above_an_item();
            self.entered = Some((node.subtree, selection));
            return Ok(Some(Step::Enter { node, on_the_way }));
        }
    }

    fn is_above_an_item(&self) -> bool {
        let above =
            |item: &ItemPath| item.parts().len() > self.names.len() && item.parts().starts_with(&self.names);
        self.items.iter().any(above)
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> Step {
    let reason = format!("its list of entries is damaged in the storage unit: {error}");
    Step::Unreadable { reason }
}

impl Selection {
    /// What is wanted of the entry of that name, and the indexes of paths that end there; `None`: nothing.
    fn below(&self, name: &[u8]) -> Option<(Selection, Vec<usize>)> {
        let Selection::Paths(paths) = self else {
            return Some((Selection::All, Vec::new()));
        };
        let mut left = Vec::new();
        let mut found = Vec::new();
        for (index, parts) in paths {
            let Some((first, rest)) = parts.split_first() else {
                continue;
            };
            if is_meant(name, first) {
                if rest.is_empty() {
                    found.push(*index);
                } else {
                    left.push((*index, rest.to_vec()));
                }
            }
        }
        if !found.is_empty() {
            // Paths below a wanted directory come with it.
            found.extend(left.iter().map(|(index, _)| *index));
            return Some((Selection::All, found));
        }
        (!left.is_empty()).then_some((Selection::Paths(left), found))
    }
}

/// Which of the wanted paths are there.
fn existing(
    repository: &Repository,
    root: BlobId,
    wanted: Wanted,
) -> Result<BTreeSet<usize>, RepositoryError> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![(root, wanted)];
    while let Some((tree, wanted)) = waiting.pop() {
        let entries = match repository.open_tree(&tree) {
            Ok(entries) => entries,
            // The walk will come here and say so.
            Err(error) if error.is_loss() => {
                found.extend(wanted.iter().map(|(index, _)| *index));
                continue;
            }
            Err(error) => return Err(error),
        };
        let indexes: Vec<usize> = wanted.iter().map(|(index, _)| *index).collect();
        let selection = Selection::Paths(wanted);
        for node in entries {
            let Ok(node) = node else {
                found.extend(&indexes);
                break;
            };
            let Some((below, ends)) = selection.below(&node.name) else {
                continue;
            };
            found.extend(ends);
            match (below, node.subtree) {
                (Selection::Paths(left), Some(subtree)) => waiting.push((subtree, left)),
                // The walk will come here and say so.
                (Selection::Paths(left), None) if node.kind == NodeKind::Dir => {
                    found.extend(left.iter().map(|(index, _)| *index));
                }
                _ => {}
            }
        }
    }
    Ok(found)
}
